"""The answer: which of these rows to ship, how sure that is, and what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgebench import stats
from edgebench.plugins import FLOOR
from edgebench.report.columns import unpublished
from edgebench.report.facts import trust
from edgebench.report.sections.base import Section, baselines, groups, names, places, shown, usable
from edgebench.report.sections.drop import ALLOWED, drops, points, signed
from edgebench.report.table import Row, Table
from edgebench.report.text import count, percent, plain

MOST_GROUPS = 12
TOO_WIDE = 0.25
"""A latency that is known to no more than a quarter up or down is none to ship by."""


def section(table: Table) -> Section:
    """For each run, model, device and batch: the fastest valid row that lost at most one point of accuracy."""
    found = list(groups([row for row in table.rows if usable(row)]).values())
    if not found:
        return Section(key="answer", title="The answer", words=(_nothing(table),), leads=(0,), data=[])
    tools = _Tools(table)
    told = [_Answer(tools, rows) for rows in found]
    words: list[str] = []
    leads: list[int] = []
    for answer in told[:MOST_GROUPS]:
        leads.append(len(words))
        words += answer.sentences(_where(answer, told))
    if len(told) > MOST_GROUPS:
        words.append(f"{len(told) - MOST_GROUPS} more groups of rows have an answer in the JSON.")
    data = [answer.data() for answer in told]
    return Section(key="answer", title="The answer", words=tuple(words), leads=tuple(leads), data=data)


def _where(answer: _Answer, told: Sequence[_Answer]) -> str:
    """What a group is called among several; its run too where another one has the same model, device and batch."""
    if len(told) == 1:
        return ""
    run, model, device, batch = answer.rows[0].group
    alike = sum(other.rows[0].group[1:] == (model, device, batch) for other in told) > 1
    return f"For {plain(model)} on {plain(device)}, batch {batch}{f', run {plain(run)}' if alike else ''}: "


def _nothing(table: Table) -> str:
    if not table.rows:
        return "There is no result yet, so there is nothing to choose from."
    bad = sum(row.result.status == "failed" for row in table.rows)
    if bad == len(table.rows):
        failed = f"{count(bad, 'row')} of {len(table.rows)} failed"
        return f"Nothing can be shipped from this run: {failed}; the reasons are with the rows."
    return "No row has a latency that could be published, so nothing can be recommended; the reasons are with the rows."


class _Tools:
    """What is the same for all groups of a table, made once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.name = names(table, within=True)
        self.parent = baselines(table)
        self.drop = drops(table)
        self.places = places(table)
        self.noisy = {key: [r for r in rows if withheld(r)] for key, rows in groups(table.rows).items()}


