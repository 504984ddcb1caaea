"""The choice: against brute force on random tables, and on every kind of missing figure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from decide_helpers import known, row

from edgebench.decide.choose import choose
from edgebench.decide.need import GRADES, LIMITS, Need, limit, need
from edgebench.decide.rows import Figure, Row
from edgebench.errors import EdgebenchError

UNITS = {
    "--max-latency": ("ms", "us", 1000), "--max-latency-p99": ("ms", "us", 1000), "--max-memory": ("MB", "kB", 1000),
    "--max-energy": ("J", "mJ", 1000), "--max-size": ("kB", "B", 1000),
}  # fmt: skip
SCALE = {"latency": 1e-3, "latency_p99": 1e-3, "memory": 1e6, "energy": 1.0, "size": 1e3, "accuracy": 0.1}


TABLES = 1000
"""So many random tables is each property held against: seeded, so that one that fails can be had again."""


def figure(chance: random.Random, scale: float) -> Figure | None:
    """Exact, with an interval, withheld, without an interval, or absent."""
    kind = chance.choice(["wide", "wide", "wide", "exact", "withheld", "bare", "absent"])
    value = chance.randint(1, 9) * scale
    grade: Any = chance.choice(["measured", "measured", "published", "simulated"])
    if kind == "absent":
        return None
    if kind == "withheld":
        return Figure(why="noisy", grade=grade)
    if kind == "bare":
        return Figure(value=value, grade=grade)
    return known(value, chance.randint(0, 3) * scale / 2 if kind == "wide" else 0.0, grade)


def a_table(chance: random.Random) -> list[Row]:
    out = []
    for i in range(chance.randint(1, 8)):
        found = {name: f for name, scale in SCALE.items() if (f := figure(chance, scale)) is not None}
        status = chance.choice(["ok", "ok", "ok", "ok", "failed", "skipped"])
        out.append(row(f"row{i}", status, chance.choice(["ort", "ov"]), **(found if status == "ok" else {})))
    return out


def a_need(chance: random.Random) -> Need:
    options = chance.sample([*UNITS, "--min-accuracy"], chance.randint(0, 4))
    bounds = {o: str(chance.randint(0, 9) / 10) if o == "--min-accuracy" else f"{chance.randint(0, 10)}{UNITS[o][0]}"
              for o in options}  # fmt: skip
    return need(bounds, chance.choice(["latency", "size", "energy"]), chance.choice(GRADES))


def on_random_tables(check: Callable[[list[Row], Need, random.Random], None]) -> Callable[[], None]:
    """The test that a property holds on every table; the seed of one on which it does not is in the failure."""

    def test() -> None:
        for seed in range(TABLES):
            chance = random.Random(seed)
            try:
                check(a_table(chance), a_need(chance), chance)
            except AssertionError as broken:
                raise AssertionError(f"seed {seed}: {broken}") from broken

    return test


def brute(row: Row, need: Need) -> str:
    """The definition, written down once more without any of its code."""
    if row.status != "ok":
        return "fail"
    verdicts = []
    for x in need.limits:
        f = row.figures.get(x.figure)
        if (
            f is None
            or f.value is None
            or GRADES.index(f.grade) > GRADES.index(need.least)
            or f.low is None
            or f.high is None
        ):
            verdicts.append("undecided")
        elif x.sense == "max":
            verdicts.append("pass" if f.high <= x.bound else "fail" if f.low > x.bound else "undecided")
        else:
            verdicts.append("pass" if f.low >= x.bound else "fail" if f.high < x.bound else "undecided")
    cost = row.figures.get(need.minimize)
    if cost is None or cost.value is None or GRADES.index(cost.grade) > GRADES.index(need.least):
        verdicts.append("undecided")
    return "fail" if "fail" in verdicts else "undecided" if "undecided" in verdicts else "pass"


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {r["id"]: r["verdict"] for r in answer["rows"]}


@on_random_tables
def test_it_is_the_brute_force_answer(table: list[Row], asked: Need, chance: random.Random) -> None:
    answer = choose(table, asked)
    wanted = {r.id: brute(r, asked) for r in table}
    assert verdicts(answer) == wanted
    passes = [r for r in table if wanted[r.id] == "pass"]
    costs = {r.id: r.figures[asked.minimize].value for r in passes}
    assert answer["exit_code"] == (0 if passes else 4 if "undecided" in wanted.values() else 3)
    if not passes:
        assert answer["choice"] is None
        return
    assert costs[answer["choice"]] == min(c for c in costs.values() if c is not None)
    best = next(r for r in passes if r.id == answer["choice"]).figures[asked.minimize]
    for r in passes:
        f = r.figures[asked.minimize]
        if r.id != answer["choice"] and (f.low is None or best.high is None or f.low <= best.high):
            assert r.id in answer["ties"]
    json.dumps(answer, allow_nan=False)


@on_random_tables
def test_the_order_of_the_rows_changes_nothing(table: list[Row], asked: Need, chance: random.Random) -> None:
    shuffled = list(table)
    chance.shuffle(shuffled)
    assert choose(shuffled, asked) == choose(table, asked)


@on_random_tables
def test_a_dominated_row_changes_nothing(table: list[Row], asked: Need, chance: random.Random) -> None:
    before = choose(table, asked)
    best = next((r for r in table if r.id == before["choice"]), None)
    if best is None or best.figures[asked.minimize].high is None:
        return
    cost = best.figures[asked.minimize]
    worse = replace(cost, value=cost.high * 2, low=cost.high * 1.5, high=cost.high * 3)  # type: ignore[operator]
    after = choose([*table, replace(best, id="worse", figures={**best.figures, asked.minimize: worse})], asked)
    assert (after["choice"], after["ties"], after["verdict"]) == (before["choice"], before["ties"], before["verdict"])
    assert {k: v for k, v in verdicts(after).items() if k != "worse"} == verdicts(before)
    added = next(r for r in after["rows"] if r["id"] == "worse")
    if added["verdict"] != "fail" and best.figures.get("accuracy", Figure()).low is not None:
        assert added["dominated_by"]


@on_random_tables
def test_loosening_a_limit_removes_no_pass(table: list[Row], asked: Need, chance: random.Random) -> None:
    by = chance.uniform(1, 10)
    before = verdicts(choose(table, asked))
    for i, x in enumerate(asked.limits):
        looser = replace(x, bound=x.bound * by if x.sense == "max" else x.bound / by)
        after = verdicts(choose(table, replace(asked, limits=(*asked.limits[:i], looser, *asked.limits[i + 1 :]))))
        assert all(after[k] == "pass" for k, v in before.items() if v == "pass")


@on_random_tables
def test_changing_units_changes_nothing(table: list[Row], asked: Need, chance: random.Random) -> None:
    option, bound = chance.choice(sorted(UNITS)), chance.randint(0, 10)
    big, small, factor = UNITS[option]
    a, b = (choose(table, need({option: text})) for text in (f"{bound}{big}", f"{bound * factor}{small}"))
    for answer in (a, b):
        for x in answer["need"]["limits"]:
            for r in answer["rows"]:
                r["why"] = r["why"].replace(x["asked"], "as asked")
            del x["asked"]
    assert a == b


@on_random_tables
def test_missing_is_never_a_pass(table: list[Row], asked: Need, chance: random.Random) -> None:
    name = chance.choice([*(x.figure for x in asked.limits), asked.minimize])
    without = [replace(r, figures={k: v for k, v in r.figures.items() if k != name}) for r in table]
    answer = choose(without, asked)
    assert answer["choice"] is None
    assert "pass" not in verdicts(answer).values()


@on_random_tables
def test_flips_are_true(table: list[Row], asked: Need, chance: random.Random) -> None:
    """What is said to let a row in lets it in; tightening beyond what is said turns the choice."""
    answer = choose(table, asked)
    for way, nudge in (("loosen", 0.0), ("tighten", 1e-9)):
        for flip in answer["flips"][way]:
            old = next(x for x in asked.limits if x.option == flip["option"])
            sign = -1 if old.sense == "max" else 1
            moved = replace(old, bound=flip["to"] + sign * nudge * max(1e-9, abs(flip["to"])))
            new = choose(table, replace(asked, limits=tuple(moved if x is old else x for x in asked.limits)))
            assert new["choice"] == flip["gives"]


def test_a_choice_among_ten_thousand_rows() -> None:
    """How long it takes is the bar "scale"."""
    chance = random.Random(0)
    table = [
        row(f"r{i}", latency=known(chance.uniform(1, 9) * 1e-3, 1e-4), accuracy=known(chance.uniform(0.5, 0.99), 0.01),
            memory=known(chance.uniform(1, 90) * 1e6), size=known(chance.uniform(1, 90) * 1e3))
        for i in range(10_000)
    ]  # fmt: skip
    asked = need({"--max-latency": "6ms", "--min-accuracy": "70%", "--max-memory": "64MB", "--max-energy": "1J"})
    answer = choose(table, asked)
    assert answer["counts"]["pass"] == 0
    assert answer["next"][0]["figure"] == "energy"


def _dominates(q: Row, r: Row) -> bool:
    c, a, d, b = r.figures["latency"], r.figures["accuracy"], q.figures["latency"], q.figures["accuracy"]
    ends = [x for f in (c, a, d, b) for x in (f.low, f.high) if x is not None]
    c_low, c_high, a_low, a_high, d_low, d_high, b_low, b_high = ends
    return (d_high < c_low and b_high >= a_low) or (b_low > a_high and d_low <= c_high)


@pytest.mark.parametrize("count", [2, 6, 120])
def test_dominance_is_that_of_all_pairs(count: int) -> None:
    chance = random.Random(count)
    for _ in range(600 // count):
        table = [row(f"r{i}", latency=known(chance.randint(1, 40), chance.randint(0, 3)),
                     accuracy=known(chance.randint(1, 40) / 100, chance.randint(0, 12) / 100)) for i in range(count)]  # fmt: skip
        told = {x["id"]: x["dominated_by"] for x in choose(table, Need())["rows"]}
        for r in table:
            by = [q.id for q in table if _dominates(q, r)]
            assert (told[r.id] in by) if by else told[r.id] is None


def test_no_loosening_is_told_that_would_let_in_a_worse_row() -> None:
    table = [row("best", latency=known(1e-3), size=known(1e3)), row("worse", latency=known(2e-3), size=known(9e3))]
    assert choose(table, need({"--max-size": "5kB"}))["flips"]["loosen"] == []
    better = row("better", latency=known(5e-4), size=known(9e3))
    assert [x["gives"] for x in choose([*table, better], need({"--max-size": "5kB"}))["flips"]["loosen"]] == ["better"]


def test_what_cannot_become_the_choice_need_not_be_measured() -> None:
    table = [row("best", latency=known(1e-3), size=known(1e3)), row("slow", latency=known(2e-3))]
    assert choose(table, need({"--max-size": "5kB"}))["next"] == []
    answer = choose([*table, row("fast", latency=known(5e-4)), row("unknown")], need({"--max-size": "5kB"}))
    assert [(g["figure"], g["settles"], g["concerns"]) for g in answer["next"]] == [
        ("size", ["fast"], ["fast", "unknown"]), ("latency", [], ["unknown"]),
    ]  # fmt: skip


def test_evidence_below_the_least_does_not_count() -> None:
    table = [row("sim", latency=known(1e-3, grade="simulated")), row("real", latency=known(5e-3))]
    assert choose(table, need({"--max-latency": "9ms"}))["choice"] == "sim"
    answer = choose(table, need({"--max-latency": "9ms"}, least="measured"))
    assert answer["choice"] == "real"
    sim = next(r for r in answer["rows"] if r["id"] == "sim")
    assert (sim["verdict"], sim["why"]) == ("undecided", "Its latency is only simulated; at least measured is asked.")


def test_every_reason_is_told() -> None:
    table = [
        row("over", latency=known(2e-3), size=known(9e3)),
        row("both", latency=known(2e-3), size=known(90e3)),
        row("maybe", latency=known(1e-3, 1e-4), size=known(1e3)),
        row("bare", latency=Figure(value=1e-3), size=known(1e3)),
        row("noisy", latency=Figure(why="noisy: too busy"), size=known(1e3)),
        row("broken", "failed"),
        row("skipped", "skipped"),
    ]
    answer = choose(table, need({"--max-latency": "1.05ms", "--max-size": "5kB"}))
    told = {r["id"]: (r["verdict"], r["binding"], r["why"]) for r in answer["rows"]}
    assert told == {
        "over": (
            "fail", "--max-latency",
            "Its latency is at least 2.00 ms, over the limit of 1.05ms. Its size is at least 9.00 kB, over the limit of 5kB.",
        ),
        "both": ("fail", "--max-size", "Its size is at least 90.0 kB, over the limit of 5kB. "
            "Its latency is at least 2.00 ms, over the limit of 1.05ms."),
        "maybe": ("undecided", "--max-latency", "Its latency, 1.00 ms, may be 1.10 ms, over the limit of 1.05ms."),
        "bare": (
            "undecided", "--max-latency", "Its latency, 1.00 ms, has no interval to hold against the limit 1.05ms.",
        ),
        "noisy": ("undecided", "--max-latency", "Its latency was withheld: too busy."),
        "broken": ("fail", None, "It failed: It broke."),
        "skipped": ("fail", None, "It was skipped: It broke."),
    }  # fmt: skip
    assert answer["exit_code"] == 4
    assert all("--precise" in g["command"] for g in answer["next"])


def test_a_runtime_that_no_row_has() -> None:
    with pytest.raises(EdgebenchError, match='Did you mean "openvino"'):
        choose([row("a", runtime="openvino")], Need(runtimes=("openvin",)))
    with pytest.raises(EdgebenchError, match="no row"):
        choose([], Need())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"--max-latncy": "5ms"},), 'Did you mean "--max-latency"'), (({}, "speed"), "to minimize"),
        (({}, "latency", "measurd"), 'Did you mean "measured"'),
    ],
)  # fmt: skip
def test_needs_that_do_not_exist(arguments: Any, words: str) -> None:
    with pytest.raises(EdgebenchError, match=words):
        need(*arguments)


def test_every_limit_has_its_option() -> None:
    assert {limit(option, {"time": "1s", "bytes": "1B", "energy": "1J"}.get(known.kind, "1")).figure
            for option, known in LIMITS.items()} == {k.figure for k in LIMITS.values()}  # fmt: skip
