"""The sweep finds the layer that int8 hurts, and a budget puts just that one back to float."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import context, stripes
from compress_networks import Encoder, Odd
from torch import nn

from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import export, lower_onnx, lower_x86
from edgebench.compress.quantization import layers, sensitivity
from edgebench.compress.quantization.quantize import Quantize
from edgebench.data import DataSet, Split
from edgebench.errors import DataError, PlanError

INPUTS = stripes().evaluation.inputs


def nobody(done: int, total: int, note: str) -> None:
    """Told of the progress, and silent."""


class Fragile(nn.Module):
    """One huge weight of `bad` reads a channel that is always zero: float does not see it, but it sets the scale of int8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.bad = nn.Conv2d(4, 4, 1)
        self.first.weight.data[0] = self.first.bias.data[0] = 0
        self.bad.weight.data[:, 0] = 300
        self.last = nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.last(torch.relu(self.bad(torch.relu(self.first(x)))).mean((2, 3)))


@lru_cache(maxsize=1)
def source() -> Path:
    import tempfile

    path = Path(tempfile.mkdtemp()) / "fragile.onnx"
    model = Fragile().eval()
    with torch.no_grad():
        model.last.bias -= model(tensor(INPUTS)).mean(0)  # or every sample had the same answer
    export.export_onnx(model, tensor(INPUTS[:4]), path)
    return path


def calibrating(samples: Any = INPUTS, classes: tuple[str, ...] = stripes().classes) -> DataSet:
    return replace(stripes(), calibration=Split(samples, None), classes=classes)


def choose(**asked: Any) -> dict[str, Any]:
    return sensitivity.choose(source(), Quantize(per_channel=False, **asked), calibrating(), nobody)


def test_the_fragile_layer_comes_first_and_a_budget_restores_it() -> None:
    found = choose(sweep=True)
    rows = found["sensitivity"]
    assert rows[0]["layer"] == "bad"
    assert {row["layer"] for row in rows} == {"first", "bad", "last"}
    assert rows[0]["sqnr_db"] < rows[1]["sqnr_db"] - 6
    assert [row["sqnr_db"] for row in rows] == sorted(row["sqnr_db"] for row in rows)
    assert found["float_layers"] == []
    assert "budget" not in found


def test_a_share_of_the_most_sensitive_layers_stays_in_float() -> None:
    assert choose(mixed=0.3)["float_layers"] == ["bad"]
    assert choose(mixed=0.34, float_layers="last")["float_layers"][0] == "last"


def test_a_budget_restores_layers_until_it_holds_and_no_more() -> None:
    found = choose(max_drop=0.05)
    drops = [row["drop"] for row in found["budget"]]
    assert found["float_layers"] == ["bad"]
    assert drops[0] > 0.05
    assert drops[-1] <= 0.05
    assert len(drops) == 2


def test_a_budget_that_cannot_be_held_names_the_nearest_that_can(tmp_path: Path) -> None:
    """Labels that only float gets right: whatever is in int8 costs something."""
    with pytest.raises(PlanError, match=r"max_drop = 0 cannot be held .* the nearest that can is (0\.\d+)") as caught:
        sensitivity.restore(
            _Worse(), np.eye(3)[[0, 1, 2, 0]], Split(INPUTS[:4], np.array([0, 1, 2, 0])), [], ["a", "b"], nobody
        )
    assert "0.2500, with 1 layers" in caught.value.problem
    assert "max_drop = 0.25" in caught.value.fix


class _Worse:
    """Int8 that loses two of four answers, and one of four with a layer in float."""

    asked = Quantize(max_drop=0.0)

    def outputs(self, samples: Any, *, keep: Any = (), only: Any = ()) -> Any:
        return np.eye(3)[[1, 0, 2, 0] if not keep else [1, 1, 2, 0]]


