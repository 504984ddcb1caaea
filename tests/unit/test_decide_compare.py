"""Comparing two runs: the verdicts, what is named as different, and the exit codes."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from decide_helpers import MACHINE, SERIES, accuracy, latency, plain, result, side
from hypothesis import given
from hypothesis import strategies as st

from edgebench.codec import Options, to_json
from edgebench.decide.answers import Right, percentile_floor, unpaired_difference
from edgebench.decide.compare import compare
from edgebench.decide.compare_text import markdown, render, sentence
from edgebench.decide.versus import accuracies, memories
from edgebench.errors import EdgebenchError
from edgebench.schema import PROTOCOLS, Measurement
from edgebench.stats import percentile_bound


def said(answer: dict[str, Any], metric: str = "latency") -> list[str]:
    return [f["verdict"] for row in answer["rows"] for f in row["figures"] if f["metric"] == metric]


def test_a_run_with_itself_is_the_same_everywhere() -> None:
    noisy = result("noisy", series=(1.0, 1.3, 0.8))
    withheld = replace(result("withheld"), measurements=(plain("latency", "s", None, "noisy: too busy"),))
    one = side(result(), noisy, withheld, result("once", series=(1.0,)), result("broken", status="failed"))
    answer = compare(one, one)
    assert {f["verdict"] for row in answer["rows"] for f in row["figures"]} == {"same"}
    assert (answer["exit_code"], answer["comparable"], answer["same_run"]) == (0, True, True)
    assert "broken" in [row["axes"]["variant"] for row in answer["rows"]]


@pytest.mark.parametrize(
    ("factor", "verdict", "code"), [(1.03, "slower", 1), (0.97, "faster", 0), (1.0005, "same", 0), (1.01, "same", 0)]
)
def test_a_shift_is_told(factor: float, verdict: str, code: int) -> None:
    again = tuple(reversed(SERIES))  # another series, so that it is not the same measurement
    answer = compare(side(result()), side(result(seconds=1e-3 * factor, series=again[:-1]), id="two"))
    assert said(answer) == [verdict]
    assert answer["exit_code"] == code
    assert answer["limit"]


def test_a_wide_interval_stays_unresolved() -> None:
    wide = (1.0, 1.03, 0.97, 1.02, 0.99)
    answer = compare(side(result()), side(result(seconds=1.02e-3, series=wide), id="two"))
    assert said(answer) == ["unresolved"]
    assert answer["exit_code"] == 4


def test_identical_series_without_spread() -> None:
    flat, slower = result(series=(1.0,) * 5), result(series=(1.03,) * 5)
    assert said(compare(side(flat), side(flat, id="two"))) == ["same"]
    assert said(compare(side(flat), side(slower, id="two"))) == ["slower"]


def test_exchanging_the_runs_exchanges_the_verdicts() -> None:
    a, b = side(result()), side(result(seconds=1.1e-3, right=700), id="two")
    there, back = compare(a, b), compare(b, a)
    assert (said(there), said(back)) == (["slower"], ["faster"])
    assert (said(there, "accuracy"), said(back, "accuracy")) == (["lower"], ["higher"])


def test_holm_counts_the_whole_table() -> None:
    """One pair alone is slower; among many that are the same it is not sure any more."""
    shifted = (1.024, 1.032, 1.018, 1.031, 1.022)
    assert said(compare(side(result()), side(result(series=shifted), id="two"))) == ["slower"]
    names = [f"v{i}" for i in range(40)]
    many_a = [result(name) for name in names]
    many_b = [result(name, series=SERIES[1:]) for name in names[1:]]
    answer = compare(side(*many_a), side(result("v0", series=shifted), *many_b, id="two"))
    assert said(answer)[0] == "unresolved"


def test_two_runs_of_one_machine_are_seldom_called_different() -> None:
    """A/A, seeded: with the correction the share of tables with a false verdict is under 5 %."""
    chance = random.Random(7)
    wrong = 0
    for _ in range(200):
        a, b = (
            [result(f"v{i}", series=[chance.lognormvariate(0, 0.02) for _ in range(6)]) for i in range(5)]
            for _ in range(2)
        )
        found = said(compare(side(*a), side(*b, id="two")))
        wrong += bool({"faster", "slower"} & set(found))
    assert wrong <= 10


def shifted_by(factor: float, count: int = 15, seed: int = 3) -> dict[str, Any]:
    """Two runs of as many cells, known to about 1.5 % each, of which all of the second took `factor` times as long."""
    chance = random.Random(seed)
    a = [result(f"v{i}", series=[chance.lognormvariate(0, 0.017) for _ in range(6)]) for i in range(count)]
    b = [
        replace(r, measurements=tuple(_slowed(m, factor) if m.metric == "latency" else m for m in r.measurements))
        for r in a
    ]
    return compare(side(*a), side(*b, id="two"))


def _slowed(m: Measurement, factor: float) -> Measurement:
    assert m.value is not None
    return replace(m, value=m.value * factor, samples=tuple(s * factor for s in m.samples), interval=None)


@pytest.mark.parametrize(
    ("factor", "verdict", "code"), [(1.05, "slower", True), (0.95, "faster", False), (1.004, "unresolved", False)]
)
def test_what_moved_all_pairs_is_told_where_no_single_one_is_sure(factor: float, verdict: str, code: bool) -> None:
    answer = shifted_by(factor)
    assert (answer["overall"]["verdict"], answer["exit_code"] == 1, answer["overall"]["pairs"]) == (verdict, code, 15)
    assert answer["overall"]["ratio"] == pytest.approx(1 / factor)
    told = render(answer)
    assert ("over all 15 pairs it is" in told) == (code or (verdict == "faster" and answer["unresolved"] > 0))
    assert told.startswith("B is a regression: over all 15 pairs it is 1.05x slower (1.0" if code else "No regression")
    assert shifted_by(factor, count=4)["overall"] is None


def test_two_runs_of_one_machine_are_seldom_moved_together() -> None:
    chance = random.Random(11)
    wrong = 0
    for _ in range(200):
        drifted = chance.lognormvariate(0, 0.004)  # of the machine, from run to run
        a, b = (
            [result(f"v{i}", series=[f * chance.lognormvariate(0, 0.02) for _ in range(6)]) for i in range(6)]
            for f in (1.0, drifted)
        )
        wrong += compare(side(*a), side(*b, id="two"))["overall"]["verdict"] in ("faster", "slower")
    assert wrong <= 4


@pytest.mark.parametrize(
    ("change", "what", "values"),
    [
        ({"environment": {"governor": "powersave"}}, "governor", ("performance", "powersave")),
        ({"environment": {"power_mode": "15W"}}, "power mode", ("–", "15W")),
        ({"environment": {"isolation": "R1 none"}}, "isolation", ("R2 autogroup -20", "R1 none")),
        ({"environment": {"fingerprint": "e" * 64}}, "machine fingerprint", ("ffffffff", "eeeeeeee")),
        ({"environment": {"cpu_model": "B CPU", "fingerprint": "e" * 64}}, "CPU", ("A CPU", "B CPU")),
        ({"effective": {"version": "1.1"}}, "runtime version", ("1.0", "1.1")),
        ({"effective": {"precision": "bf16"}}, "precision in force", ("fp32", "bf16")),
        ({"effective": {"threads": 4}}, "threads in force", ("1", "4")),
    ],
)
def test_what_differs_is_named_with_both_values(change: dict[str, Any], what: str, values: tuple[str, str]) -> None:
    a, b = side(result()), side(result(**change), id="two")
    answer = compare(a, b)
    assert [(d["what"], d["a"], d["b"]) for d in answer["differences"]] == [(what, *values)]
    assert not answer["comparable"]
    with pytest.raises(EdgebenchError) as refused:
        compare(a, b, strict=True)
    assert all(word in refused.value.problem for word in (what, *values))


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        ({"data": "other"}, "data"), ({"protocol": {"trust": "quick"}}, "protocol trust"),
        ({"model": {"source": "net:other"}}, "network"), ({"data_options": {"size": 64}}, "data options"),
        ({"model": {"inputs": [{"name": "x", "dtype": "f4", "shape": [1, 2]}]}}, "inputs"),
    ],
)  # fmt: skip
def test_plans_that_differ_are_named(plan: dict[str, Any], what: str) -> None:
    answer = compare(side(result()), side(result(), id="two", **plan))
    assert [d["what"] for d in answer["differences"]] == [what]


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ({"least_generations": 3, "most_generations": 3}, [("generations", "5 to 20", "3")]),
        ({"slice_seconds": 0.05}, [("slices of a generation", "4 to 8 of 100 ms", "4 to 8 of 50 ms")]),
        ({"half_width": 0.05}, [("ratios to be known to", "2.0 %", "5.0 %")]),
        ({"budget_seconds": 60.0}, [("budget", "–", "60 s")]),
        ({"isolate": False}, [("isolate", "yes", "no")]),
        ({"seed": 3, "command_timeout": 7.0}, []),
    ],
)
def test_the_numbers_of_the_protocol_are_compared(protocol: dict[str, Any], told: list[tuple[str, str, str]]) -> None:
    answer = compare(side(result()), side(result(), id="two", protocol=protocol))
    assert [(d["what"], d["a"], d["b"]) for d in answer["differences"]] == told


def test_a_quick_run_beside_a_usual_one_is_told_by_what_it_means() -> None:
    quick = to_json(PROTOCOLS["quick"])
    answer = compare(side(result()), side(result(), id="two", protocol=quick))
    assert [d["what"] for d in answer["differences"]] == [
        "protocol trust", "generations", "slices of a generation", "ratios to be known to", "warm-up",
    ]  # fmt: skip
    text = " ".join(render(answer).split())
    assert "generations: 5 to 20 in A, 2 to 4 in B" in text
    assert "not equally sure" in text
    assert "not equally sure" in markdown(answer)


def test_of_an_import_no_protocol_is_known() -> None:
    answer = compare(side(result()), side(result(), id="two", imported={"tool": "x"}))
    assert [(d["what"], d["a"], d["b"]) for d in answer["differences"]] == [("protocol trust", "default", "–")]


def test_other_threads_are_named_and_nothing_is_paired() -> None:
    answer = compare(side(result()), side(result(threads=2), id="two"))
    assert [(d["what"], d["a"], d["b"]) for d in answer["differences"]] == [("threads", "1", "2")]
    assert (answer["rows"], answer["exit_code"]) == ([], 4)
    assert len(answer["only_a"]) == len(answer["only_b"]) == 1
    assert render(answer).startswith("Nothing can be compared: no cell is in both runs; ")


def test_of_many_cells_that_one_run_has_alone_a_few_are_named() -> None:
    many = side(*(result(f"v{i}") for i in range(30)))
    answer = compare(many, replace(side(result("w"), id="two"), path="/elsewhere/two"))
    text = " ".join(render(answer).split())
    assert "edgebench report one /elsewhere/two" in text
    assert "; and 20 more: --json has them all. Only in B: w on ort, fp32." in text
    assert "different times" not in text


def test_another_device_is_paired() -> None:
    answer = compare(side(result()), side(result(device="jetson"), id="two"))
    assert len(answer["rows"]) == 1
    assert not answer["only_a"]
    assert not answer["only_b"]


def test_cells_of_one_run_and_cells_that_broke() -> None:
    a = side(result("kept"), result("gone"), result("broke"), result("mended", status="failed"))
    b = side(result("kept"), result("new"), result("broke", status="failed"), result("mended"), id="two")
    answer = compare(a, b)
    assert [r["axes"]["variant"] for r in answer["only_a"]] == ["gone"]
    assert [r["axes"]["variant"] for r in answer["only_b"]] == ["new"]
    assert {r["axes"]["variant"]: r["verdict"] for r in answer["rows"]} == {
        "kept": "measured", "broke": "regression", "mended": "improvement",
    }  # fmt: skip
    assert answer["exit_code"] == 1


def test_a_figure_that_only_one_run_has_is_unresolved() -> None:
    withheld = replace(result(), measurements=(plain("latency", "s", None, "noisy: too busy"), accuracy(900)))
    answer = compare(side(result()), side(withheld, id="two"))
    assert said(answer) == ["unresolved"]
    assert answer["exit_code"] == 4
    assert answer["rows"][0]["figures"][0]["note"] == "not known in B: noisy: too busy"
    both = compare(side(withheld), side(withheld, id="two"))
    assert said(both) == ["unresolved"]


def right(bits: str) -> Right:
    return Right(len(bits), int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big"))


def test_accuracy_is_paired_where_the_answers_are_known() -> None:
    """40 samples lost and none gained: sure when paired, not sure as of two independent sets."""
    a, b = accuracy(900), accuracy(880)
    right_a, right_b = right("1" * 900 + "0" * 100), right("1" * 880 + "0" * 120)
    unpaired, paired = accuracies(a, b, None, None, False), accuracies(a, b, right_a, right_b, False)
    assert unpaired is not None
    assert paired is not None
    assert (unpaired.verdict, paired.verdict) == ("unresolved", "lower")
    assert paired.p == pytest.approx(2 * 0.5**20)
    assert paired.difference == pytest.approx(-0.02)


def test_the_same_answers_are_the_same_accuracy() -> None:
    found = accuracies(accuracy(9, 10), accuracy(9, 10), right("1" * 9 + "0"), right("1" * 9 + "0"), False)
    assert found is not None
    assert (found.verdict, found.p) == ("same", None)
    other = accuracies(accuracy(9, 10), accuracy(9, 10), None, None, False)
    assert other is not None
    assert other.verdict == "unresolved"


def test_newcombes_example() -> None:
    """Statistics in Medicine 17 (1998) 873, table II: 56/70 - 48/80 by method 10 is 0.0524 to 0.3339."""
    from edgebench.stats import wilson

    found = unpaired_difference(56 / 70, wilson(56, 70), 48 / 80, wilson(48, 80))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [(5e6, 5.01e6, "same"), (5e6, 5.5e6, "more"), (5e6, 4e6, "less"), (5e6, 5.03e6, "same")],
)
def test_memory_repeats_within_less_than_a_percent(a: float, b: float, verdict: str) -> None:
    found = memories(plain("memory_peak", "B", a), plain("memory_peak", "B", b), None, None)
    assert found is not None
    assert found.verdict == verdict


def test_energy_of_one_scope_only_is_compared() -> None:
    a = result("v", plain("energy_package", "J", 0.1, samples=(0.1, 0.101, 0.099)))
    b = result("v", plain("energy_package", "J", 0.2, samples=(0.2, 0.201, 0.199)), plain("energy_gpu", "J", 1.0))
    answer = compare(side(a), side(b, id="two"))
    assert (said(answer, "energy_package"), said(answer, "energy_gpu")) == (["more"], ["unresolved"])
    assert "energy package 100 mJ → 200 mJ 2.00x more (1.96–2.04)" in " ".join(render(answer, 200).split())


def test_a_fact_that_is_no_number_is_no_number_in_the_answer() -> None:
    odd = replace(result(), environment=Options({**MACHINE, "governor": float("inf")}))  # 1e999 in a file
    answer = compare(side(odd), side(result(), id="two"))
    json.dumps(answer, allow_nan=False)
    render(answer)


def test_runs_without_results() -> None:
    with pytest.raises(EdgebenchError, match="has no result"):
        compare(side(), side(result()))
    failed = side(result(status="failed"))
    assert compare(failed, replace(failed, run=side(id="two").run))["exit_code"] == 4


@pytest.mark.parametrize("id", ["one", "two"])
def test_what_neither_run_knows_is_not_called_the_same(id: str) -> None:
    meterless = result("meterless", plain("energy_gpu", "J", None, "no meter"))
    found = (result("kept"), meterless, result("broke", status="failed"), result("left", status="skipped"))
    answer = compare(side(*found), side(*found, id=id))
    assert sentence(answer) == (
        "No regression: 8 figures in 2 pairs, all the same; of the other pairs 1 failed in both and 1 was skipped in both; "
        "not known in either run: energy gpu of 1 pair."
    )
    broken = side(*found[2:])
    assert sentence(compare(broken, replace(broken, run=side(id=id).run))) == (
        "Nothing can be compared: none of the 2 pairs has a figure in both runs; 1 failed in both and 1 was skipped in both."
    )
    withheld = replace(result(), measurements=(plain("latency", "s", None, "noisy: too busy"), accuracy(900)))
    answer = compare(side(withheld), side(withheld, id=id))
    told = {
        "one": "No regression: 1 figure in 1 pair, the same; not known in either run: latency of 1 pair.",
        "two": "No regression was found, but 1 of 2 figures in 1 pair stays unresolved.",
    }
    assert sentence(answer) == told[id]


def test_markdown_lets_nothing_through() -> None:
    name = "<script>alert(1)</script>|`x`" + "y" * 200
    answer = compare(side(result(name)), side(result(name, seconds=2e-3), id="two", data="a|b"))
    text = markdown(answer)
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") in (4, 5, 6) for line in rows), rows
    assert "slower" in text
    assert "B is a regression" in text.splitlines()[0]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    name = "n" * 200
    answer = compare(side(result(name), result("gone")), side(result(name, seconds=2e-3), id="t" * 30, data="other"))
    for line in render(answer, width).splitlines():
        assert len(line) <= width, line


@given(st.integers(64, 3000), st.sampled_from([0.9, 0.99]))
def test_a_percentile_lies_between_its_floor_and_its_bound(n: int, p: float) -> None:
    samples = [float(i) for i in range(n)]
    floor, bound = percentile_floor(samples, p), percentile_bound(samples, p)
    assert floor is not None
    assert floor <= p * n
    if bound is not None:
        assert floor < bound


def test_the_floor_holds_as_often_as_it_says() -> None:
    chance = random.Random(3)
    under = sum((percentile_floor([chance.random() for _ in range(700)], 0.99) or 0) <= 0.99 for _ in range(400))
    assert under >= 390


def test_memory_is_told_apart_no_finer_than_the_whole_process_repeats() -> None:
    """Seen between two runs of the same file: 15.5 and 15.8 MiB, of 72 MiB in all."""
    total = plain("memory_total", "B", 72 * 2**20)
    found = memories(plain("memory_peak", "B", 15.5 * 2**20), plain("memory_peak", "B", 15.8 * 2**20), total, total)
    assert found is not None
    assert found.verdict == "same"


def test_what_moved_without_a_reason_is_said_so() -> None:
    slower = compare(side(result()), side(result(seconds=1.1e-3), id="two"))
    assert slower["unexplained"] == [slower["rows"][0]["cell"]]
    assert "only the machine" in " ".join(render(slower).split())
    assert compare(side(result()), side(result(seconds=1.1e-3, sha="b"), id="two"))["unexplained"] == []


def test_figures_of_two_grades_are_not_compared() -> None:
    published = replace(result(), measurements=(replace(latency([2e-3, 2.001e-3]), grade="published"),))
    answer = compare(side(result()), side(published, id="two"))
    assert said(answer) == ["unresolved"]
    assert answer["rows"][0]["figures"][0]["note"] == "measured in A and published in B"
