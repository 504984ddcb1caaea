"""Pictures in class folders, or a .tar / .tar.gz of such a folder, read without unpacking it to disk."""

from __future__ import annotations

import gzip
import importlib
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from edgebench.data import DataSet, Split, fingerprints, make
from edgebench.data.split import Indices, check_options, held_out_last, stratified, to_calibrate_on
from edgebench.errors import DataError, MissingRuntime, PlanError, did_you_mean

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
SEED = 0
OPTIONS: dict[str, Any] = {
    "size": 32, "channels": 3, "evaluation": 0.2, "held_out": "random", "calibration": 0, "limit": 0,
    "mean": [0.5], "std": [0.5],
}  # fmt: skip
"""`evaluation`: the share held out; `held_out`: a "random" one (of a fixed seed), or the "last" of each class by name.
`calibration`: pictures of the others to calibrate on, 0 for a tenth of them, 200 at most.
`limit`: pictures taken of each class at most, 0 for all."""


def load(source: str, options: Mapping[str, Any], base: Path) -> DataSet:
    """Read pictures as float32 (N, channels, size, size), (pixel / 255 - mean) / std; a folder is a class.

    They are shuffled with a fixed seed and each class is split in proportion, or the last of each class are held
    out. A picture of the evaluation split that occurs again, pixel by pixel, in another is left out there.
    """
    chosen = _check(source, options)
    path = Path(base, source)
    if not path.exists():
        raise DataError(f"There is no folder or archive {path}.", "Check the path.")
    files = _from_folder(path) if path.is_dir() else _from_archive(path)
    inputs, names = _read(path, files, chosen)
    classes = tuple(sorted({folder for folder, _ in names}))
    labels = np.array([classes.index(folder) for folder, _ in names], np.int64)
    parts = _dealt(labels, [file for _, file in names], chosen)
    evaluation, calibration, train = (Split(inputs[part], labels[part]) for part in parts)
    calibration = _to_calibrate_on(path, _without(calibration, evaluation), parts)
    train = _without(_without(train, evaluation), calibration)
    return make(path.name.split(".")[0], train, calibration, evaluation, classes)


