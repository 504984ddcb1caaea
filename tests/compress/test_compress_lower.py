"""Every int8 lowering: it answers nearly as the float network, and all of its layers are int8."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from compress_helpers import context, network, stripes
from torch import nn

from edgebench.backend import saturates
from edgebench.compress.cache import sha256
from edgebench.compress.load_model import load_module, tensor
from edgebench.compress.lowering import export, lower
from edgebench.compress.quantization.quantize import Quantize
from edgebench.compress.training.train import Train
from edgebench.errors import DataError, ModelError, PlanError
from edgebench.schema import ModelSpec

EXAMPLE = tensor(stripes().evaluation.inputs[:4])
INT8 = ("onnx-u8s8", "onnx-u8s7", "onnx-s8s8", "pt2-int8-x86", "pt2-int8-x86-s7")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return Train(epochs=3, batch_size=16, lr=0.005).apply(network(), context())


@pytest.fixture(scope="module")
def float_onnx(trained: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "model.onnx"
    export.export_onnx(trained, EXAMPLE, path)
    return path


def lowered(name: str, model: nn.Module, source: Path, path: Path, **asked: Any) -> Mapping[str, Any]:
    request = lower.Request(
        model=model,
        example=EXAMPLE,
        calibration=asked.pop("calibration", stripes().calibration.inputs),
        onnx=lambda: source,
        quantize=Quantize(**asked),
    )
    return lower.get(name).write(request, path)


def answers(path: Path, samples: Any) -> Any:
    if path.suffix == ".onnx":
        return export.open_session(path).run(None, {"input": samples})[0]
    with torch.no_grad():
        return torch.export.load(path).module()(tensor(samples)).numpy()


def suffix(name: str) -> str:
    return lower.get(name).format


@pytest.fixture(scope="module")
def files(
    trained: nn.Module, float_onnx: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Mapping[str, Any]]]:
    """Each int8 file, made with the options' defaults, and its facts."""
    folder = tmp_path_factory.mktemp("int8")
    paths = {name: folder / f"{name}.{suffix(name)}" for name in INT8}
    return {name: (path, lowered(name, trained, float_onnx, path)) for name, path in paths.items()}


@pytest.mark.parametrize("name", INT8)
def test_int8_answers_nearly_as_float_with_every_layer_in_int8(name: str, trained: nn.Module, files: Any) -> None:
    path, facts = files[name]
    bits = 7 if "s7" in name else 8
    told = {"weight_bits": bits, **({"weight_bits_asked": 8} if bits < 8 else {})}
    assert facts == {"int8_layers": 10, "layers": 10, "int8_coverage": 1.0, **told}
    samples = stripes().evaluation.inputs
    wanted = trained(tensor(samples)).detach().numpy()
    found = answers(path, samples)
    if path.suffix == ".pt2" and bits == 8 and saturates({}):
        pytest.skip("this processor has no VNNI: oneDNN's kernels overflow with weights of 8 bits")
    assert 1e-4 < np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.05
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.95
    assert answers(path, samples[:1]).shape == (1, 3)


@pytest.mark.parametrize("name", INT8)
def test_int8_files_have_the_same_bytes_every_time(
    name: str, trained: nn.Module, float_onnx: Path, files: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"again.{suffix(name)}"
    lowered(name, trained, float_onnx, path)
    assert sha256(path) == sha256(files[name][0])


@pytest.mark.parametrize("name", ["onnx-u8s8", pytest.param("pt2-int8-x86", marks=pytest.mark.slow)])
def test_every_option_of_quantize_changes_the_file_and_keeps_it_right(
    name: str, trained: nn.Module, float_onnx: Path, tmp_path: Path
) -> None:
    seen = {}
    samples = stripes().evaluation.inputs
    wanted = trained(tensor(samples)).detach().numpy()
    for asked in ({}, {"samples": 24}, {"ranges": "percentile"}, {"ranges": "entropy"}, {"per_channel": False}):
        path = tmp_path / f"q.{suffix(name)}"
        assert lowered(name, trained, float_onnx, path, **asked)["int8_coverage"] == 1
        assert np.linalg.norm(answers(path, samples) - wanted) / np.linalg.norm(wanted) < 0.1
        seen[str(asked)] = sha256(path)
    del seen["{'ranges': 'percentile'}"]  # of so few values it cuts off none
    assert len(set(seen.values())) == 4


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_weights_of_seven_bits_are_right_on_kernels_that_add_in_sixteen(
    activations: str, trained: nn.Module, float_onnx: Path, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    lowered("onnx-u8s7", trained, float_onnx, path, activations=activations)
    weights = [w for w in onnx.load(path).graph.initializer if w.data_type == onnx.TensorProto.INT8 and len(w.dims) > 1]
    most = [int(abs(onnx.numpy_helper.to_array(w).astype(int)).max()) for w in weights]
    assert most
    assert max(most) == 63
    samples = stripes().evaluation.inputs
    fast = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])  # as a user opens it
    found, right = fast.run(None, {"input": samples})[0], answers(float_onnx, samples)
    assert np.linalg.norm(found - right) < 0.1 * np.linalg.norm(right)