def test_figures_against_hand() -> None:
    wanted, given = np.array([[3.0, 4.0], [0.0, 5.0]]), np.array([[3.0, 3.0], [1.0, 0.5]])
    assert sensitivity.sqnr(wanted, given) == pytest.approx(10 * np.log10(50 / (1 + 1 + 4.5**2)))
    assert sensitivity.sqnr(wanted, wanted) == 200
    assert sensitivity.agreement(wanted, given) == 0.0 + 0 / 2
    assert sensitivity.drop(wanted, given, np.array([1, 1])) == 1.0
    assert sensitivity.drop(given, wanted, np.array([1, 0])) == 0.0 - 0.0
    assert sensitivity.drop(wanted, given, None) == 1.0


def test_without_labels_the_changed_answers_bound_the_drop() -> None:
    random = np.random.RandomState(0)
    for _ in range(20):
        wanted, given = random.standard_normal((2, 30, 4))
        labels = random.randint(0, 4, 30)
        assert sensitivity.drop(wanted, given, labels) <= sensitivity.drop(wanted, given, None)


def test_a_layer_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r'no layer "bat" to keep in float\. Did you mean "bad"\?'):
        choose(sweep=True, float_layers="bat", max_drop=1.0)
    with pytest.raises(PlanError, match=r'no layer "lost"'):
        lower_onnx.quantize(source(), INPUTS, Quantize(float_layers="lost"), tmp_path / "q.onnx", signed=False)


@pytest.mark.parametrize("samples", [INPUTS[:0], np.ones_like(INPUTS)])
def test_nothing_is_calibrated_on_nothing(samples: Any) -> None:
    with pytest.raises(DataError, match="all the same"):
        sensitivity.choose(source(), Quantize(sweep=True), calibrating(samples), nobody)


def test_a_budget_on_answers_that_are_no_classes_is_refused() -> None:
    asked = Quantize(max_drop=0.5)
    assert "budget" in sensitivity.choose(source(), asked, calibrating(), nobody)
    with pytest.raises(PlanError, match="without class scores, on samples without labels"):
        sensitivity.choose(source(), asked, calibrating(classes=()), nobody)


@pytest.mark.parametrize(("oddity", "shared", "runs"), [("twice", "first", 5), ("tied", "second", 4)])
def test_a_layer_that_runs_twice_and_tied_ones_are_one_layer(
    oddity: str, shared: str, runs: int, tmp_path: Path
) -> None:
    """onnxruntime opens no int8 file in which two nodes share a weight."""
    torch.manual_seed(0)
    model, where = Odd(oddity).eval(), context()
    Quantize(sweep=True, max_drop=0.5, float_layers=shared).apply(model, where)
    names = {row["layer"] for row in where.facts["sensitivity"]}
    assert names == {"stem", "fc", "second"} | {shared}
    assert where.facts["float_layers"] == [shared]
    export.export_onnx(model, tensor(INPUTS[:4]), tmp_path / "float.onnx")
    for kept, covered in (("", runs), (shared, runs - 2)):
        asked = Quantize(float_layers=kept)
        facts = lower_onnx.quantize(tmp_path / "float.onnx", INPUTS, asked, tmp_path / "int8.onnx", signed=False)
        assert facts["int8_layers"] == covered
        if oddity == "twice":
            facts = lower_x86.quantize(model, tensor(INPUTS[:4]), INPUTS, asked, tmp_path / "int8.pt2")
            assert facts["int8_layers"] == covered
        wanted, given = (sensitivity.run(tmp_path / f"{n}.onnx", INPUTS) for n in ("float", "int8"))
        assert sensitivity.sqnr(wanted, given) > 20


def test_layers_have_the_same_name_in_the_graph_and_in_the_file() -> None:
    torch.manual_seed(0)
    model, where = Encoder().eval(), context()
    for (
        parameter
    ) in model.parameters():  # or both of its layers began with the same weights, which the file then has once
        parameter.data += 0.01 * torch.randn_like(parameter)
    Quantize(sweep=True).apply(model, where)
    names = [row["layer"] for row in where.facts["sensitivity"]]
    assert set(names) == {layer.name for layer in layers.find(layers.trace(model, tensor(INPUTS[:4])))}
