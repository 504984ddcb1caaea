"""The lint of legal targets: each rule with a graph that breaks it and one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgebench import ready
from edgebench.inspect import full_weights, lint, look, onnx_file, targets
from edgebench.inspect.graph import Tensor
from edgebench.inspect.qdq import Facts


def model(
    path: Path, nodes: list[Any], weights: dict[str, Any], shape: list[Any] | None = None, opset: int = 21
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    domains = {node.domain for node in nodes} - {""}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in sorted(domains))]
    made = helper.make_model(graph, opset_imports=imports, ir_version=10)
    made = onnx.shape_inference.infer_shapes(made)
    for value in made.graph.output:  # the checker wants a shape, and ONNX tells none of a stranger's operator
        value.type.tensor_type.shape.SetInParent()
    onnx.save(made, str(path / "m.onnx"))
    return path / "m.onnx"


def said(path: Path, target: str, *, fatal: bool = True) -> str:
    network = look(path, "onnx")
    facts = Facts(onnx_file.load(path), network.tensors)
    return "; ".join(f.text for f in lint.check(facts, target) if f.fatal == fatal)


def quantized(
    path: Path,
    dtype: Any = np.int8,
    zero: int = 0,
    scale: Any = 0.1,
    bias: bool = False,
    most: int = 1,
    shape: list[Any] | None = None,
) -> Path:
    """x -> Q -> DQ -> MatMul with int8 weights (-> + an int32 bias)."""
    kind = np.dtype(dtype)
    scales = np.asarray(scale, np.float32)
    wide = {"axis": 1} if scales.ndim else {}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="in_q", **wide),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="in_dq", **wide),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], name="w_dq"),
        helper.make_node("Gemm", ["d", "wd", *(["bd"] if bias else [])], ["y"]),
    ]
    weights = {
        "s": scales,
        "z": np.full(scales.shape, zero, kind),
        "w": np.full((4, 3), most, np.int8),
        "ws": np.float32(0.1),
    }
    if bias:
        nodes.insert(3, helper.make_node("DequantizeLinear", ["b", "ws"], ["bd"], name="b_dq"))
        weights["b"] = np.ones(3, np.int32)
    return model(path, nodes, weights, shape)


def test_symmetric_int8_is_legal_for_tensorrt(tmp_path: Path) -> None:
    assert said(quantized(tmp_path), "tensorrt") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": np.uint8, "zero": 128}, "1 quantizer is uint8"),
        ({"zero": 3}, "zero points other than 0"),
        ({"scale": [0.1, 0.2, 0.3, 0.4]}, "one scale a tensor: in_q"),
        ({"scale": 0.0}, "scales must be above 0"),
        ({"bias": True}, "1 bias is int32"),
    ],
)
def test_what_tensorrt_does_not_take(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    assert words in said(quantized(tmp_path, **change), "tensorrt")


def test_a_computed_scale_is_not_for_tensorrt(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    assert "scales must be constants" in said(model(tmp_path, nodes, {"z": np.int8(0)}), "tensorrt")


def test_dynamic_int8_is_not_for_tensorrt_and_slow_on_x86(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("ConvInteger", ["q", "w", "z"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    path = model(tmp_path, nodes, {"w": np.ones((2, 1, 1, 1), np.int8)}, [1, 1, 4, 4])
    assert "ConvInteger, DynamicQuantizeLinear" in said(path, "tensorrt")
    assert said(path, "onnxruntime on x86") == ""
    assert "ConvInteger" in said(path, "onnxruntime on x86", fatal=False)


def test_signed_activations_are_slow_on_x86_alone(tmp_path: Path) -> None:
    signed, unsigned = quantized(tmp_path), tmp_path / "unsigned"
    assert "1 activation quantizer is signed" in said(signed, "onnxruntime on x86", fatal=False)
    assert said(signed, "onnxruntime on arm64", fatal=False) == ""
    unsigned.mkdir()
    assert said(quantized(unsigned, np.uint8, 128), "onnxruntime on x86", fatal=False) == ""


def test_weights_of_eight_bits_need_vnni_where_activations_are_unsigned(tmp_path: Path) -> None:
    for most, full in ((64, False), (-65, True), (127, True), (-128, True)):
        path = quantized(tmp_path, np.uint8, 128, most=most)
        for runtime in ("onnxruntime on x86", "openvino"):
            assert ("1 weight fills 8 bits" in said(path, runtime, fatal=False)) == full
    assert said(path, "onnxruntime on arm64", fatal=False) == ""
    assert "8 bits" not in said(quantized(tmp_path, most=127), "onnxruntime on x86", fatal=False)


def test_full_weights_are_counted_in_a_file_alone(tmp_path: Path) -> None:
    for most, full in ((64, 0), (127, 1)):
        assert full_weights.of_file(quantized(tmp_path, np.uint8, 128, most=most)) == full
    assert full_weights.of_file(quantized(tmp_path, most=127)) == 0  # signed activations
    plain = model(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {})
    assert full_weights.of_file(plain) == 0
    (tmp_path / "torn.onnx").write_bytes(b"QuantizeLinear" * 9)
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert full_weights.of_file(tmp_path / "torn.onnx") == full_weights.of_file(tmp_path / "empty.onnx") == 0


def test_the_file_that_bench_measures_has_its_full_weights_in_its_facts(tmp_path: Path) -> None:
    for most, facts in ((64, {}), (127, {"full_weights": 1})):
        path = quantized(tmp_path, np.uint8, 128, most=most)
        assert dict(ready.artifact(ready.bench_plan(str(path), ["onnxruntime"])).facts) == facts


def test_a_free_batch_of_int8_is_told_to_users_of_openvino(tmp_path: Path) -> None:
    for shape, told in ((["N", 4], True), ([1, 4], False), ([1, "N"], False)):
        path = quantized(tmp_path, np.uint8, 128, shape=shape)
        assert ("int8 with a free batch" in said(path, "openvino", fatal=False)) == told
    assert "free batch" not in said(
        model(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {}, ["N", 4]), "openvino", fatal=False
    )


def test_quantized_operators_are_not_for_openvino(tmp_path: Path) -> None:
    scalar = {"s": np.float32(0.1), "z": np.uint8(0), "w": np.ones((4, 3), np.int8), "wz": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "wz", "s", "z"], ["o"]),
        helper.make_node("DequantizeLinear", ["o", "s", "z"], ["y"]),
    ]
    path = model(tmp_path, nodes, scalar)
    assert "QLinearMatMul" in said(path, "openvino")
    assert "QLinearMatMul" in said(path, "tensorrt")
    assert said(path, "onnxruntime on x86") == ""
    assert look(path, "onnx").layers() == (1, 1)


def test_a_clip_between_the_pair_is_slow_on_openvino(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Clip", ["q", "z", "z"], ["c"], name="clip"),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    assert "clip" in said(model(tmp_path, nodes, {"s": np.float32(1), "z": np.int8(0)}), "openvino", fatal=False)


def test_foreign_operators_are_legal_nowhere(tmp_path: Path) -> None:
    path = model(tmp_path, [helper.make_node("Mine", ["x"], ["y"], domain="com.example")], {})
    for target in lint.RULES:
        assert "com.example.Mine" in said(path, target)


def test_onnxruntimes_own_operators_are_its_own(tmp_path: Path) -> None:
    path = model(tmp_path, [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], {})
    assert said(path, "onnxruntime on x86") == ""
    assert "com.microsoft.Gelu" in said(path, "tensorrt")


def test_layers_of_two_float_types_are_not_typed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    whole = model(tmp_path, nodes, {"w": np.ones((4, 3), np.float16)})
    assert said(whole, "tensorrt") == ""
    assert "cast" in said(whole, "onnxruntime on x86", fatal=False)
    facts = Facts(
        onnx_file.load(whole), {k: Tensor(dtype=v, shape=None) for k, v in (("h", "float16"), ("w", "float32"))}
    )
    assert any("typed" in f.text for f in lint.check(facts, "tensorrt"))


def test_double_layers_are_not_for_tensorrt(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    assert "float64" in said(model(tmp_path, nodes, {"w": np.ones((4, 3))}), "tensorrt")


def test_a_free_axis_needs_a_profile(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert "profile" in said(model(tmp_path, nodes, {}, ["N", 4]), "tensorrt", fatal=False)
    assert said(model(tmp_path, nodes, {}, [1, 4]), "tensorrt", fatal=False) == ""


def test_every_backend_is_told_and_the_legal_ones_come_first(tmp_path: Path) -> None:
    found = targets.judge(look(quantized(tmp_path, np.uint8, 128), "onnx"))
    names = [t.name for t in found]
    assert {"onnxruntime on x86", "onnxruntime on arm64", "openvino", "tensorrt", "litert", "executorch"} <= set(names)
    assert [t.legal for t in found] == sorted((t.legal for t in found), reverse=True)
    assert all(t.legal or t.reasons for t in found)
    assert next(t for t in found if t.name == "litert").reasons == ("opens tflite only",)


def test_a_list_of_names_is_cut(tmp_path: Path) -> None:
    assert lint.some(["a", "b"]) == "a, b"
    assert lint.some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_text_at_either_end_is_not_legal_where_only_numbers_are_taken(tmp_path: Path) -> None:
    names = helper.make_tensor("names", TensorProto.STRING, [4], [b"a", b"b", b"c", b"d"])
    nodes = [
        helper.make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "i"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (("x", TensorProto.FLOAT, ["N", 4]), ("y", TensorProto.STRING, ["N"]))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [names])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "m.onnx")
    )
    for target in ("openvino", "tensorrt"):
        assert "gives text: y" in said(tmp_path / "m.onnx", target)


def of_double(path: Path, op: str, *weights: Any, **attributes: Any) -> Path:
    names = [f"w{i}" for i in range(len(weights))]
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.DOUBLE),
        helper.make_node(op, ["h", *names], ["m"], name="layer", **attributes),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    return model(path, nodes, dict(zip(names, weights, strict=True)), [1, 2, 4, 4], opset=17)


@pytest.mark.parametrize(
    ("op", "weights", "attributes"),
    [
        ("Conv", [np.ones((3, 2, 3, 3))], {}),
        ("ConvTranspose", [np.ones((2, 3, 3, 3))], {}),
        ("AveragePool", [], {"kernel_shape": [2, 2]}),
        ("GlobalAveragePool", [], {}),
        ("InstanceNormalization", [np.ones(2), np.ones(2)], {}),
        ("Erf", [], {}),
        ("MaxPool", [], {"kernel_shape": [2, 2]}),
        ("MatMul", [np.ones((4, 3))], {}),
        ("BatchNormalization", [np.ones(2)] * 4, {}),
        ("Softmax", [], {}),
    ],
)
def test_double_is_legal_on_onnxruntime_where_it_loads(
    tmp_path: Path, op: str, weights: list[Any], attributes: dict[str, Any]
) -> None:
    path = of_double(tmp_path, op, *weights, **attributes)
    words = "" if loads(path) else f"no kernels for float64: {op} layer"
    assert said(path, "onnxruntime on x86") == said(path, "onnxruntime on arm64") == words


def loads(path: Path) -> bool:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except NoKernel:
        return False
    return True


def test_tensorrt_has_eight_axes_at_most(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert "more than 8 axes: x, y" in said(model(tmp_path, nodes, {}, [1] * 9), "tensorrt")
    assert said(model(tmp_path, nodes, {}, [1] * 8), "tensorrt") == ""


def test_an_axis_of_zero_is_not_free(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert said(model(tmp_path, nodes, {}, [0, 4]), "tensorrt", fatal=False) == ""


def test_a_dequantizer_of_other_numbers_is_one_of_its_own(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="in_q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["same"], name="same"),
        helper.make_node("DequantizeLinear", ["q", "t", "z"], ["other"], name="other"),
        helper.make_node("Add", ["same", "other"], ["y"]),
    ]
    weights = {"s": np.float32(0.1), "t": np.float32(0.2), "z": np.uint8(3)}
    assert "2 quantizers are uint8, and it takes int8 only: in_q, other" in said(
        model(tmp_path, nodes, weights), "tensorrt"
    )
