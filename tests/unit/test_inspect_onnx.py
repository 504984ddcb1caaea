"""ONNX files: arithmetic by hand and of networks whose figures are published, what counts as a parameter, int8 coverage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgebench.errors import ModelError, PlanError
from edgebench.inspect import look, summary
from edgebench.inspect.graph import Network

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
# Parameters as published (torchvision and the papers), with the running mean and variance of batch norms beside them.
PUBLISHED = {
    "vgg19": (143_667_240, 19.63e9),
    "bvlc_alexnet": (60_965_224, 0.65e9),
    "squeezenet": (1_235_496, 0.35e9),
    "resnet50": (25_557_032 + 2 * 26_560, 4.09e9),
    "densenet121": (7_978_856 + 2 * 83_648, 2.83e9),
}


def saved(path: Path, nodes: list[Any], weights: dict[str, Any], inputs: dict[str, Any], outputs: list[str]) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    domains = {"": 17} | {node.domain: 1 for node in nodes if node.domain}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    for value in model.graph.output:  # the checker wants a shape, and ONNX tells none of a stranger's operator
        value.type.tensor_type.shape.SetInParent()
    onnx.save(model, str(path))
    return path


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_networks_have_their_published_figures(name: str) -> None:
    network = look(LIGHT / f"light_{name}.onnx", "onnx")
    parameters, macs = PUBLISHED[name]
    assert network.parameters() == parameters
    assert network.macs() == pytest.approx(macs, rel=0.01)
    assert network.peak() is not None


def one_layer(path: Path, op: str, data: list[Any], weight: Any, **attributes: Any) -> Network:
    nodes = [helper.make_node(op, ["x", "w"], ["y"], **attributes)]
    return look(saved(path / "m.onnx", nodes, {"w": weight}, {"x": data}, ["y"]), "onnx")


def test_layers_by_hand(tmp_path: Path) -> None:
    assert one_layer(tmp_path, "Conv", ["N", 3, 8, 8], ones(4, 3, 3, 3), strides=[2, 2]).macs() == 4 * 9 * 27
    assert one_layer(tmp_path, "Conv", ["N", 4, 8, 8], ones(4, 1, 3, 3), group=4, pads=[1] * 4).macs() == 4 * 64 * 9
    assert one_layer(tmp_path, "ConvTranspose", [1, 2, 4, 4], ones(2, 3, 2, 2), strides=[2, 2]).macs() == 2 * 16 * 12
    assert one_layer(tmp_path, "MatMul", ["N", 5, 6], ones(6, 7)).macs() == 5 * 7 * 6
    assert one_layer(tmp_path, "Gemm", [2, 6], ones(7, 6), transB=1).macs() == 2 * 7 * 6
    assert one_layer(tmp_path, "Gemm", [6, 2], ones(6, 7), transA=1).macs() == 2 * 7 * 6
    assert one_layer(tmp_path, "Einsum", [5, 6], ones(6, 7), equation="ab,bc->ac").macs() == 5 * 6 * 7


def test_recurrent_layers_count_every_step(tmp_path: Path) -> None:
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=8)]
    weights = {"w": ones(1, 32, 5), "r": ones(1, 32, 8)}
    network = look(saved(tmp_path / "m.onnx", nodes, weights, {"x": [10, 1, 5]}, ["y"]), "onnx")
    assert network.macs() == 10 * 4 * 8 * (5 + 8)


def test_a_free_axis_beside_the_batch_needs_its_size(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, {"w": ones(2, 1, 1, 1)}, {"x": ["N", 1, "H", "W"]}, ["y"])
    assert look(path, "onnx").macs() is None
    assert look(path, "onnx", {"x": [1, 1, 4, 5]}).macs() == 2 * 20


def test_what_is_a_weight(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"]),
        helper.make_node("MatMul", ["x", "wt"], ["a"]),
        helper.make_node("Clip", ["a", "low", "high"], ["b"]),
        helper.make_node("Mul", ["b", "two"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    weights = {
        "w": ones(7, 6),
        "low": np.float32(0),
        "high": np.float32(6),
        "two": np.float32(2),
        "shape": np.array([-1, 7], np.int64),
    }
    network = look(saved(tmp_path / "m.onnx", nodes, weights, {"x": ["N", 6]}, ["y"]), "onnx")
    assert network.parameters() == 42
    assert network.ops() == {"Clip": 1, "MatMul": 1, "Mul": 1, "Reshape": 1}  # what is folded does not run


def test_int8_coverage_wants_both_operands(tmp_path: Path) -> None:
    scale, zero = np.float32(0.1), np.uint8(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"]),
        helper.make_node("MatMul", ["d", "wd"], ["a"]),
        helper.make_node("MatMul", ["a", "wd"], ["y"]),
    ]
    weights = {"s": scale, "z": zero, "w": np.ones((6, 6), np.int8)}
    network = look(saved(tmp_path / "m.onnx", nodes, weights, {"x": ["N", 6]}, ["y"]), "onnx")
    assert network.layers() == (1, 2)
    assert network.parameters() == 36
    assert network.weights() == {"int8": 36}
    assert network.ops()["DequantizeLinear"] == 1
    assert "Folded on loading, and not among the operators: DequantizeLinear 1." in network.notes


def test_operators_of_another_domain_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mine", ["x"], ["y"], domain="com.example")]
    path = saved(tmp_path / "m.onnx", nodes, {}, {"x": [1, 4]}, ["y"])
    assert look(path, "onnx").custom == ("com.example.Mine",)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07\x12"])
def test_a_foreign_file_is_two_sentences(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        look(path, "onnx")


def test_a_first_axis_that_onnx_cannot_tell_is_the_batch(tmp_path: Path) -> None:
    """A target shape that is computed from the input, as an exporter writes it: (N, 6) -> (N, 6) -> (N, 7)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Abs", ["shape"], ["whole"]),
        helper.make_node("Slice", ["whole", "zero", "one"], ["batch"]),
        helper.make_node("Concat", ["batch", "six"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    numbers = {"zero": [0], "one": [1], "six": [6]}
    weights = {"w": ones(6, 7), **{k: np.array(v, np.int64) for k, v in numbers.items()}}
    network = look(saved(tmp_path / "m.onnx", nodes, weights, {"x": ["N", 6]}, ["y"]), "onnx")
    assert network.macs() == 42
    assert look(tmp_path / "m.onnx", "onnx", {"x": [8, 6]}).macs() == 8 * 42
    assert any("first axis" in note for note in network.notes)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [({"z": [1, 6]}, 'no input "z"'), ({"x": [1, 7]}, "does not fit"), ({"x": [1]}, "does not fit")],
)
def test_a_shape_that_nothing_is_done_with_is_refused(tmp_path: Path, shapes: dict[str, list[int]], words: str) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, {"w": ones(6, 7)}, {"x": ["N", 6]}, ["y"])
    assert summary.summary(path, "onnx", {"x": [8, 6]})["batch"] == 8
    with pytest.raises(PlanError, match=words):
        summary.summary(path, "onnx", shapes)


