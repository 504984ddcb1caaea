"""A measurement as a point: its figure with both ends of its interval."""

from __future__ import annotations

from dataclasses import dataclass

from edgebench.metrics.latency import interval_of
from edgebench.schema import Measurement


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A figure with its interval, which is the figure itself where none is known."""

    value: float
    low: float
    high: float


def point(m: Measurement | None) -> Point | None:
    """What a measurement says in numbers; None where it says none."""
    if m is None or m.value is None:
        return None
    value, ends = m.value, interval_of(m)
    if ends is None:
        return Point(value=value, low=value, high=value)
    return Point(value=value, low=min(ends.low, value), high=max(ends.high, value))
