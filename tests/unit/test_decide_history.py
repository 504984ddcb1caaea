"""Change points on simulated series, and histories of runs with breaks, failures and other machines."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from pathlib import Path

import pytest
from decide_helpers import result, run
from hypothesis import given
from hypothesis import strategies as st

from edgebench.decide import history_text
from edgebench.decide.change import LEAST, change_points
from edgebench.decide.history import found_runs, history, matching, overview
from edgebench.errors import EdgebenchError
from edgebench.schema import Result, Run
from edgebench.stats import geometric_mean
from edgebench.store import create


def noisy(levels: list[float], each: int, spread: float, chance: random.Random) -> list[float]:
    return [level * math.exp(chance.gauss(0, spread)) for level in levels for _ in range(each)]


def test_noise_alone_is_no_change() -> None:
    chance = random.Random(1)
    series = [noisy([1e-3], 40, 0.02, chance) for _ in range(150)]
    assert sum(bool(change_points(s)) for s in series) <= 1


def test_heavy_tails_are_no_change() -> None:
    """One run in ten is disturbed by some ten percent."""
    chance = random.Random(2)
    series = [[x * (1 + chance.random() * 0.2 * (chance.random() < 0.1)) for x in noisy([1.0], 40, 0.01, chance)]
              for _ in range(100)]  # fmt: skip
    assert sum(bool(change_points(s)) for s in series) <= 1


@pytest.mark.parametrize("step", [0.9, 1.04, 1.2])
def test_a_step_is_found_at_its_place(step: float) -> None:
    chance = random.Random(3)
    found = [change_points(noisy([1e-3, 1e-3 * step], 15, 0.01, chance)) for _ in range(40)]
    assert all(len(places) == 1 and abs(places[0] - 15) <= 1 for places in found)
    assert sum(places == [15] for places in found) >= 36


def test_a_step_up_and_back_down_is_two_changes() -> None:
    chance = random.Random(4)
    for _ in range(20):
        assert change_points(noisy([1.0, 1.1, 1.0], 10, 0.01, chance)) == [10, 20]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([], []), ([1.0], []), ([1.0] * 50, []), ([1.0] * 3 + [2.0] * 3, [3]), ([1.0] * 2 + [2.0] * 2, []),
        ([1.0] * 5 + [1.005] * 5, []), ([1.0] * 5 + [1.02] * 5, [5]), ([1.0] * 9 + [3.0] + [1.0] * 9, []),
    ],
)  # fmt: skip
def test_corners(values: list[float], places: list[int]) -> None:
    assert change_points(values) == places


def test_agreement_by_luck_is_no_absence_of_noise() -> None:
    series = [1.0] * 3 + [1.02] * 3
    assert change_points(series) == [3]
    assert change_points(series, [0.02] * 6) == []


@given(st.lists(st.floats(0.5, 2.0), max_size=30))
def test_levels_are_long_enough_and_apart(values: list[float]) -> None:
    found = change_points(values)
    edges = [0, *found, len(values)]
    levels = [geometric_mean(values[a:b]) for a, b in pairwise(edges)] if found else []
    assert all(b - a >= LEAST for a, b in pairwise(edges) if found)
    assert all(abs(math.log(b / a)) > 0.0099 for a, b in pairwise(levels))
    with pytest.raises(ValueError, match="greater than zero"):
        change_points([*values, 0.0])


def runs(seconds: list[float]) -> list[tuple[Run, tuple[Result, ...]]]:
    return [(run(f"run{i:02}", f"20261101T{i:06}Z"), (result(seconds=s),)) for i, s in enumerate(seconds)]


CELL = "net/teacher/fp32/ort@local/b1t1"


def test_a_change_is_told_with_what_changed_beside_it() -> None:
    later = [(r, (result(seconds=1.2e-3, sha="b", effective={"version": "1.1"}),)) for r, _ in runs([1.0] * 10)[5:]]
    answer = history(runs([1e-3] * 5) + later, CELL)
    assert len(answer["changes"]) == 1
    change = answer["changes"][0]
    assert (change["run"], change["ratio"]) == ("run05", pytest.approx(1.2))
    assert set(change["with"]) == {"version", "artifact"}
    text = history_text.render(answer, 80)
    assert text.startswith("The latency changed once over 10 runs, last at run05: 20.0 % slower")
    assert "another runtime version, another model file" in " ".join(text.split())


def test_another_machine_is_a_break_and_no_change() -> None:
    other = [(r, (result(seconds=2e-3, environment={"fingerprint": "e" * 64}),)) for r, _ in runs([1.0] * 12)[6:]]
    answer = history(runs([1e-3] * 6) + other, CELL)
    assert answer["changes"] == []
    (found,) = answer["breaks"]
    assert (found["run"], found["before"]) == ("run06", "run05")
    assert "another machine or set-up" in history_text.render(answer, 80)


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ((5,), "Whether the latency changed cannot be told: it takes 6 runs on one machine, and there are 5."),
        ((1,), "Whether the latency changed cannot be told: it takes 6 runs on one machine, and there is 1."),
        ((4, 5, 2), "Whether the latency changed cannot be told: it takes 6 runs on one machine, and the longest of 3 series "
            "has 5."),
        ((6,), "No change of the latency was found over 6 runs."),
        ((6, 6), "No change of the latency was found over 12 runs, in 2 series of different machines or set-ups."),
        ((6, 2, 2), "No change of the latency was found over 10 runs, in 3 series of different machines or set-ups; "
            "2 of them are too short to tell."),
    ],
)  # fmt: skip
def test_a_series_that_is_too_short_tells_of_no_change(lengths: tuple[int, ...], said: str) -> None:
    machines = [chr(ord("a") + i) * 64 for i, n in enumerate(lengths) for _ in range(n)]
    found = [
        (r, (result(environment={"fingerprint": m}),))
        for (r, _), m in zip(runs([1.0] * sum(lengths)), machines, strict=True)
    ]
    assert history_text.sentence(history(found, CELL)) == said
    if len(found) > 1:
        row = history_text.overview(overview(found), 100)
        assert row.splitlines()[-1].endswith("none" if max(lengths) >= 6 else "too few runs to tell")


def test_an_overview_says_how_many_cells_cannot_be_judged() -> None:
    both = [(r, (*found, *([result("new")] if i > 4 else []))) for i, (r, found) in enumerate(runs([1e-3] * 7))]
    text = history_text.overview(overview(both), 120)
    assert text.startswith(
        "None of 2 cells changed over the runs; of 1 of them it cannot be told, which takes 6 runs on one machine."
    )


def test_a_break_names_what_is_another() -> None:
    facts = {"kernel": "6.1", "load": 0.1, "identity": {"cpu": "A76"}}
    later = {**facts, "kernel": "6.6", "load": 0.9, "fingerprint": "e" * 64}
    one, two = ([(r, (result(environment=f),)) for r, _ in runs([1e-3] * 4)[part]] for f, part in
                ((facts, slice(0, 2)), (later, slice(2, 4))))  # fmt: skip
    answer = history(one + two, CELL)
    assert answer["breaks"][0]["differs"] == [{"what": "kernel", "before": "6.1", "after": "6.6"}]
    assert "facts" not in answer["points"][0]
    told = " ".join(history_text.render(answer, 80).split())
    assert "── another machine or set-up (kernel 6.1 → 6.6): a new series ──" in told


def test_runs_without_a_figure_stay_in_the_list() -> None:
    broken = [(run("run99", "20261102T000000Z"), (result(status="failed"),))]
    answer = history(runs([1e-3] * 2) + broken, CELL)
    assert [p["value"] is None for p in answer["points"]] == [False, False, True]
    assert "failed: It broke." in history_text.render(answer, 80)
    never = history(broken, CELL)
    assert history_text.render(never, 80).startswith("The latency was never measured")
    json.dumps(answer, allow_nan=False)


def test_the_overview_lists_what_has_a_history() -> None:
    both = [(r, (*found, result("small"))) for r, found in runs([1e-3] * 5 + [2e-3] * 5)]
    answer = overview([*both, (run("last", "20261103T000000Z"), (result("new"),))])
    assert [(c["cell"].split("/")[1], c["runs"], len(c["changes"])) for c in answer["cells"]] == [
        ("teacher", 10, 1), ("small", 10, 0),
    ]  # fmt: skip
    assert history_text.overview(answer, 100).startswith("1 cell of 2 changed over the runs.")
    assert "No cell has a history yet" in history_text.overview(overview(runs([1e-3])), 100)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = [
        (r, (result("n" * 200, seconds=s),)) for (r, _), s in zip(runs([1.0] * 8), [1e-3] * 4 + [2e-3] * 4, strict=True)
    ]
    answers = overview(long, ["x" * 150]), history(long, "n" * 200, ["x" * 150])
    for text in (history_text.overview(answers[0], width), history_text.render(answers[1], width)):
        assert all(len(line) <= width for line in text.splitlines()), text


def test_a_cell_is_found_by_any_part_that_tells_it() -> None:
    cells = ["net/a/fp32/ort@local/b1t1", "net/b/fp32/ort@local/b1t1"]
    assert matching(cells, cells[0]) == cells[0]
    assert matching(cells, "/b/") == cells[1]
    with pytest.raises(EdgebenchError, match="part of 2 cells"):
        matching(cells, "ort")
    with pytest.raises(EdgebenchError, match="Did you mean"):
        matching(cells, "net/c/fp32/ort@local/b1t1")


def test_runs_are_found_below_the_folder_in_the_order_of_time(tmp_path: Path) -> None:
    for folder, (one, results) in zip(("z", "a"), runs([1e-3, 2e-3]), strict=True):
        with create(tmp_path / folder, one) as made:
            for r in results:
                made.append(r)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    found, unread = found_runs([tmp_path, tmp_path / "a"])
    assert [r.id for r, _ in found] == ["run00", "run01"]
    assert len(unread) == 1
    assert "damaged" in unread[0]
    with pytest.raises(EdgebenchError, match="no folder"):
        found_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgebenchError, match="no run"):
        found_runs([tmp_path / "empty"])
