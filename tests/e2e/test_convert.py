"""`edgebench convert`: one file for one runtime, and every mistake in two sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NETWORK = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""


INT8 = ("int8.onnx", "--to", "onnxruntime", "--precision", "int8")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETWORK)
    x = np.random.default_rng(0).standard_normal((20, 1, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "nhwc.npz", x=x.transpose(0, 2, 3, 1))
    np.savez(tmp_path / "samples.npz", x=x, labels=np.arange(20) % 10)
    return tmp_path / "samples.npz"


def write_int8(path: Path) -> None:
    """A network that rounds its input to bytes and back."""
    from onnx import TensorProto, helper, numpy_helper, save

    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1, 32, 32]) for name in "xy")
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "int8", [given], [made], [scale])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def test_an_onnx_file_becomes_int8(
    edgebench: Callable[..., Any], warm: Callable[..., Any], tiny_onnx: Path, samples: Path, tmp_path: Path
) -> None:
    asked = ("--to", "onnxruntime", "--precision", "int8", "--calibration", samples, "--out", "out/int8.onnx")
    done = edgebench("convert", tiny_onnx, *asked, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["format"] == "onnx"
    card = json.loads((tmp_path / "out/int8.onnx.card.json").read_text())
    assert (card["sha256"], card["parent"] is None) == (json.loads(done.stdout)["sha256"], False)
    assert (card["backend"], [step["method"] for step in card["steps"]]) == ("onnxruntime", ["quantize"])
    assert card["versions"]["edgebench"]
    found = json.loads(warm("inspect", tmp_path / "out/int8.onnx", "--json").stdout)
    assert (found["int8_layers"], found["layers"]) == (2, 2)
    assert warm("convert", "out/int8.onnx", "--to", "openvino").returncode == 0
    assert (tmp_path / "int8-openvino-int8.onnx").exists(), "a copy is named by the precision that it has"


def test_a_half_precision_that_is_not_in_the_file_is_told_for_the_measuring(
    warm: Callable[..., Any], tiny_onnx: Path
) -> None:
    done = warm("convert", tiny_onnx, "--to", "openvino", "--precision", "bf16", "--out", "net.onnx")
    assert done.stdout.endswith("edgebench bench net.onnx --backend openvino --precision bf16\n"), done.stderr
    assert "It holds fp32: bf16 is what openvino computes in, a setting of its session." in done.stdout
    done = warm("convert", tiny_onnx, "--to", "openvino", "--out", "net.onnx")
    assert done.stdout.endswith("edgebench bench net.onnx\n"), done.stderr


def test_a_runtime_that_is_not_here_is_named_for_the_measuring(warm: Callable[..., Any], tiny_onnx: Path) -> None:
    from edgebench import plugins

    if plugins.backend("tensorrt").probe().ok:
        pytest.skip("TensorRT is here")
    done = warm("convert", tiny_onnx, "--to", "tensorrt", "--precision", "fp16", "--out", "net.onnx")
    said = "Measure it, on a machine that has tensorrt, with: edgebench bench net.onnx --backend tensorrt\n"
    assert done.stdout.endswith(said), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "precision", "form"), [("litert", "fp32", "tflite"), ("ncnn", "fp16", "ncnn"), ("torch", "int8", "pt2")]
)
def test_a_network_in_python_becomes_any_runtimes_file(
    edgebench: Callable[..., Any],
    warm: Callable[..., Any],
    samples: Path,
    tmp_path: Path,
    backend: str,
    precision: str,
    form: str,
) -> None:
    given = ("--calibration", samples) if precision == "int8" else ("--shape", "x=1x1x32x32")
    done = edgebench("convert", "nets:make", "--to", backend, "--precision", precision, *given)
    assert done.returncode == 0, done.stderr
    made = tmp_path / f"nets-{backend}-{precision}.{form}"
    assert str(made.name) in done.stdout
    found = json.loads(warm("inspect", made, "--json").stdout)
    assert found["macs"] == 8 * 30 * 30 * 9 + 80
    assert found["precision"] == precision


def test_where_nothing_is_calibrated_inputs_of_every_number_and_type_are_taken(
    warm: Callable[..., Any], tmp_path: Path
) -> None:
    from onnx import TensorProto, helper, save

    given = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "length"]),
        helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["N", 4]),
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None]) for name in "ab"]
    nodes = [
        helper.make_node("Cast", [v.name], [name], to=TensorProto.FLOAT) for v, name in zip(given, "ab", strict=True)
    ]
    graph = helper.make_graph(nodes, "two", given, made)
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "two.onnx")
    )
    done = warm("convert", "two.onnx", "--to", "openvino", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / json.loads(done.stdout)["path"]).read_bytes() == (tmp_path / "two.onnx").read_bytes()


def write_two(path: Path) -> None:
    """An embedding of `ids`, weighted by `mask`, and a layer."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("table", (100, 16)), ("w", (16, 4)))
    ]
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 8]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", 8, 1]),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Mul", ["e", "mask"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["y"]),
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8, 4])]
    graph = helper.make_graph(nodes, "two", inputs, made, weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def two_samples() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {"ids": rng.integers(0, 100, (32, 8)), "mask": rng.random((32, 8, 1)).astype(np.float32)}


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_a_file_of_several_inputs_is_calibrated_on_all_of_them_by_name(
    warm: Callable[..., Any], tmp_path: Path, runtime: str
) -> None:
    import onnxruntime

    write_two(tmp_path / "two.onnx")
    arrays = two_samples()
    np.savez(tmp_path / "two.npz", **arrays)
    asked = ("--to", runtime, "--precision", "int8", "--calibration", "two.npz", "--json")
    done = warm("convert", "two.onnx", *asked)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["facts"]["calibration_samples"], made["facts"]["int8_layers"]) == (32, 1)
    before, after = (
        onnxruntime.InferenceSession(str(tmp_path / name)).run(None, arrays)[0] for name in ("two.onnx", made["path"])
    )
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda arrays: arrays.pop("mask"), 'wants "ids", "mask", and the data has "ids"'),
        (lambda arrays: arrays.update(ids=arrays["ids"].astype(np.float32)), 'Save it in the type of the network: ids.as'),
        (lambda arrays: arrays.update(mask=arrays["mask"][:16]), "differ in length"),
    ],
)  # fmt: skip
def test_samples_that_are_not_those_of_several_inputs_are_refused(
    warm: Callable[..., Any], tmp_path: Path, change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    write_two(tmp_path / "two.onnx")
    arrays = two_samples()
    change(arrays)
    np.savez(tmp_path / "two.npz", **arrays)
    done = warm("convert", "two.onnx", "--to", "onnxruntime", "--precision", "int8", "--calibration", "two.npz")
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr


def test_a_network_in_python_of_several_inputs_is_told_what_takes_them(
    warm: Callable[..., Any], samples: Path, tmp_path: Path
) -> None:
    done = warm("convert", "nets:make", "--to", "litert", "--shape", "ids=1x8", "--shape", "mask=1x8")
    assert (done.returncode, "torch.onnx.export" in done.stderr) == (2, True), done.stderr
    assert "onnxruntime, openvino and tensorrt" in done.stderr
    np.savez(tmp_path / "two.npz", **two_samples())
    done = warm("convert", "nets:make", "--to", "litert", "--precision", "int8", "--calibration", "two.npz")
    assert (done.returncode, "torch.onnx.export" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "tensorrt"])
