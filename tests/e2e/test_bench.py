"""`edgebench bench`: ready models on every runtime that opens them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LIGHT = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)


def rows(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["rows"]
    return found


def test_a_ready_model_runs_on_both_runtimes(edgebench: Callable[..., Any], tiny_onnx: Path) -> None:
    done = edgebench("bench", tiny_onnx, "--quick", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {r["cell"]["backend"] for r in rows(done.stdout)} == {"onnxruntime", "openvino"}


def test_given_data_gives_accuracy(edgebench: Callable[..., Any], tiny_onnx: Path, tmp_path: Path) -> None:
    import onnxruntime

    x = np.random.default_rng(3).standard_normal((50, 1, 32, 32)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tiny_onnx), providers=["CPUExecutionProvider"])
    labels = session.run(None, {"x": x})[0].argmax(1)
    labels[:5] = (labels[:5] + 1) % 10
    np.savez(tmp_path / "samples.npz", x=x, labels=labels)
    done = edgebench(
        "bench", tiny_onnx, "--data", tmp_path / "samples.npz", "--quick", "--json", "--backend", "onnxruntime"
    )
    assert done.returncode == 0, done.stderr
    (row,) = rows(done.stdout)
    accuracy = next(m for m in row["measurements"] if m["metric"] == "accuracy")
    assert accuracy["value"] == 0.9


def test_the_batch_is_an_axis_and_options_of_a_runtime_are_recorded(
    edgebench: Callable[..., Any], tiny_onnx: Path
) -> None:
    asked = ("--backend", "onnxruntime", "--batch", 1, "--batch", 4, "--option", "onnxruntime.graph_optimization=basic")
    done = edgebench("bench", tiny_onnx, "--quick", "--json", *asked)
    assert [r["cell"].get("batch", 1) for r in rows(done.stdout)] == [1, 4]
    for row in rows(done.stdout):
        assert row["cell"]["options"] == {"graph_optimization": "basic"}
        assert row["effective"]["graph_optimization"] == "basic"


def test_the_options_of_a_runtime_are_told(warm: Callable[..., Any]) -> None:
    said = warm("backends", "onnxruntime")
    assert said.returncode == 0, said.stderr
    assert "--option onnxruntime.KEY=VALUE" in said.stdout
    found = json.loads(warm("backends", "onnxruntime", "--json").stdout)
    assert all(name in said.stdout for name in found["options"])
    assert 'Did you mean "openvino"' in warm("backends", "openvin").stderr


def test_a_network_that_is_fixed_to_a_batch_is_measured_at_it(
    edgebench: Callable[..., Any], tiny_onnx: Path, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(str(tiny_onnx))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(model, str(tmp_path / "three.onnx"))
    done = edgebench("bench", "three.onnx", "--quick", "--json", "--backend", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert [r["cell"]["batch"] for r in rows(done.stdout)] == [3]


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_every_light_network_of_the_onnx_package_gives_a_row_on_both_runtimes(
    edgebench: Callable[..., Any], name: str
) -> None:
    import onnx

    path = Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx"
    done = edgebench("bench", path, "--quick", "--generations", 1, "--json")
    assert done.returncode in (0, 1), done.stderr
    found = rows(done.stdout)
    assert {r["cell"]["backend"] for r in found} == {"onnxruntime", "openvino"}
    for row in found:
        assert row["status"] == "ok" or row["reason"]


def figure(row: dict[str, Any], metric: str) -> float | None:
    found = next((m for m in row["measurements"] if m["metric"] == metric), None)
    return None if found is None else found["value"]


def changed(path: Path, tiny_onnx: Path, scale: float) -> Path:
    """The same network with its last weights a little greater."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(tiny_onnx))
    last = next(w for w in model.graph.initializer if w.name == "g")
    last.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(last) * np.float32(scale), "g"))
    onnx.save(model, str(path))
    return path


