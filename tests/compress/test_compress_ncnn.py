"""Networks for ncnn: one zip of two files, the shapes in it, the same bytes each time, and refusals by name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgebench.errors import ModelError

torch = pytest.importorskip("torch")
pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, extra: Any = None) -> None:
        super().__init__()
        self.conv, self.extra = torch.nn.Conv2d(1, 5, 3, padding=1), extra

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        return self.extra(y) if self.extra else (y, y.mean((2, 3)))


def convert(path: Path, extra: Any = None, half: bool = False) -> dict[str, Any]:
    from edgebench.compress.lowering import lower_ncnn

    torch.manual_seed(0)
    return lower_ncnn.convert(Net(extra).eval(), torch.randn(2, 1, 7, 9), path, half=half)


def test_one_file_holds_both_and_says_every_shape(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert convert(tmp_path / f"{name}.ncnn") == {"layers": 4}
    assert capfd.readouterr() == ("", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.ncnn", "two.ncnn"]
    assert (tmp_path / "one.ncnn").read_bytes() == (tmp_path / "two.ncnn").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.ncnn") as archive:
        assert archive.namelist() == ["model.param", "model.bin"]
        layers = archive.read("model.param").decode().splitlines()[2:]
    hints = {line.split()[0]: line.partition("-23330=")[2] for line in layers}
    assert hints["Input"] == "4,3,9,7,1"
    assert hints["Split"] == "8,3,9,7,5,3,9,7,5"  # the first output, and its copy for the mean
    assert "4,1,5,1,1" in hints.values()
    assert hints["Convolution"] == ""


def test_half_precision_halves_the_weights(tmp_path: Path) -> None:
    sizes = {}
    for half in (False, True):
        convert(tmp_path / "net.ncnn", half=half)
        with zipfile.ZipFile(tmp_path / "net.ncnn") as archive:
            sizes[half] = len(archive.read("model.bin"))
    bias, flag, weights = 5 * 4, 4, 5 * 9
    assert sizes[False] == flag + 4 * weights + bias
    assert sizes[True] == flag + 2 * (weights + 1) + bias  # an odd number is filled up


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (lambda y: torch.fft.fft(y).real, r"ncnn has no layer for torch\.fft\.fft, torch\.real"),
        (lambda y: y[torch.nonzero(y.sum() > 1e9)[0]], "cannot be traced: IndexError"),
    ],
)
def test_what_cannot_be_converted_is_named(tmp_path: Path, extra: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        convert(tmp_path / "net.ncnn", extra)
    assert not list(tmp_path.iterdir())
