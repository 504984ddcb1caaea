"""A picture of the table: latency of each row as a bar with its interval, shortest is best. Self-contained SVG."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from edgebench.report import text
from edgebench.report.page.letters import middle, short, width
from edgebench.report.table import Row, Table

WIDTH, LEFT, BAR, GAP, TOP = 860, 210, 15, 12, 64
MOST = 500
"""Rows that are drawn: a longer picture is looked at by nobody."""
SHADES = ("#1f5f99", "#e08a1e", "#6aa84f", "#8a6bb1", "#b8485a", "#5b6770")
"""One for each runtime, apart from one another in greyscale too."""
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1d2733 } .title { font-size: 16px; font-weight: 600 }
  .soft { fill: #5b6770 } .paper { fill: #fff } .whisker { stroke: #1d2733; stroke-width: 1.3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e9ee } .soft { fill: #a9b2bd } .paper { fill: #14191f } .whisker { stroke: #e6e9ee }
  }
"""


def render(table: Table) -> str:
    """Bars of the rows that have a latency, grouped by variant; the others are named below with their status."""
    shown = table.rows[:MOST]
    rows = [r for r in shown if _value(r) is not None]
    others = [r for r in shown if _value(r) is None]
    runtimes = list(dict.fromkeys(r.result.cell.backend for r in rows))
    widest = max((_high(r) for r in rows), default=1.0)
    body, y = _bars(rows, runtimes, widest)
    for row in others:
        y += BAR
        cell = row.result.cell
        said = f"{middle(f'{cell.recipe} on {cell.backend}', WIDTH - 220)}: {row.result.status}, no latency"
        body.append(_text(20, y, said, "soft"))
    if len(table.rows) > MOST:
        y += BAR + GAP
        body.append(_text(20, y, f"The first {MOST} of {len(table.rows)} rows; table.csv has all of them.", "soft"))
    height = y + 24
    title = f"Latency of {table.run.plan.get('model', {}).get('name', 'the network')} on {table.run.device.name}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" aria-label="{_safe(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            _text(20, 28, short(title, 0.75 * (WIDTH - 40)), "title"),
            *_legend(runtimes),
            *body,
            "</svg>\n",
        ]
    )


def _bars(rows: Sequence[Row], runtimes: Sequence[str], widest: float) -> tuple[list[str], int]:
    out: list[str] = []
    y, variant = TOP, ""
    scale = (WIDTH - LEFT - 24 - max((width(_label(row)) for row in rows), default=0.0)) / widest
    for row in rows:
        cell = row.result.cell
        if cell.recipe != variant:
            y += GAP if variant else 0
            variant = cell.recipe
            out.append(_text(LEFT - 12, y + BAR - 3, middle(variant, LEFT - 28), anchor="end"))
        value, high = _value(row) or 0.0, _high(row)
        shade = SHADES[runtimes.index(cell.backend) % len(SHADES)]
        out.append(f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR - 2}" fill="{shade}"/>')
        low = 2 * value - high
        out.append(_whisker(LEFT + max(low, 0) * scale, LEFT + high * scale, y + BAR / 2 - 1))
        out.append(_text(LEFT + high * scale + 6, y + BAR - 3, _label(row)))
        y += BAR
    return out, y


def _label(row: Row) -> str:
    shown = text.time(_value(row) or 0.0)
    cell, speed = row.result.cell, row.result.get("speedup")
    asked = "" if (cell.batch, cell.threads) == (1, 1) else f" (batch {cell.batch}, {cell.threads} threads)"
    known = speed is not None and speed.value is not None and speed.note == "faster"
    return shown + asked + (f"  {speed.value:.2f}x" if known and speed and speed.value else "")


def _value(row: Row) -> float | None:
    found = row.result.get("latency")
    return None if found is None else found.value


def _high(row: Row) -> float:
    found = row.result.get("latency")
    if found is None or found.value is None:
        return 0.0
    return found.interval.high if found.interval and found.interval.high < 3 * found.value else found.value


def _whisker(x1: float, x2: float, y: float) -> str:
    return f'<path class="whisker" d="M{x1:.1f} {y:.1f}H{x2:.1f}M{x1:.1f} {y - 3:.1f}v6M{x2:.1f} {y - 3:.1f}v6"/>'


def _legend(runtimes: Sequence[str]) -> list[str]:
    out, x = [], LEFT
    for i, name in enumerate(runtimes):
        out.append(f'<rect x="{x}" y="40" width="12" height="12" fill="{SHADES[i % len(SHADES)]}"/>')
        out.append(_text(x + 17, 50, name, "soft"))
        x += 40 + round(width(name))
    return out


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{_safe(words)}</text>'


def _safe(words: str) -> str:
    return escape(text.encodable(text.plain(words)), {'"': "&quot;"})
