"""Model files of several parts: a graph, and the weights beside it. A board is sent one file, whose hash is checked there."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edgebench import store
from edgebench.codec import Options, digest
from edgebench.errors import ModelError
from edgebench.schema import Artifact

WITH_BIN = (".xml", ".param")
"""Graphs whose weights are in a .bin of the same name (OpenVINO's IR, ncnn)."""


def beside(path: Path) -> list[Path]:
    """The files that hold the weights of this one; none if it holds them itself, or cannot be looked into here."""
    suffix = path.suffix.lower()
    if suffix in WITH_BIN:
        found = [path.with_suffix(".bin")]
    elif suffix == ".onnx":
        found = _external(path)
    else:
        found = []
    return [file for file in found if file.is_file()]


def _external(path: Path) -> list[Path]:
    try:
        from edgebench.compress.model_file import external_files

        return external_files(path)
    except ImportError:
        return []  # a board without the onnx package: the file was packed before it came here


def packed(artifact: Artifact, cache: Path) -> Artifact:
    """The model as one file, made once in the cache; the artifact itself where it is one already.

    Raises ModelError for an ONNX file that would be over the 2 GiB of its format.
    """
    path, parts = Path(artifact.path), artifact.facts.get("beside")
    if not parts:
        return artifact
    name, write = _PACKERS[path.suffix.lower()]
    target = cache / "packed" / digest([artifact.sha256, parts]) / (path.stem + name)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder, target.name)
            write(path, made)
            os.replace(made, target)
    facts = Options({k: v for k, v in artifact.facts.items() if k != "beside"})
    size = target.stat().st_size
    return replace(
        artifact, path=str(target), sha256=store.sha256(target), size=size, parent=artifact.sha256, facts=facts
    )


def _embed(path: Path, target: Path) -> None:
    import onnx

    try:
        onnx.save(onnx.load(path), target)
    except ValueError as error:  # protobuf's limit
        raise ModelError(
            f"{path} and the weights beside it are too much for one ONNX file, and a board is sent one.",
            "Copy both to the board and bench them there, or make the network smaller.",
        ) from error


def _zip(path: Path, target: Path) -> None:
    """Both as they are, without the time of day: the bytes depend on the network alone."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for part in (path, path.with_suffix(".bin")):
            info = zipfile.ZipInfo(f"model{part.suffix.lower()}", (1980, 1, 1, 0, 0, 0))
            with part.open("rb") as source, archive.open(info, "w", force_zip64=True) as room:
                while chunk := source.read(1 << 20):
                    room.write(chunk)


_PACKERS: Mapping[str, tuple[str, Callable[[Path, Path], None]]] = {
    ".onnx": (".onnx", _embed),
    ".xml": (".xml.zip", _zip),
    ".param": (".ncnn", _zip),
}
