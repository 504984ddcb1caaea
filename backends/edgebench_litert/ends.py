"""Inputs and outputs of a .tflite file: their names, shapes, and integers that stand for real numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebench.backend import Scaled, TensorSpec, np


class End:
    """One input or output, from the interpreter's details; `shape` is the one in force."""

    def __init__(self, detail: Mapping[str, Any], name: str) -> None:
        self.index = int(detail["index"])
        self.shape = tuple(int(d) for d in detail["shape"])
        # The batch was set when the file was opened; another free axis stays free.
        signature = [int(d) for d in detail["shape_signature"]]
        free = [axis for axis, size in enumerate(signature) if size == -1 and axis] if len(self.shape) else []
        self.spec = TensorSpec(
            name=name,
            dtype=np.dtype(detail["dtype"]).name,
            shape=tuple(None if axis in free else size for axis, size in enumerate(self.shape)),
            scaled=_scaled(detail),
        )


def _scaled(detail: Mapping[str, Any]) -> Scaled | None:
    parameters = detail["quantization_parameters"]
    dtype = np.dtype(detail["dtype"])
    if dtype.kind not in "iu" or len(parameters["scales"]) != 1:
        return None
    return Scaled(scale=float(parameters["scales"][0]), zero_point=int(parameters["zero_points"][0]))


def names(interpreter: Any) -> dict[int, str]:
    """Tensor index -> name: as the signature of the primary graph has it, else (old files) the tensor's own."""
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    found = {int(d["index"]): str(d["name"]) for d in ends}
    for key in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(key)
        signed = {**runner.get_input_details(), **runner.get_output_details()}
        if {int(d["index"]) for d in signed.values()} == set(found):
            return {int(d["index"]): str(name) for name, d in signed.items()}
    return found


def layout_hint(wanted: tuple[int | None, ...], given: tuple[int, ...]) -> str:
    """A word on NCHW against NHWC, where that alone explains a misfit of shapes; else ""."""
    if len(wanted) != 4 or len(given) != 4:
        return ""
    for axes, theirs, ours in (((0, 2, 3, 1), "NHWC", "NCHW"), ((0, 3, 1, 2), "NCHW", "NHWC")):
        if wanted != given and all(w in (None, given[a]) for w, a in zip(wanted, axes, strict=True)):
            return f"the file's layout is {theirs} and the array's {ours}"
    return ""
