"""One flat record of raw numbers for each result: the lines of the CSV, and what pandas holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from edgebench.metrics.latency import interval_of
from edgebench.report.columns import options_text
from edgebench.schema import Cell, Result

Value = float | int | str | None

METRICS = (
    ("latency", "s"), ("speedup", "1"), ("latency_p90", "s"), ("latency_p99", "s"), ("throughput", "1/s"),
    ("accuracy", "1"), ("agreement", "1"), ("size", "B"), ("memory_peak", "B"), ("memory_total", "B"),
    ("import", "s"), ("load", "s"), ("first_inference", "s"),
)  # fmt: skip
"""Always columns, so that files of different runs can be joined; other metrics follow where there are any."""
WITH_INTERVAL = ("latency", "speedup", "accuracy", "agreement")
UNITS = {"s": "_s", "B": "_bytes", "1/s": "_per_s", "1": "", "J": "_joules", "W": "_watts"}


_NOBODY = Result(cell=Cell(model="", recipe="", backend="", device=""), status="skipped")


def names(results: Sequence[Result]) -> list[str]:
    """The keys of `records`, also where there is no result."""
    return list(_record("", _NOBODY, *_metrics(results)))


def records(runs: Sequence[str], results: Sequence[Result]) -> list[dict[str, Value]]:
    """One for each result, with the id of its run (one each). None is what was not measured. SI units, unrounded.

    All records have the same keys in the same order.
    """
    wanted = _metrics(results)
    return [_record(run, result, *wanted) for run, result in zip(runs, results, strict=True)]


def _metrics(results: Sequence[Result]) -> tuple[list[tuple[str, str]], set[str]]:
    """Which metrics have columns, and which of them columns for an interval."""
    measured = [m for r in results for m in r.measurements]
    metrics = dict.fromkeys((*METRICS, *((m.metric, m.unit) for m in measured)))
    return list(metrics), {*WITH_INTERVAL, *(m.metric for m in measured if m.interval)}


def _record(run: str, result: Result, metrics: Sequence[tuple[str, str]], with_interval: set[str]) -> dict[str, Value]:
    return {**_names(run, result), **_figures(result, metrics, with_interval), **_state(result)}


@cache
def column(metric: str, unit: str) -> tuple[str, str, str]:
    """`latency` in `s` -> latency_s, and the names of both ends of its interval; a share or a ratio has its bare name."""
    name = re.sub(r"\W+", "_", metric + UNITS.get(unit, f"_{unit}"))
    return name, f"{name}_low", f"{name}_high"


def _names(run: str, result: Result) -> dict[str, Value]:
    cell, found = result.cell, result.effective
    return {
        "run": run, "device": cell.device, "model": cell.model, "variant": cell.recipe,
        "runtime": cell.backend, "runtime_version": _text(found.get("version")),
        "precision": _text(found.get("precision")), "precision_asked": cell.precision,
        "batch": cell.batch, "threads": cell.threads,
        "options": options_text(result) or None, "status": result.status,
    }  # fmt: skip


def _figures(result: Result, metrics: Sequence[tuple[str, str]], with_interval: set[str]) -> dict[str, Value]:
    out: dict[str, Value] = {}
    by_name = {(m.metric, m.unit): m for m in reversed(result.measurements)}
    for key in metrics:
        found = by_name.get(key)
        name, low, high = column(*key)
        out[name] = found.value if found else None
        if key[0] in with_interval:
            interval = interval_of(found) if found else None
            out[low] = interval.low if interval else None
            out[high] = interval.high if interval else None
    return out


def _state(result: Result) -> dict[str, Value]:
    speedup = result.get("speedup")
    calls, clean = result.noise.get("calls"), result.noise.get("clean_calls")
    return {
        "verdict": speedup.note if speedup and speedup.value is not None else None,
        "calls": calls if isinstance(calls, int) else None,
        "undisturbed_calls": clean if isinstance(clean, int) else None,
        "state": _text(result.noise.get("state")),
        "reason": result.reason or _text(result.noise.get("why")),
        "fix": result.fix or None,
        "grade": ", ".join(dict.fromkeys(m.grade for m in result.measurements)) or None,
        "cell": result.cell.id,
    }


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None
