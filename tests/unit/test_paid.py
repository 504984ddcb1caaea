"""Did it pay? Each row against the one before it: ratio, paired accuracy, agreement, int8 layers, and the reason if not."""

from __future__ import annotations

import json as json_reader
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench import stats
from edgebench.codec import Options
from edgebench.metrics.paired import Right, answers, counts, noted
from edgebench.report import html, json, markdown
from edgebench.report.sections import sections
from edgebench.report.sections.drop import dropped
from edgebench.report.sections.ladder import climbed, compared, rungs
from edgebench.report.sections.lineage import origins
from edgebench.report.sections.reasons import NONE_FOUND, coverage, reasons
from edgebench.report.table import Source, Table, build_all
from edgebench.schema import Artifact, Cell, DeviceProfile, Interval, Measurement, Result, Run

TRAIN = {"method": "train", "options": {"epochs": 2}}
PRUNE = {"method": "prune", "options": {"macs": 0.5}}
RECIPES = [
    {"name": "teacher", "steps": [TRAIN]},
    {"name": "student", "steps": [{"method": "distill"}]},
    {"name": "pruned", "steps": [TRAIN, PRUNE, {"method": "finetune"}]},
]
RUN = Run(
    id="r",
    started="s",
    versions=Options(),
    plan=Options(recipes=RECIPES, precisions=["fp32", "int8"]),
    device=DeviceProfile(name="d"),
    host=Options(),
)


def figure(metric: str, value: float, samples: tuple[float, ...] = (), half: float = 0.0, **more: Any) -> Measurement:
    interval = Interval(low=value - half, high=value + half)
    return Measurement(
        metric=metric, unit="s", phase="steady", source="t", value=value, samples=samples, interval=interval, **more
    )


def result(
    recipe: str = "teacher",
    precision: str = "fp32",
    times: tuple[float, ...] = (1e-3, 1.01e-3, 0.99e-3),
    accuracy: float = 0.9,
    verdict: str = "faster",
    size: int = 1_000_000,
    effective: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    backend: str = "ort",
) -> Result:
    base = Cell(model="m", recipe="teacher", backend=backend, device="d")
    cell = replace(base, recipe=recipe, precision=precision)
    latency = stats.geometric_mean(times)
    found = [
        figure("latency", latency, times),
        figure("accuracy", accuracy, half=0.002),
        figure("agreement", 0.97, half=0.01),
        figure("size", float(size)),
    ]
    if cell != base:
        found.append(figure("speedup", 1e-3 / latency, half=0.01, note=verdict))
    artifact = Artifact(format="onnx", path="p", sha256="0", size=size, facts=Options(facts or {}))
    return Result(
        cell=cell,
        status="ok",
        measurements=tuple(found),
        artifact=artifact,
        baseline=base.id,
        campaign="c",
        effective=Options({"precision": precision, **(effective or {})}),
        environment=Options(environment or {}),
        noise=Options(state="valid"),
    )


FAST, FASTER = (5e-4, 5.1e-4, 4.9e-4), (2.5e-4, 2.6e-4, 2.45e-4)


def table_of(*results: Result, right: dict[str, Right] | None = None) -> Table:
    return build_all([Source(run=RUN, results=results, right=right or {})])


def whole() -> Table:
    return table_of(
        result(),
        result("student", times=FAST),
        result("pruned", times=FAST),
        result("teacher", "int8", times=FAST, effective={"int8_ops": 9, "float_ops": 0}, size=250_000),
        result("pruned", "int8", times=FASTER, effective={"int8_ops": 9, "float_ops": 0}, size=125_000),
    )


# where a row came from


def test_a_row_comes_from_the_longest_beginning_of_its_recipe() -> None:
    table = whole()
    origin = origins(table)
    found = {}
    for row in table.rows:
        came = origin(row)
        cell = row.result.cell
        found[cell.recipe, cell.precision] = came and (
            came.row.result.cell.recipe,
            came.row.result.cell.precision,
            came.steps,
        )
    assert found == {
        ("teacher", "fp32"): None,
        ("student", "fp32"): None,
        ("pruned", "fp32"): ("teacher", "fp32", ("prune", "finetune")),
        ("teacher", "int8"): ("teacher", "fp32", ("quantize",)),
        ("pruned", "int8"): ("pruned", "fp32", ("quantize",)),
    }


def test_the_same_runtime_only() -> None:
    table = table_of(result(), result("pruned", times=FAST, backend="other"))
    assert [origins(table)(row) for row in table.rows] == [None, None]


