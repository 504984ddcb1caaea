"""The parts of a report in the order in which a person asks: what to ship, how sure, why, and how it was had."""

from __future__ import annotations

from edgebench.report.sections import answer, circumstances, evidence, front, ladder, sensitivity
from edgebench.report.sections.base import Section
from edgebench.report.table import Table

__all__ = ["Section", "sections"]

PARTS = (
    answer.section,
    front.section,
    ladder.section,
    ladder.steps,
    sensitivity.section,
    evidence.spread,
    evidence.memory,
    evidence.placement,
    evidence.noise,
    circumstances.environment,
    circumstances.failures,
    circumstances.reproduce,
)


def sections(table: Table) -> tuple[Section, ...]:
    """All of them, made once for each table; one that has nothing to show says so in a sentence."""
    if id(table) not in _LAST or _LAST[id(table)][0] is not table:
        _LAST.clear()
        _LAST[id(table)] = table, tuple(made for part in PARTS if (made := part(table)))
    return _LAST[id(table)][1]


_LAST: dict[int, tuple[Table, tuple[Section, ...]]] = {}
"""The sections of the last table: three formats show the same ones."""