def test_a_file_that_the_runtime_cannot_run_is_refused_with_the_node(
    warm: Callable[..., Any], tmp_path: Path, runtime: str
) -> None:
    """By the runtime where it is here, by what is known of it (TensorRT) where it is not."""
    from onnx import TensorProto, helper, save

    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MyOp", ["x"], ["y"], domain="acme")], "g", [given], [made])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    save(helper.make_model(graph, opset_imports=domains, ir_version=8), str(tmp_path / "custom.onnx"))
    done = warm("convert", "custom.onnx", "--to", runtime)
    assert (done.returncode, done.stderr.count("\n")) == (2, 2), done.stderr
    assert "custom.onnx" in done.stderr
    assert "MyOp" in done.stderr
    assert not list(tmp_path.glob("custom-*"))


def test_what_a_network_prints_is_no_part_of_the_answer(warm: Callable[..., Any], tmp_path: Path) -> None:
    talking = NETWORK.replace("return nn.Sequential(", "print('made')\n    return nn.Sequential(Talks(), ")
    talks = "class Talks(nn.Module):\n    def forward(self, x):\n        print('forward')\n        return x\n"
    (tmp_path / "nets.py").write_text(talking + "\n\n" + talks)
    done = warm("convert", "nets:make", "--to", "onnxruntime", "--shape", "x=1x1x32x32", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["format"] == "onnx"
    assert "made" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("model.onnx", "--to", "litert"), "made from the network in torch"),
        (("model.onnx", "--to", "onnxruntim"), "Did you mean"),
        (("model.onnx", "--to", "onnxruntime", "--precision", "int8"), "samples to calibrate on"),
        (("model.onnx", "--to", "onnxruntime", "--precision", "int9"), "no precision"),
        (("model.onnx", "--to", "onnxruntime", "--out", "model.tflite"), "does not end so"),
        (("nets:make", "--to", "ncnn", "--precision", "int8"), "ncnn2int8"),
        (("nets:make", "--to", "onnxruntime"), "shape of its input is not known"),
        (("nets:other", "--to", "onnxruntime", "--shape", "x=1x1x32x32"), "no callable"),
        (("model.onnx", "--to", "openvino", "--shape", "x=1x1x32x32"), "model.onnx says its own."),
        (("model.onnx", "--to", "openvino", "--calibration", "samples.npz"), "fp32 of an ONNX file is not calibrated"),
        (
            ("nets:make", "--to", "torch", "--shape", "x=1x1x9x9", "--calibration", "samples.npz"),
            "those of --calibration have a shape",
        ),
        (("gone.onnx", "--to", "onnxruntime"), "no file"),
        (("model.tflite", "--to", "litert"), "finished file"),
        ((*INT8, "--calibration", "samples.npz"), "is int8 already"),
        (("model.onnx", *INT8[1:], "--calibration", "nhwc.npz"), "Transpose it: array.transpose(0, 3, 1, 2)"),
        (("model.onnx", "--to", "fake"), "nothing here makes one"),
    ],
)
def test_mistakes_are_two_sentences(
    warm: Callable[..., Any], tiny_onnx: Path, samples: Path, tmp_path: Path, words: tuple[str, ...], problem: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_onnx.read_bytes())
    (tmp_path / "model.tflite").write_bytes(b"hello")
    write_int8(tmp_path / "int8.onnx")
    done = warm("convert", *words)
    assert done.returncode == 2
    assert problem in done.stderr
    assert done.stderr.count("\n") == 2
    assert not list(tmp_path.glob("model-*"))


