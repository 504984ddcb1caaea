"""The pieces that every chart is drawn with: text, marks, scales and their ticks. Lengths in the SVG's own units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from xml.sax.saxutils import escape

from edgebench.report.page.letters import short, width
from edgebench.report.text import encodable, plain

WIDTH = 420
"""Of every chart: about a phone's width, so that its text stays legible there."""
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "plus", "down", "star")
"""One for each runtime: told apart without colour."""

Scale = Callable[[float], float]


@lru_cache(maxsize=4096)
def safe(words: str) -> str:
    """Text or the value of an attribute."""
    return escape(encodable(plain(words)), {'"': "&quot;"})


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{safe(words)}</text>'


def tick_text(x: float, y: float, words: str) -> str:
    """Below a place of a scale, moved inwards where it would leave the chart."""
    half = width(words) / 2
    return text(min(max(x, half), WIDTH - half), y, words, "soft", "middle")


def line(points: Sequence[tuple[float, float]], kind: str, dash: str = "") -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path class="{kind}" d="M{path}"{dashed}/>'


def mark(shape: str, x: float, y: float, kind: str, title: str = "") -> str:
    """A data point. `title` is what a pointer or a screen reader is told."""
    told = f"<title>{safe(title)}</title>" if title else ""
    r = 4.5
    paths = {
        "square": f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8z",
        "triangle": f"M{x:.1f} {y - 5.2:.1f}l5 9h-10z",
        "diamond": f"M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
        "cross": f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8",
        "plus": f"M{x - 5:.1f} {y:.1f}h10m-5 -5v10",
        "down": f"M{x:.1f} {y + 5.2:.1f}l5 -9h-10z",
        "star": f"M{x:.1f} {y - 5.5:.1f}l1.8 3.7h3.9l-3 2.6l1.2 4l-3.9 -2.3l-3.9 2.3l1.2 -4l-3 -2.6h3.9z",
    }
    if shape == "circle":
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r}">{told}</circle>'
    return f'<path class="{kind}" d="{paths[shape]}">{told}</path>'


def svg(height: float, label: str, parts: Sequence[str], key: Sequence[tuple[str, str]] = (), x: float = 0.0) -> str:
    """One chart. `label` is read aloud in its place; the same figures stand in a table beside it.

    `key` names the shapes, (shape, name), from `x` on in the first line; what further lines it needs are put above the rest.
    """
    named, more = _key(key, x)
    body = "".join(parts)
    if more:
        body = f'<g transform="translate(0 {more:.0f})">{body}</g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {height + more:.0f}" role="img" '
        f'aria-label="{safe(label)}">{body}{"".join(named)}</svg>'
    )


def _key(entries: Sequence[tuple[str, str]], left: float) -> tuple[list[str], float]:
    """Marks with their names, and how far the lines below the first one reach."""
    out: list[str] = []
    x, y = left, 16.0
    for shape, name in entries:
        words = short(name, 110)
        if x + 16 + width(words) > WIDTH and x > left:
            x, y = left, y + 17
        out += [mark(shape, x + 5, y - 4, "dot"), text(x + 15, y, words, "soft")]
        x += 28 + width(words)
    return out, y - 16


def log_scale(low: float, high: float, start: float, end: float) -> Scale:
    """From a positive quantity to a place; equal ratios are equally far apart."""
    if high <= low:
        low, high = low / 1.5, high * 1.5
    a, b = math.log(low), math.log(high)
    return lambda value: start + (math.log(value) - a) / (b - a) * (end - start)


def linear_scale(low: float, high: float, start: float, end: float) -> Scale:
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return lambda value: start + (value - low) / (high - low) * (end - start)


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """1, 2, 5, 10 ... within the range; only powers of ten where those are too many, and finer ones where one is left.

    Two at least, so that a reader sees the scale: a narrow range has the round numbers of a linear one.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = _within(low, high, steps, first, last)
        if len(ticks) > most:
            continue
        if len(ticks) < 2:
            ticks = _within(low, high, (1, 1.5, 2, 3, 5, 7), first, last)
        return ticks if len(ticks) > 1 else linear_ticks(low, high, most - 1)
    return ticks[:: math.ceil(len(ticks) / most)]


def _within(low: float, high: float, steps: Sequence[float], first: int, last: int) -> list[float]:
    ticks = [s * 10.0**e for e in range(first, last + 1) for s in steps]
    return [t for t in ticks if low * 0.999 <= t <= high * 1.001]


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within the range, at most so many."""
    raw = (high - low) / most or 1.0
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * s for s in (1, 2, 5, 10) if size * s >= raw)
    count = math.floor(high / step) - math.ceil(low / step) + 1
    return [(math.ceil(low / step) + i) * step for i in range(count)]


def shapes_of(names: Sequence[str]) -> dict[str, str]:
    """A shape for each name, by its place: made once for all charts of a page, so that a shape means one runtime."""
    return {name: SHAPES[i % len(SHAPES)] for i, name in enumerate(dict.fromkeys(names))}
