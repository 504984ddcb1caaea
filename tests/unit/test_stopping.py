"""When a campaign stops, and that its intervals still cover what they say."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from edgebench import stats, stopping


def test_a_campaign_wants_five_generations_and_two_narrow_intervals_in_a_row() -> None:
    narrow, wide = [0.01, 0.02], [0.01, 0.021]
    assert stopping.enough([narrow] * 4) == "go on"
    assert stopping.enough([wide] * 3 + [narrow] * 2) == "reached"
    assert stopping.enough([narrow] * 5 + [wide]) == "go on"
    assert stopping.enough([narrow] * 5 + [wide, narrow]) == "go on"
    assert stopping.enough([narrow] * 5, target=0.01) == "go on"
    assert stopping.enough([narrow], least=1) == "go on"  # twice in a row needs two
    assert stopping.enough([]) == "go on"
    assert stopping.enough([wide, narrow], least=2) == "reached"  # a first look is content with once
    assert stopping.enough([narrow, wide], least=2) == "go on"


def test_a_campaign_ends_at_the_cap() -> None:
    assert stopping.enough([[0.5]] * 9, spent=59.9) == "go on"
    assert stopping.enough([[0.5]] * 9, spent=60.0) == "capped"
    assert stopping.enough([[0.01]] * 9, spent=60.0) == "reached"


def plain(ratios: Sequence[float]) -> stats.Estimate:
    """As if nothing had been looked at on the way."""
    return stats.ratio_interval(ratios, [1.0] * len(ratios))


def missed(interval: Callable[[Sequence[float]], stats.Estimate], scatter: float, campaigns: int = 1200) -> float:
    """The share of A/A campaigns, stopped by our rule, whose interval does not hold 1."""
    rng, wrong = random.Random(7), 0
    for _ in range(campaigns):
        ratios: list[float] = []
        widths: list[list[float]] = []
        while True:
            ratios.append(math.exp(rng.gauss(0, scatter)))
            _, low, high = interval(ratios)
            widths.append([stats.half_width(low, high) if low and high else math.inf])
            if stopping.enough(widths) == "reached":
                break
        wrong += not (low or 0) <= 1 <= (high or 9)
    return wrong / campaigns


@pytest.mark.parametrize("scatter", [0.01, 0.02])
def test_an_interval_covers_95_percent_although_the_campaign_stops_when_it_looks_narrow(scatter: float) -> None:
    assert missed(stopping.interval, scatter) <= 0.058


def test_without_the_correction_it_would_not() -> None:
    assert missed(plain, 0.03) > 0.06 > 0.058 >= missed(stopping.interval, 0.03)


@pytest.mark.parametrize("generations", [3, 5, 6, 12])
def test_the_p_value_says_what_the_interval_says(generations: int) -> None:
    rng = random.Random(generations)
    seen = set()
    for _ in range(300):
        ratios = [math.exp(rng.gauss(0.03, 0.02)) for _ in range(generations)]
        said = stats.verdict(stopping.interval(ratios)) == "faster"
        assert said == (stopping.p_value(ratios) < 0.05)
        seen.add(said)
    assert seen == {True, False}
