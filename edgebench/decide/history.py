"""The latency of one cell over many runs: points in the order of time, breaks where the machine changed, and change points.

A new fingerprint of the environment opens a new series: what changed with the machine is a break and never a change point. What
else changed at a change point (runtime version, model file, edgebench) is named beside it, as it is where one would look first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebench import environment, stats, store
from edgebench.codec import SCHEMA, Options
from edgebench.decide.bounds import ends
from edgebench.decide.change import LEAST, change_points
from edgebench.errors import EdgebenchError, StoreError, did_you_mean
from edgebench.report import text
from edgebench.schema import Result, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run's figure in seconds; `value` is None where it has none, and `why` says why."""

    run: str
    started: str
    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""
    fingerprint: str = ""
    version: str = ""
    artifact: str = ""
    edgebench: str = ""
    facts: Options = Options()
    """Of the machine: what its fingerprint is made from."""


Series = Mapping[str, Sequence[Point]]


def found_runs(roots: Iterable[Path]) -> tuple[list[tuple[Run, tuple[Result, ...]]], list[str]]:
    """Every run in the folders or below them, the earliest first, and what could not be read, each with its reason.

    Raises StoreError when a folder is missing or holds no run at all.
    """
    runs, unread, seen = [], [], set()
    for root in roots:
        if not root.is_dir():
            raise StoreError(f"There is no folder {root}.", "Name the folder in which runs lie with --results.")
        for path in sorted(p.parent for p in root.rglob(store.RUN) if p.is_file()):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                folder = store.open_run(path)
                runs.append((folder.run, folder.results()))
            except EdgebenchError as error:
                unread.append(f"{path.name}: {error.problem}")
    if not runs and not unread:
        raise StoreError("There is no run in the results folder.", "Make one with: edgebench run")
    return sorted(runs, key=lambda r: (r[0].started, r[0].id)), unread


def series(runs: Iterable[tuple[Run, Sequence[Result]]]) -> dict[str, list[Point]]:
    """For each cell its points in the order of the runs."""
    out: dict[str, list[Point]] = {}
    for run, results in runs:
        for result in results:
            out.setdefault(result.cell.id, []).append(point(run, result))
    return out


def point(run: Run, result: Result) -> Point:
    """What a result says of its cell's latency."""
    m = result.get("latency")
    value = m.value if m and m.value and m.value > 0 else None
    low, high = (ends(m) or (None, None)) if m and value else (None, None)
    why = "" if value else result.reason or (m.note if m and m.note else "its latency was not measured")
    return Point(
        run=run.id, started=run.started, value=value, why=why if result.status == "ok" else f"{result.status}: {why}",
        low=low, high=high,
        fingerprint=str(result.environment.get("fingerprint") or ""),
        version=str(result.effective.get("version") or ""),
        artifact=result.artifact.sha256 if result.artifact else "",
        edgebench=str(run.versions.get("edgebench") or ""), facts=result.environment,
    )  # fmt: skip


def matching(cells: Sequence[str], asked: str) -> str:
    """The cell with this id, or the only one that has it as a part. Raises EdgebenchError for none or several."""
    if asked in cells:
        return asked
    found = [cell for cell in cells if asked in cell]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise EdgebenchError(
            f'"{asked}" is a part of {len(found)} cells: {names}.', "Give the whole id of one of them."
        )
    fix = did_you_mean(asked, cells) if len(cells) <= 8 else "See the cells with: edgebench history"
    raise EdgebenchError(f'There is no cell "{asked}" in these runs.', fix)


def history(runs: Iterable[tuple[Run, Sequence[Result]]], asked: str, unread: Sequence[str] = ()) -> dict[str, Any]:
    """One cell over all runs, as plain JSON: its points, breaks and changes."""
    known = series(runs)
    cell = matching(list(known), asked)
    return {"schema": SCHEMA, "cell": cell, **told(known[cell]), "unread": list(unread)}


def overview(runs: Iterable[tuple[Run, Sequence[Result]]], unread: Sequence[str] = ()) -> dict[str, Any]:
    """Every cell with at least two points, as plain JSON: how many, the first and the last, and what changed."""
    cells = []
    for cell, points in series(runs).items():
        figures = [p for p in points if p.value is not None]
        if len(points) < 2:
            continue
        found = told(points)
        cells.append({
            "cell": cell, "runs": len(points), "figures": len(figures),
            "first": figures[0].value if figures else None, "last": figures[-1].value if figures else None,
            "breaks": len(found["breaks"]), "changes": found["changes"], "judged": max(found["series"], default=0) >= ENOUGH,
        })  # fmt: skip
    return {"schema": SCHEMA, "cells": cells, "least": ENOUGH, "unread": list(unread)}


ENOUGH = 2 * LEAST
"""Figures of one machine and set-up: of a shorter series nobody can tell whether it changed."""


def told(points: Sequence[Point]) -> dict[str, Any]:
    """Breaks and changes of a series of points, with the points themselves."""
    figures = [p for p in points if p.value is not None]
    breaks = [i for i in range(1, len(figures)) if figures[i].fingerprint != figures[i - 1].fingerprint]
    changes = []
    parts = list(zip([0, *breaks], [*breaks, len(figures)], strict=True))
    for start, end in parts:
        part = figures[start:end]
        places = change_points([p.value or 0.0 for p in part], [_error(p) for p in part])
        edges = [0, *places, len(part)]
        for before, at, after in zip(edges, edges[1:], edges[2:], strict=False):
            changes.append(_change(part, before, at, after))
    return {
        "points": [{name: getattr(p, name) for name in KEPT} for p in points],
        "breaks": [_break(figures[i - 1], figures[i]) for i in breaks],
        "changes": changes,
        "series": [end - start for start, end in parts],
        "least": ENOUGH,
    }


KEPT = tuple(f.name for f in dataclasses.fields(Point) if f.name != "facts")
UNNAMED = environment.VOLATILE | environment.REPEATS
"""Facts that change from minute to minute, or repeat others."""


def _break(before: Point, after: Point) -> dict[str, Any]:
    """Where a series ends because the machine or its set-up is another one: in what it differs, in words."""
    a, b = before.facts, after.facts
    names = [name for name in dict.fromkeys((*a, *b)) if name not in UNNAMED and a.get(name) != b.get(name)]
    differs = [{"what": name, "before": text.told(a.get(name)), "after": text.told(b.get(name))} for name in names]
    return {"run": after.run, "before": before.run, "differs": differs}


def _error(p: Point) -> float:
    """The standard error of the logarithm, from half of a 95 % interval; 0 where there is none."""
    if p.low is None or p.high is None or p.low <= 0:
        return 0.0
    return (math.log(p.high) - math.log(p.low)) / 2 / 1.96


def _change(part: Sequence[Point], before: int, at: int, after: int) -> dict[str, Any]:
    earlier, later = ([p.value or 0.0 for p in part[a:b]] for a, b in ((before, at), (at, after)))
    a, b = stats.geometric_mean(earlier), stats.geometric_mean(later)
    same_time = {
        name: [getattr(part[at - 1], name), getattr(part[at], name)]
        for name in ("version", "artifact", "edgebench")
        if getattr(part[at - 1], name) != getattr(part[at], name)
    }
    return {"run": part[at].run, "before": a, "after": b, "ratio": b / a, "with": same_time}
