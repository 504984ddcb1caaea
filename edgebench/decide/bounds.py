"""What a figure may be: both ends of its interval, and the samples of which a ratio can be made."""

from __future__ import annotations

from edgebench import stats
from edgebench.metrics.latency import interval_of
from edgebench.schema import Measurement


def ends(m: Measurement) -> tuple[float, float] | None:
    """Both ends of the interval; Wilson's for a share of `n` right answers that has none of its own."""
    if found := interval_of(m):
        return found.low, found.high
    if m.metric == "accuracy" and m.value is not None and m.n > 0:
        return stats.wilson(min(m.n, max(0, round(m.value * m.n))), m.n)
    return None


def positive_samples(m: Measurement) -> tuple[float, ...]:
    """The samples, one a process, when there are at least two and all can have a logarithm; else none."""
    return m.samples if len(m.samples) >= 2 and min(m.samples) > 0 else ()
