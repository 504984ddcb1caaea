"""A device's profile beside the plan, and what it asks for: cooled down, clocks, and the identity in every result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebench.devices import heat, identity

PROFILE = """\
transport = "local"
price = 12.5
[care]
cool_to = 1
cool_seconds = 0.5
lock_clocks = true
"""


def test_a_profile_asks_for_care_and_every_result_tells_what_became_of_it(
    tmp_path: Path, tiny_onnx: Path, environment: dict[str, str], edgebench: Callable[..., Any]
) -> None:
    folder = tmp_path / "config/edgebench/devices"
    folder.mkdir(parents=True)
    (folder / "bench-1.toml").write_text(PROFILE)
    environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    argv = ["bench", tiny_onnx, "--backend", "onnxruntime", "--batch", "1", "--batch", "2", "--quick", "--json"]
    done = edgebench(*argv, "--device", "bench-1")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "results").glob("*-bench-1")
    results = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    assert len(results) == 2
    for found in (result["environment"] for result in results):
        assert found["identity"] == json.loads(json.dumps(identity.identity()))
        assert found["runtimes"]["onnxruntime"]
        assert {"before", "after", "clocks"} <= set(found["health"])
        # Whether it can be done depends on the machine of the test; that it is told does not.
        refused = [w for w in found["warnings"] if w.startswith("The clocks were to be locked and are not")]
        assert bool(refused) == (found["health"]["clocks"] != "locked")
        if heat.temperatures():
            assert found["health"]["cooled"]["times"] >= 2, "before each generation"
        else:
            assert any("has no thermometer" in w for w in found["warnings"])
    assert json.loads((run / "run.json").read_text())["device"]["price"] == 12.5
