"""Figures and distributions of edgebench.stats, against published values and by seeded simulation."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench import stats

positive = st.floats(min_value=1e-9, max_value=1e9)
samples = st.lists(st.floats(min_value=-1e9, max_value=1e9), min_size=1, max_size=60)

# quantiles and means


def test_quantile_is_type_7() -> None:
    assert stats.quantile([15, 20, 35, 40, 50], 0.4) == pytest.approx(29)  # R's default; numpy's too
    assert stats.quantile([4, 1, 3, 2], 0.5) == 2.5
    assert stats.quantile([7], 0.99) == 7


@given(samples, st.floats(0, 1))
def test_a_quantile_lies_among_the_samples(values: list[float], q: float) -> None:
    assert min(values) <= stats.quantile(values, q) <= max(values)
    assert stats.quantile(values, 0) == min(values)
    assert stats.quantile(values, 1) == max(values)


@given(samples)
def test_the_median_is_the_half_quantile(values: list[float]) -> None:
    assert stats.median(values) == pytest.approx(stats.quantile(values, 0.5), abs=1e-6)


@pytest.mark.parametrize(("values", "q"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.5), ([1.0], math.nan)])
def test_a_quantile_of_nothing_is_an_error(values: list[float], q: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        stats.quantile(values, q)


def test_geometric_mean() -> None:
    assert stats.geometric_mean([1, 10, 100]) == pytest.approx(10)
    for bad in ([], [1.0, 0.0], [-1.0], [math.nan]):
        with pytest.raises(ValueError, match="greater than zero"):
            stats.geometric_mean(bad)


# distributions


@pytest.mark.parametrize(
    ("p", "df", "t"),
    [  # Abramowitz & Stegun table 26.10, and NIST's e-Handbook 1.3.6.7.2
        (0.975, 1, 12.7062047), (0.975, 2, 4.3026527), (0.975, 4, 2.7764451), (0.975, 9, 2.2621572),
        (0.975, 30, 2.0422725), (0.95, 5, 2.0150484), (0.995, 10, 3.1692727), (0.9995, 3, 12.9239786),
        (0.75, 1, 1.0), (0.975, 1e6, 1.9599664),
    ],
)  # fmt: skip
def test_t_quantile_equals_the_tables(p: float, df: float, t: float) -> None:
    assert stats.t_quantile(p, df) == pytest.approx(t, abs=1.1e-6)
    assert stats.t_quantile(1 - p, df) == pytest.approx(-t, abs=1.1e-6)


def test_t_quantile_refuses_what_has_no_answer() -> None:
    assert stats.t_quantile(0.5, 3) == pytest.approx(0, abs=1e-9)
    for p, df in ((0, 3), (1, 3), (0.9, 0)):
        with pytest.raises(ValueError, match="t quantile"):
            stats.t_quantile(p, df)


@given(st.floats(-60, 60), st.integers(1, 300))
def test_t_tail_is_a_symmetric_tail(t: float, df: int) -> None:
    assert 0 <= stats.t_tail(t, df) <= 1
    assert stats.t_tail(t, df) + stats.t_tail(-t, df) == pytest.approx(1, abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 0.99))
def test_beta_regularized_equals_the_binomial_sum(a: int, b: int, x: float) -> None:
    n = a + b - 1
    total = math.fsum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
    assert stats.beta_regularized(a, b, x) == pytest.approx(total, abs=1e-10)


def test_beta_regularized_at_the_ends() -> None:
    assert stats.beta_regularized(2, 3, 0) == 0
    assert stats.beta_regularized(2, 3, 1) == 1
    assert stats.beta_regularized(0.5, 0.5, 0.5) == pytest.approx(0.5)


def test_binomial_cdf() -> None:
    assert stats.binomial_cdf(2, 10, 0.5) == pytest.approx(56 / 1024)
    assert stats.binomial_cdf(10, 10, 0.5) == 1


# intervals


def test_t_interval_of_a_worked_example() -> None:
    found = stats.t_interval([10, 12, 14, 16, 18])  # mean 14, s = sqrt(10), t(4) = 2.77645
    assert found.value == 14
    assert found.low == pytest.approx(14 - 2.7764451 * math.sqrt(2))
    assert found.high == pytest.approx(14 + 2.7764451 * math.sqrt(2))


def test_one_value_has_no_interval() -> None:
    assert stats.t_interval([3.0]) == (3, None, None)
    assert stats.geometric_interval([3.0]) == (None, None)
    assert stats.ratio_interval([3.0], [2.0])[1:] == (None, None)
    assert stats.ratio_interval([3.0], [2.0]).value == pytest.approx(1.5)


@pytest.mark.parametrize("generations", [3, 5, 10])
def test_the_t_interval_covers_as_often_as_it_says(generations: int) -> None:
    rng = random.Random(generations)
    n = 3000
    intervals = [stats.t_interval([rng.gauss(5, 2) for _ in range(generations)]) for _ in range(n)]
    covered = sum((e.low or 9) <= 5 <= (e.high or 0) for e in intervals)
    assert 0.93 <= covered / n <= 0.97


def test_a_paired_ratio_ignores_what_both_share() -> None:
    drift = [1.0, 1.4, 0.9, 2.0, 1.1]  # the machine was slower in some generations, for both
    fast = [2.0 * d for d in drift]
    slow = [3.0 * d for d in drift]
    found = stats.ratio_interval(slow, fast)
    assert list(found) == pytest.approx([1.5] * 3)


def test_ratio_interval_covers() -> None:
    rng = random.Random(7)
    covered = 0
    for _ in range(2000):
        shared = [rng.lognormvariate(0, 0.2) for _ in range(5)]
        a = [1.7 * s * rng.lognormvariate(0, 0.02) for s in shared]
        b = [s * rng.lognormvariate(0, 0.02) for s in shared]
        _, low, high = stats.ratio_interval(a, b)
        covered += (low or 9) <= 1.7 <= (high or 0)
    assert 0.93 <= covered / 2000 <= 0.97


@given(st.lists(st.tuples(positive, positive), min_size=2, max_size=8))
def test_exchanging_the_two_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    forth, back = stats.ratio_interval(a, b), stats.ratio_interval(b, a)
    assert forth.low is not None
    assert forth.high is not None
    assert back.high is not None
    assert forth.low <= forth.value * (1 + 1e-9)
    assert forth.value <= forth.high * (1 + 1e-9)
    assert forth.value * back.value == pytest.approx(1)
    assert forth.low * back.high == pytest.approx(1)
    assert math.isfinite(forth.high)


def test_a_ratio_needs_pairs() -> None:
    with pytest.raises(ValueError, match="zip"):
        stats.ratio_interval([1, 2], [1])


@given(st.lists(positive, min_size=2, max_size=8))
def test_the_geometric_interval_holds_the_geometric_mean(values: list[float]) -> None:
    low, high = stats.geometric_interval(values)
    assert low is not None
    assert high is not None
    assert low <= stats.geometric_mean(values) * (1 + 1e-9)
    assert stats.geometric_mean(values) <= high * (1 + 1e-9)


def test_half_width() -> None:
    assert stats.half_width(1 / 1.02, 1.02) == pytest.approx(0.02)
    assert stats.half_width(3.0, 3.0) == 0
    assert stats.half_width(1e-300, 1e300) > 1e200


# shares and accuracies


def test_wilson_equals_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3
    table = (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    )
    for right, n, low, high in table:
        assert list(stats.wilson(right, n)) == pytest.approx([low, high], abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_holds_its_share(case: tuple[int, int]) -> None:
    right, n = case
    low, high = stats.wilson(right, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1
    mirrored = stats.wilson(n - right, n)
    assert [1 - mirrored[1], 1 - mirrored[0]] == pytest.approx([low, high])


@pytest.mark.parametrize(("right", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(right: int, n: int) -> None:
    with pytest.raises(ValueError, match="share"):
        stats.wilson(right, n)


def test_mcnemar_exact() -> None:
    assert stats.mcnemar(0, 0) == 1
    assert stats.mcnemar(5, 5) == 1
    assert stats.mcnemar(2, 10) == stats.mcnemar(10, 2) == pytest.approx(2 * 79 / 4096)  # 1 + 12 + 66 of 2^12
    assert stats.mcnemar(0, 6) == pytest.approx(2 / 64)


@pytest.mark.parametrize(
    ("both", "a", "b", "neither", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998) 2635, table III, method 10
        (36, 12, 2, 0, 0.0569, 0.3404), (20, 12, 2, 16, 0.0562, 0.3292), (18, 12, 2, 18, 0.0562, 0.3290),
        (36, 14, 0, 0, 0.1528, 0.4167), (35, 14, 0, 1, 0.1461, 0.4175), (18, 14, 0, 18, 0.1441, 0.3963),
        (2, 97, 1, 0, 0.8721, 0.9854), (1, 97, 1, 1, 0.8736, 0.9850), (0, 29, 1, 0, 0.6666, 0.9882),
        (2, 98, 0, 0, 0.9178, 0.9945), (1, 98, 0, 1, 0.9171, 0.9916),
    ],
)  # fmt: skip
def test_paired_difference_equals_the_table(both: int, a: int, b: int, neither: int, low: float, high: float) -> None:
    found = stats.paired_difference(both, a, b, neither)
    assert found.value == pytest.approx((a - b) / (both + a + b + neither))
    assert [found.low, found.high] == pytest.approx([low, high], abs=1e-4)


counts = st.integers(0, 400)


@given(counts, counts, counts, counts)
def test_a_paired_difference_is_antisymmetric_and_holds_its_value(both: int, a: int, b: int, neither: int) -> None:
    if both + a + b + neither == 0:
        return
    forth, back = stats.paired_difference(both, a, b, neither), stats.paired_difference(both, b, a, neither)
    assert forth.low is not None
    assert forth.high is not None
    assert back.high is not None
    assert -1 - 1e-9 <= forth.low <= forth.value + 1e-12
    assert forth.value - 1e-12 <= forth.high <= 1 + 1e-9
    assert forth.low == pytest.approx(-back.high, abs=1e-9)


def test_paired_difference_covers() -> None:
    rng, covered, n = random.Random(3), 0, 1500
    for _ in range(n):
        kinds = rng.choices("mabn", (0.85, 0.06, 0.04, 0.05), k=450)
        _, low, high = stats.paired_difference(*(kinds.count(k) for k in "mabn"))
        covered += (low or 0) <= 0.02 <= (high or 0)
    assert 0.93 <= covered / n <= 0.975


# percentile bounds


@pytest.mark.parametrize(("p", "n"), [(0.90, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_the_counts_of_loadgen(p: float, n: int) -> None:
    assert stats.samples_needed(p) == n
    below, enough = list(range(n - 1)), list(range(n))
    assert stats.percentile_bound(below, p) is None
    assert stats.percentile_bound(enough, p) == n - 1  # the greatest sample; never beyond the data


def test_the_percentile_bound_of_loadgen_at_10_000() -> None:
    assert stats.percentile_bound(range(10_000), 0.99) == 10_000 - 77


@pytest.mark.parametrize(("p", "n"), [(0.90, 64), (0.90, 200), (0.90, 1000), (0.99, 662), (0.99, 1500)])
def test_the_percentile_bound_covers(p: float, n: int) -> None:
    rng, runs = random.Random(n), 200_000 // n
    true = -math.log(1 - p)  # of the exponential distribution
    bounds = [stats.percentile_bound([rng.expovariate(1) for _ in range(n)], p) for _ in range(runs)]
    covered = sum(bound is not None and bound >= true for bound in bounds) / runs
    assert covered >= 0.99 - 3 * math.sqrt(0.01 * 0.99 / runs)


@given(st.lists(st.floats(0, 1e6), min_size=64, max_size=300))
def test_a_percentile_bound_is_a_sample_and_no_less_than_the_percentile(values: list[float]) -> None:
    bound = stats.percentile_bound(values, 0.9)
    assert bound in values
    assert bound >= statistics.quantiles(values, n=10)[-1] or bound == max(values)


@pytest.mark.parametrize("p", [0, 1, 1.5])
def test_no_percentile(p: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        stats.samples_needed(p)


def test_a_beta_function_that_does_not_converge_says_so_and_a_hundred_million_samples_do() -> None:
    with pytest.raises(ArithmeticError, match="does not converge"):
        stats.beta_regularized(1e13, 1e13, 0.5)
    assert stats.binomial_cdf(50_000_000, 100_000_000, 0.5) == pytest.approx(0.5, abs=1e-4)


def test_the_interval_of_a_median_is_that_of_the_sign_test() -> None:
    """Published order statistics: of n = 10 at 95 % the 2nd and the 9th (Conover 1999, table A3), exactly 97.9 %."""
    found = stats.median_interval([5, 1, 4, 2, 3, 10, 6, 9, 7, 8], 0.95)
    assert found == stats.Estimate(5.5, 2, 9)
    assert stats.median_interval([1, 2, 3, 4, 5], 0.95) == stats.Estimate(3, None, None)
    assert stats.median_interval([1, 2, 3, 4, 5, 6], 0.95) == stats.Estimate(3.5, 1, 6)


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9))
def test_welch_is_scipys(seed: int, n: int, m: int) -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    chance = random.Random(seed)
    a, b = ([chance.lognormvariate(0, 0.02) for _ in range(k)] for k in (n, m))
    found, p = stats.welch(a, b, margin=0.0)
    wanted = scipy_stats.ttest_ind([math.log(x) for x in a], [math.log(x) for x in b], equal_var=False)
    assert p == pytest.approx(wanted.pvalue, rel=1e-6, abs=1e-12)
    low, high = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-6)
