"""Is B better than A, cell by cell: pairs, a verdict for each figure, and an exit code for CI. Pure: runs in, JSON out.

The generations of two runs are not paired: a common disturbance of one run does not cancel as it does within a run. So the
interval of a ratio is Welch's (two independent series of generation medians, on the logarithm), and what drifted between the two
runs is in the ratio without being in the interval: the answer says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgebench import stats
from edgebench.codec import SCHEMA
from edgebench.decide.answers import Right
from edgebench.decide.comparable import Difference, Side, differences
from edgebench.decide.versus import Compared, accuracies, exact, memories, ratios
from edgebench.errors import EdgebenchError
from edgebench.report.columns import options_text
from edgebench.report.text import plain
from edgebench.schema import Result

SIGNIFICANT = 0.05
LIMIT = (
    "The two runs were measured at different times: what drifted between them (heat, neighbours, load) is in the ratios, and "
    "not in their intervals. Measured in one run, both variants take turns and are compared in pairs."
)
Key = tuple[Any, ...]
Rights = tuple[Mapping[str, Right], Mapping[str, Right]]


def compare(a: Side, b: Side, rights: Rights = ({}, {}), strict: bool = False) -> dict[str, Any]:
    """The whole comparison as plain JSON: `b` against `a`. `rights`: which samples each cell answered rightly, if known.

    Raises EdgebenchError for a run without results, and with `strict` for runs that are not comparable.
    """
    for side in (a, b):
        if not side.results:
            raise EdgebenchError(
                f"The run {side.run.id} has no result.", f"Measure it first with: edgebench run --resume {side.called}"
            )
    pairs, only_a, only_b = paired(a, b)
    differing = differences(a, b, pairs)
    if strict and differing:
        first = differing[0]
        raise EdgebenchError(
            f"The runs are not comparable: {first.what} is {first.a} in {a.run.id} and {first.b} in {b.run.id}"
            + (f", and {len(differing) - 1} more differ." if len(differing) > 1 else "."),
            "Measure both alike, or leave out --strict.",
        )
    missing = sum(r.status == "ok" for r in only_a)
    if strict and missing:
        raise EdgebenchError(
            f"{missing} of the {len(a.results)} cells of {a.run.id} have no result in {b.run.id}.",
            f"Measure them, if it was cut off, with: edgebench run --resume {b.called}",
        )
    same_run = a.run == b.run and a.results == b.results
    rows = [_figures(x, y, rights, same_run) for x, y in pairs]
    rows = _corrected(rows)
    out = [_row(x, y, found) for (x, y), found in zip(pairs, rows, strict=True)]
    return _answer(a, b, out, only_a, only_b, differing, same_run)


def paired(a: Side, b: Side) -> tuple[list[tuple[Result, Result]], list[Result], list[Result]]:
    """The cells that both runs hold, in the order of `a`, and those of one alone. The device may be another."""
    others: dict[Key, list[Result]] = {}
    for result in b.results:
        others.setdefault(key(result), []).append(result)
    pairs, only_a = [], []
    for result in a.results:
        found = others.get(key(result))
        if not found:
            only_a.append(result)
            continue
        same = next((r for r in found if r.cell.device == result.cell.device), found[0])
        found.remove(same)
        pairs.append((result, same))
    return pairs, only_a, [r for found in others.values() for r in found]


def key(result: Result) -> Key:
    """What must be the same in both: everything that was asked but the device."""
    return (*(getattr(result.cell, f.name) for f in dataclasses.fields(result.cell) if f.name != "device"),)


def _figures(a: Result, b: Result, rights: Rights, same_run: bool) -> list[Compared]:
    if a.status != "ok" or b.status != "ok":
        return []
    same_file = same_run or (
        a.artifact is not None and b.artifact is not None and a.artifact.sha256 == b.artifact.sha256
    )
    found = [
        ratios("latency", a.get("latency"), b.get("latency"), same_run),
        accuracies(a.get("accuracy"), b.get("accuracy"), rights[0].get(a.cell.id), rights[1].get(b.cell.id), same_file),
        memories(a.get("memory_peak"), b.get("memory_peak"), a.get("memory_total"), b.get("memory_total")),
        *(ratios(name, a.get(name), b.get(name), same_run) for name in _energies(a, b)),
        exact("size", a.get("size"), b.get("size")),
    ]
    if found[0] is None and not same_run:
        found[0] = Compared(metric="latency", unit="s", verdict="unresolved", note="not known in either")
    return [c for c in found if c]


def _same_file(a: Result, b: Result) -> bool:
    return a.artifact is not None and b.artifact is not None and a.artifact.sha256 == b.artifact.sha256


def _energies(a: Result, b: Result) -> list[str]:
    """Total energy of each scope of meter; scopes are never compared with each other."""
    names = [m.metric for r in (a, b) for m in r.measurements if m.metric.startswith("energy")]
    return [n for n in dict.fromkeys(names) if not n.endswith("_above_idle")]


def _corrected(rows: Sequence[list[Compared]]) -> list[list[Compared]]:
    """Verdicts that do not survive the correction for the number of tests in the table (Holm) become unresolved."""
    tests = [c for row in rows for c in row if c.p is not None]
    adjusted = iter(stats.holm([c.p for c in tests if c.p is not None]))
    return [[_adjusted(c, next(adjusted)) if c.p is not None else c for c in row] for row in rows]


def _adjusted(c: Compared, p: float) -> Compared:
    doubtful = c.verdict not in ("same", "unresolved") and p >= SIGNIFICANT
    return replace(c, p_adjusted=p, verdict="unresolved" if doubtful else c.verdict)


# as JSON


def _row(a: Result, b: Result, found: Sequence[Compared]) -> dict[str, Any]:
    verdict, why = _status(a, b)
    return {
        "cell": a.cell.id,
        "cell_b": b.cell.id,
        "axes": axes(a),
        "verdict": verdict,
        "why": why,
        "same_file": _same_file(a, b),
        "figures": [{**dataclasses.asdict(c), "regression": c.regression} for c in found],
        "unknown": _unknown(a, b, found),
    }


def _unknown(a: Result, b: Result, found: Sequence[Compared]) -> list[str]:
    """The figures that both cells should have and neither has: nothing was compared there."""
    if a.status != "ok" or b.status != "ok":
        return []
    told = {c.metric for c in found}
    names = [n for n in ("latency", "accuracy", "memory_peak", "size", *_energies(a, b)) if n not in told]
    seen = {n: [m for r in (a, b) if (m := r.get(n))] for n in names}
    return [n for n, ms in seen.items() if all(m.value is None for m in ms) and (len(ms) == 2 or n == "latency")]


def _status(a: Result, b: Result) -> tuple[str, str]:
    """What the ends of the two cells say already; "measured" where figures decide."""
    if a.status == b.status:
        return ("measured", "") if a.status == "ok" else (f"{a.status} in both", plain(b.reason))
    if b.status == "failed":
        return (
            "regression",
            f"It {'worked' if a.status == 'ok' else 'was ' + a.status} in A and failed in B: {plain(b.reason)}",
        )
    if a.status == "ok":
        return "unresolved", f"It was measured in A and {b.status} in B: {plain(b.reason)}"
    was, now = ("failed" if r.status == "failed" else f"was {_ENDED[r.status]}" for r in (a, b))
    return "improvement" if b.status == "ok" else "unresolved", f"It {was} in A and {now} in B."


_ENDED = {"ok": "measured", "skipped": "skipped"}


def axes(result: Result) -> dict[str, str]:
    """The names by which a reader tells cells apart."""
    c = result.cell
    found = {
        "variant": c.recipe, "runtime": c.backend, "precision": c.precision, "model": c.model, "batch": str(c.batch),
        "threads": str(c.threads), "options": options_text(result),
    }  # fmt: skip
    return {name: plain(value) for name, value in found.items()}


def _answer(
    a: Side, b: Side, rows: list[dict[str, Any]], only_a: Sequence[Result], only_b: Sequence[Result],
    differing: Sequence[Difference], same_run: bool,
) -> dict[str, Any]:  # fmt: skip
    figures = [f for row in rows for f in row["figures"]]
    regressions = sum(f["regression"] for f in figures) + sum(r["verdict"] == "regression" for r in rows)
    unresolved = sum(f["verdict"] == "unresolved" for f in figures) + sum(r["verdict"] == "unresolved" for r in rows)
    missing = sum(r.status == "ok" for r in only_a)
    whole = None if same_run else overall(figures)
    slower = whole is not None and whole["verdict"] == "slower"
    exit_code = 1 if regressions or slower else 4 if unresolved or missing or not figures else 0
    counts: dict[str, dict[str, int]] = {}
    for metric in dict.fromkeys(f["metric"] for f in figures):
        counts[metric] = dict(Counter(f["verdict"] for f in figures if f["metric"] == metric))
    return {
        "schema": SCHEMA,
        "a": {"run": a.run.id, "called": a.called, "device": a.run.device.name},
        "b": {"run": b.run.id, "called": b.called, "device": b.run.device.name},
        "exit_code": exit_code,
        "regressions": regressions,
        "unresolved": unresolved,
        "missing": missing,
        "cells_of_a": len(a.results),
        "same_run": same_run,
        "comparable": not differing,
        "differences": [dataclasses.asdict(d) for d in differing],
        "counts": counts,
        "common_shift": _common_shift(figures),
        "overall": whole,
        "unexplained": [] if differing else [r["cell"] for r in rows if r["same_file"] and _moved(r)],
        "limit": "" if same_run else LIMIT,
        "rows": rows,
        "only_a": [{"cell": r.cell.id, "axes": axes(r)} for r in only_a],
        "only_b": [{"cell": r.cell.id, "axes": axes(r)} for r in only_b],
    }


def _moved(row: Mapping[str, Any]) -> bool:
    return any(f["verdict"] in ("faster", "slower") for f in row["figures"])


FEW = 5
"""Pairs below which nothing is said of all of them together."""


def overall(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The geometric mean of the latency ratios of all pairs, with a verdict: one test, made before those of single pairs.

    Cells of one run are measured side by side, so that what disturbs one disturbs all: the mean is taken to be known no better
    than a pair is on average, as if their errors were all one.
    """
    found = [f for f in figures if f["metric"] == "latency" and f["ratio"] and f["low"] and f["high"]]
    if len(found) < FEW:
        return None
    ratio = stats.geometric_mean([f["ratio"] for f in found])
    spread = stats.geometric_mean([math.sqrt(f["high"] / f["low"]) for f in found])
    whole = stats.Estimate(ratio, ratio / spread, ratio * spread)
    return {"pairs": len(found), "ratio": ratio, "low": whole.low, "high": whole.high, "verdict": stats.verdict(whole)}


def _common_shift(figures: Sequence[Mapping[str, Any]]) -> float | None:
    """The geometric mean speed-up when five pairs or more all moved one way by over 1 %, as a change of the machine would do."""
    found = [f["ratio"] for f in figures if f["metric"] == "latency" and f["ratio"]]
    low, high = (1 / (1 + stats.MARGIN), 1 + stats.MARGIN)
    if len(found) < FEW or not (all(r > high for r in found) or all(r < low for r in found)):
        return None
    return stats.geometric_mean(found)
