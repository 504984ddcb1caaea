"""Pictures in class folders and archives, through Pillow or, where it is not installed, a stand-in that reads PGM."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import itertools
import shutil
import sys
import tarfile
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.data import load
from edgebench.data.one_class import check_taught, check_told
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


def test_a_tenth_of_what_is_not_evaluated_on_calibrates_unless_a_number_is_asked_for(folder: Path) -> None:
    unasked = {key: value for key, value in OPTIONS.items() if key != "calibration"}
    data = load("pets", unasked, folder.parent)
    assert (len(data.train), len(data.calibration), len(data.evaluation)) == (44, 4, 12)
    assert len(load("pets", {**OPTIONS, "calibration": 200}, folder.parent).calibration) == 24
    with pytest.raises(PlanError, match="out of range"):
        load("pets", {**OPTIONS, "calibration": -1}, folder.parent)


def test_pictures_that_differ_are_cut_as_ever(folder: Path) -> None:
    for held_out, found in (("random", "26b3775c4509b7bd"), ("last", "09b0190f195aa955")):
        assert load("pets", {**OPTIONS, "held_out": held_out}, folder.parent).sha256.startswith(found)


def test_pictures_that_are_all_equal_cannot_be_cut(folder: Path) -> None:
    for file in folder.glob("*/*"):
        file.write_bytes(pgm(7))
    with pytest.raises(DataError, match=r"Too few of the 60 pictures in .*pets differ: .*Add pictures that differ"):
        load("pets", OPTIONS, folder.parent)


def test_pictures_of_one_class_are_loaded_and_are_told_to_be_of_one(folder: Path) -> None:
    for name in ("bee", "cat"):
        shutil.rmtree(folder / name)
    data = load("pets", OPTIONS, folder.parent)
    for check in (check_taught, check_told):
        with pytest.raises(DataError, match=r"pets are all of one class, ant,.*a folder for each class"):
            check(data)


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_the_last_of_each_class_by_name_are_held_out(form: str, folder: Path) -> None:
    """A fixed rule that anybody can follow by hand, whatever the order of the archive."""
    source = "pets"
    if form == "archive":
        source = "a.tar.gz"
        with tarfile.open(folder.parent / source, "w:gz") as archive:
            for file in sorted(folder.glob("*/*"), reverse=True):
                archive.add(file, f"pets/{file.relative_to(folder)}")
    data = load(source, {**OPTIONS, "held_out": "last", "evaluation": 0.25}, folder.parent)
    assert sorted(greys(data.evaluation)) == [60 * c + i for c in range(3) for i in range(15, 20)]
    assert [g // 60 for g in greys(data.evaluation)] == labels(data.evaluation)
    assert labels(data.evaluation) != sorted(labels(data.evaluation)), "shuffled: a part of it is no single class"
    assert list(np.bincount(labels(data.calibration))) == [3, 3, 3]
    everything = greys(data.train) + greys(data.calibration) + greys(data.evaluation)
    assert len(everything) == len(set(everything)) == 60


@pytest.mark.parametrize("held_out", ["random", "last"])
def test_no_picture_is_in_two_splits(held_out: str, folder: Path) -> None:
    data = load("pets", {**OPTIONS, "held_out": held_out}, folder.parent)
    splits = [{row.tobytes() for row in split.inputs} for split in (data.train, data.calibration, data.evaluation)]
    assert all(len(one & other) == 0 for one, other in itertools.combinations(splits, 2))
    assert sum(map(len, splits)) == 60


def test_class_folders_may_lie_deeper_and_hidden_files_are_no_pictures(folder: Path) -> None:
    whole = load("pets", OPTIONS, folder.parent)
    (folder / "ant" / "._00.pgm").write_bytes(b"a file manager's own")
    (folder / "ant" / "notes.txt").write_text("no picture")
    (folder.parent / "deep").mkdir()
    folder.rename(folder.parent / "deep" / "train")
    assert load("deep", OPTIONS, folder.parent).sha256 == whole.sha256
    with tarfile.open(folder.parent / "deep.tar", "w") as archive:
        archive.add(folder.parent / "deep", "deep")
    assert load("deep.tar", OPTIONS, folder.parent).sha256 == whole.sha256


def test_an_archive_that_was_cut_short_is_refused(folder: Path) -> None:
    with tarfile.open(folder.parent / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, "pets")
    whole = (folder.parent / "a.tar.gz").read_bytes()
    broken = []
    for place in (
        *range(64, len(whole) - 8, len(whole) // 40),
        -6,
    ):  # wherever it is hit: a name, a picture, gzip's own sum
        one = bytearray(whole)
        one[place] ^= 0xFF
        with contextlib.suppress(OSError, zlib.error, EOFError):
            gzip.decompress(one)
            continue  # another way to write the same
        broken.append(bytes(one))
    assert len(broken) > 20
    for content in (whole[: len(whole) // 2], *broken):
        (folder.parent / "b.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"b.tar.gz cannot be read.*Give a whole .tar"):
            load("b.tar.gz", OPTIONS, folder.parent)


def test_an_archive_is_read_without_being_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(folder.parent / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, "pets")
    before = sorted(folder.parent.rglob("*"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpacked")

    for name in ("extract", "extractall"):
        monkeypatch.setattr(tarfile.TarFile, name, refuse)
    load("a.tar.gz", OPTIONS, folder.parent)
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"held_out": "lst"}, "cannot be 'lst'.*Did you mean \"last\""),
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
    with pytest.raises(DataError, match=r"The picture ant/[^/ ]+ in .* cannot be read"):
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
