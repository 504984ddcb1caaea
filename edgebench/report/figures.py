"""The charts of a report as files: SVG by our own hand, PNG by matplotlib, for a paper or a slide."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from edgebench.errors import MissingRuntime
from edgebench.report import text
from edgebench.report.page.charts import charts, shapes
from edgebench.report.page.draw import log_ticks
from edgebench.report.page.letters import middle
from edgebench.report.page.scatter import placed
from edgebench.report.points import point
from edgebench.report.sections.base import names, usable
from edgebench.report.sections.front import Spot, spots
from edgebench.report.sections.ladder import rungs
from edgebench.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "front": "accuracy-latency",
    "ladder": "speedup",
    "spread": "calls",
    "memory": "memory",
    "sensitivity": "sensitivity",
}
MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "cross": "x",
    "plus": "+",
    "down": "v",
    "star": "*",
}
"""The shapes of the report's own charts as matplotlib calls them."""
INK, ACCENT, SOFT = "#1b1f24", "#0f5c8c", "#59616b"
MOST = 40


def svgs(table: Table) -> dict[str, str]:
    """File name without its ending -> a whole SVG file; one for each panel of the report."""
    style = files("edgebench.report.page").joinpath("style.css").read_text("utf-8")
    colours = re.findall(r"--(\w+): (#\w+)", style.partition("}")[0])
    rules = "\n".join(line for line in style.splitlines() if line.startswith((".chart", *KINDS)))
    for name, colour in colours:
        rules = rules.replace(f"var(--{name})", colour)
    out = {}
    for key, drawn in charts(table).items():
        pictures = [found[0] for figure in drawn if (found := re.search(r"<svg.*?</svg>", figure, re.DOTALL))]
        for i, picture in enumerate(pictures, start=1):
            name = NAMES[key] + (f"-{i}" if len(pictures) > 1 else "")
            out[name] = picture.replace("><", f"><style>{rules}</style><", 1) + "\n"
    return out


KINDS = (".grid", ".tick", ".whisker", ".leader", ".stairs", ".curve", ".dot", ".bar")


def pngs(table: Table) -> dict[str, bytes]:
    """File name without its ending -> a PNG at 200 dots an inch. Raises MissingRuntime without matplotlib.

    A letter that no font of this machine has is a box in them, and a letter all the same in the SVG.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        fix = 'Install it with: pip install "edgebench[report]"; the SVG files need nothing and are written.'
        raise MissingRuntime("PNG pictures need matplotlib, which is not installed.", fix) from error
    out = {}
    with _fonts():
        for name, draw in (("accuracy-latency", scatter), ("speedup", ladder), ("latency", latency)):
            figure = Figure(figsize=(7, 4.6), dpi=200, layout="constrained")
            FigureCanvasAgg(figure)
            if draw(figure.add_subplot(), table):
                data = io.BytesIO()
                figure.savefig(data, format="png", metadata={"Software": None})
                out[name] = data.getvalue()
    return out


WIDE = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
        "IPAGothic", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
        "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Emoji")  # fmt: skip
"""Fonts that have what DejaVu Sans has not, as far as they are installed."""


@contextmanager
def _fonts() -> Iterator[None]:
    """Each letter from the first font that has it; a letter that none has is no matter for the terminal."""
    import warnings

    import matplotlib
    from matplotlib.font_manager import get_font_names

    known = set(get_font_names())
    family = ["DejaVu Sans", *(name for name in WIDE if name in known)]
    with matplotlib.rc_context({"font.family": family}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield


def scatter(axes: Axes, table: Table) -> bool:
    """Accuracy against latency of every row, with intervals; False where there is nothing to draw."""
    found = [spot for panel in spots(table) for spot in panel]
    name = names(table)
    markers = _markers(table, [spot.row for spot in found])
    for spot in found:
        x, y = spot.latency, spot.accuracy
        grade = spot.row.result.get("latency")
        measured = grade is not None and grade.grade == "measured"
        colour = ACCENT if spot.front else INK
        axes.errorbar(
            x.value, 100 * y.value, xerr=[[x.value - x.low], [x.high - x.value]],
            yerr=[[100 * (y.value - y.low)], [100 * (y.high - y.value)]], fmt=markers[spot.row.result.cell.backend],
            color=colour, ecolor=SOFT, elinewidth=0.7, ms=5, mfc=colour if measured else "white",
        )  # fmt: skip
    axes.set_ylabel("accuracy, %")
    _time_axis(axes)
    _key(axes, markers)
    _name_front(axes, [spot for spot in found if spot.front][:MOST], [spot for spot in found if not spot.front], name)
    return bool(found)


def _name_front(axes: Axes, front: Sequence[Spot], others: Sequence[Spot], name: Callable[[Row], str]) -> None:
    """Names beside the marks of the front, placed as in the report's own chart, where there is room for them."""
    if not front:
        return
    figure = axes.get_figure()
    figure.draw_without_rendering()  # type: ignore[union-attr]  # so that places are known
    unit = 12 / 7 * 72 / figure.dpi  # type: ignore[union-attr]  # letters are of 7 points here, and of 12 units there
    spots = [*front, *others]
    places = axes.transData.transform([(s.latency.value, 100 * s.accuracy.value) for s in spots]) * unit
    (left, bottom), (right, top) = axes.get_window_extent().get_points() * unit
    marks = [(float(x), float(top - y)) for x, y in places]
    words = [_plain(name(s.row)) for s in front] + [""] * len(others)
    for i, aside, down in placed(marks, words, (float(left), 0.0, float(right), float(top - bottom))):
        spot, start = spots[i], 0 if aside > 0 else 1
        leader = {"arrowstyle": "-", "color": ACCENT, "lw": 0.5, "relpos": (start, 0.5)} if abs(down) > 19 else None
        axes.annotate(
            words[i], (spot.latency.value, 100 * spot.accuracy.value),
            ((8 if aside > 0 else -8) * 7 / 12, -down * 7 / 12), textcoords="offset points",
            ha="left" if aside > 0 else "right", fontsize=7, color=ACCENT,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
            arrowprops=leader,
        )  # fmt: skip


