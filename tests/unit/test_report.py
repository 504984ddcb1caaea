"""The comparison table and its four formats, on made-up results of every kind."""

from __future__ import annotations

import csv as csv_reader
import dataclasses
import io
import json as json_reader
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.codec import Options
from edgebench.errors import MissingRuntime
from edgebench.plugins import load
from edgebench.report import csv, json, markdown
from edgebench.report.spread import Spread
from edgebench.report.table import Source, Table, build, build_all
from edgebench.schema import Artifact, Cell, DeviceProfile, Interval, Measurement, Result, Run

PLAN = Options(
    {"name": "quick", "recipes": [{"name": "teacher"}, {"name": "small"}], "backends": ["ort", "ov"], "protocol": {}}
)
RUN = Run(
    id="20261123T193000Z-local", started="20261123T193000Z", versions=Options(edgebench="0.1.0"), plan=PLAN,
    device=DeviceProfile(name="local"), host=Options(cpu_model="host cpu"),
)  # fmt: skip
MACHINE = Options(cpu_model="A CPU", cores=4, isolation="R2 autogroup -20", warnings=["It is hot."])


def figure(
    metric: str, unit: str, value: float | None, note: str = "", spread: float | None = None, **more: Any
) -> Measurement:
    interval = None if spread is None or value is None else Interval(low=value - spread, high=value + spread)
    return Measurement(
        metric=metric, unit=unit, phase="steady", source="clock", value=value, note=note, interval=interval, **more
    )


def cell(recipe: str = "teacher", backend: str = "ort", **more: Any) -> Cell:
    return Cell(model="net", recipe=recipe, backend=backend, device="local", **more)


def good(
    recipe: str = "teacher", backend: str = "ort", latency: float = 1.234e-3, *more: Measurement, **fields: Any
) -> Result:
    measurements = (figure("latency", "s", latency, spread=latency / 50, n=900, samples=(latency,) * 5), *more)
    known: dict[str, Any] = {
        "effective": Options(precision="fp32", version="1.32.0"), "environment": MACHINE,
        "noise": Options(state="valid", calls=900, clean_calls=810, clean_share=0.9),
    }  # fmt: skip
    return Result(cell=cell(recipe, backend), status="ok", measurements=measurements, **{**known, **fields})


def faster(value: float = 1.75, verdict: str = "faster", spread: float | None = 0.05) -> Measurement:
    return figure("speedup", "1", value, verdict, spread, n=5)


def texts(table: Table) -> list[dict[str, str]]:
    return [{c.key: table.shown(e) for c, e in zip(table.columns, r.entries, strict=True)} for r in table.rows]


def row(*results: Result) -> dict[str, str]:
    return texts(build(RUN, results))[0]


# what a row says


def test_a_full_row() -> None:
    more = (
        figure("latency_p90", "s", 1.5e-3), figure("latency_p99", "s", None, "n < 662"), figure("throughput", "1/s", 812.34),
        figure("load", "s", 0.0456), figure("import", "s", 0.5), figure("first_inference", "s", 2.0),
        figure("memory_peak", "B", 30.5 * 2**20), figure("memory_total", "B", 9e7), figure("size", "B", 312_345),
        figure("accuracy", "1", 0.974, spread=0.011, n=900), figure("agreement", "1", 0.991),
    )  # fmt: skip
    assert row(good("teacher", "ort", 1.234e-3, *more)) == {
        "variant": "teacher", "runtime": "ort", "precision": "fp32", "latency": "1.23 ± 0.02 ms", "latency_p90": "1.50 ms",
        "latency_p99": "n < 662", "throughput": "812", "accuracy": "97.4 ± 1.1 %", "agreement": "99.1 %", "size": "312 kB",
        "memory_peak": "30.5 MiB", "load": "45.6 ms", "first_inference": "2.00 s", "clean": "90 %", "status": "valid",
    }  # fmt: skip


def test_what_is_missing_is_a_dash_and_never_zero() -> None:
    full = good("teacher", "ort", 1e-3, figure("accuracy", "1", 0.9, n=10), figure("size", "B", 10.0))
    bare = dataclasses.replace(good("small"), measurements=(), noise=Options(), effective=Options(precision="fp32"))
    found = texts(build(RUN, [full, bare]))[1]
    assert {found[k] for k in ("latency", "accuracy", "size", "clean")} == {"–"}
    assert not any("0" in text for text in found.values())


