"""What is not installed where a cell should run is a skipped row with its reason; what is wrong is a failed one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgebench import runner
from edgebench.codec import Options, from_json
from edgebench.devices import profiles
from edgebench.schema import QUICK, Artifact, Cell, Job, Result, Work
from edgebench.testing import Case

pytest.importorskip("onnxruntime")


def test_a_provider_that_is_not_there_skips_the_row_a_wrong_option_fails_it_and_a_kept_graph_is_measured(
    onnx_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setenv("EDGEBENCH_CACHE", str(tmp_path))

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has the provider that is asked for in vain")
    content = onnx_case.artifact.path.encode()
    artifact = replace(onnx_case.artifact, sha256=hashlib.sha256(content).hexdigest())
    random = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))
    works = []
    for asked in ({"provider": "cuda"}, {"provider": "gpu"}, {"provider": "cpu", "optimized_cache": True}):
        cell = Cell(model="net", recipe="as given", backend="onnxruntime", device="local", options=Options(asked))
        works.append(Work(cell=cell, artifact=artifact, data=random, baseline=cell.id))
    found: dict[str, Result] = {}

    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "result":
            result = from_json(Result, event["result"])
            found[result.cell.options["provider"]] = result

    job = Job(id="missing", work=tuple(works), metrics=("latency",), protocol=replace(QUICK, isolate=False))
    runner.conduct(profiles.resolve("local"), job, (), on_event)
    assert (found["cuda"].status, found["gpu"].status) == ("skipped", "failed")
    assert (found["cpu"].status, found["cpu"].effective["optimized_cache"]) == ("ok", True), found["cpu"].reason
    assert "has no CUDAExecutionProvider" in found["cuda"].reason
    assert "pip install onnxruntime-gpu" in found["cuda"].fix
    assert "provider cannot be 'gpu'" in found["gpu"].reason