def test_against_another_file_gives_parity_and_agreement(
    edgebench: Callable[..., Any], tiny_onnx: Path, tmp_path: Path
) -> None:
    other = changed(tmp_path / "other.onnx", tiny_onnx, 1.25)
    done = edgebench("bench", tiny_onnx, "--against", other, "--quick", "--json")
    assert done.returncode == 0, done.stderr
    for row in rows(done.stdout):
        assert figure(row, "agreement") == 1.0
        assert figure(row, "max_rel_error") == pytest.approx(0.2, rel=1e-3)
    shown = edgebench("bench", tiny_onnx, "--against", tiny_onnx, "--quick", "--backend", "onnxruntime").stdout
    assert "max abs error" in shown
    assert "max rel error" in shown


def test_against_on_given_samples_is_their_difference(
    edgebench: Callable[..., Any], tiny_onnx: Path, tmp_path: Path
) -> None:
    import onnxruntime

    other = changed(tmp_path / "other.onnx", tiny_onnx, 0.5)
    x = np.random.default_rng(3).standard_normal((20, 1, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    session = onnxruntime.InferenceSession(str(tiny_onnx), providers=["CPUExecutionProvider"])
    answers = session.run(None, {"x": x})[0]
    asked = ("--data", "samples.npz", "--quick", "--json", "--backend", "onnxruntime")
    (row,) = rows(edgebench("bench", tiny_onnx, "--against", other, *asked).stdout)
    assert figure(row, "max_abs_error") == pytest.approx(float(np.abs(answers).max()) / 2, rel=1e-3)
    assert figure(row, "max_rel_error") == pytest.approx(1.0, rel=1e-3)


def test_labelled_pictures_give_accuracy(edgebench: Callable[..., Any], tiny_onnx: Path, tmp_path: Path) -> None:
    """Folders named by numbers are class numbers; the pictures are grown to the size of the network."""
    import onnxruntime
    from PIL import Image

    rng = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(str(tiny_onnx), providers=["CPUExecutionProvider"])
    right = 0
    for i in range(8):
        pixels = rng.integers(0, 255, (32, 32), dtype=np.uint8)
        x = ((pixels.astype(np.float32) / 255 - 0.25) / 0.5)[None, None]
        answer = int(session.run(None, {"x": x})[0].argmax())
        label = answer if i < 6 else (answer + 1) % 10
        right += label == answer
        folder = tmp_path / "pictures" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    options = ("--data-option", "mean=0.25", "--data-option", "std=0.5")
    done = edgebench(
        "bench", tiny_onnx, "--data", "pictures", *options, "--quick", "--json", "--backend", "onnxruntime"
    )
    assert done.returncode == 0, done.stderr
    (row,) = rows(done.stdout)
    assert figure(row, "accuracy") == right / 8 == 0.75


def test_the_wrong_layout_is_found_and_named(warm: Callable[..., Any], tiny_onnx: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=np.zeros((4, 32, 32, 1), np.float32))
    done = warm("bench", tiny_onnx, "--data", "samples.npz", "--quick")
    assert done.returncode == 2
    assert 'Input "x" of tiny.onnx is NCHW, N x 1 x 32 x 32, and the data is NHWC, 4 x 32 x 32 x 1.' in done.stderr
    assert "array.transpose(0, 3, 1, 2)" in done.stderr


NETWORK = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""


def test_a_network_in_python_is_made_for_its_runtimes(edgebench: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETWORK)
    two = ("--backend", "onnxruntime", "--backend", "torch")
    done = edgebench("bench", "nets:make", "--shape", "x=1x1x32x32", *two, "--quick", "--json")
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert [r["cell"]["backend"] for r in found] == ["onnxruntime", "torch"]
    assert all(figure(r, "agreement") == 1.0 for r in found)


def test_a_network_in_python_is_quantized_with_samples(edgebench: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETWORK)
    x = np.random.default_rng(0).standard_normal((40, 1, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x, labels=np.arange(40) % 10)
    asked = ("--data", "samples.npz", "--precision", "int8", "--backend", "onnxruntime", "--quick", "--json")
    done = edgebench("bench", "nets:make", *asked)
    assert done.returncode == 0, done.stderr
    (row,) = rows(done.stdout)
    assert row["effective"]["precision"] == "int8"
    assert figure(row, "accuracy") is not None


def more_outputs(tiny_onnx: Path, path: Path) -> None:
    import onnx

    model = onnx.load(str(tiny_onnx))
    model.graph.node.append(onnx.helper.make_node("Neg", [model.graph.output[0].name], ["more"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["N", 10]))
    onnx.save(model, str(path))


def in_halves(tiny_onnx: Path, path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(tiny_onnx))
    for weights in model.graph.initializer:
        array = numpy_helper.to_array(weights)
        if array.dtype == np.float32:
            weights.CopyFrom(numpy_helper.from_array(array.astype(np.float16), weights.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, str(path))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("nets:make",), "shape of its input is not known"),
        (("nets:make", "--shape", "x=1x1x32x32", "--precision", "int8"), "samples to calibrate on"),
        (("nets:make", "--shape", "x=1x1x32x32", "--against", "tiny.onnx"), "--against compares two files"),
        (("tiny.onnx", "--against", "gone.onnx"), "no file"),
        (("tiny.onnx", "--against", "twice.onnx"), "tiny.onnx has 1 output, and twice.onnx, which --against compares"),
        (("half.onnx", "--precision", "fp32"), "half.onnx is of fp16, and fp32 was asked for"),
        (("tiny.onnx", "--data", "gone"), "no data at gone"),
        (("tiny.onnx", "--data", "nets.py"), "no kind of data"),
        (("tiny.onnx", "--data-option", "mean=1"), "about pictures"),
        (("tiny.onnx", "--data", "folder"), "0 pictures in class folders"),
        (("tiny.onnx", "--data", "labels.npz"), "no class numbers"),
        (("tiny.onnx", "--data", "below.npz"), "no class numbers"),
        (("tiny.onnx", "--data", "folder", "--data-option", "mean"), "no option of the data"),
        (("tiny.onnx", "--data", "folder", "--data-option", "maen=0.5"), 'no option "maen"'),
        (("text.tflite",), "does not say TFL3"),
        (("lone.xml",), "not beside it"),
    ],
)
def test_mistakes_are_two_sentences(
    warm: Callable[..., Any], tiny_onnx: Path, tmp_path: Path, words: tuple[str, ...], problem: str
) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx.read_bytes())
    (tmp_path / "nets.py").write_text(NETWORK)
    more_outputs(tiny_onnx, tmp_path / "twice.onnx")
    in_halves(tiny_onnx, tmp_path / "half.onnx")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tflite").write_text("hello there")
    (tmp_path / "lone.xml").write_text('<net name="a" version="11"><layers></layers></net>')
    np.savez(tmp_path / "below.npz", x=np.zeros((4, 1, 32, 32), np.float32), labels=np.arange(4) - 1)
    np.savez(tmp_path / "labels.npz", x=np.zeros((4, 1, 32, 32), np.float32), labels=np.zeros((4, 2)))
    done = warm("bench", *words, "--quick")
    assert done.returncode == 2, done.stdout
    assert problem in done.stderr
    assert done.stderr.count("\n") == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_runtime_that_a_network_cannot_be_made_for_costs_its_own_row_only(
    edgebench: Callable[..., Any], tmp_path: Path
) -> None:
    """ncnn has no axis for a fifth dimension; the others do not suffer from that."""
    (tmp_path / "nets.py").write_text(
        NETWORK.replace("nn.Flatten(),", "nn.Flatten(), Five(),")
        + """

class Five(nn.Module):
    def forward(self, x):
        return torch.cumsum(x.reshape(-1, 2, 2, 2, 1, 1), 3).reshape(-1, 8).sort(1).values
"""
    )
    two = ("--backend", "ncnn", "--backend", "onnxruntime")
    done = edgebench("bench", "nets:make", "--shape", "x=1x1x32x32", *two, "--quick", "--json")
    found = {r["cell"]["backend"]: r for r in rows(done.stdout)}
    assert found["onnxruntime"]["status"] == "ok", found["onnxruntime"]["reason"]
    assert found["ncnn"]["status"] == "failed"
    assert found["ncnn"]["reason"]
    assert found["ncnn"]["fix"]
