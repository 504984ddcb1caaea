"""The HTML page and its sections: the same figures as JSON, Markdown and CSV; right for any names and any results."""

from __future__ import annotations

import csv as csv_reader
import io
import json as json_reader
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench import store
from edgebench.codec import Options
from edgebench.report import csv, html, json, markdown
from edgebench.report.points import Point
from edgebench.report.sections import sections
from edgebench.report.sections.drop import difference
from edgebench.report.sections.drop import points as below
from edgebench.report.sections.front import Spot, marked
from edgebench.report.spread import LEVELS, spread, spreads
from edgebench.report.table import Row, Source, Table, build, build_all
from edgebench.schema import Artifact, Cell, DeviceProfile, Interval, Measurement, Result, Run

PUBLISHED = Path(__file__).parents[2] / "results/published/local/quick"
RUN = Run(
    id="20261123T193000Z-local", started="20261123T193000Z", versions=Options(edgebench="0.1.0"),
    plan=Options(name="quick"), device=DeviceProfile(name="local"), host=Options(cpu_model="A CPU"),
)  # fmt: skip


def figure(metric: str, value: float | None, spread: float = 0.0, unit: str = "s", **more: Any) -> Measurement:
    interval = Interval(low=value - spread, high=value + spread) if value is not None and spread else None
    return Measurement(metric=metric, unit=unit, phase="p", source="clock", value=value, interval=interval, **more)


def result(
    recipe: str = "a", backend: str = "ort", latency: float | None = 1e-3, accuracy: float | None = 0.9, *,
    speedup: tuple[float, str] | None = None, device: str = "local", **more: Any,
) -> Result:  # fmt: skip
    cell = Cell(model="net", recipe=recipe, backend=backend, device=device, precision=more.pop("precision", "fp32"))
    base = replace(cell, recipe="a", precision="fp32").id
    grade = more.pop("grade", "measured")
    found = [figure("latency", latency, (latency or 0) / 50, n=900, samples=(latency or 1.0,) * 5, grade=grade)]
    found += [figure("accuracy", accuracy, 0.01, "1", n=1000, grade=grade)] if accuracy is not None else []
    found += [figure("speedup", speedup[0], speedup[0] / 50, "1", note=speedup[1])] if speedup else []
    known: dict[str, Any] = {"status": "ok", "noise": Options(state="valid"), "effective": Options(precision="fp32")}
    return Result(cell=cell, measurements=tuple(found), baseline=base, **{**known, **more})


def words(table: Table, key: str) -> str:
    return " ".join(next(s for s in sections(table) if s.key == key).words)


