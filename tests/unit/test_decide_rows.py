"""From results to the rows of a choice, and the choice in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from decide_helpers import accuracy, known, plain, result, row, run

from edgebench.codec import Options
from edgebench.decide import choose_text
from edgebench.decide.answers import Right, answers, tail_floors
from edgebench.decide.choose import choose
from edgebench.decide.need import Need, need
from edgebench.decide.rows import Raw, Row, again, energy_scope, rows
from edgebench.schema import DeviceProfile, Interval, Measurement, Result
from edgebench.store import open_run

PUBLISHED = Path(__file__).parents[2] / "results/published/local/quick"


def only(*results: Result, raw: Raw | None = None) -> list[Row]:
    return rows(run(), results, energy_scope(results), raw or Raw())


def test_every_figure_has_both_ends() -> None:
    more = (
        plain("latency_p99", "s", 2e-3), plain("throughput", "1/s", 990.0, samples=(980.0, 990.0, 1000.0)),
        plain("energy_package", "J", 0.1, interval=Interval(low=0.09, high=0.12)), plain("memory_total", "B", 100e6),
    )  # fmt: skip
    found = only(result("teacher", *more))[0].figures
    assert found["latency"].low is not None
    assert (found["latency_p99"].low, found["latency_p99"].high) == (found["latency"].low, 2e-3)
    assert found["throughput"].low is not None
    assert found["throughput"].low < 980
    assert (found["memory"].low, found["memory"].high) == pytest.approx((5e6 - 0.4e6, 5e6 + 0.4e6))
    assert (found["energy"].low, found["energy"].high) == (0.09, 0.12)
    assert (found["size"].low, found["size"].high) == (1e5, 1e5)
    assert "price" not in found


def test_an_accuracy_of_no_samples_has_no_interval() -> None:
    odd = replace(result(), measurements=(replace(accuracy(9, 10), interval=None, n=0),))
    assert only(odd)[0].figures["accuracy"].low is None


def test_the_interval_of_a_throughput_holds_its_figure() -> None:
    rates = plain("throughput", "1/s", 1.0, samples=(1.0,) * 12 + (2.0,) * 8)
    found = only(result("teacher", rates))[0].figures["throughput"]
    assert found.low == 1.0
    assert found.high is not None
    assert found.high > 1.1


def test_a_drop_is_counted_against_the_own_baseline() -> None:
    first, own = result(right=950), result(right=900, backend="ov")
    small = replace(result("small", right=890, backend="ov"), baseline=own.cell.id)
    assert only(first, own, small)[2].parent == own.cell.id
    assert only(first, replace(own, status="failed", measurements=()), small)[2].parent == first.cell.id


def test_percentiles_that_too_few_calls_gave_say_what_is_needed() -> None:
    few = result("teacher", replace(plain("latency_p99", "s", None, "n < 662"), n=120))
    answer = choose(only(few), need({"--max-latency-p99": "1s"}))
    assert answer["rows"][0]["why"] == "Its p99 is missing: it needs 662 calls, and there were 120."


def test_the_accuracy_drop_is_against_the_fp32_row_of_the_same_runtime() -> None:
    parent, small = result(right=900), replace(result("small", right=890), baseline="net/teacher/fp32/ort@local/b1t1")
    found = {r.axes["variant"]: r for r in only(parent, small, result("quantized", precision="int8", right=880))}
    assert found["teacher"].figures["accuracy_drop"].high == 0
    assert found["small"].figures["accuracy_drop"].value == pytest.approx(0.01)
    assert found["quantized"].parent == parent.cell.id
    assert found["quantized"].figures["accuracy_drop"].high == pytest.approx(0.02 + 0.0277, abs=1e-3)
    assert "accuracy_drop" not in only(result("quantized", precision="int8"))[0].figures


def test_a_paired_drop_is_surer() -> None:
    parent, small = result(right=900), result("small", right=890)
    bits = {
        r.cell.id: Right(1000, bytes([255]) * (n // 8) + bytes(125 - n // 8)) for r, n in ((parent, 896), (small, 888))
    }
    loose = only(parent, small)[1].figures["accuracy_drop"]
    tight = only(parent, small, raw=Raw(right=bits))[1].figures["accuracy_drop"]
    assert loose.high is not None
    assert tight.high is not None
    assert tight.high < loose.high


def test_energy_of_the_scope_that_most_rows_have() -> None:
    a = result("a", plain("energy_package", "J", 0.1), plain("energy_wall", "J", 1.0))
    b, c = result("b", plain("energy_package", "J", 0.2)), result("c", plain("energy_gpu", "J", 0.01))
    found = only(a, b, c)
    assert [r.figures["energy"].value for r in found] == [0.1, 0.2, None]
    assert found[2].figures["energy"].why == "its meter counts the gpu, the others' the package"
    assert (
        only(result("none", plain("energy", "J", None, "no meter was found")))[0].figures["energy"].why
        == "no meter was found"
    )


@dataclass(frozen=True, kw_only=True)
class Priced(DeviceProfile):
    price: float | None = None


def test_a_price_of_the_device_profile() -> None:
    priced = replace(run(), device=Priced(name="board", price=249.0))
    found = rows(priced, [result()])
    assert choose(found, need({"--max-price": "250"}, "price"))["exit_code"] == 0
    assert choose(found, need({"--max-price": "249"}))["exit_code"] == 0
    assert choose(found, need({"--max-price": "200"}))["exit_code"] == 3
    unknown = choose(rows(run(), [result()]), need({"--max-price": "250"}))
    assert unknown["exit_code"] == 4
    assert unknown["rows"][0]["why"] == "Its price is not in the device's profile."
    assert unknown["next"][0]["do"] == "write the price of the device into its profile"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((plain("latency", "s", None, "noisy: too few pairs"),), "withheld: too few pairs."),
        ((plain("latency", "s", None, "no sample ran undisturbed"),), "withheld: no sample ran undisturbed."),
        ((plain("latency", "s", None),), "withheld: the machine was busy."),
        ((), "withheld: the machine was busy."),
    ],
)
def test_a_latency_that_was_withheld_is_not_called_unmeasured(found: tuple[Measurement, ...], said: str) -> None:
    noise = Options(state="noisy", why="the machine was busy")
    withheld = replace(result(), measurements=(plain("size", "B", 1.0), *found), noise=noise)
    table = only(withheld)
    assert choose(table, Need())["rows"][0]["why"] == f"Its latency, which is to be least, was {said}"
    assert choose(table, need({"--max-latency": "1s"}))["rows"][0]["why"] == f"Its latency was {said}"
    unmeasured = only(replace(withheld, measurements=(plain("size", "B", 1.0),), noise=Options()))
    assert choose(unmeasured, Need())["rows"][0]["why"] == "Its latency, which is to be least, was not measured."


def test_how_a_run_is_measured_again() -> None:
    assert again(run()) == "edgebench run quick"
    assert again(replace(run(), plan=Options({"name": "mine"}))) == "edgebench run PLAN.toml"
    assert (
        again(replace(run(), plan=Options({"name": "bench", "model": {"source": "/x/net.onnx"}})))
        == "edgebench bench net.onnx"
    )


def test_the_published_run_has_an_answer() -> None:
    folder = open_run(PUBLISHED)
    results = folder.results()
    raw = Raw(right=answers(folder.samples()), floors=tail_floors(folder.samples()))
    asked = need({"--max-latency-p99": "60us", "--min-accuracy": "97%", "--max-accuracy-drop": "1.5%"})
    answer = choose(rows(folder.run, results, None, raw), asked)
    assert answer["exit_code"] == 0
    known = [r for r in answer["rows"] if r["figures"]["latency"]["value"] is not None]
    assert len(known) >= 14, "one latency is withheld"
    for r in known:
        p99 = r["figures"]["latency_p99"]
        assert r["figures"]["latency"]["low"] < p99["low"] <= p99["high"]
    assert choose_text.render(answer, 80).startswith("Ship distilled-int8 on ")


# in words


def lines(table: list[Row], asked: Need, width: int = 100) -> str:
    text = choose_text.render(choose(table, asked), width)
    assert all(len(line) <= width for line in text.splitlines()), text
    return text


FAST, SLOW = row("fast", latency=known(1e-3, 1e-5)), row("slow", latency=known(5e-3, 1e-5))


@pytest.mark.parametrize(
    ("table", "limit", "answer"),
    [
        ([FAST], "9ms", "Ship fast on ort, fp32: 1.00 ms (0.99 to 1.01), the least latency of 1 row that passes."),
        ([FAST, SLOW], "9ms", "Ship fast on ort, fp32: 1.00 ms (0.99 to 1.01), the least latency of 2 rows that pass."),
        (
            [FAST, row("near", latency=known(1.001e-3, 1e-5))], "9ms",
            "Ship fast on ort, fp32: 1.00 ms (0.99 to 1.01), the least latency of 2 rows that pass; in latency it cannot be told "
            "from near on ort, fp32.",
        ),
        ([FAST], "0.5ms", "No row keeps to the limits: the only one fails."),
        ([FAST, SLOW], "0.5ms", "No row keeps to the limits: all 2 fail."),
        ([FAST, SLOW], "1ms", "Undecided: no row surely keeps to the limits, and 1 of 2 rows may."),
        ([row("x", "failed")], "1ms", "No row keeps to the limits: the only one fails."),
    ],
)  # fmt: skip
def test_the_answer_is_one_sentence_and_comes_first(table: list[Row], limit: str, answer: str) -> None:
    text = lines(table, need({"--max-latency": limit}), 200)
    assert text.splitlines()[0] == answer


def test_grades_are_marked_with_letters() -> None:
    text = lines([row("sim", latency=known(1e-3, grade="simulated")), SLOW], Need())
    assert "1.00 ms [S]" in text
    assert "marks [S] simulated" in text


def test_what_would_change_the_choice_is_told() -> None:
    text = " ".join(lines([FAST, SLOW, row("over", latency=known(20e-3))], need({"--max-latency": "9ms"})).split())
    assert "--max-latency under 1.01 ms turns the choice: nothing surely passes." in text
    assert "The next row, slow on ort, fp32, is at least 394.1 % behind." in text
    loose = " ".join(lines([SLOW], need({"--max-latency": "2ms"})).split())
    assert "--max-latency raised to 5.01 ms lets in slow on ort, fp32." in loose


@pytest.mark.parametrize("width", [40, 80, 120])
def test_long_names_and_many_rows_fit(width: int) -> None:
    table = [row("n" * 200 + str(i), latency=known(i + 1.0, 0.5)) for i in range(60)]
    text = lines(table, need({"--max-latency": "30s"}), width)
    assert "more: --json has them all." in text
