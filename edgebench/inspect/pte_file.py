"""ExecuTorch's .pte files (schema/program.fbs), and the graphs of its XNNPACK delegate within (serialization/schema.fbs)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgebench.errors import ModelError
from edgebench.inspect import layers, xnnpack
from edgebench.inspect.flat import Table, root
from edgebench.inspect.graph import Network, Node, Tensor, arena
from edgebench.schema import TensorSpec

DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool",
    15: "bfloat16",
}  # fmt: skip
TENSOR, KERNEL, DELEGATE = 5, 1, 2
"""Places in the unions KernelTypes and InstructionArguments."""
INLINE = 0
LAYERS = ("convolution", "addmm", "mm", "bmm", "linear")
EXTENDED = b"eh00"
FIX = "Give a whole .pte file: export or copy it again."


def read(path: Path, shapes: Mapping[str, Sequence[int]]) -> Network:
    """The network of the first method of a .pte file; a free axis counts at its upper bound. Raises ModelError."""
    content = path.read_bytes()
    if not content[4:8].startswith(b"ET"):
        raise ModelError(f"{path} is no .pte file: it does not say that it is an ExecuTorch program.", FIX)
    try:
        return _network(path, content)
    except struct.error as error:
        raise ModelError(f"{path} is cut short: a part of it lies beyond its {len(content)} bytes.", FIX) from error
    except (IndexError, ValueError, KeyError, OverflowError) as error:
        raise ModelError(f"{path} is damaged or cut short: {str(error).rstrip('.')}.", FIX) from error


@dataclass(frozen=True)
class _Program:
    """The tables of the file, and where its segments begin."""

    content: bytes
    program: Table
    base: int

    def delegate(self, table: Table) -> bytes:
        """What a delegate was given: inline, or in a segment."""
        reference = table.table(1)
        if reference is None:
            return b""
        place = reference.number(1, "<I")
        if reference.number(0, "<b") == INLINE:
            return self.program.tables(3)[place].raw(0)
        segment = self.program.tables(4)[place]
        start = self.base + segment.number(0, "<Q")
        return self.content[start : start + segment.number(1, "<Q")]


def _network(path: Path, content: bytes) -> Network:
    program = root(content)
    base = struct.unpack_from("<Q", content, 24)[0] if content[8:12] == EXTENDED else 0
    if base > len(content):
        raise ValueError(f"its weights begin at byte {base} of {len(content)}")
    ends = [base + segment.number(0, "<Q") + segment.number(1, "<Q") for segment in program.tables(4)]
    if ends and max(ends) > len(content):
        raise ValueError(f"it ends at byte {len(content)} of {max(ends)}")
    whole = _Program(content, program, base)
    plan = program.tables(1)[0]
    tensors, specs = _values(plan)
    nodes: list[Node] = []
    inner, counted = 0, set[str]()
    operators = [f"{o.text(0)}.{o.text(1)}".removesuffix(".") for o in plan.tables(6)]
    delegates = plan.tables(7)
    ids = [d.text(0) for d in delegates]
    for chain in plan.tables(5):
        for instruction in chain.tables(2):
            call = instruction.table(1)
            kind = instruction.number(0, "<B")
            if call is None or kind not in (KERNEL, DELEGATE):
                continue
            place, arguments = call.number(0), [str(i) for i in call.numbers(1) if str(i) in tensors]
            if kind == KERNEL:
                nodes.append(_kernel(operators[place], arguments, tensors))
                continue
            found = xnnpack.read(whole.delegate(delegates[place]), f"d{place}.")
            if found is None:
                nodes.append(Node(op=ids[place], name="", inputs=(), outputs=tuple(arguments[-1:]), macs=None))
                continue
            tensors |= _once(found, counted)
            nodes += found.nodes
            inner = max(inner, arena(found.nodes, found.inside(), (), ()) or 0)
    notes = (
        [
            f"{len(delegates)} part{' is' if len(delegates) == 1 else 's are'} delegated: {', '.join(dict.fromkeys(ids))}."
        ]
        if delegates
        else []
    )
    notes.append(f"The activations are what the file plans{' and the greatest delegate' if inner else ''}.")
    return Network(
        path=path,
        format="pte",
        inputs=_named("input", plan.numbers(3), specs),
        outputs=_named("output", plan.numbers(4), specs),
        tensors=tensors,
        nodes=nodes,
        made_by=f"ExecuTorch, {content[4:8].decode()}",
        arena=sum(plan.numbers(8, "<q")) + inner,
        notes=tuple(notes),
        size=len(content),
        custom=tuple(sorted({name for name in ids if not name.startswith("Xnn")})),
    )


def _once(found: xnnpack.Delegated, counted: set[str]) -> dict[str, Tensor]:
    """Its tensors, of which a constant that is kept once for several delegates is a weight of the first alone."""
    made = dict(found.tensors)
    for name, key in found.keys.items():
        if key in counted:
            made[name] = replace(made[name], weight=False)
        counted.add(key)
    return made


def _named(word: str, places: Sequence[int], specs: Mapping[str, TensorSpec]) -> tuple[TensorSpec, ...]:
    """The file names none: "input", "input1", ... is what the backend calls them."""
    found = [specs[str(place)] for place in places if str(place) in specs]
    return tuple(replace(spec, name=f"{word}{i}" if i else word) for i, spec in enumerate(found))


def _values(plan: Table) -> tuple[dict[str, Tensor], dict[str, TensorSpec]]:
    tensors, specs, counted = {}, {}, set[int]()
    for place, value in enumerate(plan.tables(2)):
        table = value.table(1)
        if value.number(0, "<B") != TENSOR or table is None:
            continue
        shape = tuple(table.numbers(2))
        dtype = DTYPES.get(table.number(0, "<b"), "")
        buffer = table.number(5, "<I")
        constant = buffer > 0 and table.table(6) is None
        weight = constant and "float" in dtype and buffer not in counted
        counted.add(buffer)
        tensors[str(place)] = Tensor(dtype=dtype, shape=shape, constant=constant, weight=weight)
        free = table.number(8, "<b") != 0
        specs[str(place)] = TensorSpec(
            name=f"value {place}", dtype=dtype, shape=(None, *shape[1:]) if free and shape else shape
        )
    return tensors, specs


def _kernel(operator: str, arguments: Sequence[str], tensors: Mapping[str, Tensor]) -> Node:
    """An operator that the delegate left behind; its output stands last among its arguments."""
    name = operator.removeprefix("aten::")
    layer = name.split(".")[0] in LAYERS
    return Node(
        op=name,
        name="",
        inputs=tuple(arguments[:-1]),
        outputs=tuple(arguments[-1:]),
        macs=_macs([tensors[a] for a in arguments]) if layer else 0,
        layer=layer,
    )


def _macs(given: Sequence[Tensor]) -> int | None:
    """Each element of the output reads a row of the weight: the tensor that is stored and has more than one axis."""
    weights = [t.count for t in given if t.constant and len(t.shape or ()) > 1]
    output = given[-1].shape if given else None
    if not weights or not output or len(output) < 2 or not output[1] or not weights[0]:
        return None
    return layers.matrix(output, weights[0] // output[1])
