"""The table of the page: sortable, filterable, in pages; each row with all its figures folded below it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from edgebench.report.columns import Column, Entry
from edgebench.report.details import DETAILED, details
from edgebench.report.page.draw import safe
from edgebench.report.table import Row, Table
from edgebench.report.text import MISSING

PAGE = 200
"""Rows that are in the page from the start, and at once; a longer table shows so many at a time."""
KEPT_MARKS = {"good": "▲", "bad": "▼", "doubt": "?"}
"""What colour alone would say, said by a sign."""


def grid(table: Table) -> Iterator[str]:
    """The section with the comparison. Rows beyond the first page lie in a script element until they are asked for."""
    yield '<section id="table">\n<h2>All rows</h2>'
    if not table.rows:
        yield "<p>There is no result yet.</p></section>"
        return
    yield '<div class="tools" id="tools" hidden><label for="filter">Filter rows</label>'
    yield '<input id="filter" type="search" autocomplete="off" placeholder="for example: int8 openvino">'
    yield '<span id="count" role="status" aria-live="polite"></span>'
    yield '<button id="open" type="button" aria-expanded="false">Show all figures</button></div>'
    yield '<p class="hint" id="wider" hidden>The table is wider than the page: more columns are to the right.</p>'
    yield '<div class="wide" role="region" tabindex="0" aria-label="All rows">'
    yield f'<table id="rows" data-page="{PAGE}"><caption>All rows</caption>\n<thead><tr>{_head(table)}</tr></thead>'
    with_details = len(table.rows) <= DETAILED
    written = [_row(table, row, place, with_details) for place, row in enumerate(table.rows)]
    yield from written[:PAGE]
    yield '</table></div>\n<nav class="pages" id="pages" aria-label="Pages of the table" hidden></nav>'
    if len(written) > PAGE:
        rest = json.dumps(written[PAGE:], ensure_ascii=False).replace("<", "\\u003c")
        yield f'<script type="application/json" id="rest">{rest}</script>'
        yield f"<noscript><p>Without scripts the first {PAGE} of {len(written)} rows are shown; table.csv has all.</p></noscript>"
    yield from _notes(table)
    yield "</section>"


def _head(table: Table) -> str:
    return "".join(
        f'<th scope="col" class="{"n" if c.numeric else ""}" title="{safe(c.legend)}">{safe(c.title)}</th>'
        for c in table.columns
    )


def _row(table: Table, row: Row, place: int, with_details: bool) -> str:
    name, *others = zip(table.columns, row.entries, strict=True)
    squares = _square(table, *name, "th", ' scope="row"') + "".join([_square(table, *other) for other in others])
    kind = row.result.status
    below = _below(row, len(table.columns)) if with_details else ""
    return f'<tbody class="{kind}" data-i="{place}"><tr>{squares}</tr>{below}</tbody>'


def _square(table: Table, column: Column, entry: Entry, tag: str = "td", scope: str = "") -> str:
    """One figure; what it needs to be understood stands as a small second line, and as its title."""
    shown = safe(entry.text) if entry.text != MISSING else f'<span class="none">{MISSING}</span>'
    if column.key == "speedup":
        shown = _versus(entry, shown)
    noted = ""
    if entry.notes:
        noted = f'<sup title="{safe(" ".join(entry.notes))}">{table.marks(entry).strip()}</sup>'
    kind = ("n " + entry.tone if entry.tone else "n") if column.numeric else entry.tone
    told = f' class="{kind}"' if kind else ""
    value = f' data-v="{entry.value!r}"' if isinstance(entry.value, (int, float)) else ""
    return f"<{tag}{scope}{told}{value}>{shown}{noted}</{tag}>"


def _versus(entry: Entry, shown: str) -> str:
    """A speed-up with the sign of its verdict, its interval on a line of its own."""
    if "(" in entry.text:
        said, _, interval = entry.text.rpartition(" (")
        shown = f"{safe(said)}<small>({safe(interval)}</small>"
    sign = KEPT_MARKS.get(entry.tone)
    return f'<span class="sign" aria-hidden="true">{sign}</span> {shown}' if sign else shown


def _below(row: Row, columns: int) -> str:
    """All figures of a row: interval, samples, grade and source, to be read without a pointer."""
    lines = "".join(
        f'<tr><th scope="row">{safe(d[0])}</th>' + "".join(f"<td>{safe(words)}</td>" for words in d[1:]) + "</tr>"
        for d in details(row.result)
    )
    why = " ".join(note for entry in row.entries for note in entry.notes)
    said = f"<p>{safe(why)}</p>" if why else ""
    if not lines and not said:
        return ""
    head = "".join(f'<th scope="col">{n}</th>' for n in ("figure", "value", "interval", "grade, samples", "source"))
    inner = f'<table class="more"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>' if lines else ""
    return f'<tr class="below"><td colspan="{columns}">{said}{inner}</td></tr>'


def _notes(table: Table) -> Iterator[str]:
    if table.footnotes:
        yield '<ol class="foot">' + "".join(f"<li>{safe(note)}</li>" for note in table.footnotes[:300]) + "</ol>"
        if len(table.footnotes) > 300:
            yield f"<p>{len(table.footnotes) - 300} more footnotes are in table.json.</p>"
    told = "".join(f"<dt>{safe(c.title)}</dt><dd>{safe(c.legend)}</dd>" for c in table.columns if c.legend)
    yield f"<details><summary>How to read the columns</summary><dl>{told}</dl></details>"
