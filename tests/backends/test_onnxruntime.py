"""What the contract cannot know of ONNX Runtime: its options, and what it really ran."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import artifact
from edgebench_onnxruntime import OnnxRuntimeBackend, OnnxRuntimeSession
from edgebench_onnxruntime.placement import profiled
from edgebench_onnxruntime.settings import PROVIDERS, wanted

from edgebench.backend import EdgebenchError, MissingRuntime, ModelError, Session, check_fallback
from edgebench.testing import Case

pytest.importorskip("onnxruntime")


def opened(case: Case, **changed: Any) -> Session:
    return OnnxRuntimeBackend().open(case.artifact, case.asked(**changed))


def test_it_tells_every_setting_and_what_ran(onnx_case: Case) -> None:
    assert opened(onnx_case, threads=2).effective() == {
        "precision": "fp32", "threads": 2, "inter_op_threads": 1, "providers": ["CPUExecutionProvider"],
        "graph_optimization": "all", "spinning": True, "int8_ops": 0, "float_ops": 2, "provider": "cpu",
        "provider_options": {}, "optimized_cache": False, "max_fallback": 0.5, "activations": "float",
        "placement": {"CPUExecutionProvider": 5}, "fallback_share": 0.0,
        "weight_bits": "as in the file",
    }  # fmt: skip


def test_an_int8_file_is_int8_only_if_its_pairs_are_fused(onnx_int8_case: Case) -> None:
    fused = opened(onnx_int8_case).effective()
    assert (fused["precision"], fused["int8_ops"], fused["float_ops"]) == ("int8", 2, 0)
    unfused = opened(onnx_int8_case, graph_optimization="disabled").effective()
    assert (unfused["precision"], unfused["int8_ops"], unfused["float_ops"]) == ("fp32", 0, 2)
    assert unfused["graph_optimization"] == "disabled"


def test_the_spin_option_reaches_the_session(onnx_case: Case) -> None:
    for spinning in (True, False):
        session = opened(onnx_case, spinning=spinning)
        assert isinstance(session, OnnxRuntimeSession)
        settings = session._session.get_session_options()
        assert settings.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spinning))
        assert session.effective()["spinning"] is spinning


@pytest.mark.parametrize(
    "option",
    [
        {"graph_optimization": "most"},
        {"spinning": "no"},
        {"provider": "gpu"},
        {"provider_options": "fast"},
        {"optimized_cache": 1},
        {"activations": "u4"},
        {"max_fallback": 2},
    ],
)
def test_an_option_that_means_nothing_is_refused(onnx_case: Case, option: dict[str, Any]) -> None:
    with pytest.raises(EdgebenchError, match="cannot be"):
        opened(onnx_case, **option)


def test_operators_carry_place_and_precision(onnx_int8_case: Case) -> None:
    ops = {op["op"]: op for op in opened(onnx_int8_case).profile(onnx_int8_case.feeds)}
    assert ops["QLinearConv"]["precision"] == "int8"
    assert ops["QLinearConv"]["device"] == "CPUExecutionProvider"
    assert ops["QLinearConv"]["seconds"] < 1


def test_external_weights_that_are_missing_are_named(onnx_case: Case, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "net.onnx"
    onnx.save(onnx.load(onnx_case.artifact.path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    case = replace(onnx_case, artifact=replace(onnx_case.artifact, path=str(path)))
    with pytest.raises(ModelError, match=r"cannot load .*w\.bin"):
        opened(case)


def test_a_provider_that_this_build_does_not_have_is_never_replaced_silently(onnx_case: Case) -> None:
    with pytest.raises(
        MissingRuntime, match=r"no CUDAExecutionProvider\. Install it with: pip install onnxruntime-gpu"
    ):
        opened(onnx_case, provider="cuda")


def test_a_mac_is_named_for_coreml_and_no_package_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MissingRuntime) as caught:
        wanted({"provider": "coreml"})
    assert caught.value.fix == (
        "Install it with: pip install onnxruntime" if sys.platform == "darwin" else "Use a Mac."
    )


def test_values_that_it_fails_on_are_not_told_as_a_misfit_of_shapes(tmp_path: Path) -> None:
    import onnx

    node = onnx.helper.make_node("Gather", ["table", "ids"], ["y"])
    ids = onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["N", 2])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2, 3])
    table = onnx.numpy_helper.from_array(np.zeros((10, 3), np.float32), "table")
    graph = onnx.helper.make_graph([node], "g", [ids], [out], [table])
    path = tmp_path / "gather.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10), str(path))
    session = OnnxRuntimeBackend().open(artifact(path, "onnx"), {"threads": 1, "batch": 1, "precision": "fp32"})
    with pytest.raises(ModelError, match=r"failed on inputs of the model's names.*Look at their values"):
        session.run({"ids": np.array([[0, 99]], np.int64)})
    with pytest.raises(ModelError, match=r"wants ids int64\[None, 2\] and was given ids int32"):
        session.run({"ids": np.array([[0, 1]], np.int32)})


def test_a_provider_that_takes_nothing_fails_the_row(onnx_case: Case) -> None:
    import onnxruntime

    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build has no provider beside the CPU's to fall back from")
    with pytest.MonkeyPatch.context() as patch:  # Azure's takes no operator of ours: all fall back to the CPU
        patch.setitem(PROVIDERS, "azure", ("AzureExecutionProvider", "onnxruntime"))
        session = opened(onnx_case, provider="azure")
        assert session.run(onnx_case.feeds)
        found = profiled(onnx_case.artifact.path, onnx_case.asked(provider="azure"), onnx_case.feeds)
    assert {e["args"]["provider"] for e in found} == {"CPUExecutionProvider"}
    with pytest.raises(ModelError, match="left 100% of the operators to its fallback, more than 50%"):
        check_fallback("ONNX Runtime", 1.0, {})
    assert check_fallback("ONNX Runtime", 1.0, {"max_fallback": 1}) == 1.0


def test_the_rewritten_graph_is_kept_by_what_it_depends_on(
    onnx_int8_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBENCH_CACHE", str(tmp_path))
    backend, asked = OnnxRuntimeBackend(), onnx_int8_case.asked(optimized_cache=True)
    assert backend.builds(asked)
    assert not backend.builds(onnx_int8_case.asked())
    given = replace(onnx_int8_case.artifact, sha256="a")
    made = backend.build(given, asked, tmp_path)
    assert backend.build(given, asked, tmp_path) == made
    assert made.parent == "a"
    other = backend.build(given, {**asked, "graph_optimization": "basic"}, tmp_path)
    assert other.path != made.path
    session = backend.open(made, asked)
    found = session.effective()
    assert (found["optimized_cache"], found["graph_optimization"], found["int8_ops"]) == (True, "all", 2)
    for a, b in zip(session.run(onnx_int8_case.feeds), opened(onnx_int8_case).run(onnx_int8_case.feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_an_operator_that_it_does_not_have_is_named_with_its_node(odd_onnx: Callable[..., Case]) -> None:
    with pytest.raises(
        ModelError, match=r'acme:Spin\(-1\) is not a registered.* In the file: Spin that makes "y"'
    ) as refused:
        opened(odd_onnx("Spin", "", domain="acme"))
    assert refused.value.fix.startswith("Write the network in operators that it has")
    with pytest.raises(ModelError, match=r'No Op registered for Spin.* In the file: Spin "round"'):
        opened(odd_onnx("Spin", "round"))


def test_the_activations_asked_for_choose_the_file() -> None:
    backend = OnnxRuntimeBackend()
    asked = {"batch": 1, "threads": 1}
    assert backend.lowering("int8", {**asked, "activations": "s8"}) == "onnx-s8s8"
    assert backend.lowering("int8", {**asked, "activations": "u8", "weight_bits": 8}) == "onnx-u8s8"
    assert backend.lowering("fp32", {**asked, "activations": "s8"}) == "onnx"
    assert backend.lowering("fp16", asked) is None
    for wrong in ({"weight_bits": 9}, {"weight_bits": True}, {"activations": "s8", "weight_bits": 7}):
        with pytest.raises(EdgebenchError, match=r"7 bits|weight_bits"):
            backend.lowering("int8", {**asked, **wrong})


@pytest.mark.parametrize(
    ("machine", "flags", "lowering"),
    [
        ("x86_64", ["avx2", "avx512_vnni"], "onnx-u8s8"),
        ("x86_64", ["avx2", "avx_vnni"], "onnx-u8s8"),
        ("x86_64", ["avx2", "avx512bw"], "onnx-u8s7"),
        ("x86_64", [], "onnx-u8s7"),
        ("aarch64", ["asimd", "asimddp"], "onnx-s8s8"),
        ("aarch64", [], "onnx-s8s8"),
    ],
)
def test_the_processor_of_the_device_chooses_the_file(machine: str, flags: list[str], lowering: str) -> None:
    cpu = {"machine": machine, "flags": flags}
    assert OnnxRuntimeBackend().lowering("int8", {"batch": 1, "threads": 1, "cpu": cpu}) == lowering


@pytest.mark.parametrize("weights", [True, False], ids=["weights", "inputs only"])
def test_a_file_of_fp16_is_said_to_be_and_what_computed_it(weights: bool, onnx_case: Case, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    h, half = onnx.helper, onnx.TensorProto.FLOAT16
    node = h.make_node("MatMul", ["x", "w"], ["y"]) if weights else h.make_node("Relu", ["x"], ["y"])
    made = [onnx.numpy_helper.from_array(np.ones((8, 8), np.float16), "w")] if weights else []
    ends = [[h.make_tensor_value_info(name, half, [1, 8])] for name in ("x", "y")]
    graph = h.make_graph([node], "g", *ends, made)
    path = tmp_path / "half.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9), path)
    artifact = replace(onnx_case.artifact, path=str(path))
    found = OnnxRuntimeBackend().open(artifact, onnx_case.asked(batch=1)).effective()
    assert (found["precision"], found["file_precision"]) == ("fp16", "fp16")
    assert found["computed_in"] in ("fp32", "fp16")
