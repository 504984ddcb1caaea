"""The summary of B8: two tools in the same rounds, on a machine that has a fast and a slow state."""

from __future__ import annotations

import math

import pytest

from tests import tables
from tests.bars import native
from tests.bars.native import Peer, summary

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


def test_a_peer_that_was_withheld_in_every_round_costs_its_row_and_not_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [Peer(name, "a loop", name, lambda: FAST) for name in ("told", "withheld")]  # type: ignore[arg-type]
    monkeypatch.setattr(native, "peers", lambda: made)
    monkeypatch.setattr(native, "_ours", lambda made, protocol: FAST if made == "told" else math.nan)
    found = native.native()
    assert not found["held"]
    assert found["says"] == (
        "told, a loop: 1.000 (on one input 1.000, 1.000 to 1.000); withheld, a loop: withheld in 12 of 12 rounds"
    )
    assert "| withheld | a loop | withheld in too many rounds |" in tables._native_row(found["rows"][1])
