"""The table as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from edgebench.report.sections import Section, sections
from edgebench.report.table import Table

_ENTITY = re.compile(r"&(?=[#\w])")
_TAG = re.compile(r"<(?=[^\s\d])")
_SPECIAL = re.compile(r"([\\`*~\[\]|]|(?<!\w)_|_(?!\w))")


def render(table: Table) -> str:
    """A heading, the header facts, the answer, the table with its footnotes and legend, and the other sections."""
    title = " and ".join(run.id for run in table.runs)
    first, *others = sections(table)
    parts = [f"# {escape(title)}", _facts(table), _section(first), _table(table), _footnotes(table), _legend(table)]
    parts += [_section(section) for section in others] if table.rows else []
    return "\n\n".join(part for part in parts if part) + "\n"


@lru_cache(maxsize=4096)
def escape(text: str) -> str:
    """Any text as that text: no HTML, no emphasis, no end of a table's square or of its line."""
    text = _ENTITY.sub("&amp;", " ".join(text.split()))
    return _SPECIAL.sub(r"\\\1", _TAG.sub("&lt;", text))


def _section(section: Section) -> str:
    parts = [f"## {escape(section.title)}", "\n\n".join(escape(words) for words in section.words)]
    if section.rows:
        head = _line([escape(name) for name in section.head])
        rule = _line(["---"] * len(section.head))
        parts.append("\n".join((head, rule, *(_line([escape(square) for square in row]) for row in section.rows))))
    return "\n\n".join(parts)


def _facts(table: Table) -> str:
    return "\n".join(f"- {escape(fact.name)}: {escape(fact.text)}" for fact in table.facts)


def _table(table: Table) -> str:
    if not table.rows:
        return "There is no result yet."
    head = _line([escape(column.title) for column in table.columns])
    rule = _line(["---:" if column.numeric else "---" for column in table.columns])
    rows = [_line([escape(e.text) + table.marks(e) for e in row.entries]) for row in table.rows]
    return "\n".join((head, rule, *rows))


def _line(squares: Sequence[str]) -> str:
    return f"| {' | '.join(squares)} |"


def _footnotes(table: Table) -> str:
    return "\n".join(f"- [{n}] {escape(note)}" for n, note in enumerate(table.footnotes, start=1))


def _legend(table: Table) -> str:
    if not table.rows:
        return ""
    lines = [f"- **{escape(c.title)}**: {escape(c.legend)}." for c in table.columns if c.legend]
    return "\n".join(("How to read it (– is not measured, never zero):", "", *lines))