def read_all(
    source: str, options: Mapping[str, Any], base: Path, width: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Every picture (N, channels, size, size or `width`) and its class, for a network that was trained elsewhere.

    Folders that are all numbers are the classes of these numbers; others are counted from 0 in the order of their names.
    """
    chosen = _check(source, options)
    path = Path(base, source)
    inputs, names = _read(path, _from_folder(path) if path.is_dir() else _from_archive(path), chosen, width)
    folders = sorted({folder for folder, _ in names})
    if all(folder.isdecimal() for folder in folders):
        classes = {folder: int(folder) for folder in folders}
    else:
        classes = {folder: place for place, folder in enumerate(folders)}
    return inputs, np.array([classes[folder] for folder, _ in names], np.int64)


def _dealt(labels: NDArray[np.int64], files: list[str], chosen: Mapping[str, Any]) -> tuple[Indices, ...]:
    """The indices to evaluate on, to calibrate on, and to train on."""
    held_out = round(len(labels) * chosen["evaluation"])
    calibration = to_calibrate_on(chosen["calibration"], len(labels) - held_out)
    if chosen["held_out"] == "random":
        return stratified(labels, (held_out, calibration), SEED)
    return held_out_last(labels, files, chosen["evaluation"], calibration, SEED)


def _to_calibrate_on(path: Path, left: Split, parts: tuple[Indices, ...]) -> Split:
    """What is left of the pictures to calibrate on. Raises DataError where all were copies of those to evaluate on."""
    if len(parts[1]) and not len(left):
        raise DataError(
            f"Too few of the {sum(map(len, parts))} pictures in {path} differ: all that were to be calibrated on are copies of"
            " pictures that are evaluated on.",
            "Add pictures that differ.",
        )
    return left


def _check(source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    chosen = check_options(source, options, OPTIONS)
    if chosen["size"] < 1 or chosen["calibration"] < 0 or chosen["limit"] < 0 or not 0 < chosen["evaluation"] < 1:
        raise PlanError(
            f"The options of the pictures in {source} are out of range.",
            "Set size from 1, calibration and limit from 0, and evaluation between 0 and 1.",
        )
    if chosen["held_out"] not in ("random", "last"):
        raise PlanError(
            f"The option held_out of {source} cannot be {chosen['held_out']!r}.",
            did_you_mean(str(chosen["held_out"]), ("random", "last")),
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


def _from_folder(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Class name, file name and content of every picture, in the order of the names."""
    for file in sorted(path.glob("**/*/*")):
        if _is_picture(file) and file.is_file():
            yield file.parent.name, file.name, file.read_bytes()


def _is_picture(name: PurePath) -> bool:
    """By its suffix; a file that begins with a dot is some file manager's own."""
    return name.suffix.lower() in SUFFIXES and not name.name.startswith(".")


def _unzipped(path: Path) -> IO[bytes]:
    """The archive as a stream; tarfile's own reading of .tar.gz takes one that was cut off for one that ended."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb")


def _from_archive(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """The same of an archive, in its own order (a .tar.gz is read forwards only)."""
    try:
        with _unzipped(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isfile() and _is_picture(name) and len(name.parts) >= 2:
                    content = archive.extractfile(member)
                    if content is not None:
                        yield name.parent.name, name.name, content.read()
            while stream.read(1 << 20):  # to its end, where gzip checks that it is whole
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Give a whole .tar or .tar.gz of class folders.") from error


def _read(
    path: Path, files: Iterator[tuple[str, str, bytes]], chosen: Mapping[str, Any], width: int | None = None
) -> tuple[NDArray[np.float32], list[tuple[str, str]]]:
    """The pictures (N, channels, size, size or `width`), and the class and file name of each."""
    try:
        image = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise MissingRuntime(
            "Reading pictures needs Pillow, which is not installed.", "Install it with: pip install pillow"
        ) from error
    size, mode = (width or chosen["size"], chosen["size"]), "L" if chosen["channels"] == 1 else "RGB"
    rows, names, taken = [], [], dict[str, int]()
    for name, file, content in files:
        taken[name] = taken.get(name, 0) + 1
        if chosen["limit"] and taken[name] > chosen["limit"]:
            continue
        try:
            with image.open(io.BytesIO(content)) as opened:
                picture = opened.convert(mode)
        except (OSError, SyntaxError, ValueError) as error:
            if not path.is_dir():
                for _ in files:  # to the end: where the archive as a whole is damaged, that is what has to be said
                    pass
            raise DataError(
                f"The picture {name}/{file} in {path} cannot be read: it is damaged, or no picture.",
                "Remove or replace it.",
            ) from error
        if picture.size != size:
            picture = picture.resize(size, image.Resampling.BILINEAR)
        rows.append(np.asarray(picture, np.uint8).reshape(size[1], size[0], -1).transpose(2, 0, 1))
        names.append((name, file))
    if len(rows) < 4:
        raise DataError(
            f"{path} holds {len(rows)} pictures in class folders.", "Put pictures into one folder per class."
        )
    mean, std = (np.array(chosen[k], np.float32).reshape(-1, 1, 1) for k in ("mean", "std"))
    made = np.stack(rows).astype(np.float32)
    made /= 255  # in place: 50,000 pictures of 32x32 are 0.6 GB
    made -= mean
    made /= std
    return made, names


def _without(split: Split, other: Split) -> Split:
    """The samples of `split` that do not occur in `other`."""
    seen = fingerprints(other)
    if not seen & fingerprints(split):
        return split
    keep = np.array([not fingerprints(Split(row[None], None)) & seen for row in split.inputs], bool)
    return Split(split.inputs[keep], None if split.labels is None else split.labels[keep])
