"""Weights of fewer bits than eight: every lowering puts them on the same grid, and what was learnt for it loses less."""

from __future__ import annotations

import copy
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compress_helpers import context, network, stripes
from torch import nn

from edgebench.backend import saturates
from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import export, lower
from edgebench.compress.quantization import fake_quantization, grid, layers, rounding
from edgebench.compress.quantization.qat import Qat
from edgebench.compress.quantization.quantize import Quantize
from edgebench.compress.training.train import Train
from edgebench.errors import ModelError, PlanError

INPUTS = tensor(stripes().evaluation.inputs)
EXAMPLE = INPUTS[:4]
ONNX = ("onnx-u8s8", "onnx-typed-int8")
BITS, STEPS = 3, 3


@lru_cache(maxsize=1)
def trained() -> nn.Module:
    return Train(epochs=3, batch_size=16, lr=0.005).apply(network(), context())


@lru_cache(maxsize=1)
def float_onnx() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        export.export_onnx(trained(), EXAMPLE, Path(folder, "float.onnx"))
        return Path(folder, "float.onnx").read_bytes()


@lru_cache(maxsize=1)
def on_grid() -> nn.Module:
    """The float network with its weights rounded to 3 bits, by channel."""
    model = copy.deepcopy(trained())
    rounding.onto_grid(model, EXAMPLE, INPUTS, per_channel=True, bits=BITS)
    return model


def lowered(name: str, folder: Path, model: nn.Module | None = None, **asked: Any) -> tuple[Path, Any]:
    """The file, as of a recipe with this step; an ONNX file is made of the float one, as one that a user brings."""
    source, path = folder / "float.onnx", folder / f"model.{lower.get(name).format}"
    if model is not None:
        export.export_onnx(model, EXAMPLE, source)
    elif name.startswith("onnx"):
        source.write_bytes(float_onnx())
    request = lower.Request(
        model=Quantize(**asked).apply(trained(), context()),
        example=EXAMPLE,
        calibration=stripes().calibration.inputs,
        onnx=lambda: source,
        quantize=Quantize(**asked),
    )
    return path, lower.get(name).write(request, path)


def off(found: Any, model: nn.Module) -> float:
    """How far the answers to the first samples are from the network's, relative."""
    with torch.no_grad():
        wanted = model(INPUTS[: len(found)]).numpy()
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def check(found: Any) -> None:
    """The answers are those of the network on the grid of 3 bits, and not of the one in float."""
    assert off(found, on_grid()) < 0.05
    assert off(found, trained()) > 2 * off(found, on_grid())


