"""The advice of a choice works when it is followed, and a choice says what stands against it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from decide_helpers import known, latency, result, row, run
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench.decide import choose_text
from edgebench.decide.choose import choose
from edgebench.decide.doubts import doubts
from edgebench.decide.need import LIMITS, Need, limit, need
from edgebench.decide.rows import Figure, Row, rows
from edgebench.decide.show import beside, edge, value
from edgebench.errors import EdgebenchError
from edgebench.schema import Interval, Measurement

SIZES = {"--max-latency": 1e-4, "--max-size": 1e5, "--max-memory": 5e6, "--max-energy": 1e-3, "--max-price": 70.0}
SHARES = ("--min-accuracy", "--max-accuracy-drop", "--min-fps")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*SIZES, *SHARES]), st.floats(1e-3, 1e3), st.floats(0.001, 0.3))
def test_following_the_advice_lets_the_row_in(option: str, scale: float, spread: float) -> None:
    kind = LIMITS[option]
    middle = min(0.7, scale / 1e3 * 0.7) if kind.kind == "share" else SIZES.get(option, 30.0) * scale
    figure = known(middle, middle * spread)
    unit = {"time": "s", "bytes": "B", "energy": "J"}.get(kind.kind, "")
    tight = {"--min-accuracy": "0.9999", "--min-fps": "1e9"}.get(option, f"0{unit}")
    figures = {"latency": known(1e-3, 1e-5), kind.figure: figure}
    asked = need({option: tight})
    before = choose([row("it", **figures)], asked)
    (advice,) = before["flips"]["loosen"]
    told = re.search(rf"{option} (?:raised|lowered) to (.+?) lets in", choose_text.render(before, 1000))
    assert told is not None
    assert advice["to_text"] == told[1]
    after = choose([row("it", **figures)], need({option: told[1]}))
    assert after["choice"] == "it"
    for tighten in after["flips"]["tighten"]:
        over = limit(option, tighten["to_text"])
        sign = -1 if kind.sense == "max" else 1
        beyond = replace(asked, limits=(replace(over, bound=over.bound * (1 + sign * 1e-9)),))
        assert choose([row("it", **figures)], beyond)["choice"] is None


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["latency", "memory", "size", "accuracy", "energy"]), st.floats(1e-6, 0.9), st.floats(-1e-4, 1e-4)
)
def test_a_figure_beside_a_limit_is_seen_to_be_over_or_under_it(key: str, x: float, apart: float) -> None:
    x = x * 1e9 if key in ("memory", "size") else x
    bound = x * (1 + apart)
    if bound == x:
        assert beside(key, x, bound) == value(key, x)
        return
    shown = beside(key, x, bound)
    option = f"--{'min' if key == 'accuracy' else 'max'}-{key}"
    read = limit(option, shown).bound
    assert (read > bound, read < bound) == (x > bound, x < bound)
    assert read == pytest.approx(x, rel=0.01, abs=1.1e-3)


def test_limits_are_told_as_they_were_written() -> None:
    asked = need({"--max-size": "102kB"})
    answer = choose([row("it", latency=known(1e-3), size=known(102040.0))], asked)
    assert answer["rows"][0]["why"] == "Its size is at least 102.04 kB, over the limit of 102kB."
    assert edge("size", 101795.0, up=True) == "102 kB"
    assert edge("accuracy", 1.0001, up=True) is None


def many(seconds: float, *series: float, **more: Any) -> Any:
    return result("it", seconds=seconds, series=series, **more)


@pytest.mark.parametrize("series", [(1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.000001)])
def test_processes_that_agree_are_no_certainty(series: tuple[float, ...]) -> None:
    (found,) = rows(run(), [many(1e-3, *series)])
    figure = found.figures["latency"]
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= 1e-3 / 1.0199
    assert figure.high >= 1e-3 * 1.0199
    assert choose([found], need({"--max-latency": "1.001ms"}))["verdict"] == "undecided"


def test_a_row_that_is_known_badly_is_not_shipped() -> None:
    wide, narrow = (
        row("wide", latency=Figure(value=1e-3, low=4e-4, high=2.5e-3)),
        row("narrow", latency=known(3e-3, 1e-5)),
    )
    answer = choose([replace(wide, again="edgebench run PLAN.toml"), narrow], Need())
    assert answer["settled"] is False
    assert choose_text.sentence(answer) == (
        "Not settled: wide on ort, fp32 has the least latency of the rows that pass, but it is only known to ± more than 100 %; "
        "measure longer: edgebench run PLAN.toml --precise"
    )
    assert choose([narrow], Need())["settled"] is True


def test_a_row_is_told_from_its_baseline_by_their_ratio() -> None:
    base = row("base", latency=known(2.33e-3, 1.5e-3))
    own = replace(row("own", latency=known(1e-3, 0.9e-3)), baseline="base")
    assert choose([base, own], Need())["ties"] == ["base"]
    assert choose([base, replace(own, ratio=(2.2, 2.5))], Need())["ties"] == []
    assert choose([base, replace(own, ratio=(0.9, 5.0))], Need())["ties"] == ["base"]
    answer = choose([base, replace(own, ratio=(2.2, 2.5))], Need())
    assert answer["flips"]["runner_up"]["distance"] == pytest.approx(1.2)
    faster_base = replace(row("slow", latency=known(4e-3, 3.5e-3)), baseline="base", ratio=(0.4, 0.8))
    assert choose([base, faster_base], Need())["ties"] == []


def test_what_is_undecided_and_may_be_better_is_said() -> None:
    sure, may, slower = (
        row("sure", latency=known(1e-3, 1e-5), size=known(10)),
        row("may", latency=known(9e-4, 1e-5)),
        row("slower", latency=known(2e-3, 1e-5)),
    )
    answer = choose([sure, may, slower], need({"--max-size": "1kB"}))
    assert answer["open"] == ["may"]
    assert choose_text.sentence(answer).endswith(" 1 undecided row may be better.")
    assert "undecided row" not in choose_text.sentence(choose([sure], need({"--max-size": "1kB"})))


def busy(name: str = "teacher") -> Any:
    return result(name, environment={"warnings": ["The machine is busy."]})


def test_what_stands_against_a_run_stands_under_the_verdict() -> None:
    quick = run("fast", protocol={"trust": "quick"})
    answer = choose(rows(quick, [busy()]), Need(), doubts([(quick, [busy()])]))
    assert answer["provisional"] is True
    assert [d["text"].partition(":")[0] for d in answer["doubts"]] == ["Measured quickly", "The machine is busy."]
    text = choose_text.render(answer)
    assert text.startswith("Provisionally: ship teacher on ort")
    assert text.index("[!]  Measured quickly") < text.index("need  ")


def test_runs_that_were_measured_with_other_care_are_named() -> None:
    quick, slow = run("fast", protocol={"trust": "quick"}), run("slow")
    both = [(quick, [busy()]), (slow, [busy("other")])]
    answer = choose([r for one in both for r in rows(*one)], Need(), doubts(both))
    first, *others = answer["doubts"]
    assert first["text"].startswith("The runs were not measured with the same care (quick: fast, as usual: slow)")
    assert next(d for d in others if d["text"].startswith("Measured quickly"))["runs"] == ["fast"]
    assert "[!]  fast: Measured quickly" in choose_text.render(answer)
    assert doubts([(slow, [result()])]).told == ()


def test_networks_are_not_interchangeable() -> None:
    def of(model: str) -> Row:
        made = row(model, latency=known(1e-3))
        return replace(made, axes={**made.axes, "model": model})

    with pytest.raises(EdgebenchError, match='2 networks, "big" and "small"') as refused:
        choose([of("small"), of("big")], Need())
    assert "--model" in refused.value.fix
    assert choose([of("small")], Need())["choice"] == "small"


def test_published_figures_are_not_measured_again_by_a_plan_that_is_none() -> None:
    imported = replace(run(), plan=type(run().plan)(name="import", imported={"format": "csv"}))
    found = Measurement(metric="latency", unit="s", phase="published", source="a table", value=1e-3, grade="published")
    answer = choose(rows(imported, [replace(result(), measurements=(found,))]), need({"--max-latency": "2ms"}))
    (advice,) = answer["next"]
    assert advice["command"] == ""
    assert "others published" in advice["do"]


def test_an_interval_from_enough_processes_stays_as_it_is() -> None:
    made = latency([1.0, 1.1, 1.2])
    (found,) = rows(run(), [replace(result(), measurements=(made,))])
    assert isinstance(made.interval, Interval)
    assert (found.figures["latency"].low, found.figures["latency"].high) == (made.interval.low, made.interval.high)


@pytest.mark.parametrize(
    ("option", "written", "fix"),
    [
        ("--max-latency", "1,5ms", "The decimal sign is a point: 1.5ms."),
        ("--max-accuracy-drop", "0,5%", "point: 0.5%."),
    ],
)
def test_a_decimal_comma_is_named(option: str, written: str, fix: str) -> None:
    with pytest.raises(EdgebenchError) as refused:
        limit(option, written)
    assert fix in refused.value.fix


def test_grades_of_evidence_are_told_by_their_strength() -> None:
    with pytest.raises(EdgebenchError) as refused:
        need({}, least="foo")
    assert refused.value.fix.startswith("From the best to the least: measured, published, calibrated")
