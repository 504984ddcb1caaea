"""What the contract cannot know of ONNX Runtime: its options, and what it really ran."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgebench_onnxruntime import OnnxRuntimeBackend, OnnxRuntimeSession

from edgebench.backend import EdgebenchError, ModelError, Session
from edgebench.testing import Case

pytest.importorskip("onnxruntime")


def opened(case: Case, **changed: Any) -> Session:
    return OnnxRuntimeBackend().open(case.artifact, case.asked(**changed))


def test_it_tells_every_setting_and_what_ran(onnx_case: Case) -> None:
    assert opened(onnx_case, threads=2).effective() == {
        "precision": "fp32", "threads": 2, "inter_op_threads": 1, "providers": ["CPUExecutionProvider"],
        "graph_optimization": "all", "spinning": True, "int8_ops": 0, "float_ops": 2,
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


@pytest.mark.parametrize("option", [{"graph_optimization": "most"}, {"spinning": "no"}])
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
