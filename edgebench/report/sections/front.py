"""Accuracy against latency: which rows no other row surely beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from edgebench.report.sections.base import Point, Section, groups, names, places, point, shown, usable
from edgebench.report.table import Row, Table


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A row in the plane of latency and accuracy. `front`: no other row surely beats it."""

    row: Row
    latency: Point
    accuracy: Point
    front: bool = False


def section(table: Table) -> Section:
    """The rows on the front of each group (run, model, device, batch), fastest first."""
    panels = spots(table)
    words = (
        "A row is on the front unless another one is at least as fast and as accurate, and better beyond the intervals "
        "in one of the two.",
    )
    if not panels:
        words = ("No row has both an accuracy and a latency, so that there is nothing to draw.",)
    name, place = names(table), places(table)
    front = [spot for panel in panels for spot in panel if spot.front]
    rows = tuple(
        (name(spot.row), shown(table, spot.row, "latency"), shown(table, spot.row, "accuracy")) for spot in front[:40]
    )
    data = [place[id(spot.row)] for spot in front]
    return Section(
        key="front",
        title="Accuracy against latency",
        words=words,
        head=("on the front", "latency", "accuracy") if rows else (),
        rows=rows,
        data=data,
    )


def spots(table: Table) -> list[list[Spot]]:
    """For each group the rows that have both figures, fastest first."""
    out = []
    for rows in groups([row for row in table.rows if usable(row)]).values():
        panel = [
            Spot(row=row, latency=latency, accuracy=accuracy)
            for row in rows
            if (latency := point(row.result.get("latency")))
            and (accuracy := point(row.result.get("accuracy")))
            and abs(accuracy.low) <= 100
            and accuracy.high <= 100
        ]
        if panel:
            out.append(marked(panel))
    return out


def marked(panel: Sequence[Spot]) -> list[Spot]:
    """The spots by latency, each with whether it is on the front. n log n: a table may have ten thousand rows."""
    beaten = _slower(panel) | _less_accurate(panel)
    ordered = sorted((i for i in range(len(panel))), key=lambda i: (panel[i].latency.value, -panel[i].accuracy.value))
    return [
        Spot(row=panel[i].row, latency=panel[i].latency, accuracy=panel[i].accuracy, front=i not in beaten)
        for i in ordered
    ]


def _slower(panel: Sequence[Spot]) -> set[int]:
    """Those that a row at least as accurate beats in latency, beyond both intervals."""
    out, best = set(), float("inf")
    order = sorted(range(len(panel)), key=lambda i: -panel[i].accuracy.value)
    for _, group in groupby(order, key=lambda i: panel[i].accuracy.value):
        equal = list(group)
        best = min([best, *(panel[i].latency.high for i in equal)])
        out |= {i for i in equal if best < panel[i].latency.low}
    return out


def _less_accurate(panel: Sequence[Spot]) -> set[int]:
    """Those that a row at least as fast beats in accuracy, beyond both intervals."""
    out, best = set(), float("-inf")
    for i in sorted(range(len(panel)), key=lambda i: (panel[i].latency.value, -panel[i].accuracy.low)):
        best = max(best, panel[i].accuracy.low)
        if best > panel[i].accuracy.high:
            out.add(i)
    return out
