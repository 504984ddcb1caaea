"""How surely one row costs less than another: ties, and figures too uncertain to decide by."""

from __future__ import annotations

import math

from edgebench import stats
from edgebench.decide.judge import Judged
from edgebench.decide.need import Need
from edgebench.decide.rows import Figure, Row
from edgebench.stats import SAME_BAND

NOISY = ("latency", "energy", "memory")
"""Figures with an interval of their own: a difference that is surely within 2 % is the same, as for a verdict."""
TOO_WIDE = 0.25
"""A cost that is known to no more than a quarter up or down decides nothing."""


def tie(best: Judged, other: Judged, need: Need) -> bool:
    """Whether the minimized figure does not tell them apart.

    A row and its baseline are judged by the ratio that was measured in pairs, in which common disturbances cancel; all others by
    intervals that meet. What is surely within 2 % is a tie too.
    """
    a, b = best.cost, other.cost
    if a is None or b is None or a.low is None or a.high is None or b.low is None or b.high is None:
        return True  # what has no interval is not separable
    ratio = paired(best.row, other.row) if need.minimize == "latency" else None
    if ratio is not None:
        return ratio[0] <= 1 or ratio[1] <= 1 + SAME_BAND
    if b.low <= a.high:
        return True
    return need.minimize in NOISY and a.low > 0 and b.high / a.low <= 1 + SAME_BAND


def paired(row: Row, other: Row) -> tuple[float, float] | None:
    """Both ends of how many times the latency of `row` that of `other` is; None unless one is the baseline of the other."""
    own, others = row.ratio, other.ratio
    if own is not None and row.run == other.run and row.baseline == other.cell:
        return own
    if others is not None and row.run == other.run and other.baseline == row.cell:
        return 1 / others[1], 1 / others[0]
    return None


def settled(cost: Figure | None) -> bool:
    """Whether a figure is known well enough to ship by: its half-width is at most a quarter of it. Unknown where it has none."""
    if cost is None or cost.low is None or cost.high is None or cost.high <= 0:
        return True
    return cost.low > 0 and half_width(cost) <= TOO_WIDE


def half_width(cost: Figure) -> float:
    """Relative half-width of an interval; infinite where it reaches zero."""
    if not cost.low or cost.low <= 0 or cost.high is None:
        return math.inf
    return stats.half_width(cost.low, cost.high)