@pytest.mark.parametrize(
    ("measurement", "said"),
    [
        (faster(1.75), "1.75x faster (1.70–1.80)"),
        (faster(0.5, "slower", 0.1), "2.00x slower (1.67–2.50)"),
        (faster(1.0, "same", 0.01), "same (0.99–1.01)"),
        (faster(1.1, "unresolved", 0.2), "unresolved (0.90–1.30)"),
        (faster(1.1, "unresolved", None), "unresolved"),
        (faster(1.1, "no such verdict"), "unresolved (1.05–1.15)"),
        (figure("speedup", "1", None, "noisy: why"), "– [1]"),
        (faster(5000.0, "faster", None), ">1000x faster"),
        (faster(0.0, "slower", None), "0.00x slower"),
    ],
)
def test_versus_the_baseline(measurement: Measurement, said: str) -> None:
    assert row(good("small", "ort", 1e-3, measurement))["speedup"] == said


def test_the_first_variant_of_each_runtime_is_the_baseline() -> None:
    results = [
        good("teacher", "ort"),
        good("teacher", "ov"),
        good("small", "ort", 1e-3, faster()),
        good("small", "ov", 1e-3, faster()),
    ]
    found = [r["speedup"] for r in texts(build(RUN, results))]
    assert found == ["baseline", "baseline", "1.75x faster (1.70–1.80)", "1.75x faster (1.70–1.80)"]


def test_no_baseline_where_the_first_failed_or_is_alone() -> None:
    failed = Result(cell=cell("teacher"), status="failed", reason="It broke.")
    assert [r.get("speedup") for r in texts(build(RUN, [failed, good("small")]))] == [None, None]
    skipped = Result(cell=cell("teacher"), status="skipped", reason="It cannot be.")
    later = good("third", "ort", 1e-3, faster())
    assert [r["speedup"] for r in texts(build(RUN, [skipped, good("small"), later]))][1] == "baseline"
    assert "speedup" not in row(good())


def test_the_calls_of_a_row_that_failed_later_are_not_drawn() -> None:
    rows = [good("teacher"), Result(cell=cell("small"), status="failed", reason="It broke.")]
    drawn = {r.cell.id: Spread(calls=30, times=(1e-3,) * 9) for r in rows}
    table = build_all([Source(run=RUN, results=rows, spreads=drawn)])
    assert [r.spread is not None for r in table.rows] == [True, False]


def test_another_precision_than_asked_is_marked() -> None:
    table = build(RUN, [good(effective=Options(precision="bf16"))])
    assert texts(table)[0]["precision"] == "bf16 [1]"
    assert table.footnotes == ("fp32 was asked for; what ran is in the table.",)
    for of_file in (Options(precision="int8"), Options(precision="fp16", file_precision="fp16")):
        table = build(RUN, [good(effective=of_file)])  # a ready file, measured as what it is
        assert (texts(table)[0]["precision"], table.footnotes) == (of_file["precision"], ())
    silent = build(RUN, [good(effective=Options())])
    assert texts(silent)[0]["precision"] == "fp32 [1]"
    assert "does not say" in silent.footnotes[0]


def test_a_noisy_row_is_withheld_with_one_footnote() -> None:
    why = "only 12% of the samples ran undisturbed"
    noisy = Options(state="noisy", why=why, clean_share=0.12)
    figures = tuple(figure(m, "s", None, f"noisy: {why}") for m in ("latency", "latency_p90", "speedup"))
    table = build(RUN, [good("teacher"), dataclasses.replace(good("small", noise=noisy), measurements=figures)])
    found = texts(table)[1]
    assert found["latency"] == "withheld [1]"
    assert found["status"] == "noisy [1]"
    assert found["speedup"] == "–"
    assert table.footnotes == (f"noisy: {why}",)


def test_a_row_that_failed_says_why_and_what_to_do() -> None:
    failed = Result(cell=cell(), status="failed", reason="The worker\n died.", fix="Do  this.", stderr="trace")
    table = build(RUN, [failed, Result(cell=cell("small"), status="skipped")])
    assert [r["status"] for r in texts(table)] == ["failed [1]", "skipped [2]"]
    assert table.footnotes == ("Failed: The worker died. Fix: Do this.", "Skipped: no reason was given.")


