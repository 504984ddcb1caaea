"""The main job, as the README's first command runs it: every variant on every runtime, no failed row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgebench.report.columns import UNPUBLISHED

RUNTIMES = {"onnxruntime", "openvino", "torch"}


@pytest.mark.slow
def test_the_quick_suite_gives_five_variants_on_three_runtimes(edgebench: Callable[..., Any], tmp_path: Path) -> None:
    done = edgebench("run", "--quick", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {r["status"] for r in rows} == {"ok"}
    variants = {r["cell"]["recipe"] for r in rows}
    assert variants == {"teacher", "distilled", "pruned", "teacher-int8", "distilled-int8"}
    assert {(r["cell"]["recipe"], r["cell"]["backend"]) for r in rows} == {(v, b) for v in variants for b in RUNTIMES}
    for row in rows:
        found = {m["metric"]: m for m in row["measurements"]}
        assert found["accuracy"]["value"] > 0.96
        assert found["agreement"]["value"] > 0.96
        assert found["memory_peak"]["value"] > 0
        assert row["effective"]["precision"] == row["cell"]["precision"]
    macs = {
        r["cell"]["recipe"]: r["artifact"]["facts"].get("macs") for r in rows if r["cell"]["backend"] == "onnxruntime"
    }
    assert macs["pruned"] / macs["teacher"] == pytest.approx(0.5, rel=0.02)
    (folder,) = (tmp_path / "results").iterdir()
    made = sorted((folder / "artifacts").iterdir())
    cards = {p.name: json.loads(p.read_text()) for p in made if p.name.endswith(".card.json")}
    files = {Path(row["artifact"]["path"]).name for row in rows}
    assert len(files) >= 10, "a float and an int8 file of each network for ONNX, and for torch"
    assert {p.name for p in made} == files | set(cards)
    assert {f"{card['file']}.card.json" for card in cards.values()} == set(cards) == {f"{f}.card.json" for f in files}
    pruned = cards["pruned.onnx.card.json"]
    assert [step["method"] for step in pruned["steps"]] == ["train", "prune", "finetune"]
    assert pruned["steps"][1]["found"]["macs_left"] == pytest.approx(0.5, rel=0.02)
    assert {m["backend"] for m in pruned["measured"]} == {"onnxruntime", "openvino"}
    assert all(m["accuracy"]["interval"] for m in pruned["measured"])
    withheld = {
        r["cell"]["backend"] for r in rows if r["cell"]["recipe"] == "pruned" and r["noise"]["state"] in UNPUBLISHED
    }
    for m in pruned["measured"]:  # a card has what the table has: a latency, unless that is withheld
        assert m["latency"]["value"] > 0 if m["backend"] not in withheld else "latency" not in m
    assert len(pruned["data"]["sha256"]) == 64
