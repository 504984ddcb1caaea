"""Small networks with their right answers: a convolution, a ReLU, a mean and a linear layer, with two outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.schema import Artifact
from edgebench.testing import Case


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nets")


def inputs(count: int = 2, seed: int = 0) -> dict[str, Any]:
    return {"input": np.random.default_rng(seed).standard_normal((count, 3, 12, 12)).astype(np.float32)}


def artifact(path: Path, form: str) -> Artifact:
    return Artifact(format=form, path=str(path), sha256="", size=path.stat().st_size)


@pytest.fixture(scope="session")
def onnx_case(nets: Path) -> Case:
    """An ONNX file with a free batch axis, judged by the reference evaluator of the onnx package."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(1)
    weights = {
        "w1": rng.standard_normal((8, 3, 3, 3)) / 5,
        "b1": rng.standard_normal(8) / 10,
        "w2": rng.standard_normal((8, 6)) / 3,
        "b2": rng.standard_normal(6) / 10,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w1", "b1"], ["c"], pads=[1, 1, 1, 1], name="conv"),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["features"], name="flat"),
            helper.make_node("Gemm", ["features", "w2", "b2"], ["logits"], name="fc"),
        ],
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", 3, 12, 12])],
        [
            helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 6]),
            helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["batch", 8]),
        ],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = nets / "net.onnx"
    onnx.save(model, path)
    feeds = inputs()
    expected = [np.asarray(a) for a in ReferenceEvaluator(model).run(None, feeds)]
    return Case(artifact=artifact(path, "onnx"), feeds=feeds, expected=expected)


@pytest.fixture
def odd_onnx(tmp_path: Path) -> Callable[..., Case]:
    """Make a network of one operator on a 3 x 3 matrix: `odd_onnx(op, node name, domain=...)`."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper

    def make(op: str, name: str, domain: str = "") -> Case:
        node = helper.make_node(op, ["x"], ["y"], name=name, domain=domain)
        ends = [
            helper.make_tensor_value_info(*end) for end in (("x", onnx.TensorProto.FLOAT, [1, 3, 3]), ("y", 1, None))
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
        graph = helper.make_graph([node], "odd", ends[:1], ends[1:])
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / f"{op}.onnx")
        return Case(
            artifact=artifact(tmp_path / f"{op}.onnx", "onnx"),
            feeds={"x": np.zeros((1, 3, 3), np.float32)},
            expected=[],
        )

    return make


@pytest.fixture(scope="session")
def onnx_int8_case(nets: Path, onnx_case: Case) -> Case:
    """The same network, quantized by ONNX Runtime: u8 activations, s8 weights per channel."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.batches = iter([inputs(8, seed) for seed in range(4)])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    path = nets / "net-int8.onnx"
    quantization.quantize_static(
        onnx_case.artifact.path, path, Reader(), per_channel=True, quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return Case(artifact=artifact(path, "onnx"), feeds=onnx_case.feeds, expected=onnx_case.expected, precision="int8")


@pytest.fixture(scope="session")
def torch_net() -> Any:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)
            self.fc = torch.nn.Linear(8, 6)

        def forward(self, input: Any) -> Any:
            features = torch.relu(self.norm(self.conv(input))).mean((2, 3))
            return self.fc(features), features

    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="session")
def torch_case(nets: Path, torch_net: Any) -> Case:
    """A program of torch.export with a free batch axis, judged by the module that it was exported from."""
    import torch

    feeds = inputs()
    example = torch.from_numpy(feeds["input"])
    batch = torch.export.Dim("batch")
    program = torch.export.export(torch_net, (example,), dynamic_shapes={"input": {0: batch}})
    path = nets / "net.pt2"
    torch.export.save(program, path)
    with torch.inference_mode():
        expected = [a.numpy() for a in torch_net(example)]
    return Case(artifact=artifact(path, "pt2"), feeds=feeds, expected=expected)


@pytest.fixture(scope="session")
def torch_int8_case(nets: Path, torch_net: Any, torch_case: Case) -> Case:
    """The same network in oneDNN's int8 operators, as edgebench lowers it."""
    pytest.importorskip("torchao")
    import torch

    from edgebench.compress.lowering import lower_x86
    from edgebench.compress.quantization.quantize import Quantize

    if not hasattr(torch.ops.onednn, "qconv_prepack"):
        pytest.skip("this torch has no oneDNN int8 kernels")
    path = nets / "net-int8.pt2"
    example = torch.from_numpy(torch_case.feeds["input"])
    lower_x86.quantize(torch_net, example, inputs(32, seed=1)["input"], Quantize(), path)
    return Case(artifact=artifact(path, "pt2"), feeds=torch_case.feeds, expected=torch_case.expected, precision="int8")