def test_the_weights_of_inner_graphs_are_parameters(tmp_path: Path) -> None:
    def branch(name: str, weight: str) -> Any:
        made = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        nodes = [helper.make_node("MatMul", ["x", weight], [f"{name}_y"])]
        own = [numpy_helper.from_array(ones(3, 4), weight)] if weight != "shared" else []
        return helper.make_graph(nodes, name, [], [made], own)

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["flag"], to=TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["y"], then_branch=branch("a", "own"), else_branch=branch("b", "shared")),
    ]
    network = look(saved(tmp_path / "m.onnx", nodes, {"shared": ones(3, 4)}, {"x": ["N", 3]}, ["y"]), "onnx")
    assert network.parameters() == 24
    assert any("counted once" in note for note in network.notes)


@pytest.mark.parametrize(("kind", "said"), [(np.float64, "fp64"), (np.int32, "int32"), (np.float16, "fp16")])
def test_the_precision_is_that_of_the_numbers(tmp_path: Path, kind: Any, said: str) -> None:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    ends = [helper.make_tensor_value_info(name, number, ["N", 4]) for name in "xy"]
    weight = numpy_helper.from_array(np.ones((4, 4), kind), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(tmp_path / "m.onnx"))
    network = look(tmp_path / "m.onnx", "onnx")
    assert network.precision() == said
    assert network.made_by == "an unnamed tool, opset 17"


def test_shapes_that_do_not_fit_are_legal_nowhere(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], name="last")]
    found = summary.summary(saved(tmp_path / "m.onnx", nodes, {"w": ones(5, 3)}, {"x": [1, 4]}, ["y"]), "onnx")
    openers = [t for t in found["targets"] if not t["reasons"][0].startswith("opens")]
    assert len(openers) >= 4
    for target in openers:
        assert not target["legal"]
        assert "Gemm, node name: last" in target["reasons"][0]
        assert "between 5 and 4" in target["reasons"][0]


def test_a_batch_that_the_graph_fixes_and_a_false_hint_are_no_misfit(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "to"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    weights = {"to": np.array([8, 6]), "w": ones(6, 3)}
    path = saved(tmp_path / "m.onnx", nodes, weights, {"x": ["N", 6]}, ["y"])
    model = onnx.load(path)
    model.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [9, 9]))
    onnx.save(model, str(path))
    assert look(path, "onnx").misfit == ""


def test_quantized_operators_have_their_arithmetic_and_their_biases(tmp_path: Path) -> None:
    q, own = ["s", "z"], {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *q], ["xq"]),
        helper.make_node("QLinearConv", ["xq", *q, "w", *q, *q, "b"], ["c"]),
        helper.make_node("QLinearGlobalAveragePool", ["c", *q, *q], ["p"], channels_last=0, **own),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("QGemm", ["f", *q, "g", *q, "h", *q], ["o"], transB=1, **own),
        helper.make_node("DequantizeLinear", ["o", *q], ["y"]),
    ]
    weights = {
        "s": np.float32(0.1),
        "z": np.int8(0),
        "w": np.ones((4, 3, 3, 3), np.int8),
        "b": np.ones(4, np.int32),
        "g": np.ones((5, 4), np.int8),
        "h": np.ones(5, np.int32),
    }
    network = look(saved(tmp_path / "m.onnx", nodes, weights, {"x": ["N", 3, 8, 8]}, ["y"]), "onnx")
    assert network.parameters() == 4 * 27 + 4 + 20 + 5
    assert network.macs() == 4 * 36 * 27 + 20
    assert network.peak() is not None
    assert network.activations() == {"int8": 5, "float32": 2}
    assert "com.microsoft.QGemm" in network.ops()