def test_what_is_read_is_never_written_over(warm: Callable[..., Any], tiny_onnx: Path, samples: Path) -> None:
    import onnx

    folder = samples.parent
    victim, other = folder / "victim.onnx", folder / "other.onnx"
    onnx.save(onnx.load(tiny_onnx), victim, save_as_external_data=True, location="weights.onnx", size_threshold=0)
    (folder / "link.onnx").symlink_to(victim)
    samples.rename(folder / "samples.onnx")  # a name that the ending lets through
    (folder / "calibration.npz").symlink_to(folder / "samples.onnx")
    before = {path: path.read_bytes() for path in folder.glob("*.onnx")}
    asked = ("--to", "onnxruntime", "--precision", "int8", "--calibration", "calibration.npz", "--out")
    for out in ("victim.onnx", "./victim.onnx", victim, "link.onnx", "weights.onnx", "samples.onnx"):
        done = warm("convert", "victim.onnx", *asked, out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 2), out
        assert "would be lost" in done.stderr
    assert before == {path: path.read_bytes() for path in folder.glob("*.onnx")}
    assert warm("convert", "victim.onnx", *asked, other).returncode == 0


def test_the_file_of_another_network_is_not_replaced_in_silence(
    warm: Callable[..., Any], tiny_onnx: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.onnx").write_bytes(tiny_onnx.read_bytes())
    for _ in range(2):
        done = warm("convert", "a/net.onnx", "--to", "openvino")
        assert (done.returncode, "replaces" in done.stdout) == (0, False), done.stderr
    done = warm("convert", "b/net.onnx", "--to", "openvino")
    assert (done.returncode, done.stderr.count("\n")) == (2, 2)
    assert f"its card says {tmp_path / 'a/net.onnx'}" in done.stderr
    done = warm("convert", "b/net.onnx", "--to", "openvino", "--out", "net-openvino-fp32.onnx")
    assert f"replaces another file: its card says {tmp_path / 'a/net.onnx'}." in done.stdout
