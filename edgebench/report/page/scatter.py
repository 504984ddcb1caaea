"""Accuracy against latency, with error bars and the front."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from edgebench.report import text as words
from edgebench.report.page import draw
from edgebench.report.page.letters import middle, width
from edgebench.report.sections.front import Spot
from edgebench.report.table import Row

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 54, 12, 40, 44
MOST = 200
DOWN = (-9, 19, -27, 37, -45, 55, -63, 73, -81, 91, 109, -99)
"""Where a label may stand above or below its mark; the far ones with a line to it."""
Box = tuple[float, float, float, float]


def chart(panel: Sequence[Spot], name: Callable[[Row], str], shapes: Mapping[str, str], title: str) -> str:
    """One group of rows. The front is drawn in the accent and labelled; hollow marks were not measured here."""
    chosen = [spot for spot in panel if spot.front][:MOST]
    chosen = sorted([*chosen, *[s for s in panel if not s.front][: MOST - len(chosen)]], key=lambda s: s.latency.value)
    low, high = min(s.latency.low for s in chosen), max(s.latency.high for s in chosen)
    low = max(low, min(s.latency.value for s in chosen) / 10)
    x = draw.log_scale(low / 1.15, high * 1.15, LEFT, draw.WIDTH - RIGHT)
    bottom, top = _range(chosen)
    y = draw.linear_scale(bottom, top, HEIGHT - BOTTOM, TOP)
    parts = [*_axes(x, y, low / 1.15, high * 1.15, bottom, top), _front(chosen, x, y)]
    for spot in chosen:
        parts += _errors(spot, x, y, low)
    for spot in chosen:
        grade = spot.row.result.get("latency")
        hollow = grade is not None and grade.grade != "measured"
        kind = ("dot front" if spot.front else "dot") + (" hollow" if hollow else "")
        told = f"{name(spot.row)}: {words.time(spot.latency.value)}, {words.percent(spot.accuracy.value)}"
        shape = shapes[spot.row.result.cell.backend]
        parts.append(draw.mark(shape, x(spot.latency.value), y(spot.accuracy.value), kind, told))
    parts += _labels(chosen, x, y, name)
    used = {spot.row.result.cell.backend for spot in chosen}
    key = [(shape, runtime) for runtime, shape in shapes.items() if runtime in used]
    return draw.svg(HEIGHT, f"{title}: accuracy against latency of {len(chosen)} rows", parts, key, LEFT)


def _range(chosen: Sequence[Spot]) -> tuple[float, float]:
    low, high = min(s.accuracy.low for s in chosen), max(s.accuracy.high for s in chosen)
    room = 0.06 * (high - low or 0.02)
    return low - room, high + room


def _axes(x: draw.Scale, y: draw.Scale, low: float, high: float, bottom: float, top: float) -> list[str]:
    out = ['<g class="axes" aria-hidden="true">']
    for tick in draw.linear_ticks(bottom, top, 5):
        out.append(draw.line([(LEFT, y(tick)), (draw.WIDTH - RIGHT, y(tick))], "grid"))
        places = max(0, math.ceil(-math.log10(max(100 * (top - bottom) / 5, 1e-9))))
        out.append(draw.text(LEFT - 6, y(tick) + 4, f"{100 * tick:.{places}f} %", "soft", "end"))
    for tick in draw.log_ticks(low, high):
        out.append(draw.line([(x(tick), HEIGHT - BOTTOM), (x(tick), HEIGHT - BOTTOM + 4)], "tick"))
        out.append(draw.tick_text(x(tick), HEIGHT - BOTTOM + 17, tick_time(tick)))
    out.append(draw.line([(LEFT, HEIGHT - BOTTOM), (draw.WIDTH - RIGHT, HEIGHT - BOTTOM)], "tick"))
    out.append(
        draw.text(
            (LEFT + draw.WIDTH - RIGHT) / 2,
            HEIGHT - 8,
            "latency, logarithmic; left is faster, up is more accurate",
            "soft",
            "middle",
        )
    )
    return [*out, "</g>"]


def tick_time(seconds: float) -> str:
    """`200 µs`, `5 ms`: a round number of a scale."""
    factor, unit = words.time_unit(seconds)
    return f"{seconds * factor:.5g} {unit}"


def _front(chosen: Sequence[Spot], x: draw.Scale, y: draw.Scale) -> str:
    """The stairs through the rows of the front that also lie on it by their values alone."""
    stairs: list[tuple[float, float]] = []
    best = -math.inf
    for spot in (s for s in chosen if s.front):
        if spot.accuracy.value > best:
            place = x(spot.latency.value), y(spot.accuracy.value)
            stairs += [(place[0], stairs[-1][1]), place] if stairs else [place]
            best = spot.accuracy.value
    return draw.line(stairs, "stairs") if len(stairs) > 1 else ""


def _errors(spot: Spot, x: draw.Scale, y: draw.Scale, low: float) -> list[str]:
    here = x(spot.latency.value), y(spot.accuracy.value)
    kind = "whisker" if spot.front else "whisker back"
    return [
        draw.line([(x(max(spot.latency.low, low)), here[1]), (x(spot.latency.high), here[1])], kind),
        draw.line([(here[0], y(spot.accuracy.low)), (here[0], y(spot.accuracy.high))], kind),
    ]


def _labels(chosen: Sequence[Spot], x: draw.Scale, y: draw.Scale, name: Callable[[Row], str]) -> list[str]:
    """A name for each row of the front that has room for one beside it."""
    marks = [(x(s.latency.value), y(s.accuracy.value)) for s in chosen]
    words = [middle(name(s.row), 290) if s.front else "" for s in chosen]
    out = []
    for i, left, down in placed(marks, words, (LEFT, TOP - 14, draw.WIDTH, HEIGHT - BOTTOM)):
        px, py = marks[i]
        at, anchor = (px + 8, "start") if left > 0 else (px - 8, "end")
        if abs(down) > 19:
            end = at - 2 if left > 0 else at + 2
            out.append(draw.line([(px, py), (px, py + down - 4), (end, py + down - 4)], "leader"))
        out.append(draw.text(at, py + down, words[i], "label", anchor))
    return out


def placed(
    marks: Sequence[tuple[float, float]], words: Sequence[str], frame: Box
) -> Iterator[tuple[int, float, float]]:
    """Where names stand beside their marks: (which mark, offset of its left end, offset down), in the units of 12 a letter.

    No two ever overlap, no mark is covered, and none leaves the frame (left, top, right, bottom): without room there is no name.
    """
    taken: list[Box] = [(px - 5, py - 5, px + 5, py + 5) for px, py in marks]
    for i, ((px, py), label) in enumerate(zip(marks, words, strict=True)):
        wide = width(label)
        for left, down in ((side, d) for d in DOWN for side in (8, -8 - wide)) if label else ():
            box = (px + left, py + down - 12, px + left + wide, py + down + 5)
            inside = box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield i, left, down
                break


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
