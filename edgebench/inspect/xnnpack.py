"""A graph that ExecuTorch gave to XNNPACK (backends/xnnpack/serialization/schema.fbs; tensors are NHWC)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebench.inspect import layers
from edgebench.inspect.flat import Table, root
from edgebench.inspect.graph import Node, Tensor

HEADER = b"XH00"
EXTERNAL = 0xFFFFFFFF
DTYPES = {
    1: "float32", 2: "float16", 3: "int8", 4: "uint8", 5: "int32", 6: "int8", 7: "int32", 8: "int4", 9: "int8",
    10: "int4", 11: "int8", 12: "int32", 13: "float32", 14: "bfloat16",
}  # fmt: skip
OPERATORS = (
    "Add", "FullyConnected", "Softmax", "Sigmoid", "StaticTranspose", "Clamp", "Conv2d", "Div", "StaticResizeBilinear2D",
    "StaticConstantPad", "AvgPooling2d", "Minimum", "DepthwiseConv2d", "MaxPooling2d", "Multiply", "Subtract", "Floor",
    "Convert", "GlobalAvgPooling2d", "StaticReshape", "ArgMaxPooling2d", "SquareRoot", "Ceiling", "Hardswish",
    "LeakyReLU", "Maximum", "Negate", "Square", "ELU", "Abs", "PReLU", "Concatenate2", "Concatenate3", "Concatenate4",
    "StaticSlice", "ScaledDotProductAttention", "BatchMatrixMultiply", "Concatenate5", "ConvTranspose2d",
    "ReciprocalSquareRoot", "Log", "Gelu", "Tanh", "Exp", "Sin", "Copy", "Cos",
)  # fmt: skip
"""In the order of XNodeUnion, from 1."""
TWO = {"Add", "Div", "Minimum", "Maximum", "Multiply", "Subtract", "PReLU", "BatchMatrixMultiply"}
CONVOLUTIONS = {"Conv2d", "DepthwiseConv2d", "ConvTranspose2d"}
FIELDS: Mapping[str, tuple[tuple[int, ...], int]] = {
    **dict.fromkeys(TWO, ((0, 1), 2)),
    **dict.fromkeys(CONVOLUTIONS, ((15, 16, 17), 18)),
    "FullyConnected": ((0, 1, 2), 3), "StaticTranspose": ((2,), 3), "StaticResizeBilinear2D": ((2,), 3),
    "StaticConstantPad": ((3,), 4), "AvgPooling2d": ((10,), 11), "MaxPooling2d": ((10,), 11), "StaticReshape": ((2,), 3),
    "StaticSlice": ((3,), 4), "ScaledDotProductAttention": ((0, 1, 2, 3, 4), 5), "ArgMaxPooling2d": ((6,), 7),
    "LeakyReLU": ((1,), 2), "ELU": ((1,), 2), "Concatenate2": ((1, 2), 5), "Concatenate3": ((1, 2, 3), 5),
    "Concatenate4": ((1, 2, 3, 4), 5), "Concatenate5": ((1, 2, 3, 4, 7), 5),
}  # fmt: skip
"""The numbers of the fields that name the inputs, and the output; those with one input have them at 0 and 1."""
LAYERS = {*CONVOLUTIONS, "FullyConnected", "BatchMatrixMultiply", "ScaledDotProductAttention"}
VIEWS = {"StaticReshape", "Convert", "Copy"}


@dataclass(frozen=True)
class Delegated:
    """The operators and tensors of one delegate. `external`: tensors that the program around it has planned. `keys`: under
    which the program keeps the constants that it shares between delegates."""

    nodes: list[Node]
    tensors: dict[str, Tensor]
    external: set[str]
    keys: dict[str, str]

    def inside(self) -> dict[str, Tensor]:
        """The tensors whose memory is the delegate's own."""
        return {name: tensor for name, tensor in self.tensors.items() if name not in self.external}


def read(payload: bytes, prefix: str) -> Delegated | None:
    """The graph within what the delegate was given; None where it is none that is known here."""
    try:
        return _read(payload, prefix)
    except (struct.error, IndexError, ValueError):
        return None  # of another version, or another delegate's: the program around it still tells its part


def _read(payload: bytes, prefix: str) -> Delegated | None:
    if payload[4:8] == HEADER:
        start = struct.unpack_from("<I", payload, 10)[0]
        payload = payload[start:]
    if payload[4:6] != b"XN":
        return None
    graph = root(payload)
    stored = [constant.text(2) for constant in graph.tables(8)]
    tensors, external, keys = {}, set(), {}
    for value in graph.tables(2):
        found = _tensor(value)
        if found is None:
            return None
        number, tensor, outer, buffer = found
        tensors[f"{prefix}{number}"] = tensor
        if 0 < buffer < len(stored) and stored[buffer]:
            keys[f"{prefix}{number}"] = stored[buffer]
        if outer:
            external.add(f"{prefix}{number}")
    nodes = [_node(node, prefix, tensors) for node in graph.tables(1)]
    return Delegated([node for node in nodes if node is not None], tensors, external, keys)


def _tensor(value: Table) -> tuple[int, Tensor, bool, int] | None:
    """Its number, what it is, whether it is external, and the place of its constant, 0 if it is none.

    A quantized one has the plain one within.
    """
    table = value.table(1)
    if table is not None and value.number(0, "<B") == 2:
        table = table.table(0)
    if table is None:
        return None
    dtype = DTYPES.get(table.number(0, "<h"), "")
    shape = tuple(table.numbers(2, "<I"))
    buffer = table.number(3, "<I")
    constant = buffer > 0
    tensor = Tensor(dtype=dtype, shape=shape, constant=constant, weight=constant and bool(shape))
    return table.number(6, "<I"), tensor, table.number(4, "<I") != EXTERNAL, buffer


def _node(node: Table, prefix: str, tensors: Mapping[str, Tensor]) -> Node | None:
    kind, table = node.number(0, "<B"), node.table(1)
    if table is None or not 1 <= kind <= len(OPERATORS):
        return None
    op = OPERATORS[kind - 1]
    given, made = FIELDS.get(op, ((0,), 1))
    names = [f"{prefix}{table.number(field, '<I', 0)}" for field in given]
    inputs = [name for name in names if name in tensors]
    output = f"{prefix}{table.number(made, '<I', 0)}"
    return Node(
        op=op,
        name="",
        inputs=tuple(inputs),
        outputs=(output,),
        macs=_macs(op, table, [tensors[n] for n in inputs], tensors.get(output)) if op in LAYERS else 0,
        layer=op in LAYERS,
        int8=op in LAYERS and len(inputs) > 1 and all(tensors[n].dtype in ("int8", "uint8") for n in inputs[:2]),
        fuses=op in VIEWS,
    )


def _macs(op: str, table: Table, given: Sequence[Tensor], output: Tensor | None) -> int | None:
    if output is None or len(given) < 2:
        return None
    if op in CONVOLUTIONS:
        height, width, inputs, outputs = (table.number(field, "<I") for field in (4, 5, 10, 11))
        if op == "ConvTranspose2d":
            return layers.transposed_convolution(given[0].shape, (height, width, outputs))
        return layers.convolution(output.shape, (height, width, inputs))
    data, other = given[0].shape, given[1].shape
    if op == "ScaledDotProductAttention":
        return layers.attention(data, other[-2] if other else None, other[-1] if other else None)
    return layers.matrix(output.shape, data[-1] if data else None)
