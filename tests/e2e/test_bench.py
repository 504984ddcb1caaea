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


def test_the_batch_is_an_axis(edgebench: Callable[..., Any], tiny_onnx: Path) -> None:
    done = edgebench("bench", tiny_onnx, "--quick", "--json", "--backend", "onnxruntime", "--batch", 1, "--batch", 4)
    assert [r["cell"].get("batch", 1) for r in rows(done.stdout)] == [1, 4]


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
    done = edgebench("bench", path, "--quick", "--json")
    assert done.returncode in (0, 1), done.stderr
    found = rows(done.stdout)
    assert {r["cell"]["backend"] for r in found} == {"onnxruntime", "openvino"}
    for row in found:
        assert row["status"] == "ok" or row["reason"]
