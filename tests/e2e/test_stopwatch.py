"""The stopwatch of latency searches measures for real, by the ordinary campaign."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgebench.compress.timing import Place
from edgebench.devices import profiles
from edgebench.errors import EdgebenchError, PlanError
from edgebench.schema import QUICK, Artifact
from edgebench.stopwatch import Stopwatch

SPEC = {"name": "input", "dtype": "float32", "shape": [None, 8]}
PATIENT = replace(QUICK, half_width=10.0, withhold_half_width=1e6, least_generations=2, most_generations=2, rounds=4)


def network(folder: Path, name: str, **behave: float | str) -> Artifact:
    """A file of the fake runtime, which spins for as long as it says."""
    path = folder / f"{name}.fake"
    model = {"inputs": [SPEC], "outputs": [{**SPEC, "name": "output"}], "seed": 0, "behave": behave}
    path.write_text(json.dumps(model))
    content = path.read_bytes()
    return Artifact(format="fake", path=str(path), sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def watch() -> Stopwatch:
    return Stopwatch(device=profiles.resolve("local"), options={}, protocol=PATIENT)


def test_it_measures_files_side_by_side(tmp_path: Path) -> None:
    files = [network(tmp_path, "whole", sleep=0.004), network(tmp_path, "half", sleep=0.002)]
    try:
        whole, half = watch().time(files, Place(backend="fake"))
    except EdgebenchError as busy:
        pytest.skip(f"this machine is too busy to measure now: {busy.problem}")
    assert (whole.share, whole.share_low, whole.share_high) == (1, 1, 1)
    assert half.share_low <= half.share <= half.share_high
    assert half.seconds < whole.seconds
    assert 0.3 < half.share < 0.75


def test_a_file_that_does_not_run_ends_the_search(tmp_path: Path) -> None:
    broken = replace(network(tmp_path, "broken"), format="fake")
    Path(broken.path).write_text("no model")
    content = Path(broken.path).read_bytes()
    broken = replace(broken, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    with pytest.raises(EdgebenchError, match="A pruned network does not run on fake"):
        watch().time([network(tmp_path, "whole"), broken], Place(backend="fake"))


def test_another_device_and_another_backend_are_said() -> None:
    with pytest.raises(PlanError, match=r'wants its latency from the device "orin".*a run on "local"'):
        watch().lowering(Place(backend="onnxruntime", device="orin"))
    with pytest.raises(EdgebenchError, match=r'Did you mean "onnxruntime"'):
        watch().lowering(Place(backend="onnxruntim"))
    assert watch().lowering(Place(backend="onnxruntime", device="local")) == "onnx"


def test_the_name_of_what_is_kept_holds_machine_version_and_options() -> None:
    found = watch().fingerprint(Place(backend="fake"))
    assert set(found) == {"device", "machine", "version", "options", "protocol"}
    tuned = Stopwatch(device=profiles.resolve("local"), options={"fake": {"spin": 1}})
    assert tuned.fingerprint(Place(backend="fake")) != found