class Page(HTMLParser):
    """The visible text of a page, without scales of charts; its tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("style", "script", "svg"):
            self.hidden += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "svg"):
            self.hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text.append(data)


@pytest.fixture(scope="module")
def published() -> Table:
    folder = store.open_run(PUBLISHED)
    return build_all([Source(run=folder.run, results=folder.results(), spreads=spreads(folder.samples()))])


NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]\d+)?")


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(text))


def test_every_number_of_the_page_and_the_markdown_is_in_the_json(published: Table) -> None:
    known = numbers(json.render(published))
    ours = {str(n) for n in range(1, 200)}  # marks of footnotes
    page = " ".join(Page(html.render(published)).text)
    assert len(numbers(page)) > 300
    # Thousands of rows apart, sentences of the page itself hold none: those of the legend are in the JSON as well.
    assert numbers(page) - known - ours == set()
    assert numbers(markdown.render(published)) - known - ours == set()


def test_every_figure_of_the_json_is_in_the_csv_and_on_the_page(published: Table) -> None:
    data = json_reader.loads(json.render(published))
    page = Page(html.render(published))
    visible = " ".join(page.text)
    records = list(csv_reader.DictReader(io.StringIO(csv.render(published))))
    for row, record in zip(data["rows"], records, strict=True):
        values = {float(v) for v in record.values() if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", v)}
        assert {m["value"] for m in row["measurements"] if m["value"] is not None} <= values
        for _, shown, interval, *_ in row["details"]:
            assert shown in visible
            assert interval in visible


def test_the_page_asks_for_nothing_and_is_small(published: Table) -> None:
    text = html.render(published)
    page = Page(text)
    assert len(text.encode()) < 500_000 * 15 / 50
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    assert "default-src 'none'" in text
    assert not re.search(r"https?://(?!www\.w3\.org)|@import|url\(", text)
    assert html.render(published) == text


def test_every_chart_has_a_label_and_every_table_a_caption(published: Table) -> None:
    page = Page(html.render(published))
    charts = [a for tag, a in page.tags if tag == "svg"]
    assert len(charts) >= 5
    assert all(a.get("role") == "img" and a.get("aria-label") for a in charts)
    tables = [a for tag, a in page.tags if tag == "table" and a.get("class") != "more"]
    assert len(tables) == sum(tag == "caption" for tag, _ in page.tags)
    assert all(a.get("scope") for tag, a in page.tags if tag == "th")


def test_the_answer_is_the_fastest_row_within_a_point_and_names_ties() -> None:
    table = build(RUN, [
        result("a", latency=2e-3), result("fast", latency=0.5e-3, accuracy=0.8, speedup=(4.0, "faster")),
        result("good", latency=1e-3, accuracy=0.895, speedup=(2.0, "faster")),
        result("tie", latency=1.01e-3, accuracy=0.899, speedup=(1.98, "faster")),
    ])  # fmt: skip
    said = words(table, "answer")
    assert said.startswith("Ship good on ort: 1.00 ± 0.02 ms, 2.00x faster")
    assert "0.5 points below its fp32 parent" in said
    assert "A tie: its latency cannot be told from that of tie on ort" in said
    assert "Faster but not chosen: fast on ort (10.0 points below its fp32 parent)" in said
    assert "Not yet sure of the accuracy" in said


def test_as_accurate_as_its_parent_is_said_of_what_is_known_only() -> None:
    """A row that answers as its parent on a few samples is not yet sure: the answer does not say both."""
    assert below(Point(value=0.0, low=-0.02, high=0.02)) == "0.0 points from"
    assert below(Point(value=0.0, low=-0.02, high=0.009)) == "as accurate as"
    table = build(RUN, [result("a"), result("b", latency=0.5e-3, speedup=(2.0, "faster"))])
    told = words(table, "answer")
    assert "0.0 points from its fp32 parent" in told
    assert "Not yet sure of the accuracy" in told
    assert "as accurate as" not in told


def test_a_published_row_is_marked_and_never_beats_a_measured_one() -> None:
    table = build(RUN, [result("a"), result("b", "theirs", latency=1e-6, grade="published")])
    assert words(table, "answer").startswith("Ship a on ort")
    for text in (html.render(table), markdown.render(table), json.render(table)):
        assert "† Published, not measured here" in text
        assert "1.00 ± 0.02 µs †" in text
    assert "published" in csv.render(table).splitlines()[2]
    alone = build(RUN, [result("b", "theirs", grade="published")])
    assert "published by others (†)" in words(alone, "answer")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "There is no result yet"),
        ([Result(cell=Cell(model="n", recipe="a", backend="o", device="d"), status="failed", reason="no")], "1 row of 1 failed"),
        ([result(latency=None)], "No row has a latency"),
        ([result(accuracy=None)], "Accuracy was not measured"),
        ([result(noise=Options(state="throttled"))], "no row is valid"),
        ([result("a"), result("b", accuracy=0.5, latency=1e-4)], "Ship a on ort"),
    ],
)  # fmt: skip
def test_an_answer_for_every_run(results: Sequence[Result], said: str) -> None:
    table = build(RUN, results)
    assert said in words(table, "answer")
    assert said in " ".join(Page(html.render(table)).text)


@pytest.mark.parametrize(
    ("verdict", "accuracy", "paid"),
    [
        ("faster", 0.9, "✓ yes"), ("slower", 0.9, "✗ no"), ("same", 0.9, "✗ no"), ("unresolved", 0.9, "? not known"),
        ("faster", 0.7, "± at a price"), ("faster", None, "? not known"),
    ],
)  # fmt: skip
def test_whether_compression_paid(verdict: str, accuracy: float | None, paid: str) -> None:
    table = build(RUN, [sure(result("a")), sure(result("b", accuracy=accuracy, speedup=(1.5, verdict)))])
    (row,) = next(s for s in sections(table) if s.key == "ladder").rows
    assert row[1] == paid


def sure(made: Result) -> Result:
    """The same with an accuracy that is known to a tenth of a point."""
    kept = [
        replace(m, interval=Interval(low=m.value - 1e-3, high=m.value + 1e-3))
        if m.metric == "accuracy" and m.value
        else m
        for m in made.measurements
    ]
    return replace(made, measurements=tuple(kept))


def test_it_is_not_known_whether_compression_paid_where_the_interval_crosses_the_point() -> None:
    table = build(RUN, [result("a"), result("b", accuracy=0.898, speedup=(1.5, "faster"))])
    (row,) = next(s for s in sections(table) if s.key == "ladder").rows
    assert row[1:3] == ("? not known", "faster; whether it lost more than a point cannot be told")


def test_several_runs_stand_side_by_side_with_their_differences() -> None:
    other = replace(RUN, id="20261124T000000Z-orin", device=DeviceProfile(name="orin"), host=Options(cpu_model="B CPU"))
    table = build_all([Source(run=RUN, results=[result()]), Source(run=other, results=[result(device="orin")])])
    assert [row.run.id for row in table.rows] == [RUN.id, other.id]
    assert "device" in [column.key for column in table.columns]
    facts = next(s for s in sections(table) if s.key == "environment")
    assert ("cpu_model", "A CPU", "B CPU") in facts.rows
    data = json_reader.loads(json.render(table))
    assert [run["id"] for run in data["runs"]] == [RUN.id, other.id]
    assert [row["run"] for row in data["rows"]] == [0, 1]
    same = build_all([Source(run=RUN, results=[result()]), Source(run=replace(RUN, id="again"), results=[result()])])
    assert [row.entries[1].text for row in same.rows] == [RUN.id, "again"]
    assert {record["run"] for record in table.records()} == {RUN.id, other.id}


names = st.text(max_size=220) | st.sampled_from(
    ["<script>alert(1)</script>", "=cmd|' /C calc'!A0", "模" * 200, "a\u202eb", "</script>", "\ud800", "--><!--"]
)


@settings(max_examples=40)
@given(name=names, backend=names, value=st.floats(0, 1e300), wide=st.floats(-1e300, 1e300))
def test_any_name_and_number_gives_a_page(name: str, backend: str, value: float, wide: float) -> None:
    interval = Interval(low=-abs(wide), high=abs(wide))
    found = tuple(
        Measurement(metric=m, unit="s", phase="p", source=name or "s", value=value, interval=interval, note=name)
        for m in ("latency", "accuracy", "size", "memory_peak", "speedup")
    )
    cell = Cell(model=name, recipe=name, backend=backend, device="d")
    made = [
        Result(cell=cell, status="ok", measurements=found, noise=Options(state=name)),
        Result(cell=replace(cell, batch=2), status="failed", reason=name, fix=backend, stderr=name),
    ]
    page = Page(html.render(build(RUN, made)))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert next(tag for tag, _ in page.tags) == "html"
    json_reader.loads(json.render(build(RUN, made)))


def test_a_long_table_has_its_other_rows_in_a_script_element() -> None:
    table = build(RUN, [result(f"v{i}<b>", latency=1e-3 * (1 + i / 100)) for i in range(450)])
    text = html.render(table)
    rest = json_reader.loads(re.findall(r'id="rest">(.*?)</script>', text, re.DOTALL)[0])
    assert len(rest) == 250
    assert len(re.findall(r"<tbody class", text)) == 200
    assert "v449&lt;b&gt;" in rest[-1]


# the parts


points = st.builds(lambda v, w: Point(value=v, low=v - w, high=v + w), st.floats(0.1, 9), st.floats(0, 2))


@given(st.lists(st.tuples(points, points), max_size=12))
def test_the_front_is_as_brute_force_finds_it(pairs: list[tuple[Point, Point]]) -> None:
    row = Row(result=result(), entries=(), run=RUN)
    found = marked([Spot(row=row, latency=x, accuracy=y) for x, y in pairs])

    def beats(a: Spot, b: Spot) -> bool:
        faster, slower = a.latency.high < b.latency.low, a.latency.low > b.latency.high
        better, worse = a.accuracy.low > b.accuracy.high, a.accuracy.high < b.accuracy.low
        return (faster and not worse) or (better and not slower)

    for spot in found:
        assert spot.front == (not any(beats(other, spot) for other in found))


@given(points, points)
def test_a_drop_has_its_value_within_its_interval(parent: Point, own: Point) -> None:
    found = difference(parent, own)
    assert found is not None
    assert found.low <= found.value <= found.high
    assert found.value == parent.value - own.value


def test_newcombes_interval_is_that_of_his_paper() -> None:
    # 56/70 and 48/80, his example (a): difference 0.2000, interval 0.0524 to 0.3339
    a, b = Point(value=0.8, low=0.69159, high=0.87683), Point(value=0.6, low=0.49034, high=0.70028)
    found = difference(a, b)
    assert found is not None
    assert (round(found.low, 3), round(found.high, 3)) == (0.052, 0.334)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=200))
def test_a_spread_holds_calls_that_took_place_in_order(times: list[int]) -> None:
    found = spread(times)
    assert found.calls == len(times)
    assert list(found.times) == sorted(found.times)
    assert {round(t * 1e9) for t in found.times} <= set(times)
    assert len(found.times) == len(LEVELS)


def test_file_sizes_are_compared_in_the_ladder() -> None:
    artifact = Artifact(format="onnx", path="p", sha256="0", size=1)
    base = replace(
        result("a"), artifact=artifact, measurements=(*result("a").measurements, figure("size", 4e6, unit="B"))
    )
    made = result("b", speedup=(2.0, "faster"))
    small = replace(made, measurements=(*made.measurements, figure("size", 1e6, unit="B")))
    (row,) = next(s for s in sections(build(RUN, [base, small])) if s.key == "ladder").rows
    assert row[-1] == "4.00x smaller"
