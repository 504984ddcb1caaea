"""Pictures in class folders, or a .tar / .tar.gz of such a folder, read without unpacking it to disk."""

from __future__ import annotations

import importlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.data import DataSet, Split, fingerprints, make
from edgebench.data.split import check_options, stratified
from edgebench.errors import DataError, MissingRuntime, PlanError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
SEED = 0
OPTIONS: dict[str, Any] = {
    "size": 32, "channels": 3, "evaluation": 0.2, "calibration": 200, "limit": 0, "mean": [0.5], "std": [0.5],
}  # fmt: skip
"""`evaluation`: the share held out. `limit`: pictures taken of each class at most, 0 for all."""


def load(source: str, options: Mapping[str, Any], base: Path) -> DataSet:
    """Read pictures as float32 (N, channels, size, size), (pixel / 255 - mean) / std; a folder is a class.

    They are shuffled with a fixed seed and each class is split in proportion. A picture of the evaluation
    split that occurs again, pixel by pixel, in another is left out there.
    """
    chosen = _check(source, options)
    path = Path(base, source)
    if not path.exists():
        raise DataError(f"There is no folder or archive {path}.", "Check the path.")
    files = _from_folder(path) if path.is_dir() else _from_archive(path)
    inputs, names = _read(path, files, chosen)
    classes = tuple(sorted(set(names)))
    labels = np.array([classes.index(name) for name in names], np.int64)
    held_out = round(len(labels) * chosen["evaluation"])
    parts = stratified(labels, (held_out, min(chosen["calibration"], (len(labels) - held_out) // 2)), SEED)
    evaluation, calibration, train = (Split(inputs[part], labels[part]) for part in parts)
    calibration = _without(calibration, evaluation)
    train = _without(_without(train, evaluation), calibration)
    return make(path.name.split(".")[0], train, calibration, evaluation, classes)


def _check(source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    chosen = check_options(source, options, OPTIONS)
    if chosen["size"] < 1 or chosen["calibration"] < 1 or chosen["limit"] < 0 or not 0 < chosen["evaluation"] < 1:
        raise PlanError(
            f"The options of the pictures in {source} are out of range.",
            "Set size and calibration from 1, limit from 0, and evaluation between 0 and 1.",
        )
    if chosen["channels"] not in (1, 3):
        raise PlanError(f"Pictures have 1 or 3 channels, not {chosen['channels']}.", "Set channels to 1 or 3.")
    for key in ("mean", "std"):
        values = chosen[key]
        if len(values) not in (1, chosen["channels"]) or not all(isinstance(v, (int, float)) for v in values):
            raise PlanError(
                f"{key} is {values}, not one number per channel.",
                f"Give {key} one or {chosen['channels']} numbers.",
            )
    if min(chosen["std"]) <= 0:
        raise PlanError("std holds a number that is not above 0.", "Give the standard deviation of each channel.")
    return chosen


def _from_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.glob("*/*")):
        if file.suffix.lower() in SUFFIXES:
            yield file.parent.name, file.read_bytes()


def _from_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Class name and content of every picture, in the archive's order (a .tar.gz is read forwards only)."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isfile() and name.suffix.lower() in SUFFIXES and len(name.parts) >= 2:
                    content = archive.extractfile(member)
                    if content is not None:
                        yield name.parent.name, content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Give a whole .tar or .tar.gz of class folders.") from error


def _read(
    path: Path, files: Iterator[tuple[str, bytes]], chosen: Mapping[str, Any]
) -> tuple[NDArray[np.float32], list[str]]:
    try:
        image = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise MissingRuntime(
            "Reading pictures needs Pillow, which is not installed.", "Install it with: pip install pillow"
        ) from error
    size, mode = (chosen["size"], chosen["size"]), "L" if chosen["channels"] == 1 else "RGB"
    rows, names, taken = [], [], dict[str, int]()
    for name, content in files:
        taken[name] = taken.get(name, 0) + 1
        if chosen["limit"] and taken[name] > chosen["limit"]:
            continue
        try:
            with image.open(io.BytesIO(content)) as opened:
                picture = opened.convert(mode)
        except (image.UnidentifiedImageError, OSError) as error:
            raise DataError(
                f"A picture of class {name} in {path} cannot be read: {error}.", "Remove or replace it."
            ) from error
        if picture.size != size:
            picture = picture.resize(size, image.Resampling.BILINEAR)
        rows.append(np.asarray(picture, np.uint8).reshape(*size, -1).transpose(2, 0, 1))
        names.append(name)
    if len(rows) < 4:
        raise DataError(
            f"{path} holds {len(rows)} pictures in class folders.", "Put pictures into one folder per class."
        )
    mean, std = (np.array(chosen[k], np.float32).reshape(-1, 1, 1) for k in ("mean", "std"))
    return ((np.stack(rows).astype(np.float32) / 255 - mean) / std).astype(np.float32), names


def _without(split: Split, other: Split) -> Split:
    """The samples of `split` that do not occur in `other`."""
    seen = fingerprints(other)
    keep = np.array([not fingerprints(Split(row[None], None)) & seen for row in split.inputs], bool)
    return Split(split.inputs[keep], None if split.labels is None else split.labels[keep])
