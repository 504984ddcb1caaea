"""What the lint rules ask of an ONNX graph: its quantizers, the types of its tensors, who makes and who reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

from edgebench.inspect.graph import Tensor

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
INT8 = 3
"""onnx.TensorProto.INT8."""
OWN_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A quantizer and its dequantizer, or one that is alone. `constant`: it dequantizes stored numbers."""

    op: str
    name: str
    dtype: str
    scales: int
    scale: Any
    zero: Any
    constant: bool
    feeds: tuple[tuple[str, int], ...]
    """What reads its result: operator and operand."""


class Facts:
    """What the rules ask of a graph; everything is looked up once."""

    def __init__(self, model: Any, tensors: Mapping[str, Tensor]) -> None:
        self.graph = model.graph
        self.opset = max((e.version for e in model.opset_import if e.domain in OWN_DOMAINS), default=0)
        self.dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.stored = {w.name: w for w in model.graph.initializer}
        for node in model.graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self.stored[node.output[0]] = attribute.t
        self.ops = {node.op_type for node in model.graph.node}
        self.foreign = sorted({f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain not in OWN_DOMAINS})

    @cached_property
    def makers(self) -> dict[str, Any]:
        return {name: node for node in self.graph.node for name in node.output}

    @cached_property
    def readers(self) -> dict[str, list[tuple[Any, int]]]:
        found: dict[str, list[tuple[Any, int]]] = {}
        for node in self.graph.node:
            for place, name in enumerate(node.input):
                found.setdefault(name, []).append((node, place))
        return found

    @cached_property
    def pairs(self) -> list[Pair]:
        """A dequantizer is told with its quantizer, unless its numbers are others."""
        return [
            self._pair(n)
            for n in self.graph.node
            if n.op_type == "QuantizeLinear" or (n.op_type == "DequantizeLinear" and not self._told(n))
        ]

    def _told(self, node: Any) -> bool:
        maker = self.makers.get(node.input[0])
        if maker is None or maker.op_type != "QuantizeLinear":
            return False
        return all(
            one == other or self._same(one, other)
            for one, other in zip_longest(node.input[1:], maker.input[1:], fillvalue="")
        )

    def _same(self, one: str, other: str) -> bool:
        first, second = self.value(one), self.value(other)
        return first is not None and second is not None and first.tolist() == second.tolist()

    def _pair(self, node: Any) -> Pair:
        quantized = node.input[0] if node.op_type == "DequantizeLinear" else node.output[0]
        zero = self.value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        scale = self.value(node.input[1])
        dtype = self.dtypes.get(quantized, "") or (str(zero.dtype) if zero is not None else "uint8")
        return Pair(
            op=node.op_type,
            name=node.name or node.output[0],
            dtype=dtype,
            scales=1 if scale is None else int(scale.size),
            scale=scale,
            zero=zero,
            constant=node.input[0] in self.stored,
            feeds=tuple((reader.op_type, place) for reader, place in self.readers.get(node.output[0], ())),
        )

    def value(self, name: str) -> Any:
        """The numbers of a stored tensor; None for one that is computed."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.stored[name]) if name in self.stored else None

    @cached_property
    def activations(self) -> list[Pair]:
        return [p for p in self.pairs if not p.constant]

    @cached_property
    def int8_weights(self) -> list[str]:
        """The stored int8 tensors that layers multiply by, dequantized before or taken as they are."""
        stored = [
            name for name in self.stored if self.stored[name].data_type == INT8 and len(self.stored[name].dims) > 1
        ]
        return sorted(stored)

    @cached_property
    def floats(self) -> set[str]:
        """The float types of the operands of its layers."""
        kinds = {self.dtypes.get(name, "") for n in self.layers for name in n.input[:2]}
        return {k for k in kinds if "float" in k}

    @cached_property
    def layers(self) -> list[Any]:
        return [n for n in self.graph.node if n.op_type in LAYERS]
