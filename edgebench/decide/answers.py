"""What only the raw samples of a run know: which held-out samples were answered rightly, and what a percentile is at least."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgebench import stats
from edgebench.decide.bounds import ends
from edgebench.metrics.latency import timed
from edgebench.metrics.paired import Right, answers, counts
from edgebench.schema import Measurement
from edgebench.stats import Estimate

__all__ = ["Right", "accuracy_drop", "answers", "counts", "percentile_floor", "tail_floors", "unpaired_difference"]


def tail_floors(samples: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By cell id, what p90 and p99 are at least, in seconds, with 99 % confidence: the other end of their published bounds."""
    records: dict[str, list[Mapping[str, Any]]] = {}
    for record in samples:
        records.setdefault(str(record["cell"]), []).append(record)
    out: dict[str, dict[str, float]] = {}
    for cell, own in records.items():
        calls = [w / 1e9 for r in timed(own) for s in r["slices"] for w in s["wall_ns"][s.get("drop", 0) :]]
        floors = {f"latency_p{p}": floor for p in (90, 99) if (floor := percentile_floor(calls, p / 100)) is not None}
        out[cell] = floors
    return out


def percentile_floor(samples: Sequence[float], p: float) -> float | None:
    """A lower bound of the p-percentile with 99 % confidence: the greatest order statistic k with P(Bin(n, p) >= k) >= 0.99."""
    n = len(samples)
    if n == 0 or 1 - stats.binomial_cdf(0, n, p) < stats.TAIL_CONFIDENCE:
        return None
    low, high = 1, n + 1
    while high - low > 1:
        k = (low + high) // 2
        low, high = (k, high) if 1 - stats.binomial_cdf(k - 1, n, p) >= stats.TAIL_CONFIDENCE else (low, k)
    return sorted(samples)[low - 1]


def accuracy_drop(a: Measurement, b: Measurement, right_a: Right | None, right_b: Right | None) -> Estimate:
    """Accuracy of a minus that of b, with its 95 % interval: paired where the answers are known, else of two samples."""
    if right_a and right_b and (paired := counts(right_a, right_b)):
        return stats.paired_difference(*paired)
    if a.value is None or b.value is None:
        raise ValueError("a drop needs two accuracies")
    ends_a, ends_b = ends(a), ends(b)
    if ends_a is None or ends_b is None:
        return Estimate(a.value - b.value, None, None)
    return unpaired_difference(a.value, ends_a, b.value, ends_b)


def unpaired_difference(a: float, ends_a: tuple[float, float], b: float, ends_b: tuple[float, float]) -> Estimate:
    """a - b of two independent shares from their score intervals: Newcombe, Statistics in Medicine 17 (1998) 873, method 10."""
    difference = a - b
    low = difference - math.hypot(a - ends_a[0], ends_b[1] - b)
    return Estimate(difference, low, difference + math.hypot(ends_a[1] - a, b - ends_b[0]))
