"""What the contract cannot know of OpenVINO: its defaults are overruled, and its own format opens."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgebench_openvino import OpenVinoBackend
from edgebench_openvino.settings import _remedy

from edgebench.backend import EdgebenchError, MissingRuntime, ModelError, Session
from edgebench.codec import Options
from edgebench.schema import Artifact
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
    packed = tmp_path / "net.xml.zip"  # as a board is sent it
    with zipfile.ZipFile(packed, "w") as archive:
        for part in (path, path.with_suffix(".bin")):
            archive.write(part, part.name)
    for artifact in (case.artifact, replace(case.artifact, path=str(packed))):
        session = opened(replace(case, artifact=artifact))
        assert [s.name for s in session.inputs] == ["input"]
        assert [s.name for s in session.outputs] == ["logits", "features"]
        assert session.effective()["precision"] == "fp32"
        for found, wanted in zip(session.run(case.feeds), case.expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, path.name)
    with pytest.raises(ModelError, match=r"holds net\.xml, not one \.xml and one \.bin"):
        opened(replace(case, artifact=replace(case.artifact, path=str(packed))))


def test_an_ir_without_its_weights_is_refused(onnx_case: Case, tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    openvino.save_model(openvino.Core().read_model(onnx_case.artifact.path), path)
    path.with_suffix(".bin").unlink()
    case = replace(onnx_case, artifact=replace(onnx_case.artifact, path=str(path), format="openvino-ir"))
    with pytest.raises(ModelError, match="its weights with it"):
        opened(case)


def test_an_operator_that_it_does_not_have_is_named_with_its_node(odd_onnx: Callable[..., Case]) -> None:
    with pytest.raises(
        ModelError, match=r'No conversion rule found for operations: Det-17\. In the file: Det "corner"'
    ):
        opened(odd_onnx("Det", "corner"))
    with pytest.raises(ModelError, match=r'acme\.Spin\. In the file: Spin that makes "y"') as refused:
        opened(odd_onnx("Spin", "", domain="acme"))
    assert refused.value.fix.startswith("Write the network in operators that it has")


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


def test_a_device_that_is_not_there_is_named_and_never_replaced(onnx_case: Case) -> None:
    missing = next(d for d in ("NPU", "GPU") if not any(f.startswith(d) for f in openvino.Core().available_devices))
    with pytest.raises(
        MissingRuntime, match=rf"finds no {missing} here, only CPU.*Install the driver of the {missing}"
    ):
        opened(onnx_case, device=missing)


def test_auto_says_which_device_it_took_and_keeps_the_precision(onnx_case: Case) -> None:
    session = opened(onnx_case, device="AUTO")
    found = session.effective()
    assert (found["device"], found["devices"], found["precision"]) == ("AUTO", ["CPU"], "fp32")
    np.testing.assert_allclose(session.run(onnx_case.feeds)[0], onnx_case.expected[0], rtol=1e-4, atol=1e-5)


def test_the_throughput_hint_opens_streams(onnx_case: Case) -> None:
    found = opened(onnx_case, threads=2, performance_hint="throughput").effective()
    assert (found["performance_hint"], found["streams"]) == ("THROUGHPUT", 2)
    assert opened(onnx_case, threads=2, performance_hint="throughput", streams=1).effective()["streams"] == 1


def test_a_batch_runs_as_jobs_of_the_queue_in_order(onnx_case: Case) -> None:
    feeds = {"input": np.random.default_rng(3).standard_normal((7, 3, 12, 12)).astype(np.float32)}
    plain = opened(onnx_case, batch=7).run(feeds)
    session = opened(onnx_case, batch=7, threads=2, jobs=4, performance_hint="throughput")
    for found in (session.run(feeds), session.bind(feeds)()):
        for a, b in zip(found, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert session.effective()["jobs"] == 4
    assert session.profile(feeds)
    with pytest.raises(ModelError, match="was given nothing"):
        session.run({})


def test_the_compiled_network_is_kept_and_loaded(
    onnx_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBENCH_CACHE", str(tmp_path))
    backend, asked = OpenVinoBackend(), onnx_case.asked(model_cache=True)
    assert backend.builds(asked)
    assert not backend.builds(onnx_case.asked())
    made = backend.build(onnx_case.artifact, asked, tmp_path)
    session = backend.open(made, asked)
    assert session.effective()["model_cache"] is True
    np.testing.assert_allclose(session.run(onnx_case.feeds)[0], onnx_case.expected[0], rtol=1e-4, atol=1e-5)
    assert opened(onnx_case).effective()["model_cache"] is False


@pytest.mark.parametrize(
    "option",
    [
        {"device": "TPU"}, {"performance_hint": "speed"}, {"streams": -1}, {"jobs": True}, {"quantizer": "mine"},
        {"model_cache": "yes"},
    ],
)  # fmt: skip
def test_an_option_that_means_nothing_is_refused(onnx_case: Case, option: dict[str, Any]) -> None:
    with pytest.raises(EdgebenchError, match="cannot be"):
        opened(onnx_case, **option)


def test_nncf_is_a_route_of_its_own_to_int8(onnx_case: Case, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    from edgebench.compress.lowering import lower
    from edgebench.compress.quantization.quantize import Quantize

    name = OpenVinoBackend().lowering("int8", {"batch": 1, "threads": 1, "quantizer": "nncf"})
    assert name == "onnx-nncf"
    samples = np.random.default_rng(1).standard_normal((32, 3, 12, 12)).astype(np.float32)
    source = Path(onnx_case.artifact.path)
    request = lower.Request(model=None, example=None, calibration=samples, onnx=lambda: source, quantize=Quantize())
    facts = lower.get(name or "").write(request, tmp_path / "net.onnx")
    assert (facts["quantizer"], facts["int8_coverage"]) == ("nncf", 1.0)
    artifact = replace(onnx_case.artifact, path=str(tmp_path / "net.onnx"), facts=Options(facts))
    session = OpenVinoBackend().open(artifact, onnx_case.asked(precision="int8"))
    found = session.effective()
    assert (found["precision"], found["int8_ops"], found["quantizer"]) == ("int8", 2, "nncf")
    logits, right = session.run(onnx_case.feeds)[0], onnx_case.expected[0]
    assert 1e-4 < np.linalg.norm(logits - right) / np.linalg.norm(right) < 0.1
    with pytest.raises(ModelError, match=r"sets ranges\. Leave ranges out"):
        lower.get("onnx-nncf").write(replace(request, quantize=Quantize(ranges="entropy")), tmp_path / "x.onnx")


def one_node(path: Path, op: str, taken: int, given: int, **weights: Any) -> Artifact:
    """A network of one operator on x (1, 8), its weights beside it."""
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    shape = [2, "n"] if op == "NonZero" else [1, 8]
    graph = h.make_graph(
        [h.make_node(op, ["x", *weights], ["y"])],
        "g",
        [h.make_tensor_value_info("x", taken, [1, 8])],
        [h.make_tensor_value_info("y", given, shape)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9), path)
    return Artifact(format="onnx", path=str(path), sha256="", size=path.stat().st_size)


@pytest.mark.parametrize(("op", "taken", "given"), [("Not", 9, 9), ("NonZero", 1, 7)])
def test_a_graph_without_float_arithmetic_has_no_precision_to_judge(
    op: str, taken: int, given: int, onnx_case: Case, tmp_path: Path
) -> None:
    session = OpenVinoBackend().open(one_node(tmp_path / "m.onnx", op, taken, given), onnx_case.asked())
    assert session.effective()["precision"] == "fp32"


def test_a_file_of_fp16_is_said_to_be_and_what_computed_it(onnx_case: Case, tmp_path: Path) -> None:
    weights = np.ones((8, 8), np.float16)
    made = one_node(tmp_path / "m.onnx", "MatMul", 10, 10, w=weights)
    found = OpenVinoBackend().open(made, onnx_case.asked()).effective()
    assert (found["precision"], found["file_precision"]) == ("fp16", "fp16")
    assert found["computed_in"] in ("fp32", "fp16")
    assert "file_precision" not in opened(onnx_case).effective()


def test_memory_that_ends_is_no_fault_of_the_export() -> None:
    assert "Free memory" in _remedy(RuntimeError("Exception from x.cpp:1:\nstd::bad_alloc"))
    assert "Export the model again" in _remedy(RuntimeError("unknown operator"))


@pytest.mark.parametrize(
    ("flags", "more", "lowering"),
    [
        (["avx2", "avx_vnni"], {}, "onnx-u8s8"),
        (["avx2"], {}, "onnx-u8s7"),
        (["avx2"], {"device": "AUTO"}, "onnx-u8s7"),
        (["avx2"], {"device": "GPU"}, "onnx-u8s8"),
        (["avx2"], {"quantizer": "nncf"}, "onnx-nncf"),
    ],
)
def test_the_processor_of_the_device_chooses_the_file(flags: list[str], more: dict[str, str], lowering: str) -> None:
    options = {"batch": 1, "threads": 1, "cpu": {"machine": "x86_64", "flags": flags}, **more}
    assert OpenVinoBackend().lowering("int8", options) == lowering


def test_weights_that_fill_their_range_answer_as_in_float(tmp_path: Path) -> None:
    """Two products of u8 and s8 do not fit in 16 bits: with weights of 8 bits a processor without VNNI answers far off."""
    torch = pytest.importorskip("torch")
    from edgebench.compress.lowering import export, lower
    from edgebench.compress.quantization.quantize import Quantize

    torch.manual_seed(0)
    convs = (torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Conv2d(8, 4, 3))
    net = torch.nn.Sequential(torch.nn.ReLU(), convs[0], torch.nn.ReLU(), convs[1]).eval()
    for layer in convs:  # all weights near the greatest, as of a network that was pruned and trained on
        layer.weight.data = layer.weight.data.sign() * (0.9 + 0.1 * torch.rand_like(layer.weight))
    samples = torch.rand(32, 8, 10, 10).numpy()
    export.export_onnx(net, torch.from_numpy(samples[:2]), tmp_path / "f.onnx")
    backend = OpenVinoBackend()
    name = backend.lowering("int8", {"batch": 1, "threads": 1})
    assert name is not None
    request = lower.Request(
        model=None, example=None, calibration=samples, onnx=lambda: tmp_path / "f.onnx", quantize=Quantize()
    )
    lower.get(name).write(request, tmp_path / "q.onnx")
    artifact = Artifact(format="onnx", path=str(tmp_path / "q.onnx"), sha256="", size=1)
    session = backend.open(artifact, {"precision": "int8", "batch": 1, "threads": 1})
    found = session.run({"input": samples[:1]})[0]
    wanted = net(torch.from_numpy(samples[:1])).detach().numpy()
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)
