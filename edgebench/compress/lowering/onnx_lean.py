"""An int8 ONNX graph without what no runtime needs: a percent of the file of a small network."""

from __future__ import annotations

from typing import Any

INT32 = 6
"""onnx.TensorProto.INT32: of biases."""
ZERO_POINT = 2
"""The place of the zero point among a dequantizer's inputs."""


def lean(graph: Any) -> None:
    """Drop the shapes of tensors between the layers, which every runtime infers, and the zero points of biases.

    These are 0 by the operator's own rule ("no zero point for int32", DequantizeLinear of ONNX), and as wide as the biases
    themselves. Those of weights stay: onnxruntime's kernels change them in place.
    """
    del graph.value_info[:]
    stored = {tensor.name: tensor for tensor in graph.initializer}
    spare = set()
    for node in graph.node:
        zero = node.input[ZERO_POINT] if node.op_type == "DequantizeLinear" and len(node.input) > ZERO_POINT else ""
        if zero in stored and stored[zero].data_type == INT32:
            del node.input[ZERO_POINT:]
            spare.add(zero)
    for name in spare - {name for node in graph.node for name in node.input}:
        graph.initializer.remove(stored[name])
