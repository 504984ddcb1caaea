"""TensorRT without a GPU. LOGIC TESTS: a fake device and a fake TensorRT (tensorrt_fake.py) show that the backend's own
steps are right, and nothing about a GPU; what runs on one is checked by scripts/gpu-check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_fake as fake
from edgebench_tensorrt import cuda, machine, timing

from edgebench.backend import EdgebenchError, ModelError
from edgebench.testing import BackendContract, Case

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An engine cache of this module's own; child processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def logic(monkeypatch: pytest.MonkeyPatch) -> fake.FakeCuda:
    """The fakes for one test of this process."""
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", fake.module())
    monkeypatch.setattr(cuda, "SHIMS", {"fake": ("numpy", lambda: fake.DEVICE)})
    monkeypatch.setattr(machine, "gpu", lambda: {"name": "none", "sm": "00", "integrated": True})
    return fake.DEVICE


class TestLogic(BackendContract):
    backend = fake.LogicBackend

    @pytest.fixture(scope="class", params=["plain", "graph", "range"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest, onnx_case: Case) -> Case:
        options = {"plain": {}, "graph": {"cuda_graph": True}, "range": {"max_batch": 8}}[request.param]
        return replace(onnx_case, options=options)


def opened(case: Case, **changed: Any) -> Any:
    from edgebench_tensorrt import TensorRtBackend

    return TensorRtBackend().open(case.artifact, case.asked(**changed))


def refusal(case: Case, **changed: Any) -> str:
    with pytest.raises(EdgebenchError) as caught:
        opened(case, **changed)
    return str(caught.value)


def test_what_is_in_force_is_told(logic: fake.FakeCuda, onnx_case: Case) -> None:
    found = opened(onnx_case).effective()
    wanted = {
        "product": "TensorRT", "version": "0.fake", "cuda": "fake", "sm": "00", "precision": "fp32", "threads": 1,
        "typed": True, "max_batch": 2, "activation_bytes": 4096, "float_ops": 1, "int8_ops": 0, "cuda_graph": False,
    }  # fmt: skip
    assert wanted.items() <= dict(found).items()
    assert found["workspace"] == machine.memory_available() // 2 or found["workspace"] > 1 << 20


def test_the_builder_is_set_as_asked(logic: fake.FakeCuda, onnx_case: Case) -> None:
    opened(onnx_case, workspace=64)
    config = fake.Builder.made[-1]
    assert list(config.pools.values()) == [64 << 20]
    assert fake.Flags.TF32 not in config.flags
    shape = (2, 3, 12, 12)
    assert config.profile.shapes == {"input": (shape, shape, shape)}
    opened(onnx_case, max_batch=5)
    config = fake.Builder.made[-1]
    assert config.profile.shapes == {"input": ((1, 3, 12, 12), shape, (5, 3, 12, 12))}


def test_an_engine_is_built_once_for_a_place(
    logic: fake.FakeCuda, onnx_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(onnx_case, workspace=99)
    count = len(fake.Builder.made)
    opened(onnx_case, workspace=99)
    assert len(fake.Builder.made) == count
    for place in ({"name": "x", "sm": "87", "integrated": True}, {"name": "x", "sm": "90", "integrated": False}):
        monkeypatch.setattr(machine, "gpu", lambda place=place: place)
        opened(onnx_case, workspace=99)
    monkeypatch.setattr(machine, "l4t", lambda: "R36.4.3")
    opened(onnx_case, workspace=99)
    assert len(fake.Builder.made) == count + 3


def test_dla_takes_what_it_can_and_the_share_is_told(
    logic: fake.FakeCuda, onnx_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake.IBuilderConfig, "refused", {"layer1"})
    found = opened(onnx_case, dla=1).effective()
    config = fake.Builder.made[-1]
    assert (config.DLA_core, config.default_device_type) == (1, fake.DeviceType.DLA)
    assert fake.Flags.GPU_FALLBACK in config.flags
    assert found["dla_layers_share"] == pytest.approx(2 / 3)
    assert found["dla_refused"] == ["layer1"]
    text = refusal(onnx_case, dla=1, dla_share=0.9)
    assert "The DLA takes 67% of the layers, less than dla_share = 90%: not layer1." in text
    assert "DLA core 2 was asked for, and TensorRT 0.fake finds 2 here." in refusal(onnx_case, dla=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": 2}, "2 were asked for. Ask for threads = 1."),
        ({"cuda": "opencl"}, "cuda cannot be 'opencl'. Use one of fake."),
        ({"product": "onnx"}, "product cannot be 'onnx'. Use one of tensorrt, tensorrt_rtx."),
        ({"workspace": -1}, "workspace cannot be -1."),
        ({"workspace": True}, "workspace cannot be True."),
        ({"max_batch": 1}, "max_batch cannot be 1 for a batch of 2. Use 2 or more."),
        ({"cuda_graph": "yes"}, "cuda_graph cannot be 'yes'. Use true or false."),
        ({"dla_share": 2}, "dla_share cannot be 2. Use a number from 0 to 1."),
        ({"optimization_level": 3}, "has no optimization levels, and 3 was asked for."),
        ({"compute_capability": 86}, "cannot build for compute capability 86. Build on the GPU itself"),
    ],
)
def test_an_option_that_means_nothing_is_refused(
    logic: fake.FakeCuda, onnx_case: Case, options: dict[str, Any], words: str
) -> None:
    assert words in refusal(onnx_case, **options)


def test_build_leaves_the_plan_with_its_sidecar(logic: fake.FakeCuda, onnx_case: Case, tmp_path: Path) -> None:
    from edgebench_tensorrt import TensorRtBackend, plan_file

    backend = TensorRtBackend()
    built = backend.build(onnx_case.artifact, onnx_case.asked(), tmp_path)
    assert (built.format, built.path) == ("tensorrt-plan", str(tmp_path / "model.plan"))
    assert backend.build(built, onnx_case.asked(), tmp_path) is built
    answers = opened(replace(onnx_case, artifact=built)).run(onnx_case.feeds)
    np.testing.assert_allclose(answers[0], onnx_case.expected[0], rtol=1e-4, atol=1e-5)
    facts = plan_file.load(Path(built.path))[1]
    assert facts["shapes"] == {"input": [2, 3, 12, 12]}
    assert len(facts["onnx_sha256"]) == 64


def test_device_times_come_by_every_definition(logic: fake.FakeCuda, onnx_case: Case) -> None:
    found = opened(onnx_case).device_times(onnx_case.feeds, seconds=0.02)
    assert set(found) == set(timing.DEFINITIONS)
    assert timing.median(found["gpu_compute"]["compute"]) == pytest.approx(fake.COMPUTE)
    # One input, two outputs.
    assert timing.median(found["trtexec10"]["latency"]) == pytest.approx(fake.COMPUTE + 3 * fake.COPY)


def test_the_metric_gives_figures_of_them(logic: fake.FakeCuda, onnx_case: Case) -> None:
    from types import SimpleNamespace

    from edgebench.metrics.gpu import Gpu

    subject: Any = SimpleNamespace(session=opened(onnx_case), feeds=lambda start: onnx_case.feeds)
    work: Any = SimpleNamespace(cell=SimpleNamespace(batch=2, backend="b"))
    figures = {m.metric: m for m in Gpu().figures(work, [{"gpu": Gpu().observe(subject)}], None)}  # type: ignore[arg-type]
    assert figures["gpu_compute:latency"].value == pytest.approx(fake.COMPUTE)
    assert figures["gpu_compute:throughput"].value == pytest.approx(2 / fake.COMPUTE, rel=0.05)
    assert figures["trtexec10:d2h"].value == pytest.approx(2 * fake.COPY)
    assert "gpu_compute:h2d" not in figures
    assert figures["trtexec11:latency"].source == "device events; 2 in flight, without copies, a CUDA graph"
    other: Any = SimpleNamespace(session=object(), feeds=subject.feeds)
    (told,) = Gpu().figures(work, [{"gpu": Gpu().observe(other)}], None)  # type: ignore[arg-type]
    assert (told.value, told.note) == (None, "b has no device timers that it can be asked for")


def test_a_batch_beyond_the_engines_range_is_a_misfit(logic: fake.FakeCuda, onnx_case: Case) -> None:
    session = opened(onnx_case, max_batch=4)
    x = onnx_case.feeds["input"]
    assert session.run({"input": np.concatenate([x, x])})[0].shape == (4, 6)
    with pytest.raises(ModelError, match=r"\[1, 3, 12, 12\] to \[4, 3, 12, 12\], and is float32\[6, 3, 12, 12\]"):
        session.run({"input": np.concatenate([x, x, x])})


def test_close_gives_the_device_memory_back(logic: fake.FakeCuda, onnx_case: Case) -> None:
    before = len(logic.memory_of)
    session = opened(onnx_case)
    session.run(onnx_case.feeds)
    session.bind(onnx_case.feeds)()
    assert len(logic.memory_of) == before + 6  # an input and two outputs, each twice
    session.profile(onnx_case.feeds)
    assert len(logic.memory_of) == before + 6
    session.close()
    assert len(logic.memory_of) == before


def test_the_gpu_check_finds_a_wrong_answer(
    logic: fake.FakeCuda, onnx_case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What scripts/gpu-check does, on the fakes: all of it passes or is skipped, and a wrong answer does not."""
    from tests.gpu import __main__ as gpu

    cases = {"net-fp32": replace(onnx_case, calls=100)}
    rows = gpu.carry_out(fake.LogicBackend, cases, lambda line: None)
    said = {row["check"]: row["outcome"] for row in rows}
    assert {k for k, v in said.items() if v == "failed"} == set()
    assert {k for k, v in said.items() if v == "skipped"} == {"cross_check"}
    assert {"parity", "layers", "latencies", "graph", "refusals", "contract: outputs"} <= set(said)
    gpu.write(tmp_path, rows, {"gpu": "none"})
    assert "| net-fp32 | trtexec10 |" in (tmp_path / "report.md").read_text()
    wrong = {"net-fp32": replace(onnx_case, expected=[e + 1 for e in onnx_case.expected])}
    monkeypatch.setattr(gpu, "run_checks", lambda *_: {})
    rows = gpu.carry_out(fake.LogicBackend, wrong, lambda line: None)
    assert [r["check"] for r in rows if r["outcome"] == "failed"] == ["parity"]
