"""What the command line asks for, over what a plan says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgebench import entries
from edgebench.asked import asked_for, shapes_of
from edgebench.codec import Options
from edgebench.errors import DataError, PlanError
from edgebench.plan import Plan
from edgebench.schema import PROTOCOLS, ModelSpec, Protocol, Recipe


def plan(protocol: Protocol) -> Plan:
    return Plan(
        name="p",
        model=ModelSpec(name="m", source="m:make"),
        data="digits",
        recipes=(Recipe(name="plain"),),
        backends=("a",),
        protocol=protocol,
    )


@pytest.mark.parametrize("trust", ["quick", "precise"])
def test_another_trust_keeps_the_limits_of_the_plan(trust: str) -> None:
    own = Protocol(memory_limit=1 << 20, budget_seconds=9.0, command_timeout=8.0, sustained_seconds=7.0, seed=6)
    made = asked_for(plan(own), quick=trust == "quick", precise=trust == "precise").protocol
    assert (made.memory_limit, made.command_timeout) == (1 << 20, 8.0)
    assert (made.sustained_seconds, made.seed) == (7.0, 6)
    assert (made.trust, made.most_generations) == (trust, PROTOCOLS[trust].most_generations)


def test_who_asks_for_more_asks_for_its_time() -> None:
    own = plan(Protocol(budget_seconds=9.0))
    assert asked_for(own, quick=True).protocol.budget_seconds == 9.0
    assert asked_for(own, precise=True).protocol.budget_seconds is None
    assert asked_for(own, generations=7).protocol.budget_seconds is None
    assert asked_for(own, precise=True, budget="1m").protocol.budget_seconds == 60.0


def test_options_of_a_runtime_are_read_as_toml_and_set_over_those_of_the_plan() -> None:
    own = replace(plan(Protocol()), backend_options=Options({"a": {"hint": "latency", "streams": 1}}))
    texts = ["a.streams=4", "a.cache=true", "a.mode=fast", "a.more={x = 1}", "a.empty=", "a.odd=1\nw = 2"]
    made = asked_for(own, options=texts).backend_options
    assert dict(made["a"]) == {
        "hint": "latency", "streams": 4, "cache": True, "mode": "fast", "more": {"x": 1}, "empty": "", "odd": "1\nw = 2",
    }  # fmt: skip


def test_another_runtime_alone_leaves_the_options_of_the_others_behind() -> None:
    own = replace(plan(Protocol()), backends=("a", "b"), backend_options=Options({"a": {"hint": "latency"}}))
    assert asked_for(own, backends=["b"]).backend_options == {}


@pytest.mark.parametrize("text", ["streams=4", "a.streams", ".streams=4", "a.=4", ""])
def test_what_is_no_option_of_a_runtime_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="is not an option of a runtime"):
        asked_for(plan(Protocol()), options=[text])


def test_a_shape_for_each_input_and_one_only() -> None:
    assert shapes_of(["a=1x2", "b=3"]) == {"a": [1, 2], "b": [3]}
    with pytest.raises(PlanError, match='Two shapes are given for "a"'):
        shapes_of(["a=1x2", "a=1x3"])


def test_an_entry_that_exits_is_told_and_one_that_is_interrupted_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(
        "def go(): raise SystemExit(0)\ndef stop(): raise KeyboardInterrupt\ndef odd(): raise GeneratorExit('x')\n"
    )
    with pytest.raises(DataError, match="leaves:go raised SystemExit: 0"):
        entries.call("leaves:go", {}, tmp_path, DataError)
    with pytest.raises(DataError, match="leaves:odd raised GeneratorExit: x"):
        entries.call("leaves:odd", {}, tmp_path, DataError)
    with pytest.raises(KeyboardInterrupt):
        entries.call("leaves:stop", {}, tmp_path, DataError)
