"""How much accuracy a row lost against its fp32 parent, with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgebench import stats
from edgebench.metrics.paired import counts
from edgebench.report.points import Point
from edgebench.report.sections.base import baselines
from edgebench.report.table import Row, Table

ALLOWED = 0.01
"""One point: the drop that the answer accepts."""


def drops(table: Table) -> Callable[[Row], Point | None]:
    """The drop of a row as a share (0.01 is one point; negative: it gained); None where either was not measured.

    Of a row that is its own parent it is nothing, however few samples its accuracy was measured on.
    """
    parent = baselines(table)

    def drop(row: Row) -> Point | None:
        above = parent(row)
        if above is row and row.accuracy:
            return Point(value=0.0, low=0.0, high=0.0)
        return dropped(above, row) if above else None

    return drop


def dropped(above: Row, row: Row) -> Point | None:
    """The accuracy of one row minus that of another: paired where it is known which samples each answered rightly.

    The paired interval is Newcombe's for proportions of the same samples (stats.paired_difference).
    """
    both = paired(above, row)
    if both is None:
        return difference(above.accuracy, row.accuracy)
    found = stats.paired_difference(*both)
    low, high = (found.value if end is None else end for end in (found.low, found.high))
    return Point(value=found.value, low=low, high=high)


def paired(above: Row, row: Row) -> tuple[int, int, int, int] | None:
    """How many samples both rows, only the first, only the second and neither answered rightly; None where it is not known."""
    if above.right is None or row.right is None:
        return None
    return counts(above.right, row.right)


def difference(parent: Point | None, own: Point | None) -> Point | None:
    """Parent minus own with Newcombe's interval, made from the two Wilson intervals (Statist. Med. 17, 1998, method 10).

    It takes the two as independent, and so is too wide for two answers to the same questions: never too narrow.
    """
    if parent is None or own is None:
        return None
    gap = parent.value - own.value
    low = gap - math.hypot(parent.value - parent.low, own.high - own.value)
    high = gap + math.hypot(parent.high - parent.value, own.value - own.low)
    return Point(value=gap, low=low, high=high)


def points(drop: Point) -> str:
    """`0.4 points below` or `0.2 points above`; of a drop of nothing `as accurate as`, if it is known to a point."""
    size = f"{abs(100 * drop.value):.1f}"
    if float(size) == 0:
        return "as accurate as" if drop.high <= ALLOWED else "0.0 points from"
    return f"{size} points {'below' if drop.value > 0 else 'above'}"


def signed(drop: Point) -> str:
    """The change of accuracy in points as a table shows it: `−0.4 (−1.7 to +0.9)`."""
    value, low, high = (_sign(-x) for x in (drop.value, drop.high, drop.low))
    return f"{value} ({low} to {high})"


def _sign(share: float) -> str:
    text = f"{100 * share:.1f}"
    if not float(text):
        return "0.0"
    return text.replace("-", "−") if share < 0 else f"+{text}"
