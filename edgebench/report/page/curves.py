"""The spread of single calls: cumulative curves, their upper tail enlarged by a normal scale."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from edgebench.report.page import draw
from edgebench.report.page.letters import short
from edgebench.report.page.scatter import tick_time
from edgebench.report.spread import LEVELS
from edgebench.report.table import Row

HEIGHT, LEFT, RIGHT, TOP, BOTTOM, STEP = 250, 52, 14, 12, 42, 17
KEY = draw.WIDTH / 2 + 20 - LEFT - 42 - 8
"""Room for a name of the key, which has two columns."""
DASHES = ("", "6 3", "2 3", "9 3 2 3", "1 4", "12 4", "4 2 1 2 1 2", "14 3 3 3")
TICKS = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
MOST = len(DASHES)

Curve = tuple[str, Sequence[float], Sequence[float]]
"""A name, times in seconds, and for each time the share of calls that took at most so long."""


def curve(row: Row, label: str) -> Curve | None:
    """From the kept quantiles, else from one median a process; None where there is neither."""
    if row.spread:
        inner = [(time, level) for time, level in zip(row.spread.times, LEVELS, strict=True) if 0 < level < 1]
        return label, [time for time, _ in inner], [level for _, level in inner]
    found = row.result.get("latency")
    medians = sorted(found.samples) if found and found.value is not None else []
    if len(medians) < 2:
        return None
    return label, medians, [(i + 0.5) / len(medians) for i in range(len(medians))]


def chart(curves: Sequence[Curve], title: str) -> str:
    """Up to eight curves, told apart by their dashes; a key below."""
    shown = [c for c in curves if min(c[1]) > 1e-12 and max(c[1]) < 1e12][:MOST]
    if not shown:
        return ""
    low, high = min(min(times) for _, times, _ in shown), max(max(times) for _, times, _ in shown)
    x = draw.log_scale(low / 1.03, high * 1.03, LEFT, draw.WIDTH - RIGHT)
    normal = NormalDist()
    y = draw.linear_scale(normal.inv_cdf(0.01), normal.inv_cdf(0.999), HEIGHT - BOTTOM, TOP)
    parts = ['<g class="axes" aria-hidden="true">']
    for level in TICKS:
        at = y(normal.inv_cdf(level))
        parts.append(draw.line([(LEFT, at), (draw.WIDTH - RIGHT, at)], "grid"))
        parts.append(draw.text(LEFT - 6, at + 4, f"{100 * level:g} %", "soft", "end"))
    for tick in draw.log_ticks(low / 1.03, high * 1.03, 6):
        parts.append(draw.line([(x(tick), HEIGHT - BOTTOM), (x(tick), HEIGHT - BOTTOM + 4)], "tick"))
        parts.append(draw.tick_text(x(tick), HEIGHT - BOTTOM + 17, tick_time(tick)))
    parts += [
        draw.text(
            (LEFT + draw.WIDTH - RIGHT) / 2,
            HEIGHT - 8,
            "latency, logarithmic; up is the share of calls that took less",
            "soft",
            "middle",
        ),
        "</g>",
    ]
    for i, (label, times, levels) in enumerate(shown):
        points = [
            (x(t), y(normal.inv_cdf(min(max(level, 0.01), 0.999)))) for t, level in zip(times, levels, strict=True)
        ]
        parts.append(draw.line(points, "curve", DASHES[i]))
        at = HEIGHT + 14 + STEP * (i // 2)
        left = LEFT if i % 2 == 0 else draw.WIDTH / 2 + 20
        parts.append(draw.line([(left, at - 4), (left + 34, at - 4)], "curve", DASHES[i]))
        parts.append(draw.text(left + 42, at, short(label, KEY)))
    height = HEIGHT + 20 + STEP * ((len(shown) - 1) // 2)
    return draw.svg(height, f"{title}: how the times of {len(shown)} variants are spread", parts)
