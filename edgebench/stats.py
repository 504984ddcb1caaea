"""Quantiles, intervals, "is it different?", "is it steady?". Pure: no clock, no machine, plain Python floats.

"Item n" is the number of a rule in the measurement protocol; other sources stand with each function. Samples
may be in any unit, and a figure comes back in the same one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from edgebench import robust

Verdict = Literal["faster", "slower", "same", "unresolved"]

MARGIN = 0.01
"""A difference must lie wholly beyond this to be called one (item 10)."""
SAME_BAND = 0.02
"""An interval wholly within this is called "same" (item 10)."""
TAIL_CONFIDENCE = 0.99
"""Of the bounds on p90 and p99: MLPerf loadgen's c, in results.cc."""


class Estimate(NamedTuple):
    """A figure with its two-sided interval; both ends are None when one sample alone gives no interval."""

    value: float
    low: float | None
    high: float | None


# figures of samples


def quantile(samples: Sequence[float], q: float) -> float:
    """The q-quantile (0 <= q <= 1) by linear interpolation: type 7 of Hyndman & Fan 1996, numpy's default."""
    if not samples or not 0 <= q <= 1:
        raise ValueError(f"a quantile needs samples and 0 <= q <= 1, not {len(samples)} samples and {q}")
    ordered = sorted(samples)
    below, part = divmod(q * (len(ordered) - 1), 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    return low if low == high else low * (1 - part) + high * part


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the middle two. ValueError without samples."""
    return statistics.median(samples)


def geometric_mean(values: Sequence[float]) -> float:
    """exp(mean(log)): item 8's mean over generations. ValueError unless there are values, all positive."""
    return math.exp(statistics.fmean(_logs(values)))


def _logs(values: Sequence[float]) -> list[float]:
    if not values or not all(v > 0 for v in values):
        raise ValueError("logarithms need values, all greater than zero")
    return [math.log(v) for v in values]


# distributions: a board has no scipy


def beta_regularized(a: float, b: float, x: float) -> float:
    """I_x(a, b), the regularized incomplete beta function (DLMF 8.17), for a, b > 0 and 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below the mean; DLMF 8.17.4 reflects
        return 1 - beta_regularized(b, a, 1 - x)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / (a * _beta_fraction(a, b, x))


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction DLMF 8.17.22, evaluated from the front by the modified Lentz method.

    Raises ArithmeticError where it does not converge: for parameters beyond some 1e8, which no count of samples reaches.
    """
    tiny = 1e-300
    value = c = 1.0
    d = 0.0
    for i in range(1, 20_000):
        m = i // 2
        if i % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            return value
    raise ArithmeticError(f"the incomplete beta function does not converge for a={a:g}, b={b:g}, x={x:g}")


def t_tail(t: float, df: float) -> float:
    """P(T > t) of Student's t with df > 0 degrees of freedom (Abramowitz & Stegun 26.7.1)."""
    if t < 0:
        return 1 - t_tail(-t, df)
    if t * t < df:  # the same integral from its other end, which keeps its digits near t = 0
        return 0.5 - beta_regularized(0.5, df / 2, t * t / (df + t * t)) / 2
    return beta_regularized(df / 2, 0.5, df / (df + t * t)) / 2


@lru_cache(maxsize=256)
def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, within 1e-9 relative, by bisection of `t_tail`. 0 < p < 1, df > 0."""
    if not 0 < p < 1 or df <= 0:
        raise ValueError(f"a t quantile needs 0 < p < 1 and df > 0, not p={p}, df={df}")
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_tail(high, df) > 1 - p:
        high *= 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > 1 - p else (low, middle)
    return (low + high) / 2


# intervals


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean and Student's t-interval of independent values: one a generation, never one an inference.

    From ten values on the outermost are left out (`robust`).
    """
    value, error, freedom = robust.centre(values)
    if not freedom:
        return Estimate(value, None, None)
    half = t_quantile((1 + confidence) / 2, freedom) * error
    return Estimate(value, value - half, value + half)


def geometric_centre(values: Sequence[float]) -> float:
    """The middle of latencies of several processes, all > 0: `robust.centre` of the logarithms. ValueError without a value."""
    return math.exp(robust.centre(_logs(values)).value)


def geometric_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float | None, float | None]:
    """The t-interval of `geometric_centre`, made on the logarithms. (None, None) for one value."""
    _, low, high = _exp(t_interval(_logs(values), confidence))
    return low, high


