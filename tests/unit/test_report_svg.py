"""The picture of a table: right bars for what was measured, words for what was not, and valid XML whatever the names."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from edgebench.report import svg
from edgebench.report.page import draw
from edgebench.report.table import build
from edgebench.schema import Cell, DeviceProfile, Interval, Measurement, Options, Result, Run

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


@pytest.mark.parametrize("long", ["x" * 200, "a, b" * 20, "distilled-int8 on onnxruntime, 2 threads", "short"])
def test_a_name_takes_two_lines_before_it_is_cut_and_keeps_both_its_ends(long: str) -> None:
    lines = draw.folded(long, 30)
    assert len(lines) <= 2
    assert max(map(len, lines)) <= 30
    assert long.startswith(lines[0])
    assert long.endswith(lines[-1][-10:])
    if len(long) <= 45:
        assert " ".join(lines) == long
