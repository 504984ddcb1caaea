"""What is wrong with a recipe is said before hours go into training, and of all recipes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compress_helpers import ENTRY, OPTIONS, SPEC, network, stripes
from torch import nn

from edgebench.codec import Options
from edgebench.compress import pipeline
from edgebench.compress.pruning.shares import head_counts
from edgebench.errors import EdgebenchError, ModelError, PlanError
from edgebench.schema import ModelSpec, Recipe, Step

TRAIN = Step(method="train", options=Options(epochs=1))
STUDENT = Options(student=ENTRY, student_options=OPTIONS)
BRANCHES = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(144, 3)

    def forward(self, x):
        y = self.fc(x.flatten(1))
        if y.mean() > 0.3:
            y = torch.relu(y)
        return y
"""


def check(*recipes: Recipe) -> None:
    pipeline.check_recipes(SPEC, network(), stripes(), base=Path(), recipes=recipes)


def recipe(name: str, method: str, **options: Any) -> Recipe:
    return Recipe(name=name, steps=(TRAIN, Step(method=method, options=Options(options))))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("prune", {"macs": 0.5, "keep": "blocks.0.conv1, blocks.0.conv3, stm"}),
        ("mask", {"sparsity": 0.5, "keep": "blocks.0.conv3, stm"}),
        ("factorize", {"energy": 0.9, "keep": "blocks.0.conv3, stm"}),
        ("quantize", {"float_layers": "blocks.0.conv3, stm"}),
        ("qat", {"float_layers": "blocks.0.conv3, stm"}),
    ],
)
def test_every_layer_that_is_not_there_is_named_before_training(method: str, options: dict[str, Any]) -> None:
    said = (
        rf'{method} names "blocks.0.conv3", "stm", and the network has no such layers. Did you mean "blocks.0.conv[12]"'
    )
    with pytest.raises(PlanError, match=said):
        check(recipe("r", method, **options))


@pytest.mark.parametrize(
    ("method", "options"), [("prune", {"macs": 0.5, "importance": "bn"}), ("sparsify", {"penalty": "bn_scale"})]
)
def test_a_network_without_batch_norms_is_told_so_before_training(method: str, options: dict[str, Any]) -> None:
    plain = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(ModelError, match=r"batch norms, and this network has none"):
        pipeline.check_recipes(SPEC, plain, stripes(), base=Path(), recipes=[recipe("r", method, **options)])
    check(recipe("r", method, **options))


def test_names_behind_a_distillation_are_those_of_the_student() -> None:
    steps = (
        TRAIN,
        Step(method="distill", options=STUDENT),
        Step(method="quantize", options=Options(float_layers="stem.0")),
    )
    check(Recipe(name="r", steps=steps))
    student = Options(student="edgebench.zoo:ds_cnn", student_options=Options(classes=3, frames=12, features=12))
    with pytest.raises(PlanError, match=r'quantize names "stem\.0"'):
        check(Recipe(name="r", steps=(steps[0], Step(method="distill", options=student), steps[2])))


def test_all_recipes_that_cannot_be_carried_out_are_told_at_once() -> None:
    wrong = [recipe("a", "prune", macs=0.5, keep="stm"), recipe("fine", "prune", macs=0.5)]
    wrong.append(recipe("b", "quantize", float_layers="hed"))
    with pytest.raises(EdgebenchError) as caught:
        check(*wrong)
    first, a, b = caught.value.problem.splitlines()
    assert first == "2 recipes cannot be carried out:"
    assert a.startswith('  In the recipe "a": prune names "stm"')
    assert b.startswith('  In the recipe "b": quantize names "hed"')


def test_a_network_that_cannot_be_exported_is_not_trained_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "branching.py").write_text(BRANCHES)
    monkeypatch.syspath_prepend(tmp_path)
    said: list[str] = []
    spec, asked = ModelSpec(name="net", source="branching:Net"), Recipe(name="r", steps=(TRAIN,))

    def progress(stage: str, done: int, total: int, note: str) -> None:
        said.append(stage)

    with pytest.raises(ModelError, match=r'torch cannot follow line 12 of branching\.py, "if y\.mean\(\) > 0\.3:"'):
        pipeline.build(spec, asked, ("onnx",), stripes(), base=tmp_path, cache=tmp_path / "cache", progress=progress)
    assert not said
    made = pipeline.build(spec, asked, (), stripes(), base=tmp_path, cache=tmp_path / "cache", progress=progress)
    assert said, "what is traced and not exported may be trained"
    assert not made.artifacts


def test_a_student_that_does_not_fit_is_called_the_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "larger.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(7, 3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"The student larger:net does not fit\. .* student_options"):
        check(Recipe(name="r", steps=(TRAIN, Step(method="distill", options=Options(student="larger:net")))))


def test_attention_whose_heads_cannot_go_is_on_record() -> None:
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    assert head_counts(model, model) == {"heads_kept": ["self_attn"]}
    assert head_counts(network(), network()) == {}
