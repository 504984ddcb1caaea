"""What the command line asks for, over what a plan says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebench import entries
from edgebench.asked import asked_for
from edgebench.errors import DataError
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
    assert (made.memory_limit, made.budget_seconds, made.command_timeout) == (1 << 20, 9.0, 8.0)
    assert (made.sustained_seconds, made.seed) == (7.0, 6)
    assert (made.trust, made.most_generations) == (trust, PROTOCOLS[trust].most_generations)


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
