"""The self-check: it measures for real, and draws the right conclusion from what it found."""

from __future__ import annotations

from typing import Any

import pytest

from edgebench import measure, selfcheck
from edgebench.codec import Options
from edgebench.devices import profiles
from edgebench.schema import QUICK, Cell, Interval, Measurement, Result


def test_it_measures_this_machine() -> None:
    report = selfcheck.run(profiles.resolve("local"), QUICK)
    assert report["failed"] == {}
    assert set(report["states"]) == {"a", "a again", "slowed", "floor"}
    assert report["isolation"].startswith("R")
    assert report["floor_s"] is None or report["floor_s"] < 1e-3
    assert "overhead" in " ".join(selfcheck.sentences(report))


def test_the_overhead_of_the_loop_is_below_the_bar() -> None:
    found = selfcheck.overhead(measure.now_ns)
    assert 0 < found["clock_resolution_s"] < 1e-3
    assert found["empty_call_s"] < 1e-3


def result(name: str, ratio: float, half: float, verdict: str) -> Result:
    figure = Measurement(
        metric="speedup", unit="1", phase="steady", source="test", value=ratio, note=verdict,
        interval=Interval(low=ratio - half, high=ratio + half),
    )  # fmt: skip
    cell = Cell(model="selfcheck", recipe=name, backend="fake", device="local")
    return Result(cell=cell, status="ok", measurements=(figure,), noise=Options(state="valid"))


@pytest.mark.parametrize(
    ("again", "slowed", "trusted"),
    [
        ((1.0, 0.01, "same"), (1 / 1.05, 0.01, "slower"), True),
        ((1.03, 0.01, "faster"), (1 / 1.05, 0.01, "slower"), False),
        ((1.0, 0.01, "same"), (1.0, 0.01, "same"), False),
        ((1.0, 0.01, "same"), (0.80, 0.01, "slower"), False),
    ],
    ids=["as it should be", "differs from itself", "does not see the slow-down", "sees too much of it"],
)
def test_it_trusts_only_a_machine_that_tells_the_truth(again: Any, slowed: Any, trusted: bool) -> None:
    results = {"a again": result("a again", *again), "slowed": result("slowed", *slowed)}
    report = selfcheck._report(results, {"isolation": "R1 none"})
    assert report["trusted"] is trusted
    last = selfcheck.sentences(report)[-1]
    assert ("can be trusted" in last) is trusted
    assert ("run as root" in last) is not trusted
    isolated = selfcheck.sentences(selfcheck._report(results, {"isolation": "R2 cgroup v1 cpu.shares"}))[-1]
    assert "root" not in isolated