def test_a_long_reason_is_shortened_in_the_table_only() -> None:
    failed = Result(cell=cell(), status="failed", reason="word " * 1000)
    table = build(RUN, [failed])
    assert len(table.footnotes[0]) < 700
    assert "results.jsonl" in table.footnotes[0]
    assert json_reader.loads(json.render(table))["rows"][0]["reason"] == "word " * 1000


def test_an_unsteady_warm_up_and_a_foreign_grade_have_footnotes() -> None:
    table = build(RUN, [good(noise=Options(steady=False, drift=-0.031))])
    assert "3.1 %" in table.footnotes[0]
    published = figure("latency", "s", 1e-3, grade="published")
    assert (
        build(RUN, [Result(cell=cell(), status="ok", measurements=(published,))])
        .footnotes[1]
        .startswith("† Published, not")
    )


def test_the_floor_is_ours_and_last() -> None:
    table = build(RUN, [good("teacher", "fake", 3e-6), good("teacher", "ort"), good("small", "ort")])
    assert [r["runtime"] for r in texts(table)] == ["ort", "ort", "our floor [1]"]
    assert '"fake"' in table.footnotes[0]


def test_other_metrics_are_columns_too() -> None:
    extra = (figure("server_p99_60", "s", 0.0123), figure("energy", "J", 0.0456), figure("offline_2", "1/s", 1234.5))
    bound = figure("server_p99_80", "s", None, "generator late")
    table = build(RUN, [good("teacher", "ort", 1e-3, *extra, bound), good("small")])
    assert [c.title for c in table.columns[-5:]] == ["server p99 60", "energy", "offline 2", "server p99 80", "status"]
    found = texts(table)[0]
    assert (found["server_p99_60"], found["energy"], found["offline_2"]) == ("12.3 ms", "0.0456 J", "1234 1/s")
    assert found["server_p99_80"] == "– [1]"
    assert texts(table)[1]["energy"] == "–"


# rows and columns


def test_rows_stand_as_in_the_plan() -> None:
    names = [
        ("other", "ort"),
        ("small", "zz"),
        ("small", "ov"),
        ("teacher", "ov"),
        ("small", "ort"),
        ("teacher", "ort"),
    ]
    for order in (names, names[::-1]):
        table = build(RUN, [good(*name) for name in order])
        found = [(r["variant"], r["runtime"]) for r in texts(table)]
        assert found == [names[5], names[3], names[4], names[2], names[1], names[0]]


def test_axes_are_columns_only_where_they_differ() -> None:
    one, eight = good(), dataclasses.replace(good(), cell=cell(batch=8, threads=2, options=Options(hint="x")))
    assert not {"batch", "threads", "options", "model", "device"} & set(row(one))
    found = texts(build(RUN, [eight, one]))
    assert [(r["batch"], r["threads"], r["options"]) for r in found] == [("1", "1", "–"), ("8", "2", "hint=x")]


def test_columns_that_no_row_has_are_left_out_but_the_core_stays() -> None:
    failed = Result(cell=cell(), status="failed", reason="It broke.")
    assert set(row(failed)) == {"variant", "runtime", "precision", "latency", "status"}


def test_the_header() -> None:
    facts = {f.name: f.text for f in build(RUN, [good(), good("small", noise=Options(state="noisy"))]).facts}
    assert facts["run"] == RUN.id
    assert facts["device"] == "local, A CPU, 4 cores"
    assert facts["model"] == "net (plan quick), batch 1, 1 thread"
    assert facts["versions"] == "edgebench 0.1.0, ort 1.32.0"
    assert facts["protocol"] == "5 fresh processes a cell, 4 slices of 0.1 s each, isolation R2 autogroup -20"
    assert facts["rows"] == "2 ok (1 too noisy to publish)"
    assert facts["note"] == "It is hot."


