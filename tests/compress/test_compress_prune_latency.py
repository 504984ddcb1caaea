"""The latency budget: the search on networks whose latency is a known function, the name of what was kept, and for real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from compress_helpers import SPEC, context, network, stripes
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench.codec import Options
from edgebench.compress import pipeline
from edgebench.compress.load_model import macs, tensor
from edgebench.compress.pruning.latency import LEAST, aim
from edgebench.compress.pruning.prune import Prune
from edgebench.compress.timing import Place, Timing
from edgebench.errors import ModelError
from edgebench.schema import Artifact, Recipe, Step

ONE = tensor(stripes().evaluation.inputs[:1])
WHOLE = macs(network(), ONE)


def clock(fixed: float, seen: list[Any] | None = None) -> Any:
    """Latency as a fixed part and one that goes with the work: 1 ms for the whole network."""

    def measure(models: Sequence[Any], place: Options) -> list[Timing]:
        if seen is not None:
            seen.append(place)
        times = [1e-3 * (fixed + (1 - fixed) * macs(m, ONE) / WHOLE) for m in models]
        return [
            Timing(seconds=t, low=0.99 * t, high=1.01 * t, share=t / times[0], share_low=0.9, share_high=1.1)
            for t in times
        ]

    return measure


@pytest.mark.parametrize(("fixed", "budget"), [(0.0, 0.6), (0.3, 0.7)])
def test_the_budget_is_hit_whatever_part_of_the_latency_does_not_shrink(fixed: float, budget: float) -> None:
    where, seen = context(), list[Any]()
    where.measure = clock(fixed, seen)
    pruned = Prune(latency=budget, backend="onnxruntime", threads=2).apply(network(), where)
    share = fixed + (1 - fixed) * macs(pruned, ONE) / WHOLE
    assert share == pytest.approx(budget, rel=0.05)
    assert where.facts["latency_left"] == pytest.approx(share)
    assert where.facts["macs_left"] == macs(pruned, ONE) / WHOLE
    assert where.facts["latency_tries"][0] == [1.0, 1.0]
    assert len(seen) <= 5
    assert set(seen) == {Options(backend="onnxruntime", device="", batch=1, threads=2)}


def test_a_time_is_a_budget_too() -> None:
    where = context()
    where.measure = clock(0.2)
    Prune(latency="600 us", backend="onnxruntime").apply(network(), where)
    assert where.facts["latency_seconds"] == pytest.approx(600e-6, rel=0.05)
    with pytest.raises(ModelError, match=r"takes 1 ms on onnxruntime already, and the budget is 2 ms"):
        Prune(latency="2ms", backend="onnxruntime").apply(network(), where)


def test_a_budget_below_what_does_not_shrink_names_the_nearest() -> None:
    where = context()
    where.measure = clock(0.6)
    with pytest.raises(
        ModelError, match=r"on onnxruntime to 30\.0% of what it was; the nearest .* 6\d\.\d%.*latency = 0\.6"
    ):
        Prune(latency=0.3, backend="onnxruntime").apply(network(), where)


def test_several_cuts_to_a_latency() -> None:
    where = context()
    where.measure = clock(0.2)
    made = Prune(latency=0.6, backend="onnxruntime", steps=2, between=Options(epochs=1)).apply(network(), where)
    assert 0.2 + 0.8 * macs(made, ONE) / WHOLE == pytest.approx(0.6, rel=0.05)
    assert "loss" in where.facts


def test_nothing_to_measure_with_says_so() -> None:
    with pytest.raises(ModelError, match="nothing to measure with"):
        Prune(latency=0.5, backend="onnxruntime").apply(network(), context())


@given(st.floats(0, 0.8), st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_the_aim_is_exact_from_two_points_where_latency_is_a_line(fixed: float, target: float) -> None:
    def cost(share: float) -> float:
        return fixed + (1 - fixed) * share

    points = [(1.0, 1.0), (0.7, cost(0.7))]
    share = aim(points, target)
    assert LEAST <= share <= 0.99
    if LEAST < share < 0.99:
        assert cost(share) == pytest.approx(target, abs=1e-6)
    else:
        assert target <= cost(LEAST) + 1e-9 or target >= cost(0.99) - 1e-9


@dataclass
class Watch:
    """A stopwatch that goes by the work in the files, and remembers what it was asked."""

    machine: str = "one"
    asked: list[int] = field(default_factory=list)

    def spent(self) -> tuple[float, float]:
        return 3.0 * len(self.asked), 2.0 * len(self.asked)

    def lowering(self, place: Place) -> str:
        return "pt2"  # the fastest to write

    def fingerprint(self, place: Place) -> Options:
        return Options(machine=self.machine)

    def time(self, artifacts: Sequence[Artifact], place: Place) -> list[Timing]:
        self.asked.append(len(artifacts))
        works = [work_of(a.path) for a in artifacts]
        return [Timing(seconds=w * 1e-9, low=0.0, high=1.0, share=w / works[0]) for w in works]


def work_of(path: str) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter: Any = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        torch.export.load(path).module()(ONE)
    return int(counter.get_total_flops())


def test_what_a_search_found_is_kept_under_the_machine_that_it_was_found_on(tmp_path: Path) -> None:
    step = Step(method="prune", options=Options(latency=0.7, backend="onnxruntime"))

    def made(watch: Watch) -> Any:
        recipe = Recipe(name="fast", steps=(step,))
        return pipeline.build(SPEC, recipe, (), stripes(), base=Path(), cache=tmp_path, stopwatch=watch)

    first = Watch()
    facts = made(first).facts
    assert first.asked
    assert set(first.asked) == {2}
    of_the_network = ("steps", "float_accuracy", "float_accuracy_samples")
    found = {k: v for k, v in facts.items() if k not in of_the_network}
    assert facts["steps"] == [{"method": "prune", **found}]
    assert facts["seconds"] == 1.5 * facts["processor_seconds"] == 3 * len(first.asked), (
        "what the step cost, by the watch"
    )
    assert facts["latency_place"] == {"backend": "onnxruntime", "device": "", "batch": 1, "threads": 1}
    again = Watch()
    assert made(again).facts == facts
    assert again.asked == []
    other = Watch(machine="two")
    made(other)
    assert other.asked
