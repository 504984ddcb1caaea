"""The parts of a report in the order in which a person asks: what to ship, how sure, why, and how it was had."""

from __future__ import annotations

from edgebench.report.sections import answer, circumstances, evidence, front, ladder, sensitivity
from edgebench.report.sections.base import Section, once
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


@once
def sections(table: Table) -> tuple[Section, ...]:
    """All of them; one that has nothing to show says so in a sentence."""
    return tuple(made for part in PARTS if (made := part(table)))