def test_the_header_of_a_quick_run_and_of_an_unknown_plan() -> None:
    quick = dataclasses.replace(RUN, plan=Options(protocol={"trust": "quick", "rounds": 2}))
    facts = build(quick, []).facts
    assert any(f.warning and "quickly" in f.text for f in facts)
    assert ("protocol", "quick") in [(f.name, f.text) for f in facts]
    strange = dataclasses.replace(RUN, plan=Options(recipes=3, backends=None, protocol={"new": 1}), host=Options())
    table = build(strange, [good("b"), good("a")])
    assert [r["variant"] for r in texts(table)] == ["b", "a"]
    assert "protocol" not in [f.name for f in table.facts]


def test_an_empty_run() -> None:
    table = build(RUN, [])
    assert table.rows == ()
    assert ("rows", "none yet") in [(f.name, f.text) for f in table.facts]
    assert "host cpu" in {f.name: f.text for f in table.facts}["device"]
    assert "There is no result yet." in markdown.render(table)
    assert len(csv.render(table).splitlines()) == 1
    assert json_reader.loads(json.render(table))["rows"] == []


# Markdown


def squares(line: str) -> list[str]:
    """The squares of one line of a GitHub table: split at bars that no backslash precedes."""
    import re

    return [s.strip() for s in re.split(r"(?<!\\)\|", line)[1:-1]]


def table_lines(text: str) -> list[str]:
    """The lines of the comparison: the first table whose head is that of a row, not of a section."""
    found = text.splitlines()
    start = next(i for i, line in enumerate(found) if line.startswith(("| variant", "| run ")))
    return list(takewhile(lambda line: line.startswith("|"), found[start:]))


def test_markdown_is_a_table_of_equal_lines() -> None:
    failed = Result(cell=cell("small", "ov"), status="failed", reason="It | broke.")
    text = markdown.render(build(RUN, [good(), failed]))
    lines = table_lines(text)
    assert len(lines) == 4
    assert {len(squares(line)) for line in lines} == {len(squares(lines[0]))}
    assert squares(lines[1])[3] == "---:"
    assert "- [1] Failed: It \\| broke." in text
    assert "- **p99**" not in text, "a column that is not there needs no legend"
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", "a\\|b"), ("a\nb", "a b"), ("<b>x</b>", "&lt;b>x&lt;/b>"), ("&lt;", "&amp;lt;"), ("a < 3 & b", "a < 3 & b"),
        ("*x*", "\\*x\\*"), ("snake_case", "snake_case"), ("_x_", "\\_x\\_"), ("`x`", "\\`x\\`"), ("a\\|b", "a\\\\\\|b"),
        ("[a](b)", "\\[a\\](b)"), ("\x1b[31mred", "\\[31mred"), ("ünïcödé 模型", "ünïcödé 模型"), ("\u202eevil", "evil"),
    ],
)  # fmt: skip
def test_markdown_shows_any_name_as_it_is(name: str, shown: str) -> None:
    lines = table_lines(markdown.render(build(RUN, [good(name)])))
    assert len(lines) == 3
    assert squares(lines[2])[0] == shown


# CSV


def records(text: str) -> list[dict[str, str]]:
    return list(csv_reader.DictReader(io.StringIO(text)))


def test_csv_holds_the_raw_numbers() -> None:
    value = 1.2345678901234567e-3
    text = csv.render(build(RUN, [good("teacher", "ort", value, figure("size", "B", 312_345.0)), good("small")]))
    first, second = records(text)
    assert float(first["latency_s"]) == value
    assert float(first["latency_s_low"]) == value - value / 50
    assert first["size_bytes"] == "312345.0"
    assert (first["batch"], first["calls"], first["undisturbed_calls"]) == ("1", "900", "810")
    assert second["size_bytes"] == second["accuracy"] == ""
    assert first["cell"] == cell().id


def test_csv_has_the_same_columns_for_every_run() -> None:
    heads = [
        csv.render(build(RUN, results)).splitlines()[0]
        for results in ([], [good()], [good(), good("small", "ov", 1, faster())])
    ]
    assert heads[0] == heads[1] == heads[2]
    extra = csv.render(
        build(RUN, [good("teacher", "ort", 1e-3, figure("energy", "J", 2.0), figure("odd", "km/h", 3.0))])
    )
    found = records(extra)[0]
    assert (found["energy_joules"], found["odd_km_h"]) == ("2.0", "3.0")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_texts_are_no_formulas_and_numbers_stay_numbers(name: str) -> None:
    failed = Result(cell=cell(name), status="failed", reason=name)
    text = csv.render(build(RUN, [failed, good("teacher", "ort", 1e-3, figure("energy", "J", -2.5))]))
    found = next(r for r in records(text) if r["status"] == "failed")
    assert found["variant"] == found["reason"] == "'" + name.replace("\r", "\n")
    assert next(r for r in records(text) if r["status"] == "ok")["energy_joules"] == "-2.5"


