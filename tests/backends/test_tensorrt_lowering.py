"""TensorRT's typed ONNX files: fp16 throughout; int8 with symmetric s8, float biases and no zero points that count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.errors import ModelError

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from edgebench.compress.lowering import export, lower, lower_trt  # noqa: E402
from edgebench.compress.quantization.quantize import Quantize  # noqa: E402

SAMPLES = np.random.default_rng(0).standard_normal((32, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module", params=["convolutions", "attention"])
def source(request: pytest.FixtureRequest, nets: Path) -> Path:
    from torch import nn

    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.second, self.last = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 6)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.norm(self.first(x)))
            return self.last(torch.relu(self.second(y) + y).mean((2, 3)))

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 4, stride=4)
            self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
            self.last = nn.Linear(16, 6)

        def forward(self, x: Any) -> Any:
            return self.last(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    torch.manual_seed(0)
    path = nets / f"typed-{request.param}.onnx"
    net = (Convolutions if request.param == "convolutions" else Attention)().eval()
    export.export_onnx(net, torch.from_numpy(SAMPLES[:2]), path)
    return path


def answers(path: Path) -> Any:
    """By the reference evaluator: onnxruntime 1.32 answers some fp16 graphs wrongly on a CPU, and crashes on others."""
    return ReferenceEvaluator(onnx.load(path)).run(None, {"input": SAMPLES})[0]


def off(found: Any, wanted: Any) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_fp16_is_fp16_but_for_its_ends(source: Path, tmp_path: Path) -> None:
    assert lower_trt.halve(source, tmp_path / "half.onnx") == {"rest": "fp16"}
    model = onnx.load(tmp_path / "half.onnx")
    assert "float32" not in lower_trt.types(model)
    ends = [*model.graph.input, *model.graph.output]
    assert {v.type.tensor_type.elem_type for v in ends} == {TensorProto.FLOAT}
    assert 1e-5 < off(answers(tmp_path / "half.onnx"), answers(source)) < 5e-3


def test_int8_keeps_tensorrts_rules(source: Path, tmp_path: Path) -> None:
    facts = lower_trt.quantize(source, SAMPLES, Quantize(), tmp_path / "int8.onnx")
    assert (facts["int8_coverage"], facts["rest"]) == (1.0, "fp16")
    model = onnx.load(tmp_path / "int8.onnx")
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            assert len(node.input) == 2, node.name
            assert node.input[0] not in weights or weights[node.input[0]].dtype == np.int8
        if node.op_type == "QuantizeLinear":
            assert weights[node.input[2]].dtype == np.int8
            assert not weights[node.input[2]].any()
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert weights[node.input[1]].dtype == np.float16
            assert (weights[node.input[1]] > 0).all()
        if node.op_type == "Conv":
            assert weights[node.input[2]].dtype == np.float16, "the bias is a float"
    assert not {"int32", "uint8", "float32"} & set(lower_trt.types(model))
    assert 1e-4 < off(answers(tmp_path / "int8.onnx"), answers(source)) < 0.05


def test_the_same_network_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        lower_trt.quantize(source, SAMPLES, Quantize(), tmp_path / f"{name}.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def graph(nodes: list[Any], weights: dict[str, Any], opset: int = 20) -> Any:
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_weights_beyond_fp16_are_refused_and_masks_are_not(tmp_path: Path) -> None:
    for value, fits in ((7e4, False), (-3.4e38, True), (np.inf, True), (np.nan, False)):
        weight = np.array([1, 2, 3, value], np.float32)
        onnx.save(graph([helper.make_node("Add", ["input", "w"], ["y"])], {"w": weight}), tmp_path / "w.onnx")
        if fits:
            lower_trt.halve(tmp_path / "w.onnx", tmp_path / "half.onnx")
            continue
        with pytest.raises(ModelError, match=r"The weights w of w\.onnx do not fit into fp16"):
            lower_trt.halve(tmp_path / "w.onnx", tmp_path / "half.onnx")


def test_a_zero_point_is_refused() -> None:
    weights = {"s": np.float32(0.1), "z": np.int8(3)}
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "s", "z"], ["q"], name="into"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    with pytest.raises(ModelError, match="takes symmetric s8 only, and into has the zero point z"):
        lower_trt.drop_zero_points(graph(nodes, weights))


@pytest.mark.parametrize(("scale", "opset", "why"), [(1e-8, 20, "the scale s is too small"), (0.1, 17, "opset 19")])
def test_what_cannot_be_fp16_stays_fp32_and_says_why(scale: float, opset: int, why: str) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    model = graph(nodes, {"s": np.float32(scale), "z": np.int8(0)}, opset)
    assert why in lower_trt._why_float(model)


def test_the_lowerings_are_registered() -> None:
    half, int8 = lower.get("onnx-typed-fp16"), lower.get("onnx-typed-int8")
    assert (half.format, int8.format, int8.precision) == ("onnx", "onnx", "int8")
    from edgebench_tensorrt import TensorRtBackend

    assert all(lower.get(name) for name in TensorRtBackend.precisions.values())
