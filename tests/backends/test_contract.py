"""Every installed backend keeps the contract, in each of its precisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgebench_fake import FakeBackend
from edgebench_onnxruntime import OnnxRuntimeBackend
from edgebench_openvino import OpenVinoBackend
from edgebench_torch import TorchBackend

from edgebench.schema import TensorSpec
from edgebench.testing import BackendContract, Case, fake_artifact, fake_outputs


def needs_bf16() -> None:
    if "bf16" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no bf16 arithmetic")


class TestFake(BackendContract):
    backend = FakeBackend

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, nets: Path) -> Case:
        specs = [TensorSpec(name=name, dtype="float32", shape=(None, 4)) for name in ("first", "second")]
        artifact = fake_artifact(nets, {"spin": 100, "memory": 1000}, outputs=specs)
        feeds = {"input": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}
        return Case(artifact=artifact, feeds=feeds, expected=fake_outputs(artifact, feeds))


class TestOnnxRuntime(BackendContract):
    backend = OnnxRuntimeBackend

    @pytest.fixture(scope="class", params=["onnx_case", "onnx_int8_case"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        found: Case = request.getfixturevalue(request.param)
        return found


class TestOpenVino(BackendContract):
    backend = OpenVinoBackend

    @pytest.fixture(scope="class", params=["fp32", "bf16", "int8"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        if request.param == "bf16":
            needs_bf16()
        found: Case = request.getfixturevalue("onnx_int8_case" if request.param == "int8" else "onnx_case")
        return replace(found, precision=request.param)


class TestTorch(BackendContract):
    backend = TorchBackend

    @pytest.fixture(scope="class", params=["fp32", "bf16", "int8"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        found: Case = request.getfixturevalue("torch_int8_case" if request.param == "int8" else "torch_case")
        return replace(found, precision=request.param)
