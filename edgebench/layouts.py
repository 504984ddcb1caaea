"""The order of the axes of pictures: NCHW against NHWC, found and named. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.errors import DataError
from edgebench.schema import TensorSpec

LAYOUTS = {"NCHW": (0, 3, 1, 2), "NHWC": (0, 2, 3, 1)}
"""The order of axes that turns the other layout into this one."""


def picture_layout(spec: TensorSpec, path: Path) -> tuple[str, int, int | None, int | None]:
    """(layout, channels, height, width) of an input that takes pictures. Raises DataError for any other."""
    if len(spec.shape) == 4:
        _, a, b, c = spec.shape
        if a in (1, 3) and c not in (1, 3):
            return "NCHW", a, b, c
        if c in (1, 3) and a not in (1, 3):
            return "NHWC", c, a, b
        if a in (1, 3):  # 3 x 3 x 3: ONNX and torch have the channels in front
            return "NCHW", a, b, c
    raise DataError(
        f'Input "{spec.name}" of {path.name} is {shown(spec.shape)}, which is no picture of 1 or 3 channels.',
        "Give its inputs as an .npz.",
    )


def shown(shape: Sequence[int | None]) -> str:
    """`N x 3 x 32 x 32`."""
    return " x ".join("N" if size is None and not axis else "?" if size is None else str(size)
                      for axis, size in enumerate(shape))  # fmt: skip


def typed(name: str, shape: Sequence[int | None]) -> str:
    """`input=1x3x224x224`, as --shape takes it; a free axis is 1 at the front and 8 elsewhere, for an example."""
    return f"{name}={'x'.join(str(size or (8 if axis else 1)) for axis, size in enumerate(shape))}"


def layout_of(spec: TensorSpec, shape: Sequence[int]) -> str:
    """The layout that the network wants where an array is in the other one: "NCHW" or "NHWC"; "" where it fits or cannot."""
    wanted, found = spec.shape[1:], tuple(shape[1:])
    if len(spec.shape) != 4 or len(shape) != 4 or _fits(wanted, found):
        return ""
    return next((name for name, order in LAYOUTS.items() if _fits(wanted, [shape[i] for i in order[1:]])), "")


def _fits(wanted: Sequence[int | None], found: Sequence[int]) -> bool:
    return len(wanted) == len(found) and all(w in (None, f) for w, f in zip(wanted, found, strict=True))


def paired(specs: Sequence[TensorSpec], arrays: Mapping[str, Any]) -> list[tuple[TensorSpec, str]]:
    """Each input and the name of its array; one input needs no name."""
    names = [name for name in arrays if name.startswith("input:")]
    if len(specs) == 1 and len(names) == 1:
        return [(specs[0], names[0])]
    return [(spec, f"input:{spec.name}") for spec in specs if f"input:{spec.name}" in arrays]


def check_layout(path: Path, specs: Sequence[TensorSpec], arrays: Mapping[str, Any]) -> None:
    """Raise DataError where an array would fit if its axes were in the other order, and name both."""
    for spec, name in paired(specs, arrays):
        wanted = layout_of(spec, arrays[name].shape)
        if wanted:
            other = next(layout for layout in LAYOUTS if layout != wanted)
            raise DataError(
                f'Input "{spec.name}" of {path.name} is {wanted}, {shown(spec.shape)}, '
                f"and the data is {other}, {shown(arrays[name].shape)}.",
                f"Transpose it: array.transpose{LAYOUTS[wanted]}.",
            )
