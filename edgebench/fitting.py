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
        if spec.dtype in ("object", "str", "string"):
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
        shape = _drawn(path, spec, shapes.get(spec.name), batches)
        size = max(batches) * count * math.prod(shape[1:]) * _width(spec.dtype)
        if size > MOST_BYTES:
            raise DataError(
                f'{count} random samples of input "{spec.name}", {layouts.shown(spec.shape)}, take {size / 2**30:,.0f} GiB.',
                "Export the network for a smaller input, or ask for a smaller batch or --shape.",
            )


def _drawn(path: Path, spec: TensorSpec, given: Sequence[int] | None, batches: Sequence[int]) -> list[int]:
    """The shape of what is drawn for an input."""
    if given is None:
        if None in spec.shape[1:]:
            raise DataError(
                f'Input "{spec.name}" has free axes: {layouts.shown(spec.shape)}.',
                f"Say its shape: --shape {layouts.typed(spec.name, spec.shape)}, for example.",
            )
        return [size or 1 for size in spec.shape]
    if spec.shape == (1,):
        return list(given)  # an ncnn file does not say how many axes there are
    same = len(given) == len(spec.shape)
    if not same or any(w not in (None, g) for w, g in zip(spec.shape[1:], given[1:], strict=True)):
        raise PlanError(
            f'Input "{spec.name}" of {path.name} is {layouts.shown(spec.shape)}, '
            f"and --shape says {layouts.shown(given)}.",
            "Give numbers for its free axes alone, and as many axes as it has.",
        )
    if given[0] not in (1, *batches):  # 1 stands for a sample
        raise PlanError(
            f"--shape {layouts.typed(spec.name, given)} says a batch of {given[0]}, and {_counted(batches)} is measured.",
            f"Write --shape {layouts.typed(spec.name, [1, *given[1:]])}, and ask for the batch with --batch {given[0]}.",
        )
    return list(given)


def _counted(batches: Sequence[int]) -> str:
    return " and ".join(map(str, batches))


def check_arrays(path: Path, specs: Sequence[TensorSpec], arrays: Mapping[str, Any]) -> None:
    """Raise DataError where the arrays are not the network's inputs, by name, by shape or by type.

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
        _check_type(path, spec, name.removeprefix("input:"), str(arrays[name].dtype))


def _check_type(path: Path, spec: TensorSpec, name: str, found: str) -> None:
    if found == spec.dtype or spec.dtype.startswith(("bfloat", "float8")):  # an .npz cannot hold those
        return
    raise DataError(
        f'Input "{spec.name}" of {path.name} is {spec.dtype}, and the data has {found}.',
        f'Save it in the type of the network: {name}.astype("{spec.dtype}").',
    )


def check_numbers(arrays: Mapping[str, Any]) -> None:
    """Raise DataError for inputs that no network can judge: texts and the like, NaN, infinity.

    Minus infinity is let through: attention masks are made of it.
    """
    import numpy as np

    for key, array in arrays.items():
        name = key.removeprefix("input:")
        if not key.startswith("input:"):
            continue
        if array.dtype.kind not in "fiubV":  # V: the small floats of ml_dtypes
            raise DataError(
                f'Input "{name}" of the data is of type {array.dtype}, and networks take numbers.',
                "Save numbers: what the network's own pre-processing makes.",
            )
        if array.dtype.kind != "f":
            continue
        wrong = (np.isnan(array) | np.isposinf(array)).reshape(len(array), -1).any(axis=1)
        if wrong.any():
            raise DataError(
                f'Input "{name}" of the data holds NaN or infinity in {wrong.sum()} of {len(wrong)} samples, '
                f"first in sample {wrong.argmax()}.",
                "Leave these samples out, or mend them.",
            )


def check_batches(sample_bytes: int, batches: Sequence[int]) -> None:
    """Raise PlanError for a batch of samples of so many bytes that no machine here holds."""
    size = max(batches) * sample_bytes
    if size > MOST_BYTES:
        raise PlanError(
            f"A batch of {max(batches):,} samples takes {size / 2**30:,.0f} GiB.", "Ask for a smaller --batch."
        )


def check_labels(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], labels: Any) -> None:
    """Raise DataError for labels that the first output has no class for, where the file says how many it has."""
    shape = outputs[0].shape
    batches = {None, *(spec.shape[0] for spec in inputs if spec.shape)}
    if len(shape) < 2 or None in shape[1:] or shape[0] not in batches:
        return
    classes, most = math.prod(size or 0 for size in shape[1:]), int(labels.max(initial=0))
    if most >= classes:
        raise DataError(
            f"The labels of the data go up to {most}, and {path.name} has {classes} classes, from 0 to {classes - 1}.",
            "Number the classes from 0 as the network does, or leave the labels out.",
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
