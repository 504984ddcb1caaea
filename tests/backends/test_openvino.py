"""What the contract cannot know of OpenVINO: its defaults are overruled, and its own format opens."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgebench_openvino import OpenVinoBackend

from edgebench.backend import ModelError, Session
from edgebench.testing import Case

openvino = pytest.importorskip("openvino")


def opened(case: Case, **changed: Any) -> Session:
    return OpenVinoBackend().open(case.artifact, case.asked(**changed))


def test_the_defaults_that_would_spoil_a_comparison_are_overruled(onnx_case: Case) -> None:
    found = opened(onnx_case, threads=2).effective()
    assert found["precision"] == found["precision_hint"] == "fp32"
    assert found["cpu_pinning"] is False
    assert (found["threads"], found["streams"], found["performance_hint"]) == (2, 1, "LATENCY")


def test_int8_layers_are_counted_where_they_run(onnx_int8_case: Case) -> None:
    found = opened(onnx_int8_case).effective()
    assert (found["int8_ops"], found["float_ops"], found["precision_hint"]) == (2, 0, "fp32")


def test_a_free_batch_axis_becomes_the_batch(onnx_case: Case) -> None:
    session = opened(onnx_case, batch=5)
    assert session.inputs[0].shape == (5, 3, 12, 12)
    with pytest.raises(ModelError, match=r"\[5, 3, 12, 12\].*\[2, 3, 12, 12\]"):
        session.run(onnx_case.feeds)


def test_its_own_format_opens_and_answers_the_same(onnx_case: Case, tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    openvino.save_model(openvino.Core().read_model(onnx_case.artifact.path), path, compress_to_fp16=False)
    case = replace(onnx_case, artifact=replace(onnx_case.artifact, path=str(path), format="openvino-ir"))
    session = opened(case)
    assert [s.name for s in session.inputs] == ["input"]
    assert [s.name for s in session.outputs] == ["logits", "features"]
    for found, wanted in zip(session.run(case.feeds), case.expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_an_ir_without_its_weights_is_refused(onnx_case: Case, tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    openvino.save_model(openvino.Core().read_model(onnx_case.artifact.path), path)
    path.with_suffix(".bin").unlink()
    case = replace(onnx_case, artifact=replace(onnx_case.artifact, path=str(path), format="openvino-ir"))
    with pytest.raises(ModelError, match="its weights with it"):
        opened(case)


def test_operators_carry_time_and_precision(onnx_int8_case: Case) -> None:
    ops = {op["op"]: op for op in opened(onnx_int8_case).profile(onnx_int8_case.feeds)}
    assert ops["Convolution"]["precision"] == "int8"
    assert 0 < ops["Convolution"]["seconds"] < 1


def test_importing_it_neither_calls_home_nor_forks() -> None:
    code = (
        "import multiprocessing.process as p\n"
        "def refuse(self): raise SystemExit('a process was started')\n"
        "p.BaseProcess.start = refuse\n"
        "import edgebench_openvino, openvino, sys\n"
        "sys.exit('telemetry was imported' if sys.modules.get('openvino_telemetry') else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
