"""From a run and its results to one table: ordered rows, chosen columns, footnotes, and what the header says.

Every format is a function of this table, so that they all say the same. The same folder gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from edgebench.errors import MissingRuntime
from edgebench.report import columns as kinds
from edgebench.report.columns import Column, Entry
from edgebench.report.facts import Fact, facts
from edgebench.report.records import Value, names, records
from edgebench.schema import Options, Result, Run

CORE = ("variant", "runtime", "precision", "latency", "status")
"""Printed even where no row has them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell: its Result, and one entry for each column of the table."""

    result: Result
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """`rows` in their order; `columns` without those that no row has; `facts` for the header."""

    run: Run
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]

    @cached_property
    def footnotes(self) -> tuple[str, ...]:
        """Each note once, in the order of the rows; a mark is the place in this list, from 1."""
        return tuple(dict.fromkeys(note for row in self.rows for entry in row.entries for note in entry.notes))

    def marks(self, entry: Entry) -> str:
        """` [1][2]` for an entry with notes."""
        numbers = (self.footnotes.index(note) + 1 for note in entry.notes)
        marks = "".join(f"[{n}]" for n in numbers)
        return f" {marks}" if marks else ""

    def shown(self, entry: Entry) -> str:
        return entry.text + self.marks(entry)

    def records(self) -> list[dict[str, Value]]:
        """The raw numbers, one flat record a row."""
        return records(self.run, [row.result for row in self.rows])

    def record_names(self) -> list[str]:
        return names(self.run, [row.result for row in self.rows])

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
    ordered = order(run, results)
    columns = kinds.choose(ordered)
    rows = [Row(result=result, entries=tuple(column.make(result) for column in columns)) for result in ordered]
    rows = _name_baselines(columns, rows)
    kept = [i for i, c in enumerate(columns) if c.key in CORE or any(r.entries[i] != Entry() for r in rows)]
    return Table(
        run=run,
        columns=tuple(columns[i] for i in kept),
        rows=tuple(replace(row, entries=tuple(row.entries[i] for i in kept)) for row in rows),
        facts=facts(run, ordered),
    )


def order(run: Run, results: Sequence[Result]) -> list[Result]:
    """As in the plan: variants, precisions, runtimes, then batch and threads. Our floor comes last."""
    variants = _ranks([r.get("name") for r in _listed(run, "recipes") if isinstance(r, dict)], results, "recipe")
    precisions = _ranks(_listed(run, "precisions"), results, "precision")
    runtimes = _ranks(_listed(run, "backends"), results, "backend")

    def key(result: Result) -> tuple[int, ...]:
        c = result.cell
        ours = c.backend == kinds.FLOOR
        return (ours, variants[c.recipe], precisions[c.precision], runtimes[c.backend], c.batch, c.threads)

    return sorted(results, key=key)


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
            entry = Entry(text="baseline")
        out.append(replace(row, entries=(*row.entries[:at], entry, *row.entries[at + 1 :])))
    return out


def _first_of_runtimes(rows: Sequence[Row]) -> set[int]:
    """The places of the rows that others of the same model, runtime and conditions are compared with."""
    groups: dict[tuple[str, str, int, int, Options], list[int]] = {}
    for i, row in enumerate(rows):
        c = row.result.cell
        if row.result.status != "skipped":
            groups.setdefault((c.model, c.backend, c.batch, c.threads, c.options), []).append(i)
    return {places[0] for places in groups.values() if len(places) > 1}