class _Answer:
    """The choice among rows of one group: those with the best evidence, within the allowed drop, fastest first."""

    def __init__(self, tools: _Tools, rows: Sequence[Row]) -> None:
        measured = [row for row in rows if _grade(row) == "measured"]
        self.table, self.name, self.drop, self.places = tools.table, tools.name, tools.drop, tools.places
        self.parent = tools.parent
        self.rows = measured or list(rows)
        states = {id(row): row.result.noise.get("state") for row in self.rows}
        valid = [row for row in self.rows if states[id(row)] in (None, "", "ok", "valid", "repaired")]
        short = [row for row in self.rows if states[id(row)] == "unverified"]
        self.hurried = len(short) > len(valid)
        """Most of the rows had too little time: what they say is said with reserve, as all there is."""
        valid += short if self.hurried else []
        self.with_accuracy = [row for row in valid if row.accuracy]
        pool = [row for row in self.with_accuracy if self._within(row)] if self.with_accuracy else valid
        self.ordered = sorted(pool, key=_latency)
        self.best = self.ordered[0] if self.ordered else None
        self.ties = [row for row in self.ordered[1:] if self.best and tie(self.best, row)]
        own = {id(row) for row in self.rows}
        self.noisy = [row for row in tools.noisy.get(rows[0].group, ()) if id(row) not in own]
        self.settled = self.best is None or settled(self.best)

    def _within(self, row: Row) -> bool:
        drop = self.drop(row)
        return drop is not None and drop.value <= ALLOWED

    def sentences(self, where: str) -> Iterator[str]:
        best = self.best
        said = self._said(best) if best else f"nothing can be recommended: {self._none()}."
        yield where + (said if where else said[0].upper() + said[1:])
        yield from self._sure(best) if best else self._withheld()

    def _said(self, best: Row) -> str:
        if not self.settled:
            said = f"not settled: {self.name(best)} comes first with {self._figures(best)}, "
            said += "but its latency is not known to a quarter; measure longer: without --quick, or with --precise."
        elif len(self.noisy) > len(self.rows):
            said = f"not settled: {self.name(best)} comes first with {self._figures(best)}, but it had hardly a rival."
        else:
            quickly = trust(best.run) == "quick" or self.hurried
            first = "provisionally, as it was measured quickly: " if quickly else ""
            said = f"{first}ship {self.name(best)}: {self._figures(best)}."
        if _grade(best) != "measured":
            said += " These figures were published by others (†) and not measured here."
        return said

    def _none(self) -> str:
        if not self.with_accuracy:
            return "no row is valid"
        if all(self.drop(row) is None for row in self.with_accuracy):
            return "how much accuracy was lost is not known, since no fp32 row of the uncompressed network stands beside it"
        return "no valid row is known to have lost at most one point of accuracy"

    def _withheld(self) -> Iterator[str]:
        if self.noisy:
            total = len(self.noisy) + len(self.rows)
            were = "was" if len(self.noisy) == 1 else "were"
            yield f"{len(self.noisy)} of {count(total, 'row')} {were} too noisy to publish, and may be faster: measure again."

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
        yield from self._withheld()
        if _unknown(best) and len(self.ordered) > 1:
            yield f"How sure the order is cannot be said: the latency of {self.name(best)} has no interval."
        elif self.ties:
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
            "settled": self.settled, "provisional": trust(self.rows[0].run) == "quick",
            "noisy": [self._place(row) for row in self.noisy],
            "accuracy_drop": drop, "allowed_drop": ALLOWED, "allowed_drop_text": percent(ALLOWED, 0),
        }  # fmt: skip

    def _place(self, row: Row) -> int:
        return self.places[id(row)]


def _grade(row: Row) -> str:
    found = row.result.get("latency")
    return found.grade if found else "measured"


def _latency(row: Row) -> float:
    found = row.latency
    return found.value if found else float("inf")


def tie(best: Row, other: Row) -> bool:
    """Whether two latencies cannot be told apart: by the ratio in pairs where one is a baseline, else by intervals."""
    ratio = _paired(best, other)
    if ratio is not None:
        return ratio[0] <= 1
    a, b = best.latency, other.latency
    return a is None or b is None or b.low <= a.high


def _paired(best: Row, other: Row) -> tuple[float, float] | None:
    """Both ends of how many times as fast as `other` the first is, where that was measured in pairs."""
    own, others = best.speedup, other.speedup
    if best.run.id != other.run.id:
        return None
    if own and best.result.baseline == other.result.cell.id:
        return own.low, own.high
    if others and others.low > 0 and other.result.baseline == best.result.cell.id:
        return 1 / others.high, 1 / others.low
    return None


def settled(row: Row) -> bool:
    """Whether a latency is known to a quarter up and down, where its interval is known at all."""
    found = row.latency
    if found is None or _unknown(row):
        return True
    return found.low > 0 and stats.half_width(found.low, found.high) <= TOO_WIDE


def withheld(row: Row) -> bool:
    """Whether a row ran and could not be published for its noise."""
    return row.result.cell.backend != FLOOR and unpublished(row.result)


def _unknown(row: Row) -> bool:
    found = row.result.get("latency")
    return found is None or found.interval is None