def test_csv_survives_lines_quotes_and_half_characters() -> None:
    failed = Result(cell=cell('a,"b"\nc'), status="failed", reason="x\udc80y")
    text = csv.render(build(RUN, [failed]))
    assert records(text)[0]["variant"] == 'a,"b"\nc'
    assert records(text)[0]["reason"] == "x?y"
    text.encode("utf-8")


# JSON


def test_json_holds_every_number_and_every_default() -> None:
    value = 1.2345678901234567e-3
    data = json_reader.loads(json.render(build(RUN, [good("teacher", "ort", value), good("small")])))
    first = data["rows"][0]
    assert first["cell"]["precision"] == "fp32"
    assert first["cell"]["batch"] == 1
    assert first["measurements"][0]["value"] == value
    assert first["measurements"][0]["samples"] == [value] * 5
    assert first["measurements"][0]["grade"] == "measured"
    assert first["text"]["latency"] == "1.23 ± 0.02 ms"
    assert data["environments"] == [dict(MACHINE)]
    assert data["rows"][1]["environment"] == 0
    assert data["run"]["id"] == RUN.id


def test_json_is_strict() -> None:
    nan = float("nan")
    result = good("x\udc80", "ort", 1e-3, environment=Options(temperature=nan, **{"\udc81": 1}))
    text = json.render(build(RUN, [result, result]))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    data = json_reader.loads(text, parse_constant=refuse)
    assert data["environments"][0] == {"temperature": None, "?": 1}
    text.encode("utf-8")


# all formats


def test_the_entry_points_are_these_functions() -> None:
    assert load("edgebench.reports", "markdown") is markdown.render
    assert load("edgebench.reports", "csv") is csv.render
    assert load("edgebench.reports", "json") is json.render


def many(n: int = 3) -> list[Result]:
    more = (faster(), figure("size", "B", 1234.0), figure("latency_p99", "s", None, "n < 662"))
    return [good(f"v{i}", b, 1e-3 * (i + 1), *more) for i in range(n) for b in ("ort", "ov")]


def test_the_same_results_give_the_same_bytes() -> None:
    first, second = build(RUN, many()), build(RUN, list(many()))
    for render in (markdown.render, csv.render, json.render):
        assert render(first) == render(second)


names = st.text(max_size=200)
finite = st.floats(0, 1e300)


@given(
    name=names,
    backend=names,
    reason=names,
    value=finite,
    low=st.floats(-1e300, 1e300),
    high=st.floats(-1e300, 1e300),
    unit=st.sampled_from(["s", "B", "1", "?"]),
)
def test_any_result_gives_a_table(
    name: str, backend: str, reason: str, value: float, low: float, high: float, unit: str
) -> None:
    interval = Interval(low=high, high=low) if low > high else Interval(low=low, high=high)
    metrics = (
        "latency",
        "speedup",
        "accuracy",
        "agreement",
        "size",
        "memory_peak",
        "latency_p99",
        "throughput",
        name or "x",
    )
    figures = tuple(
        Measurement(metric=m, unit=unit, phase="p", source="s", value=value, interval=interval, note=reason)
        for m in metrics
    )
    noise = Options(state=name, why=reason, clean_share=min(value, 1.0))
    results = [
        Result(cell=cell(name, backend), status="ok", measurements=figures, noise=noise),
        Result(cell=cell(name, backend, batch=2), status="failed", reason=reason, fix=name),
    ]
    table = build(RUN, results)
    lines = table_lines(markdown.render(table))
    assert len(lines) == 4
    assert {len(squares(line)) for line in lines} == {len(table.columns)}
    assert len(json_reader.loads(json.render(table))["rows"]) == 2
    assert len(list(csv_reader.reader(io.StringIO(csv.render(table), newline="")))) == 3


