"""TensorRT's ONNX files: each tensor's type stands in the graph, since newer versions have no other way to say it.

fp16 is the float graph with half-precision weights, constants and arithmetic, between float32 inputs and outputs. int8 is
symmetric s8 quantize-dequantize pairs around float layers with a float bias, and what is left is fp16 as well: a strongly typed
build runs exactly what the graph says, so that a float32 rest would run as such. Rules: NVIDIA, "Working with Quantized Types".
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress.lowering import lower_onnx
from edgebench.compress.lowering.export import clean
from edgebench.compress.quantization.calibration import Samples
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize

HALF_SCALES = 19
"""The opset from which a scale may be fp16."""
GREATEST_HALF = 65504.0
MASK = 1e30
SCALE_ERROR = 0.01
"""How far a scale may be off in fp16; beyond it the rest of that graph stays float32. (int8 itself rounds by 0.4 %.)"""
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def halve(source: Path, path: Path) -> dict[str, Any]:
    """Write the float ONNX file `source` with all arithmetic in fp16. Inputs and outputs stay float32. Raises ModelError."""
    import onnx

    with quiet(), tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole.onnx")
        lower_onnx.copy(source, whole)
        model = onnx.load(whole)
        _check_range(model, source)
        _write(_half(model), path)
    return {"rest": "fp16"}


def quantize(source: Path, samples: Samples, asked: Quantize, path: Path) -> dict[str, Any]:
    """Write the int8 form of a float ONNX file for TensorRT. Raises ModelError or DataError."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        signed = Path(folder, "signed.onnx")
        facts = lower_onnx.quantize(source, samples, asked, signed, signed=True)
        model = onnx.load(signed)
    with quiet():
        float_biases(model)
        drop_zero_points(model)
        why_float = _why_float(model)
        _write(model if why_float else _half(model), path)
    return {**facts, "rest": "fp32" if why_float else "fp16", **({"rest_reason": why_float} if why_float else {})}


def float_biases(model: Any) -> None:
    """Make float32 weights of int32 ones behind a DequantizeLinear: TensorRT dequantizes s8 only."""
    from onnx import numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == DEQUANTIZE and n.input[0] in weights]:
        stored = numpy_helper.to_array(weights[node.input[0]])
        if stored.dtype != np.int32:
            continue
        scale = numpy_helper.to_array(weights[node.input[1]]).astype(np.float64)
        real = (stored * scale).astype(np.float32)  # of one axis: scales per channel lie along it
        graph.initializer.append(numpy_helper.from_array(real, node.output[0]))
        graph.node.remove(node)
    _drop_unused(graph)


def drop_zero_points(model: Any) -> None:
    """Take the zero points away where ONNX can do without.

    A DequantizeLinear has the type of its input. A QuantizeLinear without one means u8, so it keeps an s8 zero; TensorRT
    reads that as none. Raises ModelError for any other zero point.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in (QUANTIZE, DEQUANTIZE) or len(node.input) < 3:
            continue
        zero = weights.get(node.input[2])
        array = None if zero is None else numpy_helper.to_array(zero)
        if array is None or array.dtype != np.int8 or array.any():
            raise ModelError(
                f"TensorRT takes symmetric s8 only, and {node.name or node.output[0]} has the zero point {node.input[2]}.",
                "Quantize with symmetric ranges, or give the float network.",
            )
        if node.op_type == DEQUANTIZE:
            del node.input[2]
    _drop_unused(model.graph)


def _why_float(model: Any) -> str:
    """Why the rest of a quantized graph cannot be fp16; "" when it can."""
    from onnx import numpy_helper

    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < HALF_SCALES:
        return f"fp16 scales need opset {HALF_SCALES}, and the network has {opset}"
    scales = {n.input[1] for n in model.graph.node if n.op_type in (QUANTIZE, DEQUANTIZE)}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32:
            continue
        if not _fits(array):
            return f"{tensor.name} does not fit into fp16"
        if tensor.name in scales:
            error = np.abs(array.astype(np.float16).astype(np.float32) - array) / np.abs(array)
            if not error.max(initial=0) <= SCALE_ERROR:
                return f"the scale {tensor.name} is too small for fp16"
    return ""


def _check_range(model: Any, source: Path) -> None:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and not _fits(array):
            raise ModelError(
                f"The weights {tensor.name} of {source.name} do not fit into fp16, whose greatest number is 65504.",
                "Ask for fp32 or bf16, or scale the network.",
            )


def _fits(array: NDArray[Any]) -> bool:
    """Whether fp16 can hold it. What masks are made of, infinities and numbers like -3e38, may become the greatest there is."""
    size = np.abs(array)
    return not bool(((size > GREATEST_HALF) & (size < MASK)).any() or np.isnan(array).any())


def _half(model: Any) -> Any:
    """The graph in fp16, by onnxruntime's converter, which knows the operators that take float32 only."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        made = convert_float_to_float16(model, keep_io_types=True)
    except Exception as error:
        raise ModelError(
            f"onnxruntime cannot make this network fp16: {first_line(error)}.", "Ask for fp32 instead."
        ) from error
    _sort(made.graph)
    return made


def _sort(graph: Any) -> None:
    """Put every node behind those that it reads: the converter appends its casts at the end."""
    made_here = {name for node in graph.node for name in node.output}
    waiting, ready, done = list(graph.node), [], set[str]()
    while waiting:
        able = [n for n in waiting if all(i in done or i not in made_here for i in _reads(n))]
        if not able:
            raise ModelError("The network has a cycle of operators.", "Export it again.")
        ready += able
        done |= {name for node in able for name in node.output}
        chosen = {id(node) for node in able}
        waiting = [n for n in waiting if id(n) not in chosen]
    copies = [type(node).FromString(node.SerializeToString(deterministic=True)) for node in ready]
    del graph.node[:]
    graph.node.extend(copies)


def _reads(node: Any) -> list[str]:
    """Every name that a node reads, those of its inner graphs included."""
    inner = [g for a in node.attribute for g in ([a.g] if a.HasField("g") else list(a.graphs))]
    return [*node.input, *(name for graph in inner for n in graph.node for name in _reads(n))]


def _write(model: Any, path: Path) -> None:
    import onnx

    model.graph.ClearField("value_info")  # of the float graph: tools believe it, and it is not so any more
    clean(model)
    try:
        # Types above all. Not by opening a session: onnxruntime 1.32 can crash on fp16 graphs that are right.
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except Exception as error:
        raise ModelError(f"The typed graph is not whole: {first_line(error)}.", "Ask for fp32 instead.") from error
    path.write_bytes(model.SerializeToString(deterministic=True))


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    keep = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(keep)


def types(model: Any) -> Mapping[str, int]:
    """How many numbers the weights of a graph hold, by their type: {"int8": 70000, "float16": 300}."""
    from onnx import helper

    found: dict[str, int] = {}
    for tensor in model.graph.initializer:
        name = str(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        found[name] = found.get(name, 0) + int(np.prod(tuple(tensor.dims), dtype=np.int64))
    return found
