"""Whether a ready file can be fed what was asked for: what the host knows costs no row, it is refused before there is any."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench import layouts
from edgebench.errors import DataError, ModelError, PlanError, did_you_mean
from edgebench.schema import TensorSpec

Shapes = Mapping[str, Sequence[int]]
COMMON = ("input", "inputs", "x", "arr_0")
"""Names of an array that stand for the only input; arr_0 is numpy.savez's own."""
MOST_BYTES = 1 << 34
"""Of random samples that each worker draws: more was hardly meant, and every worker holds them twice."""


def check_inputs(path: Path, specs: Sequence[TensorSpec], batches: Sequence[int]) -> None:
    """Raise ModelError for inputs that cannot be fed at all, or not in these batches."""
    for spec in specs:
        if spec.dtype in ("object", "str"):
            raise ModelError(
                f'Input "{spec.name}" of {path.name} takes text, and only numbers can be fed here.',
                "Export the network without the step that reads text: from the numbers that step makes.",
            )
        if 0 in spec.shape:
            raise ModelError(
                f'Input "{spec.name}" of {path.name} is {layouts.shown(spec.shape)}: an axis of 0 holds no number.',
                "Export the network with that axis free, or of its true size.",
            )
        if not spec.shape:
            raise ModelError(
                f'Input "{spec.name}" of {path.name} is a scalar: it has no axis for the batch, and so no samples.',
                "Export the network with a batch axis in front of that input, or make the scalar a constant of it.",
            )
        fixed = spec.shape[0] if len(spec.shape) > 1 else None
        wrong = [batch for batch in batches if fixed and batch != fixed]
        if wrong:
            raise ModelError(
                f"{path.name} is fixed to a batch of {fixed}, and {wrong[0]} was asked for.",
                f"Ask for batch {fixed}, or export the network with a free batch axis.",
            )


def check_shapes(path: Path, specs: Sequence[TensorSpec], shapes: Shapes, batches: Sequence[int], count: int) -> None:
    """Raise DataError, ModelError or PlanError where no random inputs can be drawn: names, ranks, free axes, sizes."""
    for name in shapes:
        if name not in {spec.name for spec in specs}:
            raise PlanError(
                f"The network has no input '{name}' to give a shape to.",
                did_you_mean(name, [spec.name for spec in specs]),
            )
    for spec in specs:
        shape = _drawn(path, spec, shapes.get(spec.name))
        size = max(batches) * count * math.prod(shape[1:]) * _width(spec.dtype)
        if size > MOST_BYTES:
            raise DataError(
                f'{count} random samples of input "{spec.name}", {layouts.shown(spec.shape)}, take {size / 2**30:,.0f} GiB.',
                "Export the network for a smaller input, or ask for a smaller batch or --shape.",
            )


def _drawn(path: Path, spec: TensorSpec, given: Sequence[int] | None) -> list[int]:
    """The shape of what is drawn for an input."""
    if given is None:
        if None in spec.shape[1:]:
            said = "x".join(str(size or 8) for size in (1, *spec.shape[1:]))
            raise DataError(
                f'Input "{spec.name}" has free axes: {layouts.shown(spec.shape)}.',
                f"Say its shape: --shape {spec.name}={said}, for example.",
            )
        return [size or 1 for size in spec.shape]
    same = len(given) == len(spec.shape)
    if not same or any(w not in (None, g) for w, g in zip(spec.shape[1:], given[1:], strict=True)):
        raise PlanError(
            f'Input "{spec.name}" of {path.name} is {layouts.shown(spec.shape)}, '
            f"and --shape says {layouts.shown(given)}.",
            "Give numbers for its free axes alone, and as many axes as it has.",
        )
    return list(given)


def check_arrays(path: Path, specs: Sequence[TensorSpec], arrays: Mapping[str, Any]) -> None:
    """Raise DataError where the arrays are not the network's inputs, by name or by shape.

    The one input of a network may be called what inputs are called everywhere (`COMMON`); any other name is a mistake.
    """
    names = sorted(name.removeprefix("input:") for name in arrays if name.startswith("input:"))
    wanted = [spec.name for spec in specs]
    alone = len(wanted) == len(names) == 1 and names[0] in COMMON
    if names != sorted(wanted) and not alone:
        raise DataError(
            f"{path.name} wants {_named(wanted)}, and the data has {_named(names)}.",
            "Name the arrays of the data after the inputs of the network, and the labels labels.",
        )
    for spec, name in layouts.paired(specs, arrays):
        found = arrays[name].shape
        fits = len(found) == len(spec.shape) and all(
            w in (None, f) for w, f in zip(spec.shape[1:], found[1:], strict=True)
        )
        if not fits:
            raise DataError(
                f'Input "{spec.name}" of {path.name} has the shape {layouts.shown(spec.shape)}, '
                f"and the data has {layouts.shown(found)}.",
                "Give data of the network's shape, or a network for data of this shape.",
            )


def _named(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) if names else "nothing"


def _width(dtype: str) -> int:
    """Bytes while a sample is drawn: normal numbers come as float32, whole ones as int64."""
    return 4 if dtype.startswith(("float", "bfloat")) else 8


def check_threads(threads: Sequence[int]) -> None:
    """Raise PlanError for what was hardly meant here; somewhat more threads than CPUs is a row that says so."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = max(threads)
    if most > 4 * cpus:
        raise PlanError(
            f"{most} threads were asked for, and {cpus} CPUs may be used here.", f"Ask for {cpus} threads or fewer."
        )
