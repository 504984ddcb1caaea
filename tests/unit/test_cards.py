"""The model cards that lie beside model files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from edgebench.codec import Options
from edgebench.report.cards import cards, text
from edgebench.schema import Artifact, Cell, DeviceProfile, Interval, Measurement, Result, Run

TRAIN, PRUNE = {"method": "train", "options": {"epochs": 2, "seed": 3}}, {"method": "prune", "options": {"macs": 0.5}}
PLAN = Options(
    model={"name": "net", "source": "my:net"},
    data="digits",
    data_options={"limit": 5},
    seed=7,
    recipes=[
        {"name": "pruned", "steps": [TRAIN, PRUNE, {"method": "quantize"}]},
        {"name": "own", "steps": [], "model": {"name": "other", "source": "my:other"}, "data": {"source": "a.npz"}},
    ],
)
FACTS = Options(
    macs=50, parameters=5, data_sha256="dd", int8_coverage=1.0, steps=[
        {"method": "train", "loss": 0.1, "macs": 100},
        {"method": "prune", "macs_left": 0.5, "macs": 50},
    ],
)  # fmt: skip
FILE = Artifact(
    format="onnx",
    path="artifacts/pruned.onnx",
    sha256="ab",
    size=9,
    parent="cd",
    made_by=Options(torch="2"),
    facts=FACTS,
)
RUN = Run(id="r", started="s", versions=Options(), plan=PLAN, device=DeviceProfile(name="d"), host=Options())


def row(backend: str, **changes: Any) -> Result:
    def figure(metric: str, value: float | None) -> Measurement:
        ends = None if value is None else Interval(low=value / 2, high=value * 2)
        return Measurement(metric=metric, unit="1", phase="steady", source="t", value=value, interval=ends, n=4)

    made = Result(
        cell=Cell(model="net", recipe="pruned", backend=backend, device="d", precision="int8"),
        status="ok",
        measurements=(figure("latency", 2e-3), figure("accuracy", 0.5), figure("speedup", None)),
        artifact=FILE,
        effective=Options(precision="int8"),
    )
    return replace(made, **changes)


def test_a_card_says_what_a_file_is_where_it_came_from_and_what_was_measured() -> None:
    ((path, written),) = cards(RUN, [row("a"), row("b"), row("c", status="failed")])
    assert path == FILE.path
    card = json.loads(written)
    assert card["steps"] == [
        {**TRAIN, "found": {"loss": 0.1, "macs": 100}},
        {**PRUNE, "found": {"macs_left": 0.5, "macs": 50}},
        {"method": "quantize", "options": {}},
    ]
    assert {k: card[k] for k in ("file", "sha256", "size", "parent", "precision", "seed", "macs", "parameters")} == {
        "file": "pruned.onnx", "sha256": "ab", "size": 9, "parent": "cd", "precision": "int8", "seed": 7, "macs": 50,
        "parameters": 5,
    }  # fmt: skip
    assert card["model"] == {"name": "net", "source": "my:net"}
    assert card["data"] == {"source": "digits", "options": {"limit": 5}, "sha256": "dd"}
    assert card["versions"] == {"torch": "2"}
    assert card["int8_coverage"] == 1.0
    assert [m["backend"] for m in card["measured"]] == ["a", "b"]
    assert card["measured"][0] == {
        "run": "r", "backend": "a", "device": "d", "batch": 1, "threads": 1, "precision": "int8",
        "latency": {"value": 2e-3, "interval": [1e-3, 4e-3], "n": 4},
        "accuracy": {"value": 0.5, "interval": [0.25, 1.0], "n": 4},
    }  # fmt: skip


def test_a_recipe_may_have_a_model_and_data_of_its_own() -> None:
    card = json.loads(text(PLAN, "own", replace(FILE, path="own.onnx", facts=Options())))
    assert card["model"]["name"] == "other"
    assert card["data"] == {"source": "a.npz", "options": {}, "sha256": None}
    assert card["steps"] == card["measured"] == []


def test_a_file_that_lies_elsewhere_has_no_card() -> None:
    given = replace(FILE, path="/home/me/net.onnx")
    assert list(cards(RUN, [row("a", artifact=given), row("b", artifact=None)])) == []
