"""The decisions of edgebench.stats: clean samples, steadiness, verdicts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench import stats
from edgebench.stats import Estimate

# clean samples


def test_a_sample_is_clean_when_it_was_not_made_to_wait() -> None:
    ms = 1_000_000
    walls = [10 * ms] * 5 + [1 * ms] * 2
    delay = [50_000, 50_001, 0, 0, 0, 20_000, 20_001]
    switches = [0, 0, 1, 0, 0, 0, 0]
    faults = [0, 0, 0, 1, 0, 0, 0]
    assert stats.clean(walls, delay, switches, faults) == [True, False, False, False, True, True, False]


def test_many_threads_may_wait_in_sum_and_a_stolen_slice_has_no_clean_sample() -> None:
    assert stats.clean([10_000_000], [190_000], [0], [0], threads=4) == [True]
    assert stats.clean([10_000_000], [190_000], [0], [0], threads=3) == [False]
    assert stats.clean([10_000_000], [0], [0], [0], stolen=True) == [False]


def test_clean_needs_evidence_for_every_sample() -> None:
    with pytest.raises(ValueError, match="zip"):
        stats.clean([1, 2], [0], [0, 0], [0, 0])


def test_a_call_is_warm_once_its_process_has_run_undisturbed_for_long_enough() -> None:
    mask = [True, True, True, True, False, True, True, True, True, True]
    found = stats.warm(mask, [1_000_000] * 10)
    assert found == [False, False, False, True, False, False, False, False, True, True]
    assert stats.warm([True] * 3, [9_000_000] * 3) == [False, True, True]  # of slow calls it is the predecessor
    assert stats.warm([], []) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3_000_000))))
def test_a_warm_call_is_a_clean_one_that_follows_clean_ones_of_that_length(calls: list[tuple[bool, int]]) -> None:
    mask, walls = [clean for clean, _ in calls], [wall for _, wall in calls]
    for i, warm in enumerate(stats.warm(mask, walls)):
        begin = max((j + 1 for j in range(i) if not mask[j]), default=0)
        assert warm == (mask[i] and sum(walls[begin:i]) >= stats.WARM_NS)


def test_steady_within_two_percent() -> None:
    assert stats.is_steady(100.0, 101.9)
    assert stats.is_steady(100.0, 98.1)
    assert not stats.is_steady(100.0, 102.0)
    assert not stats.is_steady(100.0, 60.0)


def test_slices_settle_when_three_in_four_agree_with_the_middle_one() -> None:
    assert stats.is_settled([100.0, 101.0, 99.0, 130.0])
    assert not stats.is_settled([100.0, 100.0, 130.0, 130.0])
    assert not stats.is_settled([151.0, 122.8, 145.7, 122.5])
    assert stats.is_settled([100.0, 130.0, 130.0, *[100.0] * 5])
    assert stats.is_settled([100.0, 130.0, 200.0])
    assert stats.is_settled([100.0])


def test_giving_more_slices_where_they_disagree_takes_no_side() -> None:
    """Spells of slowness that hit one slice in six; the median of medians is off less often, and by chance neither way."""
    draw = random.Random(0)

    def generation(most: int) -> float:
        medians: list[float] = []
        while len(medians) < 4 or (len(medians) < most and not stats.is_settled(medians)):
            medians.append(draw.gauss(100, 0.5) * (1.25 if draw.random() < 1 / 6 else 1.0))
        return stats.median(medians)

    four, more = ([generation(most) for _ in range(4000)] for most in (4, 8))
    off = [sum(abs(g - 100) > 3 for g in each) / 4000 for each in (four, more)]
    assert off[0] > 0.1
    assert off[1] < off[0] / 3
    even = [g for g in more if abs(g - 100) < 3]
    assert abs(stats.median(even) - 100) < 0.2


# verdicts


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1.70, 1.80, "faster"), (1.0101, 1.5, "faster"), (1.0099, 1.5, "unresolved"), (0.5, 0.6, "slower"),
        (0.5, 0.9900, "slower"), (0.5, 0.9902, "unresolved"), (0.985, 1.015, "same"), (0.5, 2.0, "unresolved"),
        (0.9804, 1.0200, "same"), (0.9803, 1.0201, "unresolved"), (1.011, 1.018, "faster"),
        (None, None, "unresolved"),
    ],
)  # fmt: skip
def test_verdict(low: float | None, high: float | None, said: str) -> None:
    assert stats.verdict(Estimate(1.0, low, high)) == said


@given(st.floats(0.2, 5), st.floats(1, 3))
def test_exchanging_the_two_exchanges_faster_and_slower(value: float, spread: float) -> None:
    forth = stats.verdict(Estimate(value, value / spread, value * spread))
    back = stats.verdict(Estimate(1 / value, 1 / value / spread, spread / value))
    assert back == {"faster": "slower", "slower": "faster"}.get(forth, forth)


positive = st.floats(min_value=0.5, max_value=2)


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=7))
def test_ratio_p_says_the_same_as_the_verdict(pairs: list[tuple[float, float]]) -> None:
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    p = stats.ratio_p(a, b)
    assert 0 <= p <= 1
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (stats.verdict(stats.ratio_interval(a, b)) in ("faster", "slower"))


def test_ratio_p_asks_for_more_than_the_margin() -> None:
    """A difference that is sure but smaller than 1 % is none to speak of, in either direction."""
    wobble, ones = [0.9999, 1.0, 1.0001, 1.0], [1.0] * 4
    for ratio, sure in ((1.03, True), (1.008, False), (1 / 1.008, False), (1 / 1.03, True)):
        p = stats.ratio_p([ratio * w for w in wobble], ones)
        assert (p < 0.001) == sure
        assert sure or p > 0.999


def test_ratio_p_of_constant_ratios() -> None:
    assert stats.ratio_p([2.0, 2.0], [1.0, 1.0]) == 0
    assert stats.ratio_p([1.0, 1.0], [1.0, 1.0]) == 1
    assert stats.ratio_p([2.0], [1.0]) == 1


def test_equal_networks_are_almost_never_told_apart() -> None:
    rng, wrong, n = random.Random(11), 0, 2000
    for _ in range(n):
        a = [rng.lognormvariate(0, 0.02) for _ in range(7)]
        b = [rng.lognormvariate(0, 0.02) for _ in range(7)]
        wrong += stats.verdict(stats.ratio_interval(a, b)) in ("faster", "slower")
    assert wrong / n <= 0.02  # the margin of 1 % makes it far fewer than the 5 % of the interval


def test_a_true_five_percent_is_found() -> None:
    rng, found, n = random.Random(12), 0, 1000
    for _ in range(n):
        a = [1.05 * rng.lognormvariate(0, 0.01) for _ in range(7)]
        b = [rng.lognormvariate(0, 0.01) for _ in range(7)]
        found += stats.verdict(stats.ratio_interval(a, b)) == "faster"
    assert found / n >= 0.95


# Holm


def test_holm_of_the_textbook() -> None:
    # Four hypotheses, p = 0.01, 0.04, 0.03, 0.005: at alpha 0.05 the first and the fourth are rejected.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # R: p.adjust(c(0.001, 0.01, 0.02, 0.03, 0.04), "holm")
    assert stats.holm([0.001, 0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.005, 0.04, 0.06, 0.06, 0.06])
    assert stats.holm([]) == []
    assert stats.holm([0.2]) == [0.2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_makes_a_p_smaller_and_keeps_the_order(p: list[float]) -> None:
    adjusted = stats.holm(p)
    assert all(a >= q for a, q in zip(adjusted, p, strict=True))
    assert max(adjusted) <= 1
    ranked = [a for _, a in sorted(zip(p, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_holm_keeps_the_family_wise_error() -> None:
    rng, wrong, n = random.Random(5), 0, 3000
    for _ in range(n):
        wrong += min(stats.holm([rng.random() for _ in range(10)])) < 0.05
    assert wrong / n <= 0.06
