"""Numbers of records that others may have written: an interval or a sample that is no number counts as not given."""

from __future__ import annotations

import math

from edgebench import stats
from edgebench.metrics.latency import interval_of
from edgebench.schema import Measurement


def ends(m: Measurement) -> tuple[float, float] | None:
    """Both ends of the interval; Wilson's for a share of `n` right answers that has none of its own."""
    found = interval_of(m)
    if found and math.isfinite(found.low) and math.isfinite(found.high) and found.low <= found.high:
        return found.low, found.high
    if m.metric == "accuracy" and m.value is not None and m.n > 0:
        return stats.wilson(min(m.n, max(0, round(m.value * m.n))), m.n)
    return None


def positive_samples(m: Measurement) -> tuple[float, ...]:
    """The samples, one a process, when there are at least two and all can have a logarithm; else none."""
    usable = len(m.samples) >= 2 and all(math.isfinite(x) and x > 0 for x in m.samples)
    return m.samples if usable else ()
