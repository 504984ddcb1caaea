"""A recipe whose network cannot be used costs its own rows; the others of the plan go on, and each is told by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebench.codec import Options
from edgebench.devices.local import LocalDevice
from edgebench.errors import ModelError
from edgebench.making import compress
from edgebench.plan import Plan
from edgebench.preparing import prepare
from edgebench.schema import DeviceProfile, ModelSpec, Recipe, Step

NETS = """
import torch
from torch import nn
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
    def forward(self, x): return self.fc(x), x
def good(): return nn.Linear(4, 3)
def two(): return Two()
def tokens(): return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(16, 3))
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("EDGEBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "refused_nets.py").write_text(NETS)
    x, y = np.random.default_rng(0).normal(size=(60, 4)).astype("f4"), np.arange(60) % 3
    np.savez(tmp_path / "d.npz", x_train=x[:40], y_train=y[:40], x_eval=x[40:], y_eval=y[40:])
    np.savez(tmp_path / "f.npz", x_train=x[:40], y_train=y[:40], x_eval=x[40:], y_eval=y[40:] + 0.5)
    own = [ModelSpec(name=name, source=f"refused_nets:{name}") for name in ("two", "tokens")]
    recipes = [
        *(Recipe(name=spec.name, model=spec) for spec in own),
        Recipe(name="floats", data=Options(source="f.npz")),
        Recipe(name="plain"),
    ]
    model = ModelSpec(name="good", source="refused_nets:good")
    return Plan(
        name="p", model=model, data="d.npz", recipes=tuple(recipes), backends=("onnxruntime",), base=str(tmp_path)
    )


DEVICE = LocalDevice(DeviceProfile(name="local"))


def test_networks_that_cannot_be_used_cost_their_own_recipes(plan: Plan, tmp_path: Path) -> None:
    prepared = prepare(plan, DEVICE)
    why = {square.recipe.name: square.skip for square in prepared.squares}
    assert "answers 2 samples with tuple" in why["two"]
    assert "wants whole numbers" in why["tokens"]
    assert "whole numbers from 0 up" in why["floats"]
    assert why["plain"] == ""
    assert prepared.squares[-1].baseline == prepared.squares[-1].cell.id
    made, refused = compress(prepared, tmp_path / "out")
    assert [row["recipe"] for row in made] == ["plain"]
    assert [row["recipe"] for row in refused] == ["two", "tokens", "floats"]


def test_where_none_can_be_used_the_first_one_is_told(plan: Plan) -> None:
    with pytest.raises(ModelError, match="with tuple"):
        prepare(replace(plan, recipes=plan.recipes[:2]), DEVICE)


def test_a_step_that_can_never_work_is_told_with_its_recipe(plan: Plan) -> None:
    wrong = Recipe(name="wrong", steps=(Step(method="distill", options=Options(student="nowhere:net")),))
    with pytest.raises(ModelError, match=r'In the recipe "wrong": .*nowhere'):
        prepare(replace(plan, recipes=(*plan.recipes, wrong)), DEVICE)
