"""What a report must not say: a choice out of noise, a complete run that was cut off, a certainty out of two processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from decide_helpers import result as compared
from decide_helpers import side
from test_report import RUN, cell, figure, good
from test_report_html import result, words
from test_report_terminal import printed

from edgebench.codec import Options, from_json, to_json
from edgebench.decide.compare import compare
from edgebench.decide.compare_text import render
from edgebench.errors import EdgebenchError, StoreError
from edgebench.metrics.latency import believed
from edgebench.report.facts import facts
from edgebench.report.records import records
from edgebench.report.table import Source, build, build_all
from edgebench.schema import Interval, Measurement, Result


def wide(recipe: str, seconds: float, half: float, *more: Measurement) -> Result:
    """A latency whose interval reaches from `seconds / half` to `seconds * half`."""
    made = figure("latency", "s", seconds, n=900, samples=(seconds,) * 5)
    made = replace(made, interval=Interval(low=seconds / half, high=seconds * half))
    return replace(good(recipe), measurements=(made, figure("accuracy", "1", 0.9, spread=0.001, n=900), *more))


def noisy(recipe: str) -> Result:
    withheld = figure("latency", "s", None, "noisy")
    return replace(good(recipe), measurements=(withheld,), noise=Options(state="noisy", why="noisy"))


def test_nothing_is_shipped_that_is_not_known_to_a_quarter() -> None:
    said = words(build(RUN, [wide("a", 1e-3, 1.3), wide("b", 9e-3, 1.01)]), "answer")
    assert said.startswith("Not settled: a on ort comes first")
    assert "measure longer" in said
    assert words(build(RUN, [wide("a", 1e-3, 1.2)]), "answer").startswith("Ship a on ort")


def test_a_row_is_told_from_its_baseline_by_the_ratio_in_pairs() -> None:
    ratio = figure("speedup", "1", 2.33, "faster", 0.05)
    own = replace(wide("own", 1e-3, 1.2, ratio), baseline=cell("base").id)
    base = wide("base", 1.3e-3, 1.2)
    assert "A tie" in words(build(RUN, [base, replace(own, baseline=None)]), "answer")
    assert "A tie" not in words(build(RUN, [base, own]), "answer")
    unsure = replace(own, measurements=(*own.measurements[:2], figure("speedup", "1", 1.3, "unresolved", 0.4)))
    assert "A tie" in words(build(RUN, [base, unsure]), "answer")


def test_a_quick_run_is_told_as_such_and_of_several_runs_each_is_named() -> None:
    quick = replace(RUN, id="again", plan=plan(protocol={"trust": "quick"}))
    made = [wide("a", 1e-3, 1.01), wide("b", 2e-3, 1.01)]
    assert words(build(quick, made), "answer").startswith("Provisionally, as it was measured quickly: ship a on ort")
    said = words(build_all([Source(run=RUN, results=made), Source(run=quick, results=made)]), "answer")
    assert f"run {RUN.id}: ship a on ort" in said
    assert "run again: provisionally, as it was measured quickly: ship a on ort" in said
    board = [replace(r, cell=replace(r.cell, device="board")) for r in made]
    assert "run again" not in words(
        build_all([Source(run=RUN, results=made), Source(run=quick, results=board)]), "answer"
    )


def test_threads_are_part_of_a_name_only_where_rows_of_its_group_differ_in_them() -> None:
    two = [wide("b", 1e-3, 1.01), wide("b", 2e-3, 1.01)]
    two = [replace(r, cell=replace(r.cell, device="board", threads=t)) for t, r in enumerate(two, start=1)]
    said = words(build(RUN, [wide("a", 1e-3, 1.01), *two]), "answer")
    assert "ship a on ort: " in said
    assert "ship b on ort, 1 thread: " in said


def test_a_warning_that_all_runs_have_is_told_once() -> None:
    runs = [replace(RUN, id=name, plan=Options()) for name in ("one", "two")]
    hot, busy = ({"warnings": ["Busy.", *more]} for more in (["Hot."], []))
    sources = [
        Source(run=run, results=[good("a", environment=Options(e))]) for run, e in zip(runs, (hot, busy), strict=True)
    ]
    assert [f.text for f in build_all(sources).facts if f.warning] == ["one: Hot.", "Busy."]
    assert [f.text for f in build_all(sources[:1]).facts if f.warning] == ["Busy.", "Hot."]


def test_the_uncompressed_network_lost_no_accuracy_against_itself() -> None:
    few = figure("accuracy", "1", 0.9, spread=0.05, n=40)
    base = replace(wide("base", 1e-3, 1.01), measurements=(wide("base", 1e-3, 1.01).measurements[0], few))
    other = replace(base, cell=cell("other", "ov"), baseline=None)
    assert "sure of the accuracy" not in words(build(RUN, [base]), "answer")
    slower = replace(other, measurements=(replace(base.measurements[0], value=2e-3, interval=None), few))
    assert "sure of the accuracy" not in words(build(RUN, [base, slower]), "answer")


def test_a_noisy_row_without_any_usable_sample_is_withheld_like_the_others() -> None:
    bare = replace(noisy("bare"), measurements=(), noise=Options(state="noisy", why="0 of 5 processes"))
    (row,) = build(RUN, [bare]).rows
    entry = next(e for c, e in zip(build(RUN, [bare]).columns, row.entries, strict=True) if c.key == "latency")
    assert (entry.text, entry.notes) == ("withheld", ("noisy: 0 of 5 processes",))


def swayed(recipe: str) -> Result:
    withheld = figure("latency", "s", None, "swayed: it disagrees")
    ratio = figure("speedup", "1", 1.3, "faster")
    return replace(
        good(recipe), measurements=(withheld, ratio), noise=Options(state="swayed", why="it disagrees"), baseline="b"
    )


def test_a_row_whose_ratio_alone_is_told_is_not_called_valid_and_is_counted_with_the_noisy_ones() -> None:
    table = build(RUN, [wide("a", 1e-3, 1.01), *map(noisy, "bc"), *map(swayed, "de")])
    facts = {f.name: f.text for f in table.facts}
    assert facts["rows"] == "5 ok (4 too noisy to publish)"
    assert "4 of 5 rows were too noisy to publish" in words(table, "answer")
    record = table.records()[-1]
    assert (record["state"], record["reason"], record["latency_s"]) == ("swayed", "it disagrees", None)
    assert table.footnotes[-1] == "swayed: it disagrees"
    old = replace(swayed("old"), noise=Options(state="valid"))
    assert {f.name: f.text for f in build(RUN, [old]).facts}["rows"] == "1 ok (1 too noisy to publish)"


def test_rows_that_were_too_noisy_are_counted() -> None:
    said = words(build(RUN, [wide("a", 1e-3, 1.01), wide("b", 2e-3, 1.01), *map(noisy, "cde")]), "answer")
    assert "3 of 5 rows were too noisy to publish, and may be faster" in said
    assert "too noisy" not in words(build(RUN, [wide("a", 1e-3, 1.01)]), "answer")


@pytest.mark.parametrize("samples", [(1.0, 1.0), (1.0,) * 5, (1.0, 1.0000001)])
def test_two_processes_that_agree_are_no_certainty(samples: Sequence[float]) -> None:
    made = replace(
        figure("latency", "s", 1.0, n=100, samples=tuple(samples)),
        interval=Interval(low=min(samples), high=max(samples)),
    )
    table = build(RUN, [replace(good(), measurements=(made,))])
    assert "1.00 ± 0.02 s" in printed(table, 120)
    (record,) = records([RUN.id], [table.rows[0].result])
    assert (record["latency_s_low"], record["latency_s_high"]) == (pytest.approx(1 / 1.02), pytest.approx(1.02))
    three = Interval(low=0.999, high=1.001)
    assert believed(three, 1.0, 3) == three


def test_the_variant_stays_the_heading_where_several_runs_are_shown() -> None:
    other = replace(RUN, id="20261125T000000Z-local")
    runs = [
        Source(run=r, results=[good(v, b) for v in ("teacher", "small") for b in ("ort", "ov")]) for r in (RUN, other)
    ]
    lines = printed(build_all(runs), 160).splitlines()
    assert [line for line in lines if line in ("teacher", "small")] == ["teacher", "small"]
    for line in lines:
        if line.startswith("  ort") or line.startswith("  ov"):
            assert RUN.id in line or other.id in line
    assert RUN.id not in lines
    assert other.id not in lines


def plan(**more: Any) -> Options:
    recipes = [{"name": "a"}, {"name": "b", "steps": [{"method": "quantize"}]}]
    return Options({"name": "mine", "recipes": recipes, "backends": ["ort", "ov"], **more})


@pytest.mark.parametrize(
    ("asked", "count", "said"),
    [
        ({}, 3, "3 of 4 cells have a result: the run was cut off, go on with: edgebench run --resume "),
        ({}, 4, ""), ({"batches": [1, 8], "threads": [1, 2]}, 4, "4 of 16 cells"),
        ({"precisions": ["fp32", "int8"]}, 5, "5 of 6 cells"), ({"precisions": ["fp32", "int8"]}, 6, ""),
        ({"backends": 3, "recipes": [7]}, 1, ""),
    ],
)  # fmt: skip
def test_a_run_that_was_cut_off_says_so(asked: dict[str, Any], count: int, said: str) -> None:
    cut = replace(RUN, plan=plan(**asked))
    warnings = [f.text for f in facts(cut, [good("a", environment=Options())] * count) if f.warning]
    assert any(text.startswith(said) for text in warnings) if said else not any("cells" in text for text in warnings)


def test_what_is_missing_in_b_is_said_first_and_is_no_success() -> None:
    a = side(compared(), compared("small"))
    b = side(compared(), id="two")
    answer = compare(a, b)
    assert answer["exit_code"] == 4
    assert render(answer).startswith(
        "1 of 2 cells of A have no result in B. No regression in the 1 pair that both have"
    )
    with pytest.raises(EdgebenchError, match="1 of the 2 cells of one have no result in two") as refused:
        compare(a, b, strict=True)
    assert "--resume two" in refused.value.fix
    assert compare(b, a)["missing"] == 0


def test_cells_that_failed_are_not_counted_as_figures() -> None:
    answer = compare(side(compared()), side(compared(status="failed"), id="two"))
    assert answer["exit_code"] == 1
    assert render(answer).startswith("B is a regression: 1 of 1 cell failed.")


def test_an_unknown_loss_is_not_called_too_great() -> None:
    alone = replace(result("a", precision="int8", grade="published", effective=Options()), baseline=None)
    assert "is not known, since no fp32 row" in words(build(RUN, [alone]), "answer")


@pytest.mark.parametrize(
    ("metric", "unit", "value", "ends"),
    [("latency", "s", -1.0, None), ("size", "B", -1.0, None), ("latency", "s", 1.0, (2.0, 0.5))],
)
def test_figures_that_cannot_be_are_damage(
    metric: str, unit: str, value: float, ends: tuple[float, float] | None
) -> None:
    data = to_json(figure(metric, unit, abs(value)))
    data["value"] = value
    if ends:
        data["interval"] = {"low": ends[0], "high": ends[1]}
    with pytest.raises(StoreError, match="cannot be read"):
        from_json(Measurement, data)
