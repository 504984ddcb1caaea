"""What a model file is, without running it: operators, sizes, arithmetic, and for which targets it is legal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from edgebench.inspect.graph import Network, UnknownKind

__all__ = ["Network", "UnknownKind", "look", "readable"]

READERS = {
    "onnx": "onnx_file",
    "tflite": "tflite_file",
    "pte": "pte_file",
    "openvino-ir": "ir_file",
    "pt2": "pt2_file",
    "ncnn": "ncnn_file",
}
"""The module that reads each format: `read(path, shapes) -> Network`."""


def readable(form: str) -> bool:
    """Whether files of this format can be looked into."""
    return form in READERS


def look(path: Path, form: str, shapes: Mapping[str, Sequence[int]] | None = None) -> Network:
    """What the file of this format says. `shapes` are those of inputs whose axes are free, by name.

    Raises UnknownKind for a format that cannot be looked into, ModelError for damaged files, and MissingRuntime where a
    reader needs a package that is not installed.
    """
    if form not in READERS:
        raise UnknownKind(
            f"{path} cannot be looked into: its operators are compiled, or its format is not known.",
            f"Give a file of one of these formats: {', '.join(READERS)}.",
        )
    read: Callable[[Path, Mapping[str, Sequence[int]]], Network]
    read = import_module(f"edgebench.inspect.{READERS[form]}").read
    return read(path, shapes or {})
