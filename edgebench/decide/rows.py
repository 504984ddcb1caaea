"""What a choice is made between: one row for each result of the runs, its figures with both ends of what they may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgebench import stats, suites
from edgebench.decide.answers import Right, accuracy_drop
from edgebench.decide.bounds import ends, positive_samples
from edgebench.report.columns import options_text
from edgebench.report.text import plain
from edgebench.schema import Grade, Measurement, Result, Run

MEMORY_REPEATS = 0.004
"""The peak of a whole process repeats within 0.4 % from process to process (measured): the interval of what has none."""
SCOPES = ("wall", "carrier", "board", "module", "soc", "package", "gpu", "rail")
"""What an energy figure may include, the widest first; figures of different scopes are never compared.

`board` is what others published of a whole board (imports/mlperf_tiny.py): our own meters say more closely what they count.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure in SI units. `low` and `high` bound it, None where nothing is known; `why` says what is missing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    grade: Grade = "measured"
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate. `id` is unique among the rows; `axes` are the names that tell it from others."""

    id: str
    run: str
    cell: str
    axes: Mapping[str, str]
    status: str = "ok"
    reason: str = ""
    state: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    again: str = "edgebench run"
    """The command that measures it again, to which options can be added."""
    parent: str = ""
    """The row against which its accuracy drop is counted."""
    baseline: str = ""
    """The cell beside which it was measured."""
    ratio: tuple[float, float] | None = None
    """Both ends of how many times as fast as the baseline it is, from pairs of processes."""

    @property
    def runtime(self) -> str:
        return self.axes.get("runtime", "")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """What the raw samples add to the figures, by cell id: empty where they were not read."""

    right: Mapping[str, Right] = field(default_factory=dict)
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


NO_RAW = Raw()


def rows(run: Run, results: Sequence[Result], scope: str | None = None, raw: Raw = NO_RAW) -> list[Row]:
    """The rows of one run. `scope`: of the energy figures; `raw`: for a paired accuracy drop and percentiles from below."""
    parents, measured_by = _parents(results), again(run)
    return [_row(run, measured_by, result, parents.get(result.cell.id), scope, raw) for result in results]


def _row(run: Run, measured_by: str, result: Result, parent: Result | None, scope: str | None, raw: Raw) -> Row:
    cell, found = result.cell, result.effective
    asked = f" (asked: {cell.precision})" if found.get("precision") not in (None, "", cell.precision) else ""
    axes = {
        "variant": cell.recipe, "runtime": cell.backend,
        "precision": f"{found.get('precision') or cell.precision}{asked}", "device": cell.device, "model": cell.model,
        "batch": str(cell.batch), "threads": str(cell.threads), "options": options_text(result),
    }  # fmt: skip
    return Row(
        id=f"{run.id}:{cell.id}",
        run=run.id,
        cell=cell.id,
        axes={key: plain(str(value)) for key, value in axes.items()},
        status=result.status,
        reason=plain(result.reason),
        state=str(result.noise.get("state") or ""),
        figures=_figures(run, result, parent, scope, raw) if result.status == "ok" else {},
        again=measured_by,
        parent=parent.cell.id if parent else "",
        baseline=result.baseline or "",
        ratio=_ratio(result),
    )


def _ratio(result: Result) -> tuple[float, float] | None:
    found = result.get("speedup")
    known = ends(found) if found is not None and found.value is not None else None
    return known if known is not None and known[0] > 0 else None


def again(run: Run) -> str:
    """The command that would measure this run's plan once more; empty for figures that others published."""
    if run.plan.get("imported"):
        return ""  # by others, and not here
    name = str(run.plan.get("name") or "")
    model = run.plan.get("model")
    if name == "bench" and isinstance(model, Mapping):
        return f"edgebench bench {Path(str(model.get('source') or 'FILE')).name}"
    return f"edgebench run {name if name in suites.names() else 'PLAN.toml'}"


def _figures(run: Run, result: Result, parent: Result | None, scope: str | None, raw: Raw) -> dict[str, Figure]:
    out: dict[str, Figure] = {}
    floors = raw.floors.get(result.cell.id, {})
    for name in ("latency", "accuracy"):
        if m := result.get(name):
            out[name] = figure(m)
    if not (out.get("latency") or Figure()).value and (why := _withheld(result)):
        out["latency"] = Figure(why=why)
    for name in ("latency_p90", "latency_p99"):
        if m := result.get(name):
            out[name] = _tail(m, floors.get(name), out.get("latency"))
    if m := result.get("throughput"):
        out["throughput"] = _of_samples(m)
    if m := result.get("memory_peak"):
        out["memory"] = _memory(m, result.get("memory_total"))
    if m := result.get("size"):
        out["size"] = Figure(value=m.value, low=m.value, high=m.value, grade=m.grade, why=m.note)
    if energy := _energy(result, scope):
        out["energy"] = energy
    if parent is not None:
        out["accuracy_drop"] = _drop(result, parent, raw)
    price = getattr(run.device, "price", None)
    if isinstance(price, (int, float)) and 0 <= price < float("inf"):
        out["price"] = Figure(value=float(price), low=float(price), high=float(price), grade="published")
    return out


