"""A network as its file describes it, whatever the format: tensors, and operators in the order in which they run. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgebench.errors import ModelError
from edgebench.schema import TensorSpec


class UnknownKind(ModelError):
    """A file that may be whole, but is of a kind that cannot be looked into."""


Shape = tuple[int | None, ...]
BITS = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "int64": 64, "uint64": 64, "int32": 32, "uint32": 32,
    "int16": 16, "uint16": 16, "int8": 8, "uint8": 8, "bool": 8, "int4": 4, "uint4": 4, "complex64": 64,
    "float8e4m3fn": 8, "float8e5m2": 8, "int2": 2,
}  # fmt: skip


PRECISIONS = {"float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "int32": "int32", "int64": "int64"}
"""What a network of such numbers is called; weights of fewer bits beside float layers make it no other than fp32."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """`shape` is None where it is not known, and holds None where one axis is not. `weight`: a trained number, no constant
    of the graph such as a target shape or a quantization scale."""

    dtype: str
    shape: Shape | None
    constant: bool = False
    weight: bool = False

    @property
    def count(self) -> int | None:
        """How many numbers it holds."""
        return product(self.shape)

    @property
    def nbytes(self) -> int | None:
        return None if self.count is None or self.dtype not in BITS else math.ceil(self.count * BITS[self.dtype] / 8)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator. `macs` is None where it cannot be told; a `layer` multiplies with weights or another matrix, and `int8`
    says whether its operands are. `fuses`: its output takes no memory of its own (a view, or a quantizer that runs
    within its neighbour)."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int | None = 0
    layer: bool = False
    int8: bool = False
    fuses: bool = False


@dataclass(frozen=True, kw_only=True)
class Network:
    """What one model file says. `arena` is the size of the activations where the file itself states it, in bytes."""

    path: Path
    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tensors: Mapping[str, Tensor]
    nodes: Sequence[Node]
    made_by: str = ""
    arena: int | None = None
    notes: tuple[str, ...] = ()
    size: int = 0
    custom: tuple[str, ...] = ()
    """Operators that are not the format's own."""
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of the axes of an input or output that has any; "" for an axis without."""
    misfit: str = ""
    """Why no runtime can load it, though the file is whole: shapes that do not fit each other."""
    ends: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    """The tensors of the inputs and outputs, where these are not called as the inputs and outputs are."""

    def ops(self) -> dict[str, int]:
        """How often each operator occurs, the most frequent first."""
        counted = Counter(node.op for node in self.nodes)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def macs(self) -> int | None:
        """Multiply-accumulates of all layers for one call of the network; None where one of them cannot be told."""
        each = [node.macs for node in self.nodes]
        return None if any(m is None for m in each) else sum(m or 0 for m in each)

    def parameters(self) -> int:
        return sum(t.count or 0 for t in self.tensors.values() if t.weight)

    def layers(self) -> tuple[int, int]:
        """Of the convolutions, matrix products and recurrent layers, how many are int8, and how many there are."""
        found = [node for node in self.nodes if node.layer]
        return sum(node.int8 for node in found), len(found)

    def weights(self) -> dict[str, int]:
        """Bytes of the trained numbers by their type."""
        return self._sums((t.dtype, t.nbytes or 0) for t in self.tensors.values() if t.weight)

    def activations(self) -> dict[str, int]:
        """How many tensors between the operators have each type."""
        return self._sums((t.dtype, 1) for t in self.tensors.values() if not t.constant and t.dtype)

    @staticmethod
    def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
        sums: dict[str, int] = {}
        for dtype, amount in pairs:
            sums[dtype] = sums.get(dtype, 0) + amount
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))

    def precision(self) -> str:
        """The precision that most of the layers, or their weights (without any: the first input), are of.

        int8, fp16, bf16 or fp32; fp64, int32 or int64 where a file is made of such.
        """
        int8, layers = self.layers()
        if layers and int8 > layers - int8:
            return "int8"
        most = next(iter(self.weights()), self.inputs[0].dtype if self.inputs else "float32")
        return PRECISIONS.get(most, "fp32")

    def peak(self) -> int | None:
        """The estimated peak of the activations in bytes; as the file states it, if it does."""
        if self.arena is not None:
            return self.arena
        named = [s.name for s in self.inputs], [s.name for s in self.outputs]
        return arena(self.nodes, self.tensors, *(self.ends or named))


def product(shape: Iterable[int | None] | None) -> int | None:
    """The number of elements; None where an axis is not known."""
    if shape is None:
        return None
    total = 1
    for axis in shape:
        if axis is None:
            return None
        total *= axis
    return total


def arena(
    nodes: Sequence[Node], tensors: Mapping[str, Tensor], inputs: Sequence[str], outputs: Sequence[str]
) -> int | None:
    """The most bytes of activations that are alive at once, operators in their order and none in place.

    An input lives until it is last used, an output to the end. A view shares the memory of its source, and of a quantizer
    and the float tensor that only it reads, the smaller of the two counts: runtimes fuse it into the neighbour. It is what
    an ideal allocator needs; padding, scratch memory of kernels and in-place operators move it to both sides.
    """
    owner = _owners(nodes, tensors, set(outputs))
    used = {name for node in nodes for name in node.inputs} | set(outputs)
    for name in [n for n in owner if n not in used and tensors[n].nbytes is None]:
        del owner[name]  # a second output that nobody asks for, a Dropout's mask say
    sizes: dict[str, int] = {}
    for name, root in owner.items():
        found = tensors[name].nbytes
        if found is None:
            return None
        sizes[root] = min(found, sizes.get(root, found))
    last = {owner[name]: -1 for name in inputs if name in owner}
    for place, node in enumerate(nodes):
        for name in (*node.inputs, *node.outputs):
            if name in owner:
                last[owner[name]] = place
    for name in outputs:
        if name in owner:
            last[owner[name]] = len(nodes)
    return _peak(nodes, owner, sizes, last, inputs)


def _peak(
    nodes: Sequence[Node],
    owner: Mapping[str, str],
    sizes: Mapping[str, int],
    last: Mapping[str, int],
    inputs: Sequence[str],
) -> int:
    ends: dict[int, list[str]] = {}
    for root, place in last.items():
        ends.setdefault(place, []).append(root)
    alive = {owner[name] for name in inputs if name in owner}
    now = peak = sum(sizes[root] for root in alive)
    for place, node in enumerate(nodes):
        for root in {owner[name] for name in node.outputs if name in owner} - alive:
            alive.add(root)
            now += sizes[root]
        peak = max(peak, now)
        for root in ends.get(place, ()):
            if root in alive:
                alive.remove(root)
                now -= sizes[root]
    return peak


def _owners(nodes: Sequence[Node], tensors: Mapping[str, Tensor], outputs: set[str]) -> dict[str, str]:
    """Every activation -> the one whose memory it is in."""
    readers = Counter(name for node in nodes for name in set(node.inputs))
    owner = {name: name for name, tensor in tensors.items() if not tensor.constant}

    def root(name: str) -> str:
        while owner[name] != name:
            name = owner[name]
        return name

    for node in nodes:
        if not node.fuses or not node.inputs or node.inputs[0] not in owner:
            continue
        source, made = node.inputs[0], node.outputs[0]
        before, after = tensors[source], tensors.get(made)
        if after is None or made not in owner:
            continue
        # A float tensor that others read, too, is there beside its quantized form.
        shrinks = (after.nbytes or 0) < (before.nbytes or 0)
        if not shrinks or (readers[source] == 1 and source not in outputs):
            owner[root(made)] = root(source)
    return {name: root(name) for name in owner}
