"""The chart of a sensitivity sweep: a bar a layer, the most sensitive on top."""

from __future__ import annotations

from edgebench.report.page import draw
from edgebench.report.page.letters import middle
from edgebench.report.sections.sensitivity import Sweep

MOST, ROW, LEFT, RIGHT, TOP = 40, 16, 150, 100, 8


def chart(sweep: Sweep) -> str:
    """Signal to noise in dB of each layer quantized alone; layers that stay in float are hollow."""
    shown = sweep.layers[:MOST]
    highest = max(sqnr for _, sqnr, _ in shown)
    x = draw.linear_scale(min(0.0, *(sqnr for _, sqnr, _ in shown)), max(highest, 1.0), LEFT, draw.WIDTH - RIGHT)
    parts, y = [], TOP
    for layer, sqnr, _ in shown:
        kept = layer in sweep.kept
        parts.append(draw.text(LEFT - 6, y + 12, middle(layer, LEFT - 10), "", "end"))
        start, end = sorted((x(0.0), x(sqnr)))
        hollow = ' fill-opacity="0.25"' if kept else ""
        parts.append(f'<rect class="bar" x="{start:.1f}" y="{y + 2}" width="{end - start:.1f}" height="12"{hollow}/>')
        parts.append(draw.text(end + 5, y + 12, f"{sqnr:.1f} dB{', float' if kept else ''}", "soft"))
        y += ROW
    return draw.svg(y + TOP, f"Sensitivity of the layers, {sweep.title}", parts)