def test_to_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = build(RUN, many()).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.latency_s)[:2] == [1e-3, 1e-3]
    assert list(build(RUN, []).to_pandas().columns) == list(frame.columns)


def test_a_board_without_pandas_still_has_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = build(RUN, many())
    renders: Sequence[Any] = (markdown.render, csv.render, json.render)
    assert all(render(table) for render in renders)
    with pytest.raises(MissingRuntime) as caught:
        table.to_pandas()
    assert "edgebench[report]" in caught.value.fix


def test_integers_at_the_ends_are_said_to_be_the_applications_work() -> None:
    effective = Options(precision="int8", integer_ends={"x": "int8, scale 0.036, zero point -4"})
    said = markdown.render(build(RUN, [good(effective=effective)]))
    assert "x is int8, scale 0.036, zero point -4: turning numbers into these, and back, is the application's" in said


def test_weights_of_fewer_bits_than_the_recipe_has_are_said_to_be() -> None:
    plain, facts = good(effective=Options(precision="int8")), Options(weight_bits=7, weight_bits_asked=8)
    plain = dataclasses.replace(plain, cell=dataclasses.replace(plain.cell, precision="int8"))
    narrow = dataclasses.replace(
        plain, artifact=Artifact(format="onnx", path="net.onnx", sha256="0", size=1, facts=facts)
    )
    words = "weights have 7 bits where the recipe has 8"
    assert words in markdown.render(build(RUN, [narrow]))
    assert words not in markdown.render(build(RUN, [plain]))


@pytest.mark.parametrize(
    ("runtime", "flags", "told"),
    [
        ("onnxruntime", ("avx2",), True),
        ("openvino", ("avx2",), True),
        ("litert", ("avx2",), False),
        ("onnxruntime", ("avx2", "avx_vnni"), False),
        ("onnxruntime", (), False),
    ],
)
def test_a_ready_file_that_overflows_on_this_processor_is_marked(
    runtime: str, flags: tuple[str, ...], told: bool
) -> None:
    row = good(effective=Options(precision="int8"))
    row = dataclasses.replace(
        row,
        cell=dataclasses.replace(row.cell, backend=runtime, precision="fp32"),
        artifact=Artifact(format="onnx", path="n.onnx", sha256="0", size=1, facts=Options(full_weights=3)),
        environment=Options(machine="x86_64", flags=flags),
    )
    assert ("3 of its int8 weights fill 8 bits" in markdown.render(build(RUN, [row]))) == told


def test_what_pruning_could_not_cut_is_said() -> None:
    steps = [
        {"method": "prune", "kept_whole": ["a", "b", "c", "d", "e", "f"]},
        {"method": "prune", "heads_kept": ["g"]},
    ]
    facts = Options(steps=steps)
    pruned = dataclasses.replace(
        good(), artifact=Artifact(format="onnx", path="n.onnx", sha256="0", size=1, facts=facts)
    )
    said = markdown.render(build(RUN, [pruned]))
    assert "Pruning left a, b, c, d and 2 more whole" in said
    assert "Pruning left the heads of g:" in said


@pytest.mark.parametrize(
    ("latency", "size", "said"),
    [
        (2.5e-6, 4, "one input stays known to the processor"),
        (2.5e-6, 0, "processor's cache"),
        (2.5e-6, 4096, "processor's cache"),
        (54e-6, 24_576, "processor's cache"),
        (540e-6, 24_576, "may remember answers"),
        (1e-3, 0, "may remember answers"),
    ],
)
def test_what_the_processors_cache_may_save_raises_no_suspicion_of_a_memory(
    latency: float, size: int, said: str
) -> None:
    effective = Options(repeating={"value": 1.2, "low": 1.15, "high": 1.25, "bytes": size})
    assert said in markdown.render(build(RUN, [good(latency=latency, effective=effective)]))


def test_rows_whose_input_stays_in_the_cache_share_one_note() -> None:
    def row(more: float) -> Result:
        repeating = {"value": 1 + more, "low": 1 + more - 0.02, "high": 1 + more + 0.02, "bytes": 24_576}
        return good(latency=54e-6, effective=Options(repeating=repeating))

    found = [note for note in build(RUN, [row(0.06), row(0.08)]).footnotes if note.startswith("Fresh inputs")]
    assert len(found) == 1
