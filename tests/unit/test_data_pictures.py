"""Pictures in class folders and archives, through Pillow or, where it is not installed, a stand-in that reads PGM."""

from __future__ import annotations

import importlib.util
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.data import load
from edgebench.errors import DataError, MissingRuntime, PlanError


class StandIn:
    """As much of PIL.Image's picture as is used here."""

    def __init__(self, pixels: Any) -> None:
        self.pixels = pixels
        self.size = (pixels.shape[1], pixels.shape[0])

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.pixels, dtype)

    def convert(self, mode: str) -> StandIn:
        return self if mode == "L" else StandIn(np.repeat(self.pixels[..., None], 3, 2))

    def resize(self, size: tuple[int, int], how: Any) -> StandIn:
        at = [np.arange(n) * old // n for n, old in zip(size, self.size, strict=True)]
        return StandIn(self.pixels[at[1]][:, at[0]])


def _open(file: Any) -> StandIn:
    parts = file.read().split(b"\n", 3)
    if parts[0] != b"P5":
        raise OSError("cannot identify image file")
    width, height = map(int, parts[1].split())
    return StandIn(np.frombuffer(parts[3], np.uint8).reshape(height, width))


@pytest.fixture(autouse=True)
def pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("PIL"):
        return
    image = types.ModuleType("PIL.Image")
    image.open = _open  # type: ignore[attr-defined]
    image.UnidentifiedImageError = OSError  # type: ignore[attr-defined]
    image.Resampling = types.SimpleNamespace(BILINEAR=2)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PIL", types.ModuleType("PIL"))
    monkeypatch.setitem(sys.modules, "PIL.Image", image)


def pgm(value: int, size: int = 8) -> bytes:
    return b"P5\n%d %d\n255\n" % (size, size) + bytes([value]) * (size * size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 20 pictures, each one plain grey of its own: class c holds the greys 60c ... 60c + 19."""
    for number, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "pets" / name / f"{i:02}.pgm").write_bytes(pgm(60 * number + i))
    return tmp_path / "pets"


OPTIONS = {"size": 8, "channels": 1, "calibration": 9, "mean": [0.0], "std": [1.0]}


def labels(split: Any) -> list[int]:
    return [int(label) for label in split.labels]


def greys(split: Any) -> list[int]:
    return [round(float(row.mean()) * 255) for row in split.inputs]


def test_a_folder_is_split_by_class_without_overlap(folder: Path) -> None:
    data = load("pets", OPTIONS, folder.parent)
    assert (data.name, data.classes) == ("pets", ("ant", "bee", "cat"))
    assert (len(data.train), len(data.calibration), len(data.evaluation)) == (39, 9, 12)
    assert sorted(greys(data.train) + greys(data.calibration) + greys(data.evaluation)) == sorted(
        60 * c + i for c in range(3) for i in range(20)
    )
    for split, each in ((data.evaluation, 4), (data.calibration, 3)):
        assert list(np.bincount(labels(split))) == [each] * 3
        assert [g // 60 for g in greys(split)] == labels(split)
    assert labels(data.train) != sorted(labels(data.train))


def test_an_archive_is_the_same_data_as_its_folder(folder: Path) -> None:
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz")):
        with tarfile.open(folder.parent / name, mode) as archive:  # type: ignore[call-overload]
            for file in sorted(folder.glob("*/*")):
                archive.add(file, f"./deep/{file.relative_to(folder)}")
        assert load(name, OPTIONS, folder.parent).sha256 == load("pets", OPTIONS, folder.parent).sha256


def test_colour_size_and_normalisation(folder: Path) -> None:
    data = load("pets", {**OPTIONS, "channels": 3, "size": 16, "mean": [0.5], "std": [0.25]}, folder.parent)
    assert data.train.inputs.shape[1:] == (3, 16, 16)
    values = {round(float(v) * 0.25 * 255 + 127.5) for v in np.unique(data.train.inputs)}
    assert values <= {60 * c + i for c in range(3) for i in range(20)}


def test_a_limit_takes_the_first_of_each_class(folder: Path) -> None:
    data = load("pets", {**OPTIONS, "limit": 10, "calibration": 3}, folder.parent)
    assert len(data.train) + len(data.calibration) + len(data.evaluation) == 30


def test_copies_of_evaluation_pictures_are_not_trained_on(folder: Path) -> None:
    for file in list(folder.glob("*/*")):
        file.with_name(f"copy-{file.name}").write_bytes(file.read_bytes())
    data = load("pets", OPTIONS, folder.parent)
    assert not set(greys(data.evaluation)) & set(greys(data.train) + greys(data.calibration))
    assert not set(greys(data.calibration)) & set(greys(data.train))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"channels": 2}, "1 or 3 channels"),
        ({"evaluation": 1.0}, "out of range"),
        ({"std": [0.0]}, "not above 0"),
        ({"mean": [1.0, 2.0]}, "not one number per channel"),
        ({"szie": 3}, 'Did you mean "size"'),
    ],
)
def test_options_are_checked(folder: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        load("pets", {**OPTIONS, **options}, folder.parent)


def test_what_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "ant" / "00.pgm").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"picture of class ant .* cannot be read"):
        load("pets", OPTIONS, folder.parent)
    (folder.parent / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds 0 pictures"):
        load("empty", OPTIONS, folder.parent)
    (folder.parent / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08\x00 no more")
    with pytest.raises(DataError, match=r"cut.tar.gz cannot be read"):
        load("cut.tar.gz", OPTIONS, folder.parent)


def test_without_pillow_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingRuntime, match=r"pip install pillow"):
        load("pets", OPTIONS, folder.parent)
