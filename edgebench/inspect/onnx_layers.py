"""What is a layer in ONNX, what it multiplies, and which constants are weights: the standard's operators and ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebench.compress.lowering.onnx_int8 import ATTENTION, CONTRACTION, DATA_AND_WEIGHT, INTEGER, RECURRENT
from edgebench.inspect import layers
from edgebench.inspect.graph import Shape, Tensor, product


def macs(node: Any, tensors: Mapping[str, Tensor]) -> int | None:
    """Of one run of a layer; None where a shape is not known."""
    shapes = [tensors[name].shape if name in tensors else None for name in node.input]
    output = tensors[node.output[0]].shape if node.output[0] in tensors else None
    if node.op_type in RECURRENT:
        return _recurrent(RECURRENT[node.op_type], shapes)
    if node.op_type in ATTENTION:
        return _attention(shapes)
    if node.op_type == CONTRACTION:
        return _einsum(node, shapes)
    places = DATA_AND_WEIGHT[node.op_type]
    if len(shapes) <= max(places):
        return None
    data, weight = (shapes[i] for i in places)
    if not data or not weight:
        return None
    if node.op_type == "ConvTranspose":
        return layers.transposed_convolution(data, weight[1:])
    if "Conv" in node.op_type:
        return layers.convolution(_of(output, data, weight, node), weight[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    shared = data[-2] if transposed and len(data) > 1 else data[-1]
    return layers.matrix(output, shared)


def _of(output: Shape | None, data: Shape, weight: Shape, node: Any) -> Shape | None:
    """A convolution's output: by ONNX's inference, or (operators that it does not know) by the attributes."""
    if output is not None:
        return output
    given = {a.name: a for a in node.attribute}
    if "auto_pad" in given and given["auto_pad"].s not in (b"", b"NOTSET"):
        return None
    axes = len(data) - 2
    pads = list(given["pads"].ints) if "pads" in given else [0] * 2 * axes
    strides = list(given["strides"].ints) if "strides" in given else [1] * axes
    dilations = list(given["dilations"].ints) if "dilations" in given else [1] * axes
    sizes: list[int | None] = []
    for i in range(axes):
        size, kernel = data[2 + i], weight[2 + i]
        if size is None or kernel is None:
            return None
        sizes.append((size + pads[i] + pads[i + axes] - dilations[i] * (kernel - 1) - 1) // strides[i] + 1)
    return (data[0], weight[0], *sizes)


def _recurrent(gates: int, shapes: list[Shape | None]) -> int | None:
    """X (T, N, in), W (directions, gates * hidden, in), R (directions, gates * hidden, hidden)."""
    if len(shapes) < 3 or not shapes[0] or not shapes[1] or not shapes[2]:
        return None
    weights = [product(shapes[1]), product(shapes[2])]
    steps = product(shapes[0][:2])
    return None if steps is None or None in weights else steps * sum(w or 0 for w in weights)


def _attention(shapes: list[Shape | None]) -> int | None:
    """Query, key and value as (batch, heads, length, size) or (batch, length, heads * size)."""
    if len(shapes) < 3 or any(s is None or len(s) < 3 for s in shapes[:3]):
        return None
    query, key, value = (s for s in shapes[:3] if s)
    return layers.attention(query, key[-2], value[-1])


def _einsum(node: Any, shapes: list[Shape | None]) -> int | None:
    """Every index of two operands is run through once."""
    text = next((a.s.decode() for a in node.attribute if a.name == "equation"), "").replace(" ", "")
    terms = text.partition("->")[0].split(",")
    if "." in text or len(terms) != 2 or len(shapes) != 2:
        return None
    sizes: dict[str, int | None] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if shape is None or len(shape) != len(term):
            return None
        sizes.update(zip(term, shape, strict=True))
    return product(sizes.values())


def weights(graph: Any, origin: Mapping[str, str], sizes: Mapping[str, tuple[str, Shape | None]]) -> set[str]:
    """The constants that hold trained numbers: floats, and integers that stand for them.

    Scales, zero points, limits, target shapes and single numbers are none.
    """
    found: set[str] = set()
    for node in graph.node:
        if node.output and all(name in origin for name in node.output if name):
            continue
        for place, name in enumerate(node.input):
            root = origin.get(name)
            if root is None or place in _NOT_WEIGHTS.get(node.op_type, ()):
                continue
            dtype, shape = sizes.get(root, ("", None))
            whole = node.op_type in INTEGER and place in (DATA_AND_WEIGHT[node.op_type][1], _BIAS.get(node.op_type))
            stored = dtype if root == name else sizes.get(name, ("", None))[0]
            if shape and (whole or "float" in stored or (root != name and not stored)):
                found.add(root)
    return found


_BIAS = {"QLinearConv": 8, "QGemm": 6}
"""Where the int32 bias of each is."""
_NOT_WEIGHTS: dict[str, tuple[int, ...]] = {
    "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "Clip": (1, 2), "Pad": (2,), "Resize": (1, 2), "Upsample": (1,),
    "QLinearConv": (1, 2, 4, 5, 6, 7), "QLinearMatMul": (1, 2, 4, 5, 6, 7), "QGemm": (1, 2, 4, 5, 7, 8), "Range": (0, 1, 2),
    "OneHot": (2,), "NonMaxSuppression": (3, 4), "DynamicQuantizeMatMul": (2, 3), "MatMulIntegerToFloat": (2, 3, 4, 5),
}  # fmt: skip
