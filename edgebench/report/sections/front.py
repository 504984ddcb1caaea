"""Accuracy against latency: which rows no other row surely beats."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgebench.report.points import Point
from edgebench.report.sections.base import Section, groups, names, once, places, shown, usable
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
        "A row is on the front unless another one is better in one of the two beyond the intervals, and not worse beyond them "
        "in the other.",
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


@once
def spots(table: Table) -> list[list[Spot]]:
    """For each group the rows that have both figures, fastest first."""
    out = []
    for rows in groups([row for row in table.rows if usable(row)]).values():
        panel = [
            Spot(row=row, latency=latency, accuracy=accuracy)
            for row in rows
            if (latency := row.latency)
            and (accuracy := row.accuracy)
            and abs(accuracy.low) <= 100
            and accuracy.high <= 100
        ]
        if panel:
            out.append(marked(panel))
    return out


def marked(panel: Sequence[Spot]) -> list[Spot]:
    """The spots by latency, each with whether it is on the front. n log n: a table may have ten thousand rows."""
    beaten = set(_slower(panel)) | set(_less_accurate(panel))
    ordered = sorted((i for i in range(len(panel))), key=lambda i: (panel[i].latency.value, -panel[i].accuracy.value))
    return [
        Spot(row=panel[i].row, latency=panel[i].latency, accuracy=panel[i].accuracy, front=i not in beaten)
        for i in ordered
    ]


def _slower(panel: Sequence[Spot]) -> Iterator[int]:
    """Those that are surely slower than a row which is not surely less accurate."""
    highs, accuracies = _reached((spot.latency.high, spot.accuracy.high) for spot in panel)
    for i, spot in enumerate(panel):
        faster = bisect_left(highs, spot.latency.low)
        if faster and accuracies[faster - 1] >= spot.accuracy.low:
            yield i


def _less_accurate(panel: Sequence[Spot]) -> Iterator[int]:
    """Those that are surely less accurate than a row which is not surely slower."""
    lows, accuracies = _reached((spot.latency.low, spot.accuracy.low) for spot in panel)
    for i, spot in enumerate(panel):
        as_fast = bisect_right(lows, spot.latency.high)
        if accuracies[as_fast - 1] > spot.accuracy.high:
            yield i


def _reached(ends: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The latencies in their order, and the greatest accuracy of all rows up to each."""
    ordered = sorted(ends)
    return [latency for latency, _ in ordered], list(accumulate((accuracy for _, accuracy in ordered), max))
