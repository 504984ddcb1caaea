"""What became of a network's operators: which the delegate took, and what the heavy ones compute in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgebench.backend import np

RECURRENT = {
    "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF",
}  # fmt: skip
HEAVY_OPS = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL", *RECURRENT,
}  # fmt: skip
"""What the precision of a network is judged by."""

INTEGERS = (np.int8, np.uint8, np.int16)


def placement(ops: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Precision and place from the interpreter's list of operators, in which a delegate's parts come last.

    An operator that works on weights alone (a cast of stored fp16, say) is done once, and does not count.
    """
    own = [op for op in ops if op["op_name"] != "DELEGATE"]
    parts = [op for op in ops if op["op_name"] == "DELEGATE"]
    made_by = {int(i): op for op in own for i in op["outputs"]}
    constant = _constants(own, made_by)
    counted = {op["index"]: op["op_name"] for op in own if not set(map(int, op["outputs"])) <= constant}
    taken = set().union(*(_behind(part, made_by) for part in parts)) & set(counted)
    heavy = [_precision(op, made_by) for op in own if op["op_name"] in HEAVY_OPS]
    return {
        # What most of the heavy operators run in: an int8 file that runs mostly in float is not int8.
        "precision": max(sorted(set(heavy)), key=heavy.count) if heavy else "fp32",
        "int8_ops": heavy.count("int8"),
        "float_ops": len(heavy) - heavy.count("int8"),
        "fp16_weights": heavy.count("fp16"),
        "ops": len(counted),
        "delegated_ops": len(taken),
        "delegate_parts": len(parts),
        "not_delegated": sorted({counted[i] for i in set(counted) - taken}),
    }


def _constants(own: Sequence[Mapping[str, Any]], made_by: Mapping[int, Any]) -> set[int]:
    """Tensors that hang on weights alone: found in one pass, since operators come in the order they run."""
    found: set[int] = set()
    for op in own:
        inputs = [int(i) for i in op["inputs"] if i >= 0]
        if op["op_name"] == "DEQUANTIZE" and all(i in found or i not in made_by for i in inputs):
            found |= {int(i) for i in op["outputs"]}
    return found


def _behind(part: Mapping[str, Any], made_by: Mapping[int, Mapping[str, Any]]) -> set[int]:
    """The operators between a delegate part's inputs and outputs."""
    stop, found = {int(i) for i in part["inputs"]}, set()
    left = [int(i) for i in part["outputs"]]
    while left:
        op = made_by.get(left.pop())
        if op is not None and op["index"] not in found:
            found.add(op["index"])
            left += [int(i) for i in op["inputs"] if int(i) not in stop]
    return found


def _precision(op: Mapping[str, Any], made_by: Mapping[int, Mapping[str, Any]]) -> str:
    """int8 with float activations (dynamic) is int8; fp16 weights that are cast when loaded are fp16."""
    place = 2 if op["op_name"] in RECURRENT else 1  # of the weights: a recurrent layer may be without the first
    if op["operand_types"][place] in INTEGERS:
        return "int8"
    source = made_by.get(int(op["inputs"][place]))
    stored = source["operand_types"][0] if source and source["op_name"] == "DEQUANTIZE" else None
    return "fp16" if stored == np.float16 or op["operand_types"][place] == np.float16 else "fp32"
