"""The picture of a table: right bars for what was measured, words for what was not, and valid XML whatever the names."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from edgebench.codec import Options
from edgebench.report import figures, svg
from edgebench.report.page import draw, letters
from edgebench.report.page.charts import shapes
from edgebench.report.page.scatter import tick_time
from edgebench.report.table import build
from edgebench.schema import Cell, DeviceProfile, Interval, Measurement, Result, Run

RUN = Run(
    id="r",
    started="20261123T193000Z",
    versions=Options(),
    plan=Options(),
    device=DeviceProfile(name="local"),
    host=Options(),
)
SVG = "{http://www.w3.org/2000/svg}"


def result(recipe: str, backend: str, latency: float | None, **more: Any) -> Result:
    interval = None if latency is None else Interval(low=latency * 0.9, high=latency * 1.1)
    figure = Measurement(metric="latency", unit="s", phase="steady", source="clock", value=latency, interval=interval)
    cell = Cell(model="net", recipe=recipe, backend=backend, device="local")
    return Result(cell=cell, status=more.pop("status", "ok"), measurements=(figure,), **more)


def drawn(*results: Result) -> ElementTree.Element:
    return ElementTree.fromstring(svg.render(build(RUN, results)))


def bars(tree: ElementTree.Element) -> list[float]:
    return [float(r.attrib["width"]) for r in tree.iter(f"{SVG}rect") if r.attrib.get("height") == str(svg.BAR - 2)]


def words(tree: ElementTree.Element) -> str:
    return " | ".join(t.text or "" for t in tree.iter(f"{SVG}text"))


def test_bars_are_as_long_as_the_latencies() -> None:
    first, second = bars(drawn(result("a", "x", 2e-3), result("a", "y", 1e-3)))
    assert abs(first / second - 2) < 0.01


def test_a_row_without_a_latency_is_named_and_has_no_bar() -> None:
    tree = drawn(result("a", "x", 2e-3), result("b", "x", None, status="failed", reason="no"))
    assert len(bars(tree)) == 1
    assert "b on x: failed, no latency" in words(tree)


def test_hostile_names_and_no_rows_still_give_a_picture() -> None:
    tree = drawn(result('<script>alert("1")</script>' + "é" * 300, "x", 1e-3))
    assert "<script>" in words(tree)  # as text: there is no such element
    assert not list(tree.iter(f"{SVG}script"))
    assert bars(drawn()) == []


@pytest.mark.parametrize(
    "long", ["x" * 200, "a, b" * 20, "W" * 60, "量化后的模型" * 9, "distilled-int8 on onnxruntime, 2 threads", "short"]
)
def test_a_name_takes_two_lines_before_it_is_cut_and_keeps_both_its_ends(long: str) -> None:
    lines = letters.folded(long, 190)
    assert len(lines) <= 2
    assert max(map(letters.width, lines)) <= 190
    assert long.startswith(lines[0])
    assert long.endswith(lines[-1][-5:])
    if len(long) <= 45 and long.isascii():
        assert " ".join(lines) == long


@pytest.mark.parametrize(
    ("low", "high"), [(1e-3, 1.001e-3), (68e-6, 75e-6), (0.9, 1.2), (1e-3, 4.9e-3), (140e-6, 420e-6), (1e-6, 10.0)]
)
def test_a_scale_has_two_ticks_at_least(low: float, high: float) -> None:
    ticks = draw.log_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert len({tick_time(tick) for tick in ticks}) == len(ticks)


def test_a_runtime_has_one_mark_in_all_charts_and_each_runtime_its_own() -> None:
    runtimes = [f"runtime{i}" for i in range(8)]
    table = build(RUN, [result("a", "fake", 1e-6), *(result("a", name, 1e-3) for name in runtimes)])
    assert set(shapes(table)) == set(runtimes)
    assert len(set(shapes(table).values())) == 8
    rows = [row for row in table.rows if row.result.cell.backend != "fake"]
    marks = figures._markers(table, rows)
    assert figures._markers(table, rows[5:]).items() <= marks.items()
    assert len(set(marks.values())) == 8


def test_a_key_names_every_runtime_on_as_many_lines_as_it_needs() -> None:
    key = [(draw.SHAPES[i], f"a long runtime {i}") for i in range(8)]
    tree = ElementTree.fromstring(draw.svg(100, "x", [draw.text(0, 99, "below")], key))
    placed = {t.text: (float(t.attrib["x"]), float(t.attrib["y"])) for t in tree.iter(f"{SVG}text")}
    assert all(name in placed and placed[name][0] + letters.width(name) <= draw.WIDTH for _, name in key)
    lines = {y for name, (_, y) in placed.items() if name != "below"}
    assert len(lines) > 1
    assert float(tree.attrib["viewBox"].split()[3]) == 100 + max(lines) - 16


def test_letters_that_no_font_has_are_no_matter_for_the_terminal() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    table = build(RUN, [result("量化后的模型", "𓀀", 1e-3), result("b", "x", 2e-3)])
    assert "latency" in figures.pngs(table)  # warnings are errors here