def ratio_interval(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Estimate:
    """a/b, paired: a[i] and b[i] come from the same generation. t-interval over the log ratios (item 8)."""
    return _exp(t_interval(_log_ratios(a, b), confidence))


def welch(a: Sequence[float], b: Sequence[float], margin: float = MARGIN) -> tuple[Estimate, float]:
    """a/b of two independent series on the logarithm, with its 95 % interval, and the two-sided p of being beyond the margin.

    Welch 1947 with the degrees of freedom of Satterthwaite; from ten values on without the outermost (Yuen 1974). Where
    neither series has any spread the interval is the ratio itself. ValueError unless both have two values or more, all positive.
    """
    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0:
        raise ValueError("two series of at least two values are needed, all greater than zero")
    one, other = robust.centre(_logs(a)), robust.centre(_logs(b))
    difference, error = one.value - other.value, math.hypot(one.error, other.error)
    if error == 0:
        return _exp(Estimate(difference, difference, difference)), _p_beyond(difference, error, math.inf, margin)
    df = error**4 / sum(c.error**4 / c.freedom for c in (one, other))
    half = t_quantile(0.975, df) * error
    found = _exp(Estimate(difference, difference - half, difference + half))
    return found, _p_beyond(difference, error, df, margin)


def _log_ratios(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x - y for x, y in zip(_logs(a), _logs(b), strict=True)]


def _exp(e: Estimate) -> Estimate:
    """Back from logarithms. The ends stay within what a float can hold: records hold finite numbers only."""
    low, high = (None if end is None else math.exp(min(max(end, -700.0), 700.0)) for end in (e.low, e.high))
    return Estimate(math.exp(e.value), low, high)


def half_width(low: float, high: float) -> float:
    """The relative half-width of an interval of a ratio or a latency: 0.02 for 1/1.02 to 1.02. 0 < low."""
    return math.exp((math.log(high) - math.log(low)) / 2) - 1


def wilson(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share, right of n (Wilson 1927): for accuracies, also near 0 and 1."""
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"a share needs 0 <= right <= n and n >= 1, not {right} of {n}")
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share, z2 = right / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


# paired accuracies: the same samples were answered by two networks


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p that a and b are equally accurate, from the samples that only one got right.

    McNemar 1947, with the binomial instead of the chi-squared distribution.
    """
    n = only_a + only_b
    if n == 0:
        return 1.0
    return min(1.0, 2 * binomial_cdf(min(only_a, only_b), n, 0.5))


def paired_difference(both: int, only_a: int, only_b: int, neither: int, confidence: float = 0.95) -> Estimate:
    """Accuracy of a minus that of b, from how many of the same samples both, one or neither got right.

    Newcombe's hybrid score interval: Statistics in Medicine 17 (1998) 2635, method 10.
    """
    n = both + only_a + only_b + neither
    share_a, share_b = (both + only_a) / n, (both + only_b) / n
    low_a, high_a = wilson(both + only_a, n, confidence)
    low_b, high_b = wilson(both + only_b, n, confidence)
    phi = _correlation(both, only_a, only_b, neither)

    def reach(u: float, v: float) -> float:
        return math.sqrt(max(0.0, u * u - 2 * phi * u * v + v * v))

    difference = share_a - share_b
    low = difference - reach(share_a - low_a, high_b - share_b)
    return Estimate(difference, low, difference + reach(high_a - share_a, share_b - low_b))


def _correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Phi of the 2x2 table; a positive one is corrected for continuity, as Newcombe does."""
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if not product:
        return 0.0
    top = float(both * neither - only_a * only_b)
    if top > 0:
        top = max(0.0, top - (both + only_a + only_b + neither) / 2)
    return top / math.sqrt(product)


# percentiles as upper bounds


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k), through the incomplete beta function (DLMF 8.17.5)."""
    return 1.0 if k >= n else beta_regularized(n - k, k + 1, 1 - p)


def percentile_bound(samples: Sequence[float], p: float) -> float | None:
    """An upper bound of the p-percentile, with 99 % confidence; None when there are too few samples.

    MLPerf loadgen's early stopping (early_stopping.cc, results.cc; c = 0.99, d = 0): with t the greatest
    number >= 1 for which P(Bin(n, 1 - p) <= t) <= 1 - c, the answer is sorted[n - t].
    """
    n = len(samples)
    if n < samples_needed(p):
        return None
    low, high = 1, n
    while high - low > 1:
        t = (low + high) // 2
        low, high = (t, high) if binomial_cdf(t, n, 1 - p) <= 1 - TAIL_CONFIDENCE else (low, t)
    return sorted(samples)[n - low]


def median_interval(samples: Sequence[float], confidence: float) -> Estimate:
    """The median between two order statistics, whatever the distribution (the sign test); no ends where too few are given."""
    ordered, spare = sorted(samples), 1 - confidence
    n = len(ordered)
    cut = next((k for k in range(n // 2, 0, -1) if 2 * binomial_cdf(k - 1, n, 0.5) <= spare), 0)
    if not cut:
        return Estimate(median(ordered), None, None)
    return Estimate(median(ordered), ordered[cut - 1], ordered[n - cut])


@lru_cache(maxsize=64)
def samples_needed(p: float) -> int:
    """The least number of samples for `percentile_bound`: 64, 130, 662, 6636 for p90, p95, p99, p99.9."""
    if not 0 < p < 1:
        raise ValueError(f"a percentile is between 0 and 1, not {p}")
    low, high = 1, 2
    while binomial_cdf(1, high, 1 - p) > 1 - TAIL_CONFIDENCE:
        high *= 2
    while high - low > 1:
        n = (low + high) // 2
        low, high = (n, high) if binomial_cdf(1, n, 1 - p) > 1 - TAIL_CONFIDENCE else (low, n)
    return high


# was the sample disturbed, is the network warm?


def clean(
    wall_ns: Sequence[int], delay_ns: Sequence[int], nivcsw: Sequence[int], majflt: Sequence[int], *,
    threads: int = 1, stolen: bool = False,
) -> list[bool]:  # fmt: skip
    """For each sample of a slice, whether it ran undisturbed (item 7).

    run_delay <= max(0.5 % of wall, 20 us), times the threads it is summed over; no involuntary switch; no
    major fault. Per sample: wall time and run_delay in nanoseconds, involuntary switches, major faults.
    `stolen`: the hypervisor took time from this slice, so that no sample of it is clean.
    """
    return [
        not stolen and delay <= threads * max(0.005 * wall, 20_000) and switches == 0 and faults == 0
        for wall, delay, switches, faults in zip(wall_ns, delay_ns, nivcsw, majflt, strict=True)
    ]


WARM_NS = 2_500_000
"""How long a process must have run undisturbed until its caches and predictors are its own again. Measured on a full machine
(networks of 0.03 to 1.2 ms, two processors' families): after a switch the first call takes 1.3 to 3.5 times as long as isolated,
those after 1 ms 5 to 10 % longer, and those after 2.5 ms as long within 3 % where the weights fit in the second level cache."""


def warm(mask: Sequence[bool], wall_ns: Sequence[int], warm_ns: int = WARM_NS) -> list[bool]:
    """Of the calls in a row (`mask`: was each one clean?), those that began when the process had run undisturbed for `warm_ns`.

    A call that was not made to wait may come right after another program that had the caches, as the first of a slice do.
    """
    out, ran = [], 0
    for now, wall in zip(mask, wall_ns, strict=True):
        out.append(now and ran >= warm_ns)
        ran = ran + wall if now else 0
    return out


def is_steady(earlier: float, later: float, tolerance: float = 0.02) -> bool:
    """Whether the medians of two consecutive windows differ by less than `tolerance` (item 5)."""
    return abs(later - earlier) < tolerance * earlier


LEAST_SLICES = 4


def is_settled(medians: Sequence[float], tolerance: float = 0.05, share: float = 0.75) -> bool:
    """Whether at least `share` of a generation's slices lie within `tolerance` of the middle one (item 6).

    A neighbour of a virtual machine slows a core for a slice or two and leaves no trace in any counter. One slice of four
    hardly moves the median of all calls; two make it theirs. Fewer than four cannot say.
    """
    if len(medians) < LEAST_SLICES:
        return True
    middle = median(medians)
    return sum(abs(m - middle) <= tolerance * middle for m in medians) >= share * len(medians)


# is it different, and is it enough?


def verdict(ratio: Estimate, margin: float = MARGIN, band: float = SAME_BAND) -> Verdict:
    """What a speed-up (the baseline's time over the variant's) allows to be said (item 10).

    Both limits are symmetric in the logarithm: exchanging the two networks exchanges faster and slower.
    """
    _, low, high = ratio
    if low is None or high is None:
        return "unresolved"
    if low > 1 + margin:
        return "faster"
    if high < 1 / (1 + margin):
        return "slower"
    return "same" if low >= 1 / (1 + band) and high <= 1 + band else "unresolved"


def ratio_p(a: Sequence[float], b: Sequence[float], margin: float = MARGIN) -> float:
    """Two-sided p of a/b, paired, beyond the margin: < 0.05 where `verdict` says faster or slower."""
    logs = _log_ratios(a, b)
    if len(logs) < 2:
        return 1.0
    return _p_beyond(*robust.centre(logs), margin)


def _p_beyond(value: float, error: float, freedom: float, margin: float) -> float:
    """Two-sided p that a mean of logarithms with that error lies beyond the margin; without an error it is known."""
    beyond = abs(value) - math.log1p(margin)
    if error == 0:
        return 0.0 if beyond > 0 else 1.0
    return min(1.0, 2 * t_tail(beyond / error, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of one table, adjusted for being many (Holm 1979), in the order given.

    Within a table, a faster or slower whose adjusted p is not below 0.05 is unresolved (item 10).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted
