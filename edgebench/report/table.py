"""From a run and its results to one table: ordered rows, chosen columns, footnotes, and what the header says.

Every format is a function of this table, so that they all say the same. The same folder gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from edgebench.codec import Options
from edgebench.devices.emulation import emulator
from edgebench.errors import MissingRuntime
from edgebench.metrics.paired import Right
from edgebench.plugins import FLOOR
from edgebench.report import columns as kinds
from edgebench.report.columns import Column, Entry
from edgebench.report.facts import Fact, facts
from edgebench.report.points import Point, point
from edgebench.report.records import Value, names, records
from edgebench.report.spread import Spread
from edgebench.report.text import plain
from edgebench.schema import Result, Run

CORE = ("variant", "runtime", "precision", "latency", "status")
"""Printed even where no row has them."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One run that a table shows. By the cell's id, where they were kept: the times of its calls (`spreads`), and which samples
    it answered rightly (`right`). `called`: by what a command finds the run, if not by its id."""

    run: Run
    results: Sequence[Result]
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    right: Mapping[str, Right] = field(default_factory=dict)
    called: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell: its Result, the run it is from, and one entry for each column of the table."""

    result: Result
    entries: tuple[Entry, ...]
    run: Run
    spread: Spread | None = None
    right: Right | None = None

    @cached_property
    def group(self) -> tuple[str, str, str, int]:
        """What must be the same in rows whose latencies are compared."""
        cell = self.result.cell
        return self.run.id, cell.model, cell.device, cell.batch

    @cached_property
    def latency(self) -> Point | None:
        """Its figures as points are made once: every section asks for them."""
        return point(self.result.get("latency"))

    @cached_property
    def accuracy(self) -> Point | None:
        return point(self.result.get("accuracy"))

    @cached_property
    def speedup(self) -> Point | None:
        return point(self.result.get("speedup"))


@dataclass(frozen=True, kw_only=True)
class Table:
    """`rows` in their order; `columns` without those that no row has; `facts` for the header. `run` is the first of `runs`."""

    run: Run
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]
    runs: tuple[Run, ...]

    @cached_property
    def footnotes(self) -> tuple[str, ...]:
        """Each note once, in the order of the rows; a mark is the place in this list, from 1."""
        return tuple(dict.fromkeys(note for row in self.rows for entry in row.entries for note in entry.notes))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {note: place for place, note in enumerate(self.footnotes, start=1)}

    @cached_property
    def kept(self) -> dict[Callable[..., Any], Any]:
        """What was made of this table once, by what makes it: see sections.base.once."""
        return {}

    @cached_property
    def several(self) -> Mapping[str, bool]:
        """Whether rows differ in an axis of their cells."""
        cells = [row.result.cell for row in self.rows]
        axes = ("model", "precision", "device", "batch", "threads", "options")
        return {axis: len({str(getattr(cell, axis)) for cell in cells}) > 1 for axis in axes}

    @cached_property
    def precisions(self) -> Mapping[str, set[str]]:
        """In which precisions each variant was asked for."""
        out: dict[str, set[str]] = {}
        for row in self.rows:
            out.setdefault(row.result.cell.recipe, set()).add(row.result.cell.precision)
        return out

    def marks(self, entry: Entry) -> str:
        """` [1][2]` for an entry with notes."""
        if not entry.notes:
            return ""
        return " " + "".join(f"[{self._places[note]}]" for note in entry.notes)

    def shown(self, entry: Entry) -> str:
        return entry.text + self.marks(entry)

    def records(self) -> list[dict[str, Value]]:
        """The raw numbers, one flat record a row."""
        return records([row.run.id for row in self.rows], [row.result for row in self.rows])

    def record_names(self) -> list[str]:
        return names([row.result for row in self.rows])

    def to_pandas(self) -> Any:
        """A pandas DataFrame of `records`. Raises MissingRuntime where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            fix = 'Install it with: pip install "edgebench[report]"'
            raise MissingRuntime("pandas is not installed.", fix) from error
        return pd.DataFrame(self.records(), columns=self.record_names())


def build(run: Run, results: Sequence[Result]) -> Table:
    """The table of these results, also of none. Rows: the variants as in the plan, then the runtimes."""
    return build_all([Source(run=run, results=results)])


def build_all(sources: Sequence[Source]) -> Table:
    """One table of one run or of several: devices side by side, below each variant on each runtime."""
    runs = [source.run for source in sources]
    found = [(source, result) for source in sources for result in source.results]
    found = [found[i] for i in order(runs, [result for _, result in found])]
    results = [result for _, result in found]
    columns = kinds.choose(results)
    rows = [
        Row(
            result=result,
            entries=tuple([column.make(result) for column in columns]),
            run=source.run,
            spread=_spread(source, result),
            right=source.right.get(result.cell.id),
        )
        for source, result in found
    ]
    rows = _name_baselines(columns, rows)
    kept = [i for i, c in enumerate(columns) if c.key in CORE or any(r.entries[i] != Entry() for r in rows)]
    table = Table(
        run=runs[0],
        columns=tuple(columns[i] for i in kept),
        rows=tuple(replace(row, entries=tuple([row.entries[i] for i in kept])) for row in rows),
        facts=_facts(sources),
        runs=tuple(runs),
    )
    return _with_run_column(table)


def _spread(source: Source, result: Result) -> Spread | None:
    """The calls of a row whose figures may be shown; those of one that failed later, or was emulated, say nothing."""
    return None if emulator(result) or result.status != "ok" else source.spreads.get(result.cell.id)


def _facts(sources: Sequence[Source]) -> tuple[Fact, ...]:
    """Of one run, or of each of several: then a warning says which run it is about, unless all of them have it."""
    found = [facts(source.run, source.results, source.called) for source in sources]
    if len(sources) == 1:
        return found[0]
    common = [f for f in found[0] if f.warning and all(f in others for others in found)]
    own = (
        replace(f, text=f"{plain(source.run.id)}: {f.text}") if f.warning else f
        for source, of_run in zip(sources, found, strict=True)
        for f in of_run
        if f not in common
    )
    return (*own, *common)


def _with_run_column(table: Table) -> Table:
    """The run is a column where a row's other names do not tell from which one it comes."""
    devices = {(row.run.id, row.result.cell.device) for row in table.rows}
    if len(table.runs) < 2 or len({device for _, device in devices}) == len(devices):
        return table
    named = Column(key="run", title="run", make=lambda _: Entry(), numeric=False)
    entries = [Entry(value=row.run.id, text=plain(row.run.id)) for row in table.rows]
    rows = (
        replace(row, entries=(row.entries[0], entry, *row.entries[1:]))
        for row, entry in zip(table.rows, entries, strict=True)
    )
    return replace(table, columns=(table.columns[0], named, *table.columns[1:]), rows=tuple(rows))


def order(runs: Sequence[Run], results: Sequence[Result]) -> list[int]:
    """The places of the results as in the plans: models, variants, precisions, runtimes, devices, batch and threads.

    Our floor comes last.
    """
    planned = [r.get("name") for run in runs for r in _listed(run, "recipes") if isinstance(r, dict)]
    models = _ranks([], results, "model")
    variants = _ranks(planned, results, "recipe")
    precisions = _ranks([p for run in runs for p in _listed(run, "precisions")], results, "precision")
    runtimes = _ranks([b for run in runs for b in _listed(run, "backends")], results, "backend")
    devices = _ranks([], results, "device")

    def key(i: int) -> tuple[int, ...]:
        c = results[i].cell
        ours, model, device = c.backend == FLOOR, models[c.model], devices[c.device]
        return (
            ours,
            model,
            variants[c.recipe],
            precisions[c.precision],
            runtimes[c.backend],
            device,
            c.batch,
            c.threads,
        )

    return sorted(range(len(results)), key=key)


def _listed(run: Run, key: str) -> list[Any]:
    found = run.plan.get(key)
    return list(found) if isinstance(found, (list, tuple)) else []


def _ranks(planned: Sequence[Any], results: Sequence[Result], field: str) -> dict[str, int]:
    names = dict.fromkeys((*(str(p) for p in planned), *(getattr(r.cell, field) for r in results)))
    return {name: rank for rank, name in enumerate(names)}


def _name_baselines(columns: Sequence[Column], rows: Sequence[Row]) -> list[Row]:
    """Say "baseline" in the row that the others of its runtime are compared with."""
    at = next(i for i, c in enumerate(columns) if c.key == "speedup")
    first = _first_of_runtimes(rows)
    out = []
    for i, row in enumerate(rows):
        entry = row.entries[at]
        if i in first and row.result.status == "ok" and entry == Entry():
            row = replace(row, entries=(*row.entries[:at], Entry(text="baseline"), *row.entries[at + 1 :]))
        out.append(row)
    return out


def _first_of_runtimes(rows: Sequence[Row]) -> set[int]:
    """The places of the rows that others of the same model, runtime and conditions are compared with."""
    groups: dict[tuple[str, str, str, str, int, int, Options], list[int]] = {}
    for i, row in enumerate(rows):
        c = row.result.cell
        if row.result.status != "skipped":
            key = (row.run.id, c.device, c.model, c.backend, c.batch, c.threads, c.options)
            groups.setdefault(key, []).append(i)
    return {places[0] for places in groups.values() if len(places) > 1}
