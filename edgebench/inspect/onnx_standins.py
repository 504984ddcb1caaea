"""Standard operators in place of ONNX Runtime's quantized ones, of the same shapes: ONNX's inference knows only the former."""

from __future__ import annotations

from typing import Any

STANDARD = {
    "QLinearAdd": ("Add", (0, 3)), "QLinearMul": ("Mul", (0, 3)), "QLinearSigmoid": ("Sigmoid", (0,)),
    "QLinearLeakyRelu": ("LeakyRelu", (0,)), "QLinearSoftmax": ("Softmax", (0,)), "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)), "QGemm": ("Gemm", (0, 3)),
}  # fmt: skip
"""The operator that stands for each, and which of the operands are data: the others are scales and zero points."""
OWN_ATTRIBUTES = {"channels_last", "opset"}


def standard(node: Any) -> Any:
    """The operator that stands for this one; itself where it needs none, or where none has its shapes."""
    from onnx import helper

    channels_last = any(a.name == "channels_last" and a.i for a in node.attribute)
    if node.domain != "com.microsoft" or channels_last:
        return node
    if node.op_type == "QLinearConcat":  # scale and zero point of the output, then (data, scale, zero point) of each
        op, given = "Concat", list(node.input[2::3])
    elif node.op_type in STANDARD:
        op, places = STANDARD[node.op_type]
        given = [node.input[place] for place in places]
    else:
        return node
    made = helper.make_node(op, given, list(node.output), name=node.name)
    made.attribute.extend(a for a in node.attribute if a.name not in OWN_ATTRIBUTES)
    return made
