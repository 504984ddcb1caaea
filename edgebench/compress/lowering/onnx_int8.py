"""What could be int8 in an ONNX graph, and what is: one count for the facts of a file and for who looks into it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DATA_AND_WEIGHT = {
    "Conv": (0, 1), "ConvTranspose": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1), "FusedConv": (0, 1), "FusedGemm": (0, 1),
    "FusedMatMul": (0, 1), "ConvInteger": (0, 1), "MatMulInteger": (0, 1), "DynamicQuantizeMatMul": (0, 1),
    "MatMulIntegerToFloat": (0, 1), "QLinearConv": (0, 3), "QLinearMatMul": (0, 3), "QGemm": (0, 3),
}  # fmt: skip
"""The operand that is data and the one that is the weight (or the other matrix) of each layer."""
INTEGER = {"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
INTEGER |= {"QLinearConv", "QLinearMatMul", "QGemm"}
RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""The gates of each: every one multiplies the input and the state."""
ATTENTION = {"Attention", "MultiHeadAttention"}
CONTRACTION = "Einsum"
BYTES = {"int8", "uint8"}
CARRIES = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split", "MaxPool", "Identity"}
"""What hands quantized numbers on as they are: a runtime moves the quantizer before it to behind it."""


def is_layer(node: Any) -> bool:
    known = node.op_type in DATA_AND_WEIGHT or node.op_type in RECURRENT or node.op_type in ATTENTION
    return known or node.op_type == CONTRACTION


def is_int8(node: Any, made_by: Mapping[str, Any], dtype_of: Callable[[str], str]) -> bool:
    """Whether both operands are dequantized bytes (QDQ), or the operator computes on integers itself."""
    if node.op_type in INTEGER:
        return True
    return node.op_type in DATA_AND_WEIGHT and all(_is_bytes(name, made_by, dtype_of) for name in node.input[:2])


def _is_bytes(name: str, made_by: Mapping[str, Any], dtype_of: Callable[[str], str]) -> bool:
    maker = made_by.get(name)
    while maker is not None and maker.op_type in CARRIES:
        maker = made_by.get(maker.input[0])
    if maker is None or maker.op_type != "DequantizeLinear":
        return False
    return dtype_of(maker.input[0]) in {*BYTES, ""}


def coverage(model: Any) -> tuple[int, int]:
    """How many of the layers (convolutions, matrix products, recurrent layers) are int8, of how many.

    It is what the file asks for; what a runtime makes of it is in the row's effective configuration.
    """
    from onnx import TensorProto

    kinds = {tensor.name: TensorProto.DataType.Name(tensor.data_type).lower() for tensor in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    layers = [node for node in model.graph.node if is_layer(node)]
    return sum(is_int8(node, made_by, lambda name: kinds.get(name, "")) for node in layers), len(layers)
