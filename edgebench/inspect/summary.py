"""One model file in plain words and numbers: what `edgebench inspect` shows and writes as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench import layouts
from edgebench.errors import PlanError, did_you_mean
from edgebench.inspect import look, targets
from edgebench.inspect.graph import Network
from edgebench.schema import TensorSpec

SHAPED = ("onnx", "ncnn")
"""Formats whose readers work out every shape from those of the inputs."""


def summary(path: Path, form: str, shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, Any]:
    """Everything that is shown of a file, in raw numbers: bytes, MACs of one call, counts. Missing is None."""
    network = look(path, form, shapes)
    _check_shapes(network, shapes or {})
    int8, layers = network.layers()
    return {
        "file": str(path),
        "format": network.format,
        "size": network.size,
        "made_by": network.made_by,
        "precision": network.precision(),
        "inputs": [_spec(spec, network) | _taken(spec, shapes or {}) for spec in network.inputs],
        "outputs": [_spec(spec, network) for spec in network.outputs],
        "batch": batch(network, shapes or {}),
        "operators": network.ops(),
        "layers": layers,
        "int8_layers": int8,
        "int8_coverage": int8 / layers if layers else None,
        "macs": network.macs(),
        "parameters": network.parameters(),
        "weights": network.weights(),
        "activations": network.activations(),
        "activation_arena": network.peak(),
        "custom_operators": list(network.custom),
        "targets": targets.as_json(targets.judge(network)),
        "notes": [*network.notes, *_hint(network, shapes or {})],
    }


def _check_shapes(network: Network, shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise PlanError for a shape that nothing would be done with."""
    specs = {spec.name: spec for spec in network.inputs}
    for name, shape in shapes.items():
        if network.format not in SHAPED:
            raise PlanError(f"A {network.format} file is looked into in its own shapes.", "Leave --shape out.")
        if name not in specs:
            raise PlanError(f'{network.path.name} has no input "{name}" to give a shape to.', did_you_mean(name, specs))
        own = specs[name].shape
        if len(own) != len(shape) or any(o not in (None, s) for o, s in zip(own, shape, strict=True)):
            raise PlanError(
                f'The input "{name}" of {network.path.name} is {list(own)}, and {list(shape)} does not fit it.',
                "Give numbers for its free axes alone.",
            )


def _spec(spec: TensorSpec, network: Network) -> dict[str, Any]:
    dtype = "string" if spec.dtype == "object" else spec.dtype  # numpy's name of text
    names = network.axes.get(spec.name)
    named = {"axes": list(names)} if names and len(names) == len(spec.shape) else {}
    return {"name": spec.name, "dtype": dtype, "shape": list(spec.shape), **named}


def _taken(spec: TensorSpec, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    return {"taken_as": list(shapes[spec.name])} if spec.name in shapes else {}


def _hint(network: Network, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """What to give where free axes beside the batch leave the arithmetic open."""
    free = [s for s in network.inputs if None in s.shape[1:] and s.name not in shapes]
    if not free or network.format not in SHAPED or None not in (network.macs(), network.peak()):
        return []
    asked = " ".join(f"--shape {layouts.typed(spec.name, spec.shape)}" for spec in free)
    return [f"Free axes leave MACs or activations open. Give their sizes, as in: {asked}"]


def batch(network: Network, shapes: Mapping[str, Sequence[int]]) -> int:
    """The batch that MACs and activations are of: that of the file; where it is free, the given one, or 1."""
    given = {spec.name: shapes[spec.name][0] for spec in network.inputs if shapes.get(spec.name)}
    first = {spec.shape[0] or given.get(spec.name) for spec in network.inputs if len(spec.shape) > 1}
    return next(iter(first)) or 1 if len(first) == 1 else 1
