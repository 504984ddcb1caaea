"""The summary of B8: two tools in the same rounds, on a machine that has a fast and a slow state."""

from __future__ import annotations

import math

import pytest

from tests.bars.native import summary

FAST, SLOW = 1.0, 1.4


def test_the_fast_rounds_are_compared_though_most_were_slow() -> None:
    theirs = [FAST if i % 3 == 0 else SLOW for i in range(12)]
    ours = [1.05 * (FAST if i % 3 == 1 else SLOW) for i in range(12)]
    found = summary({"ours": ours, "one input": theirs, "theirs": theirs})
    assert found["ratio"] == pytest.approx(1.05)
    assert found["interval"][0] < 1.05 < found["interval"][1]
    assert found["interval_one_input"] == [1, 1]
    assert found["ratio_one_input"] == 1
    assert found["scatter_theirs"] == pytest.approx(0.4)


def test_a_round_in_which_one_was_withheld_counts_for_none() -> None:
    rounds = {name: [FAST] * 8 for name in ("ours", "one input", "theirs")}
    rounds["ours"] = [math.nan, 2.0, *[FAST] * 6]
    rounds["one input"] = [0.1, *[FAST] * 7]
    found = summary(rounds)
    assert found["pairs"] == 7
    assert (found["ratio"], found["ratio_one_input"]) == (1, 1)
    assert len(found["rounds"]["ours"]) == 8, "what was withheld is kept too"
