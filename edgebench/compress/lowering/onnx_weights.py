"""Weights of an ONNX graph with fewer than 8 bits: onnxruntime's quantizer knows 8 and 7, and takes any size of a step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress.quantization import grid

Scales = dict[str, list[dict[str, Any]]]
"""onnxruntime's TensorQuantOverrides: of each weight's name one entry, or one for every channel."""


def scales(layers: Sequence[Any], graph: Any, by_channel: Collection[str], bits: int) -> Scales:
    """For the weights of these layers, by channel for these kinds of them, of so many bits; none for 8, onnxruntime's own."""
    from onnx import numpy_helper

    if bits == grid.MOST_BITS:
        return {}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found = {node.input[1]: (node, numpy_helper.to_array(stored[node.input[1]])) for node in layers}
    return {
        name: _entries(node, weight, node.op_type in by_channel, grid.steps(bits))
        for name, (node, weight) in found.items()
    }


def _entries(node: Any, weight: NDArray[Any], per_channel: bool, most: int) -> list[dict[str, Any]]:
    axis = channel_axis(node, weight.ndim)
    if not per_channel or weight.ndim < 2:
        return [{"scale": _step(np.abs(weight).max(initial=0), most), "zero_point": np.int8(0)}]
    peaks = np.abs(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)).max(1)
    return [{"axis": axis, "scale": _step(peak, most), "zero_point": np.int8(0)} for peak in peaks]


def _step(peak: Any, most: int) -> np.float32:
    return np.float32(peak / most if peak > 0 else 1)


def channel_axis(node: Any, axes: int) -> int:
    """Which axis of a layer's weight its output channels lie on."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type, axes - 1)


def put(graph: Any, scales: Scales, most: int) -> None:
    """Round these weights of a float graph to whole steps, `most` of them to either side."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        if tensor.name in scales:
            weight, entries = numpy_helper.to_array(tensor), scales[tensor.name]
            along = [-1 if axis == entries[0].get("axis") else 1 for axis in range(weight.ndim)]
            step = np.array([entry["scale"] for entry in entries], np.float32).reshape(along)
            rounded = (np.clip(np.rint(weight / step), -most, most) * step).astype(weight.dtype)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