def test_a_precision_that_no_plan_asked_for_comes_of_the_recipes_own_steps() -> None:
    """A stranger's method may give int8 under any name."""
    recipes = [*RECIPES[:1], {"name": "own", "steps": [TRAIN, {"method": "acme-int8"}]}]
    run = replace(RUN, plan=Options(recipes=recipes))
    table = build_all([Source(run=run, results=[result(), result("own", "int8", times=FAST)])])
    came = origins(table)(table.rows[1])
    assert came is not None
    assert came.steps == ("acme-int8",)


def test_a_plan_of_other_records_has_no_origins() -> None:
    for plan in ({}, {"recipes": "x"}, {"recipes": [{"name": "teacher", "steps": "x"}, 3]}):
        table = build_all([Source(run=replace(RUN, plan=Options(plan)), results=[result(), result("pruned")])])
        assert climbed(table) == []


# the ratio


def test_generations_that_ran_side_by_side_are_paired() -> None:
    """Both doubled in the second generation: the ratio is known, as it is not from the two alone."""
    a = result(times=(1e-3, 2e-3, 1e-3))
    b = result("pruned", times=(5e-4, 1e-3, 5e-4))
    table = table_of(a, b)
    together = compared(table.rows[0], table.rows[1])
    assert together is not None
    assert (together.low, together.value, together.high) == pytest.approx((2, 2, 2))
    apart = compared(table.rows[0], replace(table.rows[1], result=replace(b, campaign="another")))
    assert apart is not None
    assert apart.value == pytest.approx(2)
    assert apart.low < 1.2
    assert apart.high > 3.3


def test_welchs_interval_is_scipys() -> None:
    from scipy import stats as scipy_stats

    a, b = (1e-3, 1.1e-3, 0.9e-3, 1.05e-3), (5e-4, 5.3e-4, 4.8e-4)
    table = table_of(result(times=a), result("pruned", times=b))
    found = compared(*table.rows)
    wanted = scipy_stats.ttest_ind([math.log(x) for x in a], [math.log(x) for x in b], equal_var=False)
    ends = wanted.confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((math.exp(ends.low), math.exp(ends.high)))


def test_without_generations_there_is_no_ratio() -> None:
    table = table_of(result(), result("pruned", times=FAST))
    bare = replace(table.rows[1], result=replace(table.rows[1].result, measurements=()))
    assert compared(table.rows[0], bare) is None


# accuracy, on the same samples


def bits(right: list[int]) -> Right:
    padded = right + [0] * (-len(right) % 8)
    return Right(len(right), bytes(int("".join(map(str, padded[i : i + 8])), 2) for i in range(0, len(padded), 8)))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60)
def test_the_counts_of_right_answers_are_those_of_a_loop(pairs: list[tuple[bool, bool]]) -> None:
    found = counts(bits([int(a) for a, _ in pairs]), bits([int(b) for _, b in pairs]))
    wanted = tuple(
        sum(pair == want for pair in pairs) for want in ((True, True), (True, False), (False, True), (False, False))
    )
    assert found == wanted


def test_a_paired_drop_is_narrower_and_comes_with_mcnemars_p() -> None:
    a, b = bits([1] * 90 + [0] * 10), bits([1] * 87 + [0] * 13)
    base, own = result(), result("pruned", times=FAST, accuracy=0.87)
    table = table_of(base, own, right={base.cell.id: a, own.cell.id: b})
    found = dropped(*table.rows)
    wanted = stats.paired_difference(87, 3, 0, 10)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.03, wanted.low, wanted.high))
    unpaired = dropped(*table_of(base, own).rows)
    assert unpaired is not None
    (data,) = next(s for s in sections(table) if s.key == "ladder").data
    assert data["accuracy_paired"] is True
    assert data["mcnemar_p"] == pytest.approx(0.25)
    (bare,) = next(s for s in sections(table_of(base, own)) if s.key == "ladder").data
    assert (bare["accuracy_paired"], bare["mcnemar_p"]) == (False, None)


def test_the_last_check_of_a_cell_counts_and_every_record_passes_on() -> None:
    records = [
        {"cell": "a", "accuracy": {"n": 8, "right": "f0"}},
        {"cell": "a"},
        {"cell": "a", "accuracy": {"n": 8, "right": "0f"}},
        {"cell": "b", "accuracy": {"n": 8, "right": "no hex"}},
    ]
    into: dict[str, Right] = {}
    assert list(noted(records, into)) == records
    assert into == answers(records) == {"a": Right(8, b"\x0f")}


# whether it paid, and why not


