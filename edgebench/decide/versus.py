"""One figure of two runs: the ratio or difference with its interval, the verdict, and the p-value where it was a test."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from edgebench import stats
from edgebench.decide.answers import Right, accuracy_drop, counts
from edgebench.decide.bounds import ends, positive_samples
from edgebench.decide.rows import memory_reach
from edgebench.schema import Measurement
from edgebench.stats import Estimate

ACCURACY_BAND = 0.01
"""Accuracies that surely differ by less than one point are called the same."""
WORSE = {"slower", "lower", "more", "larger"}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """`a` and `b` in SI units. `ratio` is a over b (2: b takes half of it); `difference` is b minus a, of accuracies."""

    metric: str
    unit: str
    verdict: str
    a: float | None = None
    b: float | None = None
    ratio: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    note: str = ""

    @property
    def regression(self) -> bool:
        return self.verdict in WORSE


def ratios(metric: str, a: Measurement | None, b: Measurement | None, same_run: bool = False) -> Compared | None:
    """Latency or energy of two runs; None where neither has it."""
    words = ("faster", "slower") if metric == "latency" else ("less", "more")
    if lacking := _lacking(metric, a, b):
        return lacking
    if a is None or b is None or a.value is None or b.value is None:
        return None
    if same_run or (positive_samples(a) and a.samples == b.samples):
        note = "the same measurement in both"
        return Compared(
            metric=metric, unit=a.unit, verdict="same", a=a.value, b=b.value, ratio=1.0, low=1.0, high=1.0, note=note
        )
    ratio, p, note = _ratio(metric, a, b)
    said = stats.verdict(ratio) if ratio else "unresolved"
    return Compared(
        metric=metric, unit=a.unit, a=a.value, b=b.value, p=p, note=note,
        verdict={"faster": words[0], "slower": words[1]}.get(said, said),
        ratio=ratio.value if ratio else None, low=ratio.low if ratio else None, high=ratio.high if ratio else None,
    )  # fmt: skip


def _lacking(metric: str, a: Measurement | None, b: Measurement | None) -> Compared | None:
    """A figure that only one of the two has, or that is of two grades: nothing can be said, and that is said."""
    if a is not None and b is not None and a.grade != b.grade and None not in (a.value, b.value):
        note = f"{a.grade} in A and {b.grade} in B"
        return Compared(metric=metric, unit=a.unit, verdict="unresolved", a=a.value, b=b.value, note=note)
    have = [m is not None and m.value is not None for m in (a, b)]
    if all(have) or not any(have):
        return None
    missing = a if have[1] else b
    why = f": {missing.note}" if missing is not None and missing.note else ""
    return Compared(
        metric=metric, unit=(a or b or missing).unit if (a or b) else "", verdict="unresolved",  # type: ignore[union-attr]
        a=a.value if a else None, b=b.value if b else None, note=f"not known in {'A' if have[1] else 'B'}{why}",
    )  # fmt: skip


def _ratio(metric: str, a: Measurement, b: Measurement) -> tuple[Estimate | None, float | None, str]:
    assert a.value is not None
    assert b.value is not None
    if min(a.value, b.value) <= 0:
        return None, None, "a figure of zero has no ratio"
    samples_a, samples_b = positive_samples(a), positive_samples(b)
    if samples_a and samples_b:
        found, p = stats.welch(samples_a, samples_b)
        return found, p, ""
    value = a.value / b.value
    ends_a, ends_b = ends(a), ends(b)
    if ends_a and ends_b and min(ends_a[0], ends_b[0]) > 0:
        return Estimate(value, ends_a[0] / ends_b[1], ends_a[1] / ends_b[0]), None, "from the two intervals: no samples"
    return Estimate(value, None, None), None, "measured once: no interval"


def memories(
    a: Measurement | None, b: Measurement | None, total_a: Measurement | None, total_b: Measurement | None
) -> Compared | None:
    """Peak memory: what two processes differ by without a reason counts as the same, and so does 1 %."""
    least = sum(memory_reach(m.value or 0.0, t) for m, t in ((a, total_a), (b, total_b)) if m is not None)
    return exact("memory", a, b, ("less", "more"), least)


def exact(
    metric: str, a: Measurement | None, b: Measurement | None, words: tuple[str, str] = ("smaller", "larger"),
    least: float = 0.0,
) -> Compared | None:  # fmt: skip
    """A figure without an interval, such as the size of a file. Up to 1 %, or up to `least`, counts as the same."""
    if lacking := _lacking(metric, a, b):
        return lacking
    if a is None or b is None or a.value is None or b.value is None:
        return None
    ratio = a.value / b.value if a.value > 0 and b.value > 0 else None
    beyond = abs(a.value - b.value) > max(least, stats.MARGIN * min(a.value, b.value))
    verdict = words[b.value > a.value] if beyond else "same"
    return Compared(
        metric=metric, unit=a.unit, verdict=verdict, a=a.value, b=b.value, ratio=ratio, low=ratio, high=ratio
    )


def accuracies(
    a: Measurement | None, b: Measurement | None, right_a: Right | None, right_b: Right | None, same_file: bool
) -> Compared | None:
    """Accuracy of b minus that of a: sample by sample where the answers are known, else as of two independent samples."""
    if lacking := _lacking("accuracy", a, b):
        return lacking
    if a is None or b is None or a.value is None or b.value is None:
        return None
    same_answers = right_a is not None and right_a == right_b
    if same_answers or (same_file and (a.value, a.n) == (b.value, b.n)):
        note = "the same samples were right in both" if same_answers else "the same file with the same result"
        return Compared(
            metric="accuracy", unit="1", verdict="same", a=a.value, b=b.value, difference=b.value - a.value,
            low=0.0, high=0.0, note=note,
        )  # fmt: skip
    found = accuracy_drop(b, a, right_b, right_a)
    paired = counts(right_a, right_b) if right_a and right_b else None
    return Compared(
        metric="accuracy", unit="1", verdict=_accuracy_verdict(found), a=a.value, b=b.value, difference=found.value,
        low=found.low, high=found.high, p=stats.mcnemar(paired[1], paired[2]) if paired else _p(found),
        note="paired sample by sample" if paired else "as of two independent samples",
    )  # fmt: skip


def _accuracy_verdict(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return "unresolved"
    if found.low > 0 or found.high < 0:
        return "higher" if found.low > 0 else "lower"
    return "same" if found.low >= -ACCURACY_BAND and found.high <= ACCURACY_BAND else "unresolved"


def _p(found: Estimate) -> float | None:
    """The normal p-value that belongs to a 95 % interval: its half-width towards zero is 1.96 standard errors."""
    if found.low is None or found.high is None:
        return None
    half = found.value - found.low if found.value > 0 else found.high - found.value
    z = abs(found.value) / half * statistics.NormalDist().inv_cdf(0.975) if half > 0 else math.inf
    return 2 * (1 - statistics.NormalDist().cdf(z)) if found.value else 1.0
