"""Every figure of a row in words: its interval, how many samples are behind it, its grade, its source and its note."""

from __future__ import annotations

from edgebench.metrics.latency import interval_of
from edgebench.report import text
from edgebench.report.columns import FIGURES, mark, shorten
from edgebench.report.text import MISSING, plain
from edgebench.schema import Measurement, Result

Details = tuple[str, str, str, str, str]
"""Metric, figure, interval, samples and grade, source and note."""
TITLES = {column.key: column.title for column in FIGURES}
DETAILED = 1000
"""Longer tables leave these words out: the page stays of a size that a browser opens, and the numbers are in the rows."""
MOST = 40
"""So many figures of a row: a profile has one an operator, and those are in the JSON."""


def details(result: Result) -> tuple[Details, ...]:
    """One line for each measurement, in their order; those of a layer profile are left out."""
    return tuple(_line(m) for m in result.measurements if m.phase != "profile")[:MOST]


def _line(m: Measurement) -> Details:
    title = TITLES.get(m.metric, plain(m.metric.replace("_", " ")))
    figure = MISSING if m.value is None else show(m, m.value) + mark(m)
    interval = MISSING
    if found := interval_of(m):
        ends = f"{show(m, found.low)} to {show(m, found.high)}"
        interval = f"{ends} ({text.percent(found.confidence, 0)})"
    samples = f"{m.grade}, n {m.n}" if m.n else m.grade
    said = plain(m.source) + (f"; {shorten(plain(m.note), 200)}" if m.note else "")
    return title, figure, interval, samples, said


def show(m: Measurement, value: float) -> str:
    """A value of that measurement, in the unit a person reads it in."""
    if m.metric.startswith("memory"):
        return text.memory(value)
    if m.metric in ("accuracy", "agreement"):
        return text.percent(value, 2)
    if m.metric == "speedup":
        return f"{text.significant(value)}x"
    return text.in_unit(value, m.unit)
