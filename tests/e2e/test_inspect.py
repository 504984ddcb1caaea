"""`edgebench inspect`: one network in every format says the same, and bad files are two sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
FORMATS = ("onnx", "onnx-u8s8", "onnx-s8s8", "pt2", "pt2-int8-x86", "tflite", "tflite-int8", "pte", "pte-int8", "ncnn")
HALVES = ("tflite-fp16", "ncnn-fp16")
MACS = 16 * 32 * 32 * 27 + 16 * 32 * 32 * 9 + 32 * 32 * 32 * 16 + 10 * 32
WEIGHTS = 16 * 27 + 16 + 16 * 9 + 16 + 32 * 16 + 32 + 320 + 10


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same small network in any format: two convolutions, a depthwise one, a matrix, no batch norm."""
    import numpy as np
    import torch
    from torch import nn

    from edgebench.compress.lowering import lower
    from edgebench.compress.quantization.quantize import Quantize

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("formats")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.depth = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.point, self.last = nn.Conv2d(16, 32, 1), nn.Linear(32, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.point(torch.relu(self.depth(torch.relu(self.first(x))))))
            return self.last(x.mean((2, 3)))  # type: ignore[no-any-return]

    request = lower.Request(
        model=Net().eval(),
        example=torch.randn(4, 3, 32, 32),
        calibration=np.random.RandomState(0).standard_normal((16, 3, 32, 32)).astype(np.float32),
        onnx=lambda: folder / "onnx.onnx",
        quantize=Quantize(),
    )

    def make(name: str) -> Path:
        for needed in dict.fromkeys(("onnx", name)):
            how = lower.get(needed)
            path = folder / f"{needed}.{how.format}"
            if not path.exists():
                how.write(request, path)
        return path

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMATS, *HALVES])
def test_every_format_tells_the_same_arithmetic(
    warm: Callable[..., Any], made: Callable[[str], Path], name: str
) -> None:
    done = warm("inspect", made(name), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["macs"], found["parameters"]) == (MACS, WEIGHTS)
    int8 = "int8" in name or "s8" in name
    assert (found["layers"], found["int8_layers"]) == (4, 4 if int8 else 0)
    assert found["precision"] == ("int8" if int8 else "fp16" if name in HALVES else "fp32")
    assert found["inputs"][0]["shape"][1:] == [3, 32, 32]
    assert found["activation_arena"] >= (16 * 1024 if int8 else 64 * 1024)
    assert any(t["legal"] for t in found["targets"])


@pytest.mark.slow
def test_openvinos_own_files_too(warm: Callable[..., Any], made: Callable[[str], Path], tmp_path: Path) -> None:
    import openvino

    for name, int8 in (("onnx", 0), ("onnx-u8s8", 4)):
        openvino.save_model(
            openvino.convert_model(str(made(name))), str(tmp_path / f"{name}.xml"), compress_to_fp16=False
        )
        found = json.loads(warm("inspect", tmp_path / f"{name}.xml", "--json").stdout)
        assert (found["macs"], found["parameters"], found["int8_layers"]) == (MACS, WEIGHTS, int8)
    (tmp_path / "onnx.bin").unlink()
    done = warm("inspect", tmp_path / "onnx.xml")
    assert done.returncode == 2
    assert "onnx.bin, which is not beside it" in done.stderr


@pytest.mark.slow
def test_a_file_that_is_cut_short_is_two_sentences(
    warm: Callable[..., Any], made: Callable[[str], Path], tmp_path: Path
) -> None:
    for name in ("onnx", "pt2", "tflite", "pte", "ncnn"):
        whole = made(name)
        cut = tmp_path / whole.name
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
        for verb in ("inspect", "bench"):
            done = warm(verb, cut)
            assert done.returncode == 2, (verb, name, done.stdout)
            assert done.stderr.count("\n") == 2, done.stderr
            assert "Traceback" not in done.stderr


def test_the_screen_says_what_json_says(edgebench: Callable[..., Any], tiny_onnx: Path) -> None:
    shown = edgebench("inspect", tiny_onnx)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(edgebench("inspect", tiny_onnx, "--json").stdout)
    assert found["macs"] == 8 * 32 * 32 * 9 + 80
    assert found["parameters"] == 8 * 9 + 80
    for words in ("73.8 k a call", "x: float32 N x 1 x 32 x 32", "Conv 1", "onnxruntime on x86"):
        assert words in shown.stdout
    assert max(len(line.rstrip()) for line in shown.stdout.splitlines()) <= 120


def test_a_known_network(edgebench: Callable[..., Any]) -> None:
    found = json.loads(edgebench("inspect", LIGHT / "light_squeezenet.onnx", "--json").stdout)
    assert found["parameters"] == 1_235_496
    assert found["macs"] == pytest.approx(0.35e9, rel=0.01)


@pytest.mark.parametrize(
    "name", ["nothing.onnx", "folder.onnx", "empty.tflite", "text.pte", "text.param", "text.xml", "text.md"]
)
def test_bad_files_are_two_sentences(warm: Callable[..., Any], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("folder"):
        path.mkdir()
    elif not name.startswith("nothing"):
        path.write_text("" if name.startswith("empty") else "hello\n")
    done = warm("inspect", path)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 2


def test_a_network_in_python_is_told_how_a_file_is_made_of_it(warm: Callable[..., Any]) -> None:
    done = warm("inspect", "nets:cnn")
    assert done.returncode == 2
    assert "network in python" in done.stderr
    assert "edgebench convert nets:cnn --to onnxruntime" in done.stderr


def test_a_layer_that_ncnn_does_not_know_is_not_legal_there(warm: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    for kind, legal in (("Frob", False), ("ReLU", True)):
        path = tmp_path / f"{kind}.param"
        path.write_text(f"7767517\n2 2\nInput in0 0 1 in0\n{kind} r 1 1 in0 out0\n")
        path.with_suffix(".bin").write_bytes(b"")
        found = json.loads(warm("inspect", path, "--json").stdout)
        assert next(t for t in found["targets"] if t["target"] == "ncnn")["legal"] is legal
        assert found["custom_operators"] == ([] if legal else ["Frob"])


def relu(path: Path, shape: list[Any], kind: int = onnx.TensorProto.FLOAT, op: str = "Relu") -> Path:
    ends = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["y"])], "g", ends[:1], ends[1:])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(path))
    return path


def test_what_bench_does_not_feed_is_told(warm: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for made, words in (
        (relu(path, []), "is a scalar"),
        (relu(tmp_path / "n.onnx", [0, 4]), "an axis of 0 holds no number"),
        (relu(tmp_path / "s.onnx", [1, 4], onnx.TensorProto.STRING, "Identity"), "takes text"),
    ):
        shown = " ".join(warm("inspect", made).stdout.split())
        assert "bench does not feed it" in shown
        assert words in shown
    assert "x: string 1 x 4" in shown
    assert "bench does not feed" not in warm("inspect", relu(path, [1, 4])).stdout


def test_free_axes_have_their_names_and_what_they_are_taken_as(warm: Callable[..., Any], tmp_path: Path) -> None:
    path = relu(tmp_path / "m.onnx", ["N", 3, "H", "W"])
    shown = warm("inspect", path).stdout
    assert "x: float32 N x 3 x H x W" in shown
    assert "--shape x=1x3x8x8" in shown
    assert "tensors: float32 2" in shown
    assert "opens pte only" not in shown
    assert "Of another format: executorch" in shown
    shaped = warm("inspect", path, "--shape", "x=1x3x64x64").stdout
    assert "N x 3 x H x W, taken as 1 x 3 x 64 x 64" in shaped
    assert "Free axes" not in shaped