def test_each_step_has_its_line_with_all_its_figures() -> None:
    table = whole()
    section = next(s for s in sections(table) if s.key == "steps")
    (line,) = section.rows  # the others were made from the baseline itself: they are in the ladder
    assert line[:4] == ("pruned on ort, fp32", "+ quantize", "pruned on ort, int8", "✓ yes")
    assert line[5].startswith("1.99x (")
    assert line[7:] == ("97.0 %", "9 of 9", "8.00x smaller")
    ladder = next(s for s in sections(table) if s.key == "ladder")
    assert len(ladder.rows) == 4
    assert dict(zip(ladder.head, ladder.rows[3], strict=True))["int8 layers"] in ("9 of 9", "–")


@pytest.mark.parametrize(
    ("own", "base", "said"),
    [
        (
            {"effective": {"precision": "fp32", "int8_ops": 3, "float_ops": 6}},
            {},
            "most of it ran in fp32, not in int8",
        ),
        ({"effective": {"int8_ops": 5, "float_ops": 4}}, {}, "QDQ not fused: 4 of 9 heavy layers stayed in float"),
        ({"environment": {"machine": "x86_64", "flags": ["avx2"]}}, {}, "no VNNI"),
        ({"environment": {"machine": "aarch64", "flags": ["asimd"]}}, {}, "no int8 dot products"),
        ({}, {"effective": {"precision": "bf16"}}, "compared with ran in bf16, not in fp32"),
        ({"effective": {"fallback_share": 0.4}}, {}, "40% of its operators fell back"),
        ({"effective": {"delegated_ops": 0}}, {"effective": {"delegated_ops": 7}}, "the delegate took none"),
        ({"effective": {"delegated_ops": 3, "not_delegated": ["SOFTMAX"]}}, {}, "left SOFTMAX"),
        ({"facts": {"mask": "unstructured"}}, {}, "zeros within layers save download size"),
        ({"facts": {"macs": 4_000_000}, "size": 4_000_000}, {}, "memory-bound: 4.00 GB/s"),
        ({"times": (3e-5, 3e-5, 3e-5)}, {}, "at 30.0 µs a call"),
        (
            {"effective": {"layers": [{"op": "QuantizeLinear", "seconds": 1.0}, {"op": "Conv", "seconds": 3.0}]}},
            {},
            "25% of the time goes into changing",
        ),
    ],
)
def test_the_reason_is_found_in_the_records(own: dict[str, Any], base: dict[str, Any], said: str) -> None:
    parent, made = result(**base), result("teacher", "int8", **{"verdict": "slower", **own})
    found = reasons(made, parent)
    assert any(said in reason for reason in found), found
    table = table_of(parent, made)
    (rung,) = rungs(table)
    assert (rung.paid, rung.reasons) == ("no", found)
    for text in (html.render(table), markdown.render(table), json.render(table)):
        assert said.split(" (")[0] in text


def test_nothing_on_record_is_said_to_be_nothing() -> None:
    assert reasons(result("teacher", "int8", verdict="slower"), result()) == (NONE_FOUND,)
    ready = {
        "environment": {"machine": "x86_64", "flags": ["avx512_vnni"]},
        "effective": {"int8_ops": 9, "float_ops": 0},
    }
    assert reasons(result("teacher", "int8", **ready), result()) == (NONE_FOUND,)  # type: ignore[arg-type]


def test_a_step_that_paid_needs_no_reason() -> None:
    table = table_of(result(), result("pruned", times=FAST, effective={"fallback_share": 0.4}))
    (rung,) = rungs(table)
    assert (rung.paid, rung.reasons) == ("yes", ())


def test_coverage_needs_both_counts() -> None:
    assert coverage(result(effective={"int8_ops": 2, "float_ops": 1})) == (2, 3)
    assert coverage(result(effective={"int8_ops": 2})) is None
    assert coverage(result(effective={"int8_ops": 0, "float_ops": 0})) is None


def test_the_numbers_are_raw_in_the_json() -> None:
    data = json_reader.loads(json.render(whole()))
    steps = next(s for s in data["sections"] if s["key"] == "steps")["data"]
    assert steps[0]["int8_layers"] == [9, 9]
    assert steps[0]["times_smaller"] == 8
    assert steps[0]["speedup"]["low"] < steps[0]["speedup"]["value"] < steps[0]["speedup"]["high"]
    assert data["rows"][steps[0]["row"]]["cell"]["precision"] == "int8"
    assert data["rows"][steps[0]["base"]]["cell"]["recipe"] == "pruned"
