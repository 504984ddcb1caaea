"""What the parts of a report share: a section is words and a small table, and every format renders the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from edgebench.plugins import FLOOR
from edgebench.report.columns import options_text
from edgebench.report.points import Point
from edgebench.report.table import Row, Table
from edgebench.report.text import count, plain

T = TypeVar("T")
MOST = 200
"""So many rows of a section are written out: the rest is in the table, and a person reads no more."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a report.

    `words` are sentences, of which `leads` open an answer each; `data` holds its numbers raw (SI units), for the JSON.
    """

    key: str
    title: str
    words: tuple[str, ...] = ()
    leads: tuple[int, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    data: Any = None


def once(make: Callable[[Table], T]) -> Callable[[Table], T]:
    """The same for every section and chart that asks: it is made once for each table."""

    @wraps(make)
    def made(table: Table) -> T:
        if make not in table.kept:
            table.kept[make] = make(table)
        found: T = table.kept[make]
        return found

    return made


def names(table: Table, within: bool = False) -> Callable[[Row], str]:
    """A short name for each row: variant and runtime, and those of its axes in which rows of this table differ.

    `within` a group its run, model, device and batch go without saying.
    """
    several, precisions = table.several, table.precisions
    own = {key: {row.result.cell.threads for row in rows} for key, rows in groups(table.rows).items()} if within else {}
    by_run = any(column.key == "run" for column in table.columns)

    def name(row: Row) -> str:
        cell = row.result.cell
        parts = [f"{cell.recipe} on {cell.backend}"]
        parts += [cell.precision] if len(precisions[cell.recipe]) > 1 else []
        threads = len(own[row.group]) > 1 if within else several["threads"]
        parts += [count(cell.threads, "thread")] if threads else []
        parts += [options_text(row.result)] if several["options"] and cell.options else []
        if not within:
            parts += [cell.model] if several["model"] and cell.model != cell.recipe else []
            parts += [cell.device] if several["device"] else []
            parts += [f"batch {cell.batch}"] if several["batch"] else []
            parts += [row.run.id] if by_run else []
        return plain(", ".join(parts))

    return name


def shown(table: Table, row: Row, key: str) -> str:
    """What the table prints in a column of that row, without the marks of footnotes; a dash where it has no such column."""
    for column, entry in zip(table.columns, row.entries, strict=True):
        if column.key == key:
            return entry.text
    return "–"


def usable(row: Row) -> bool:
    """Whether a row competes: it ran, its latency was published, and it is not our own floor."""
    result = row.result
    latency = row.latency
    return result.status == "ok" and result.cell.backend != FLOOR and latency is not None and drawable(latency)


def drawable(found: Point) -> bool:
    """Whether a figure is one that can be: records of others may hold a time of nothing, or of longer than the world."""
    return 1e-12 < found.value < 1e12 and abs(found.low) < 1e15 and found.high < 1e15


def groups(rows: Sequence[Row]) -> dict[tuple[str, str, str, int], list[Row]]:
    """Rows whose latencies may be compared: of one run, model, device and batch."""
    out: dict[tuple[str, str, str, int], list[Row]] = {}
    for row in rows:
        out.setdefault(row.group, []).append(row)
    return out


@once
def baselines(table: Table) -> Callable[[Row], Row | None]:
    """The fp32 parent of a row: the row that its speed is compared with, else the first fp32 row of its group."""
    by_id = {(row.run.id, row.result.cell.id): row for row in table.rows}
    first: dict[tuple[str, str, str, int], Row] = {}
    for key, rows in groups(table.rows).items():
        found = [r for r in rows if r.result.cell.precision == "fp32" and r.result.get("accuracy") and usable(r)]
        if found:
            first[key] = found[0]

    def parent(row: Row) -> Row | None:
        known = by_id.get((row.run.id, row.result.baseline or ""))
        return known or first.get(row.group)

    return parent


@once
def places(table: Table) -> dict[int, int]:
    """The place of each row in the table, by the row's identity: how the JSON refers to rows."""
    return {id(row): place for place, row in enumerate(table.rows)}


Line = tuple[str, ...]


def cut(found: Sequence[T], line: Callable[[T], Line]) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """The lines that are written out, and the sentence about the others, for which none is made."""
    lines = tuple(line(item) for item in found[:MOST])
    if len(found) <= MOST:
        return lines, ()
    return lines, (f"The first {MOST} of {len(found)} rows; the table has all of them.",)
