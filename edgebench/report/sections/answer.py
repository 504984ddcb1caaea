"""The answer: which of these rows to ship, how sure that is, and what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgebench.report.sections.base import Section, baselines, groups, names, places, point, shown, usable
from edgebench.report.sections.drop import ALLOWED, drops, points, signed
from edgebench.report.table import Row, Table
from edgebench.report.text import count, percent, plain

MOST_GROUPS = 12


def section(table: Table) -> Section:
    """For each run, model, device and batch: the fastest valid row that lost at most one point of accuracy."""
    found = list(groups([row for row in table.rows if usable(row)]).values())
    if not found:
        return Section(key="answer", title="The answer", words=(_nothing(table),), data=[])
    tools = _Tools(table)
    told = [_Answer(tools, rows) for rows in found]
    words = [sentence for answer in told[:MOST_GROUPS] for sentence in answer.sentences(len(found) > 1)]
    if len(told) > MOST_GROUPS:
        words.append(f"{len(told) - MOST_GROUPS} more groups of rows have an answer in the JSON.")
    return Section(key="answer", title="The answer", words=tuple(words), data=[answer.data() for answer in told])


def _nothing(table: Table) -> str:
    if not table.rows:
        return "There is no result yet, so there is nothing to choose from."
    bad = sum(row.result.status == "failed" for row in table.rows)
    if bad == len(table.rows):
        return f"Nothing can be shipped from this run: {count(bad, 'row')} of {len(table.rows)} failed; the reasons are below."
    return "No row has a latency that could be published, so that nothing can be recommended; the reasons are below."


class _Tools:
    """What is the same for all groups of a table, made once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.name = names(table, within=True)
        self.parent = baselines(table)
        self.drop = drops(table)
        self.places = places(table)


class _Answer:
    """The choice among rows of one group: those with the best evidence, within the allowed drop, fastest first."""

    def __init__(self, tools: _Tools, rows: Sequence[Row]) -> None:
        measured = [row for row in rows if _grade(row) == "measured"]
        self.table, self.name, self.drop, self.places = tools.table, tools.name, tools.drop, tools.places
        self.parent = tools.parent
        self.rows = measured or list(rows)
        valid = [row for row in self.rows if row.result.noise.get("state") in (None, "", "ok", "valid", "repaired")]
        self.with_accuracy = [row for row in valid if point(row.result.get("accuracy"))]
        pool = [row for row in self.with_accuracy if self._within(row)] if self.with_accuracy else valid
        self.ordered = sorted(pool, key=_latency)
        self.best = self.ordered[0] if self.ordered else None
        self.ties = [row for row in self.ordered[1:] if self.best and _low(row) <= _high(self.best)]

    def _within(self, row: Row) -> bool:
        drop = self.drop(row)
        return drop is not None and drop.value <= ALLOWED

    def sentences(self, several: bool) -> Iterator[str]:
        best, cell = self.best, self.rows[0].result.cell
        where = f"For {plain(cell.model)} on {plain(cell.device)}, batch {cell.batch}: " if several else ""
        if best is None:
            why = "no valid row lost less than one point of accuracy" if self.with_accuracy else "no row is valid"
            yield f"{where}nothing can be recommended: {why}."
            return
        said = f"{where}{'ship' if where else 'Ship'} {self.name(best)}: {self._figures(best)}."
        if _grade(best) != "measured":
            said += " These figures were published by others (†) and not measured here."
        yield said
        yield from self._sure(best)

    def _figures(self, row: Row) -> str:
        parts = [shown(self.table, row, "latency")]
        verdict = shown(self.table, row, "speedup")
        parts += [f"{verdict} than its baseline" if "faster" in verdict or "slower" in verdict else ""]
        drop = self.drop(row)
        if drop is not None:
            accuracy = shown(self.table, row, "accuracy")
            own = self.parent(row) is row
            parts.append(f"accuracy {accuracy}" + ("" if own else f", {points(drop)} its fp32 parent"))
        size = shown(self.table, row, "size")
        parts += [size] if size != "–" else []
        return ", ".join(part for part in parts if part)

    def _sure(self, best: Row) -> Iterator[str]:
        if self.ties:
            named = "; ".join(f"{self.name(row)} ({shown(self.table, row, 'latency')})" for row in self.ties[:4])
            more = f"; and {len(self.ties) - 4} more" if len(self.ties) > 4 else ""
            yield f"A tie: its latency cannot be told from that of {named}{more}."
        elif len(self.ordered) > 1:
            after = self.ordered[1]
            yield f"Sure of the order: the next, {self.name(after)} ({shown(self.table, after, 'latency')}), is apart from it."
        drop = self.drop(best)
        if drop is None:
            yield "Accuracy was not measured, so that this is about speed alone."
        elif drop.high > ALLOWED:
            ends = signed(drop).partition("(")[2].rstrip(")")
            yield f"Not yet sure of the accuracy: it may have changed by {ends} points; more labelled samples would tell."
        quicker = [row for row in self.rows if _latency(row) < _latency(best)]
        if quicker:
            named = "; ".join(f"{self.name(row)} ({self._why_not(row)})" for row in sorted(quicker, key=_latency)[:3])
            yield f"Faster but not chosen: {named}."

    def _why_not(self, row: Row) -> str:
        state = str(row.result.noise.get("state") or "valid")
        if state not in ("ok", "valid", "repaired"):
            return plain(state)
        drop = self.drop(row)
        return "accuracy not measured" if drop is None else f"{points(drop)} its fp32 parent"

    def data(self) -> dict[str, Any]:
        cell = self.rows[0].result.cell
        drop = self.drop(self.best) if self.best else None
        return {
            "run": self.rows[0].run.id, "model": cell.model, "device": cell.device, "batch": cell.batch,
            "row": self._place(self.best) if self.best else None, "ties": [self._place(row) for row in self.ties],
            "accuracy_drop": drop, "allowed_drop": ALLOWED, "allowed_drop_text": percent(ALLOWED, 0),
        }  # fmt: skip

    def _place(self, row: Row) -> int:
        return self.places[id(row)]


def _grade(row: Row) -> str:
    found = row.result.get("latency")
    return found.grade if found else "measured"


def _latency(row: Row) -> float:
    found = point(row.result.get("latency"))
    return found.value if found else float("inf")


def _low(row: Row) -> float:
    found = point(row.result.get("latency"))
    return found.low if found else float("inf")


def _high(row: Row) -> float:
    found = point(row.result.get("latency"))
    return found.high if found else float("inf")
