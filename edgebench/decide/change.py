"""Where a series of figures changed: t-tests between windows on both sides of each point, as Otava (Hunter) does nightly.

After Daly et al., "The use of change point detection to identify software performance regressions", ICPE 2020, and Otava's
analysis.py: a change counts only at p < 0.001 and from a minimum magnitude. Theirs looks for it by E-divisive means; here each
point is tested against windows of several lengths, which finds a step beside another one too, and the p is corrected for the
number of tests (Bonferroni), so that noise alone gives one false point in 1,000 series, not in 1,000 points.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from edgebench.stats import t_tail

LEAST = 3
"""Points on each side of a change: fewer cannot tell a step from two outliers."""
WINDOWS = (3, 5, 8, 13, 21, 34)
P = 0.001
MAGNITUDE = 0.01


def change_points(values: Sequence[float], noise: Sequence[float] | None = None) -> list[int]:
    """The places i at which values[i] begins another level, in order. All values are greater than zero.

    `noise`: the known standard error of each logarithm (0.01 is 1 %), so that three figures that agree by luck are not taken
    for a series without any. ValueError for a value that is not positive.
    """
    if not all(v > 0 and math.isfinite(v) for v in values):
        raise ValueError("a series needs finite values greater than zero")
    logs = [math.log(v) for v in values]
    known = list(noise) if noise is not None else [0.0] * len(logs)
    found = _split(logs, known, 0, len(logs))
    return _large(logs, _refined(logs, found))


def _split(logs: Sequence[float], noise: Sequence[float], start: int, end: int) -> list[int]:
    """The changes within [start, end): the surest first, then what is on both sides of it."""
    tests = [
        (_p(logs[i - w : i], logs[i : i + w], noise[i - w : i + w]), -_step(logs, i - w, i, i + w), i)
        for i in range(start + LEAST, end - LEAST + 1)
        for w in _windows(i - start, end - i)
    ]
    if not tests:
        return []
    p, _, at = min(tests)
    if p * len(tests) >= P:
        return []
    return [*_split(logs, noise, start, at), at, *_split(logs, noise, at, end)]


def _windows(before: int, after: int) -> list[int]:
    """The lengths that fit on both sides, and the longest that does."""
    most = min(before, after, WINDOWS[-1])
    return sorted({*(w for w in WINDOWS if w <= most), most})


def _step(logs: Sequence[float], start: int, at: int, end: int) -> float:
    return abs(statistics.fmean(logs[at:end]) - statistics.fmean(logs[start:at]))


def _p(before: Sequence[float], after: Sequence[float], noise: Sequence[float]) -> float:
    """Two-sided p of Student's t-test with a common variance, which is at least that of the points themselves."""
    n = len(before)
    variance = (statistics.variance(before) + statistics.variance(after)) / 2
    variance = max(variance, statistics.fmean(e * e for e in noise))
    step = abs(statistics.fmean(after) - statistics.fmean(before))
    if variance == 0:
        return 0.0 if step > 0 else 1.0
    return min(1.0, 2 * t_tail(step / math.sqrt(2 * variance / n), 2 * n - 2))


def _refined(logs: Sequence[float], points: Sequence[int]) -> list[int]:
    """Each change moved to where its two levels fit best: a test with short windows may be off by one."""
    edges = [0, *points, len(logs)]
    out = []
    for before, at, after in zip(edges, edges[1:], edges[2:], strict=False):
        places = range(max(before + LEAST, at - LEAST), min(after - LEAST, at + LEAST) + 1)
        out.append(min(places, key=lambda i: (_scatter(logs[before:i]) + _scatter(logs[i:after]), i), default=at))
    return out


def _scatter(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    return sum((v - mean) ** 2 for v in values)


def _large(logs: Sequence[float], points: Sequence[int]) -> list[int]:
    """Without the changes that are smaller than the minimum magnitude; the smallest goes first, and its neighbours are merged."""
    points = sorted(set(points))
    while points:
        levels = [statistics.fmean(logs[a:b]) for a, b in pairwise([0, *points, len(logs)])]
        steps = [abs(b - a) for a, b in pairwise(levels)]
        if min(steps) >= math.log1p(MAGNITUDE):
            break
        points.pop(steps.index(min(steps)))
    return points