@pytest.mark.parametrize(
    ("name", "kind"), [("onnx-u8s8", onnx.TensorProto.UINT8), ("onnx-s8s8", onnx.TensorProto.INT8)]
)
def test_the_types_of_activations_and_weights(name: str, kind: int, files: Any) -> None:
    graph = onnx.load(files[name][0]).graph
    stored = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            zero = stored[node.input[2]]
            assert zero.data_type == kind
            if name == "onnx-s8s8":
                assert not onnx.numpy_helper.to_array(zero).any()
        if node.op_type == "Conv":
            dequantize = next(n for n in graph.node if n.output[0] == node.input[1])
            assert stored[dequantize.input[0]].data_type == onnx.TensorProto.INT8
            assert len(onnx.numpy_helper.to_array(stored[dequantize.input[1]])) > 1, "a scale per channel"


def test_the_torch_file_is_small_and_needs_no_other_library(trained: nn.Module, files: Any, tmp_path: Path) -> None:
    path = files["pt2-int8-x86"][0]
    nodes = [n for n in torch.export.load(path).graph.nodes if n.op == "call_function"]
    targets = [str(n.target) for n in nodes]
    shapes = [n.args[-1] for n in nodes if "prepack" in str(n.target)]
    assert [1, 1, 12, 12] in shapes, "weights are packed for the samples that they will meet, or at every call"
    assert len(shapes) == 10
    assert all(shape and shape[0] == 1 for shape in shapes)
    assert sum(t.startswith("onednn.qconv") and "prepack" not in t for t in targets) == 9
    assert not [t for t in targets if "quantized_decomposed" in t]
    export.export_pt2(trained, EXAMPLE, tmp_path / "f.pt2")
    assert path.stat().st_size < (tmp_path / "f.pt2").stat().st_size
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()


def test_a_module_that_is_called_twice_is_quantized_in_both_places(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b, self.relu = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()\n"
        "        self.fc = nn.Linear(8, 3)\n"
        "    def forward(self, x):\n"
        "        x = self.relu(self.a(x))\n"
        "        return self.fc(self.relu(self.b(x) + x).mean((2, 3)))\n"
    )
    model = load_module(ModelSpec(name="n", source="shared:Net"), tmp_path)
    path = tmp_path / "q.pt2"
    assert lowered("pt2-int8-x86", model, path, path)["int8_coverage"] == 1
    samples = stripes().evaluation.inputs
    assert np.abs(answers(path, samples) - model(tensor(samples)).detach().numpy()).max() < 0.1


def test_around_a_softmax_only_weighted_layers_are_quantized(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.LayerNorm(8), nn.Linear(8, 3), nn.Softmax(1))
    export.export_onnx(net, EXAMPLE, tmp_path / "f.onnx")
    facts = lowered("onnx-u8s8", net, tmp_path / "f.onnx", tmp_path / "q.onnx")
    assert (facts["int8_layers"], facts["layers"]) == (2, 2)
    graph = onnx.load(tmp_path / "q.onnx").graph
    softmax = next(n for n in graph.node if n.op_type == "Softmax")
    assert softmax.output[0] in {o.name for o in graph.output}


@pytest.mark.parametrize("name", INT8[:3])
def test_an_int8_file_holds_no_zero_points_of_biases_and_no_shapes_between_layers(name: str, files: Any) -> None:
    graph = onnx.load(files[name][0]).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    biases = [
        n for n in graph.node if n.op_type == "DequantizeLinear" and kinds.get(n.input[0]) == onnx.TensorProto.INT32
    ]
    assert len(biases) == (10 if name != "onnx-s8s8" else len(biases))
    assert all(len(node.input) == 2 for node in biases)
    assert set(kinds) == {name for node in graph.node for name in node.input} & set(kinds)
    assert not graph.value_info


@pytest.mark.parametrize("norm", [nn.GroupNorm(4, 8), nn.InstanceNorm2d(8)])
@pytest.mark.parametrize("name", INT8)
def test_norms_of_each_sample_stay_in_float_between_int8_layers(name: str, norm: nn.Module, tmp_path: Path) -> None:
    """Two of them share their constants, which onnxruntime refuses of quantized ones."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 8, 3),
        norm,
        nn.GELU(),
        nn.Conv2d(8, 8, 3),
        copy.deepcopy(norm),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
    ]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3)).eval()
    source, path = tmp_path / "f.onnx", tmp_path / f"q.{suffix(name)}"
    export.export_onnx(net, EXAMPLE, source)
    facts = lowered(name, net, source, path)
    assert facts["int8_layers"] == facts["layers"]
    samples = stripes().evaluation.inputs
    exact = answers(source, samples)
    assert np.linalg.norm(answers(path, samples) - exact) < 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize("name", INT8)
@pytest.mark.parametrize("samples", [np.zeros((8, 1, 12, 12), np.float32), np.zeros((0, 1, 12, 12), np.float32)])
def test_nothing_can_be_calibrated_on_nothing(
    name: str, samples: Any, trained: nn.Module, float_onnx: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"all the same.*real samples"):
        lowered(name, trained, float_onnx, tmp_path / "q", calibration=samples)


def test_a_network_that_torch_cannot_quantize_is_a_model_error(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match=r"torch cannot quantize this network for x86.*Leave torch out"):
        lowered("pt2-int8-x86", Branches(), tmp_path / "f.onnx", tmp_path / "q.pt2")
    assert not (tmp_path / "q.pt2").exists()


def test_an_unknown_lowering_is_refused() -> None:
    with pytest.raises(PlanError, match=r'no lowering "onnx-u8s9".*Did you mean "onnx-u8s8"'):
        lower.get("onnx-u8s9")