def ladder(axes: Axes, table: Table) -> bool:
    """Speed-up over the baseline with its interval, a line a row."""
    name = names(table)
    found = [(r, p) for r in rungs(table) if (p := point(r.row.result.get("speedup")))][:MOST]
    markers = _markers(table, [rung.row for rung, _ in found])
    for i, (rung, p) in enumerate(found):
        marker = markers[rung.row.result.cell.backend]
        ends = [[p.value - p.low], [p.high - p.value]]
        fill = "white" if rung.paid == "no" else ACCENT
        axes.errorbar(p.value, -i, xerr=ends, fmt=marker, color=ACCENT, ecolor=SOFT, elinewidth=0.7, ms=5, mfc=fill)
    axes.axvline(1, color=SOFT, linewidth=0.8)
    axes.set_yticks([-i for i in range(len(found))], [_plain(name(rung.row)) for rung, _ in found], fontsize=7)
    axes.set_xlabel("times as fast as uncompressed; hollow: it did not pay")
    axes.spines[["top", "right"]].set_visible(False)
    _key(axes, markers)
    return bool(found)


def latency(axes: Axes, table: Table) -> bool:
    """Latency with its interval, a line a row."""
    name = names(table)
    found = [(row, p) for row in table.rows if usable(row) and (p := row.latency)][:MOST]
    markers = _markers(table, [row for row, _ in found])
    for i, (row, p) in enumerate(found):
        ends, marker = [[p.value - p.low], [p.high - p.value]], markers[row.result.cell.backend]
        axes.errorbar(p.value, -i, xerr=ends, fmt=marker, color=ACCENT, ecolor=SOFT, elinewidth=0.7, ms=5)
    axes.set_yticks([-i for i in range(len(found))], [_plain(name(row)) for row, _ in found], fontsize=7)
    _time_axis(axes)
    _key(axes, markers)
    return bool(found)


def _markers(table: Table, rows: Sequence[Row]) -> dict[str, str]:
    """The mark of each runtime of these rows: the same in every chart of a table, whichever rows that shows."""
    return {row.result.cell.backend: MARKERS[shapes(table)[row.result.cell.backend]] for row in rows}


def _time_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    def show(seconds: float, _: Any) -> str:
        factor, unit = text.time_unit(seconds)
        return f"{seconds * factor:.5g} {unit}"

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(show))
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_xlim()
    axes.set_xticks(log_ticks(low, high))
    axes.set_xlabel("latency, logarithmic")
    axes.spines[["top", "right"]].set_visible(False)


def _key(axes: Axes, markers: dict[str, str]) -> None:
    for runtime, marker in markers.items():
        axes.plot([], [], marker, color=INK, ms=5, label=_plain(runtime))
    if markers:
        axes.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=6)


def _plain(words: str) -> str:
    """Letters that no formula reader takes for its own."""
    return middle(text.plain(words), 420).replace("$", r"\$")