def integers(path: Path) -> list[Any]:
    stored = onnx.load(path).graph.initializer
    return [onnx.numpy_helper.to_array(t) for t in stored if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", ONNX)
def test_an_onnx_file_has_the_weights_of_the_grid(name: str, per_channel: bool, tmp_path: Path) -> None:
    path, facts = lowered(name, tmp_path, weight_bits=BITS, per_channel=per_channel)
    assert (facts["weight_bits"], facts["int8_coverage"]) == (BITS, 1)
    found = {name: array for array in integers(path) for name in [array.shape]}
    assert all(np.abs(array.astype(int)).max() == STEPS for array in found.values())
    for layer in layers.find(layers.trace(trained(), EXAMPLE)):
        weight = layers.folded(trained(), layer)
        steps = torch.round(weight / rounding.scale_of(weight, per_channel, STEPS)).numpy()
        if len([a for a in integers(path) if a.shape == steps.shape]) == 1:
            assert np.array_equal(found[steps.shape], steps)
    if per_channel and name == "onnx-u8s8":
        check(export.open_session(path).run(None, {"input": INPUTS.numpy()})[0])


def test_dynamic_int8_has_the_bits_too(tmp_path: Path) -> None:
    path, facts = lowered("onnx-u8s8", tmp_path, weight_bits=BITS, activations="dynamic")
    assert (facts["weight_bits"], facts["int8_coverage"]) == (BITS, 1)
    assert {int(np.abs(array.astype(int)).max()) for array in integers(path)} == {STEPS}


def test_torch_has_the_bits(tmp_path: Path) -> None:
    path, facts = lowered("pt2-int8-x86-s7" if saturates({}) else "pt2-int8-x86", tmp_path, weight_bits=BITS)
    assert (facts["weight_bits"], facts["int8_coverage"]) == (BITS, 1)
    with torch.no_grad():
        check(torch.export.load(path).module()(INPUTS).numpy())


def test_seven_bits_are_the_most_of_a_narrow_file_and_fewer_are_kept(tmp_path: Path) -> None:
    facts = lowered("onnx-u8s7", tmp_path)[1]
    assert (facts["weight_bits"], facts["weight_bits_asked"]) == (7, 8)
    facts = lowered("onnx-u8s7", tmp_path, weight_bits=5)[1]
    assert facts["weight_bits"] == 5
    assert "weight_bits_asked" not in facts


@pytest.mark.parametrize("dynamic", [False, True])
def test_litert_has_the_bits(dynamic: bool, tmp_path: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    pytest.importorskip("litert_torch")
    path, facts = lowered("tflite-int8-dynamic" if dynamic else "tflite-int8", tmp_path, weight_bits=BITS)
    assert (facts["weight_bits"], facts["int8_coverage"]) == (BITS, 1)
    session = interpreter.Interpreter(model_path=str(path))
    session.resize_tensor_input(session.get_input_details()[0]["index"], INPUTS.shape)
    session.allocate_tensors()
    session.set_tensor(session.get_input_details()[0]["index"], INPUTS.numpy())
    session.invoke()
    check(session.get_tensor(session.get_output_details()[0]["index"]))


def test_executorch_has_the_bits(tmp_path: Path) -> None:
    pytest.importorskip("executorch.version")
    from executorch.extension.pybindings import _C

    path, facts = lowered("pte-int8", tmp_path, weight_bits=BITS)
    assert (facts["weight_bits"], facts["int8_coverage"], facts["delegated_share"]) == (BITS, 1, 1)
    program = _C._load_program(str(path)).load_method("forward")
    check(np.concatenate([program([x[None]])[0].numpy() for x in INPUTS[:8]]))


def test_a_quantizer_with_rules_of_its_own_refuses(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="sets weight_bits"):
        lowered("onnx-nncf", tmp_path, weight_bits=6)


@pytest.mark.parametrize("bits", [1, 9])
@pytest.mark.parametrize("step", [Quantize, Qat])
def test_bits_that_a_byte_has_no_grid_of_are_refused(step: Any, bits: int) -> None:
    with pytest.raises(PlanError, match=r"weight_bits .* from 2 to 8"):
        step(weight_bits=bits)


def test_the_grid_is_symmetric() -> None:
    assert [grid.steps(bits) for bits in (8, 7, 4, 2)] == [127, 63, 7, 1]


def test_training_simulates_the_bits() -> None:
    graph = fake_quantization.prepared(trained(), INPUTS[:2], Quantize(weight_bits=BITS))
    fake_quantization.observe(graph, INPUTS)
    kinds = {(m.quant_min, m.quant_max) for m in graph.modules() if hasattr(m, "quant_max") and hasattr(m, "qscheme")}
    assert (-STEPS, STEPS) in kinds
    assert (-127, 127) not in kinds


def test_what_was_learnt_for_the_bits_loses_less(tmp_path: Path) -> None:
    """Cross-entropy on the training split, which is what both were taught to make small."""
    learnt = Qat(weight_bits=BITS, epochs=3, batch_size=16, lr=0.002).apply(trained(), context())
    losses = []
    for model in (trained(), learnt):
        path, _ = lowered("onnx-u8s8", tmp_path, model, weight_bits=BITS)
        train = stripes().train
        scores = torch.from_numpy(export.open_session(path).run(None, {"input": train.inputs})[0])
        losses.append(float(nn.functional.cross_entropy(scores, torch.from_numpy(train.labels))))
    assert losses[1] < 0.7 * losses[0]
