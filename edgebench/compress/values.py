"""Checks of option values that several methods share. Each raises PlanError in two sentences."""

from __future__ import annotations

import math
import re

from edgebench.errors import PlanError


def at_least(method: str, option: str, value: int, least: int) -> None:
    if value < least:
        raise PlanError(
            f'The option {option} of "{method}" cannot be {value}.', f"Give a whole number from {least} up."
        )


def positive(method: str, option: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise PlanError(f'The option {option} of "{method}" cannot be {value}.', "Give a number above 0.")


def within(method: str, option: str, value: float, low: float, high: float) -> None:
    """low <= value <= high."""
    if not low <= value <= high:
        raise PlanError(
            f'The option {option} of "{method}" cannot be {value}.',
            f"Give a number from {low:g} to {high:g}.",
        )


def between(method: str, option: str, value: float, low: float, high: float) -> None:
    """low < value < high."""
    if not low < value < high:
        raise PlanError(
            f'The option {option} of "{method}" cannot be {value}.',
            f"Give a number between {low:g} and {high:g}.",
        )


def names(text: str) -> tuple[str, ...]:
    """The names that an option holds with commas between them: `"stem, head"`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


def seconds(method: str, option: str, text: str) -> float:
    """`2.5 ms`, `800us`, `1 s` as seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|ms|us|µs)\s*", text)
    if not match or float(match[1]) <= 0:
        raise PlanError(
            f'The option {option} of "{method}" cannot be "{text}".', 'Write a number and its unit, like "2.5 ms".'
        )
    return float(match[1]) * _SECONDS[match[2]]
