"""A recipe whose network cannot be used costs its own rows; the others of the plan go on, and each is told by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebench.codec import Options
from edgebench.compress import pipeline
from edgebench.data import load
from edgebench.devices.local import LocalDevice
from edgebench.errors import DataError, ModelError
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
    np.savez(tmp_path / "one.npz", x_train=x[:40], y_train=y[:40] * 0, x_eval=x[40:], y_eval=y[40:] * 0)
    np.savez(tmp_path / "taught.npz", x_train=x[:40], y_train=y[:40] * 0 + 1, x_eval=x[40:], y_eval=y[40:])
    np.savez(tmp_path / "bare.npz", x_train=x[:40], y_train=y[:40] * 0, x_eval=x[40:])
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


def test_an_accuracy_of_one_class_alone_is_not_told(plan: Plan) -> None:
    alike = replace(plan, data="one.npz", recipes=(Recipe(name="plain"),))
    with pytest.raises(DataError, match=r"labels of the data set one are all of one class, 0,.* Add samples of other"):
        prepare(alike, DEVICE)
    prepare(replace(alike, data="bare.npz"), DEVICE)
    prepare(replace(alike, data="taught.npz"), DEVICE)
    prepare(replace(alike, data="one.npz", model=replace(plan.model, task="embed")), DEVICE)


def test_of_one_class_alone_nothing_is_learnt(plan: Plan) -> None:
    trained = Recipe(name="trained", steps=(Step(method="train"),))
    for data, held in (("taught", 1), ("bare", 0)):
        why = rf"training samples of {data} are all of one class, {held},.* Add samples of other classes"
        with pytest.raises(DataError, match=why):
            prepare(replace(plan, data=f"{data}.npz", recipes=(trained,)), DEVICE)
    data = load("taught.npz", {}, Path(plan.base))
    quantized = Recipe(name="int8", steps=(Step(method="quantize"),))
    pipeline.check(plan.model, data, base=Path(plan.base), recipes=(quantized,))


def test_a_student_of_its_teacher_alone_may_see_one_class(plan: Plan) -> None:
    taught = Options(student="refused_nets:good", labels=0.0, losses=Options(hinton=Options()))
    data = load("taught.npz", {}, Path(plan.base))
    recipe = Recipe(name="student", steps=(Step(method="distill", options=taught),))
    pipeline.check(plan.model, data, base=Path(plan.base), recipes=(recipe,))
