"""The model card of each file that was made: what it is, what it came from, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from edgebench.codec import to_json
from edgebench.schema import Artifact, Result, Run

SUFFIX = ".card.json"
MEASURED = ("latency", "speedup", "accuracy", "agreement")


def cards(run: Run, results: Sequence[Result]) -> Iterator[tuple[str, str]]:
    """For each model file of a run, its path in the run's folder and the text of its card."""
    files: dict[str, list[Result]] = {}
    for result in results:
        if result.artifact is not None and not PurePath(result.artifact.path).is_absolute():
            files.setdefault(result.artifact.path, []).append(result)
    for path, rows in files.items():
        artifact, cell = rows[-1].artifact, rows[-1].cell
        assert artifact is not None
        measured = [{"run": run.id, **_measured(row)} for row in rows if row.status == "ok"]
        yield path, text(run.plan, cell.recipe, artifact, {"precision": cell.precision}, measured)


def text(
    plan: Mapping[str, Any],
    recipe: str,
    artifact: Artifact,
    more: Mapping[str, Any] | None = None,
    measured: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One card, as JSON. `plan` is the plain JSON of a Plan; `recipe` the name of its recipe that made the file."""
    asked: Mapping[str, Any] = next((r for r in plan.get("recipes", ()) if r.get("name") == recipe), {})
    facts = dict(artifact.facts)
    data = facts.pop("data_sha256", None)
    card = {
        "file": PurePath(artifact.path).name,
        "format": artifact.format,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "parent": artifact.parent,
        **(more or {}),
        "model": asked.get("model") or plan.get("model"),
        "recipe": recipe,
        "steps": _steps(asked.get("steps", ()), facts.pop("steps", ())),
        "data": {**_data(plan, asked), "sha256": data},
        "seed": plan.get("seed", 0),
        "versions": artifact.made_by,
        **facts,
        "measured": list(measured),
    }
    return json.dumps(to_json(card), indent=1, ensure_ascii=False) + "\n"


def _steps(asked: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each step with its options and, of those that changed the network, what it came to."""
    said = [{k: v for k, v in step.items() if k != "method"} for step in found]
    return [
        {"method": step["method"], "options": step.get("options", {}), **({"found": said[i]} if i < len(said) else {})}
        for i, step in enumerate(asked)
    ]


def _data(plan: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(asked.get("data") or {})
    if own:
        return {"source": own.pop("source", None), "options": own}
    return {"source": plan.get("data"), "options": plan.get("data_options", {})}


def _measured(row: Result) -> dict[str, Any]:
    """Where, and each figure with its interval: seconds and shares, as everywhere."""
    cell, found = row.cell, {}
    for name in MEASURED:
        seen = row.get(name)
        if seen is not None and seen.value is not None:
            ends = [seen.interval.low, seen.interval.high] if seen.interval else None
            found[name] = {"value": seen.value, "interval": ends, "n": seen.n}
    where = {"backend": cell.backend, "device": cell.device, "batch": cell.batch, "threads": cell.threads}
    return {**where, "precision": row.effective.get("precision"), **found}
