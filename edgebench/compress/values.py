"""Checks of option values that several methods share. Each raises PlanError in two sentences."""

from __future__ import annotations

import math

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