def _withheld(result: Result) -> str:
    """Why the latency of a row is not published: its own note, else what is known of its noise."""
    m = result.get("latency")
    return (m.note if m else "") or str(result.noise.get("why") or "")


def figure(m: Measurement) -> Figure:
    """A figure with its own interval, or with Wilson's where it is a share of `n`."""
    low, high = ends(m) or (None, None)
    return Figure(value=m.value, low=low, high=high, grade=m.grade, why=m.note)


def _tail(m: Measurement, floor: float | None, median: Figure | None) -> Figure:
    """A percentile is kept as its upper bound. Without the raw samples all that bounds it from below is the median."""
    low = floor if floor is not None else median.low if median else None
    if low is not None and m.value is not None:
        low = min(low, m.value)
    note = m.note
    if note.startswith("n < "):
        note = f"it needs {note.removeprefix('n < ')} calls, and there were {m.n}"
    return Figure(value=m.value, low=low, high=m.value, grade=m.grade, why=note)


def _of_samples(m: Measurement) -> Figure:
    """Throughput is a median over processes: the t-interval over the same processes, stretched to hold it."""
    samples = positive_samples(m)
    if m.value is None or m.interval or not samples:
        return figure(m)
    low, high = stats.geometric_interval(samples)
    if low is None or high is None:
        return figure(m)
    return Figure(value=m.value, low=min(low, m.value), high=max(high, m.value), grade=m.grade, why=m.note)


def _memory(m: Measurement, total: Measurement | None) -> Figure:
    """Peak memory above the imports, with an interval from how well the peak of the whole process repeats."""
    if m.value is None or ends(m) or m.grade != "measured":
        return figure(m)
    reach = memory_reach(m.value, total)
    return Figure(value=m.value, low=max(0.0, m.value - reach), high=m.value + reach, grade=m.grade, why=m.note)


def memory_reach(peak: float, total: Measurement | None) -> float:
    """Bytes by which a peak may be off: it is a difference of two totals, and repeats as well as they do."""
    return MEMORY_REPEATS * max(peak, total.value if total and total.value else 0.0)


def energy_scope(results: Sequence[Result]) -> str | None:
    """The scope that most results have an energy in; of equals the widest. None without any."""
    found = Counter(
        scope for r in results for scope in SCOPES if (m := r.get(f"energy_{scope}")) and m.value is not None
    )
    return min(found, key=lambda s: (-found[s], SCOPES.index(s))) if found else None


def _energy(result: Result, scope: str | None) -> Figure | None:
    m = (result.get(f"energy_{scope}") if scope else None) or result.get("energy")
    if m is not None:
        return figure(m)
    others = [s for s in SCOPES if result.get(f"energy_{s}")]
    return Figure(why=f"its meter counts the {others[0]}, the others' the {scope}") if others else None


def _parents(results: Sequence[Result]) -> dict[str, Result]:
    """For each cell the fp32 row of the uncompressed network: its baseline if that is one, else the model's first."""
    known = {r.cell.id: r for r in results if r.status == "ok" and _fp32(r) and r.get("accuracy")}
    first: dict[str, Result] = {}
    for r in known.values():
        first.setdefault(r.cell.model, r)
    found = {r.cell.id: known.get(r.baseline or "") or first.get(r.cell.model) for r in results}
    return {cell: parent for cell, parent in found.items() if parent is not None}


def _fp32(result: Result) -> bool:
    return (result.effective.get("precision") or result.cell.precision) == "fp32"


def _drop(result: Result, parent: Result, raw: Raw) -> Figure:
    own, base = result.get("accuracy"), parent.get("accuracy")
    if own is None or base is None or own.value is None or base.value is None:
        return Figure(
            why="its accuracy was not measured" if own is None or own.value is None else "its parent has none"
        )
    if result.cell.id == parent.cell.id:
        return Figure(value=0.0, low=0.0, high=0.0, grade=own.grade)
    drop = accuracy_drop(base, own, raw.right.get(parent.cell.id), raw.right.get(result.cell.id))
    return Figure(value=drop.value, low=drop.low, high=drop.high, grade=own.grade)
