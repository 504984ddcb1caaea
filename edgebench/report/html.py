"""The report as one HTML page: no network, no dependency, readable on a phone, in print, in greyscale and aloud."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from edgebench.report.page.charts import charts
from edgebench.report.page.draw import safe
from edgebench.report.page.grid import grid
from edgebench.report.sections import Section, sections
from edgebench.report.table import Table
from edgebench.report.text import plain, together

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The page itself forbids every request."""

ONE_LINE = 26
"""Letters of a figure with its interval, or of a name."""
NARROW = 6
"""So many columns have room beside a chart; a table of more stands below it."""


def render(table: Table) -> str:
    """The whole page. The same table gives the same bytes; below 500 kB for 50 rows."""
    return "\n".join(_page(table)) + "\n"


def _page(table: Table) -> Iterator[str]:
    title = _title(table)
    first, *others = sections(table)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">'
    yield f"<title>{safe(title)} – edgebench</title>\n<style>\n{_asset('style.css')}</style>\n</head>\n<body>"
    yield '<a class="skip" href="#answer">To the answer</a>\n<header>'
    yield f'<div><p class="kind">edgebench report</p>\n<h1>{safe(title)}</h1>'
    yield f'<p class="soft run">{safe(_subtitle(table))}</p></div>'
    yield '<div><button id="theme" type="button" hidden>Dark</button></div>\n</header>\n<main>'
    yield _answer(first)
    yield _header(table)
    yield from grid(table)
    drawn = charts(table)
    for section in others:
        yield from _section(section, drawn.get(section.key, ()))
    yield "</main>\n<footer>"
    yield '<p class="soft">Every figure of this page is in table.json, unrounded; – was not measured, and is not zero.</p>'
    yield f"</footer>\n<script>\n{_asset('script.js')}</script>\n</body>\n</html>"


def _asset(name: str) -> str:
    return files("edgebench.report.page").joinpath(name).read_text("utf-8")


def _title(table: Table) -> str:
    models = list(dict.fromkeys(plain(row.result.cell.model) for row in table.rows)) or ["A run without results"]
    devices = list(dict.fromkeys(plain(row.result.cell.device) for row in table.rows))
    named = [
        ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") for names in (models, devices)
    ]
    return " on ".join(name for name in named if name)[:160]


def _subtitle(table: Table) -> str:
    names = [plain(run.id) for run in table.runs]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _answer(section: Section) -> str:
    told = "".join(
        f"<p{' class=lead' if place in section.leads else ''}>{_said(words)}</p>"
        for place, words in enumerate(section.words)
    )
    return f'<section id="answer"><h2>{safe(section.title)}</h2>{told}</section>'


def _said(words: str) -> str:
    """A sentence in which no line ends within a figure or its interval."""
    return re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", together(safe(words)))


def _header(table: Table) -> str:
    """What was measured on what, and what reduces the trust in it."""
    kept = [fact for fact in table.facts if not fact.warning]
    facts = "".join(
        f"<dt{' class=next' if i and f.name == 'run' else ''}>{safe(f.name)}</dt><dd>{safe(f.text)}</dd>"
        for i, f in enumerate(kept)
    )
    notes = "".join(f"<li>{safe(f.text)}</li>" for f in table.facts if f.warning)
    told = f'<ul class="notes" aria-label="Notes on trust">{notes}</ul>' if notes else ""
    return f'<section id="facts"><h2>What was measured</h2><dl>{facts}</dl>{told}</section>'


def _section(section: Section, drawn: tuple[str, ...]) -> Iterator[str]:
    yield f'<section id="{section.key}">\n<h2>{safe(section.title)}</h2>'
    yield from (f"<p>{_said(words)}</p>" for words in section.words)
    beside = len(drawn) == 1 and 0 < len(section.head) <= NARROW
    yield '<div class="pair">' if beside else ""
    if drawn:
        yield '<div class="panels">' + "\n".join(drawn) + "</div>"
    if section.rows:
        yield _table(section, folded=len(drawn) > 1)
    yield "</div></section>" if beside else "</section>"


def _kind(square: str) -> str:
    """Figures stay on one line; sentences get a column that is wide enough to be read."""
    return "" if len(square) <= ONE_LINE else ' class="said"'


def _table(section: Section, folded: bool) -> str:
    """A section's table: beside its chart, or folded below several of them, which show the same."""
    head = "".join(f'<th scope="col">{safe(name)}</th>' for name in section.head)
    body = "".join(
        f'<tr><th scope="row">{safe(row[0])}</th>'
        + "".join(f"<td{_kind(square)}>{safe(square)}</td>" for square in row[1:])
        + "</tr>\n"
        for row in section.rows
    )
    label = safe(section.title)
    inner = (
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}"><table class="plain"><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )
    return f"<details><summary>The figures as a table</summary>{inner}</details>" if folded else inner
