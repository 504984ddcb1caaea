"""Charts with a line for each row: the speed-up with its interval, and memory as bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgebench.report import text as words
from edgebench.report.page import draw
from edgebench.report.page.letters import folded, width
from edgebench.report.points import point
from edgebench.report.sections.base import drawable
from edgebench.report.sections.ladder import Rung
from edgebench.report.table import Row

STEP, FOLDED, TOP, LEFT, RIGHT, BOTTOM = 22, 32, 30, 204, 54, 40
"""Each row has a step of its own, a higher one where some name takes two lines."""
ROOM = LEFT - 14
"""Of a row's name, left of the marks."""
MOST = 40


def ladder(rungs: Sequence[Rung], name: Callable[[Row], str], shapes: Mapping[str, str], title: str) -> str:
    """Speed-up over the baseline of each step, on a logarithmic scale; the line at 1 is the uncompressed network."""
    known = [
        (rung, found) for rung in rungs[:MOST] if (found := rung.row.speedup) and found.low > 0 and drawable(found)
    ]
    if not known:
        return ""
    low, high = min(0.9, *(p.low for _, p in known)), max(1.1, *(p.high for _, p in known))
    step = _step([name(rung.row) for rung, _ in known])
    end = TOP + step * len(known)
    x = draw.log_scale(low / 1.05, high * 1.05, LEFT, draw.WIDTH - RIGHT)
    parts = ['<g class="axes" aria-hidden="true">']
    for tick in _ticks(low / 1.05, high * 1.05):
        parts.append(draw.line([(x(tick), TOP), (x(tick), end)], "grid" if tick != 1 else "unity"))
        parts.append(draw.text(x(tick), end + 15, f"{tick:g}x", "soft", "middle"))
    parts += [
        draw.text((LEFT + draw.WIDTH - RIGHT) / 2, end + 33, "times as fast; left of 1x is slower", "soft", "middle"),
        "</g>",
    ]
    for i, (rung, found) in enumerate(known):
        y = TOP + step * (i + 0.5)
        kind = "dot front" if rung.paid == "yes" else "dot hollow" if rung.paid == "no" else "dot"
        parts += _name(name(rung.row), y)
        parts.append(draw.line([(x(found.low), y), (x(found.high), y)], "whisker"))
        told = f"{name(rung.row)}: {found.value:.2f}x, {rung.paid}, {rung.why}"
        parts.append(draw.mark(shapes[rung.row.result.cell.backend], x(found.value), y, kind, told))
        parts.append(draw.text(draw.WIDTH - RIGHT + 8, y + 4, f"{found.value:.2f}x", "figure"))
    used = {rung.row.result.cell.backend for rung, _ in known}
    key = [(shape, runtime) for runtime, shape in shapes.items() if runtime in used]
    return draw.svg(end + BOTTOM, f"{title}: speed-up of {len(known)} compressed rows", parts, key, 8)


def _step(names: Sequence[str]) -> int:
    return FOLDED if any(width(words) > ROOM for words in names) else STEP


def _name(words: str, y: float) -> list[str]:
    """Left of the marks, on one line or on two about y."""
    lines = folded(words, ROOM)
    top = y + 4 - 7 * (len(lines) - 1)
    return [draw.text(LEFT - 10, top + 14 * i, line, "", "end") for i, line in enumerate(lines)]


def _ticks(low: float, high: float) -> list[float]:
    """Always 1, where the uncompressed network stands; finer than powers of ten while that has room."""
    fine = [t for t in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if low <= t <= high]
    return fine if high <= 10 and low >= 0.2 and len(fine) > 1 else sorted({1.0, *draw.log_ticks(low, high, 5)})


def memory(rows: Sequence[Row], name: Callable[[Row], str], title: str) -> str:
    """Peak memory of each row as a bar from zero, with its figure behind it."""
    known = [(row, found) for row in rows if (found := point(row.result.get("memory_peak"))) and found.value < 1e18][
        :MOST
    ]
    if not known:
        return ""
    x = draw.linear_scale(0.0, max(p.value for _, p in known) or 1.0, LEFT, draw.WIDTH - RIGHT - 8)
    parts, step = [], _step([name(row) for row, _ in known])
    for i, (row, found) in enumerate(known):
        y = 8 + step * (i + 0.5)
        shown = words.memory(found.value)
        parts += _name(name(row), y)
        parts.append(
            f'<rect class="bar" x="{LEFT}" y="{y - 8:g}" width="{max(x(found.value) - LEFT, 0):.1f}" height="13">'
            f"<title>{draw.safe(f'{name(row)}: {shown}')}</title></rect>"
        )
        parts.append(draw.text(x(found.value) + 6, y + 4, shown, "figure"))
    return draw.svg(16 + step * len(known), f"{title}: peak memory of {len(known)} rows", parts)
