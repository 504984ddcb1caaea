"""How a budget is spent: every block has its share, and what one leaves goes to those after it."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgebench import measure, stats
from edgebench.ensemble import Ensemble
from edgebench.sampling import Sampling
from edgebench.schema import DEFAULT, QUICK


class Counted(Sampling):
    """Generations that take a second each and tell ratios that never become narrow, but those of the block "a"."""

    def __init__(self, names: str, budget: float, easy: str, monkeypatch: pytest.MonkeyPatch, spent: float = 0) -> None:
        self.now, self.easy, self.made = 0.0, easy, dict.fromkeys(names, 0)
        monkeypatch.setattr(measure, "monotonic", lambda: self.now)
        tracks = {n: SimpleNamespace(id=n, work=SimpleNamespace(baseline=n)) for n in names}
        protocol = replace(DEFAULT, budget_seconds=budget, attempts=1, most_generations=1000, cell_seconds=1e9)
        ensemble = SimpleNamespace(
            tracks=tracks, alive=list(tracks.values()), protocol=protocol, still=list, left_s=0.0,
            began=self.now, job=SimpleNamespace(spent_seconds=spent),
        )  # fmt: skip
        super().__init__(cast(Ensemble, ensemble), list)

    def _cut(self) -> list[list[str]]:
        return [[name] for name in self.made]

    def _generation(self, generation: int, attempt: int, tracks: Any, *, more: bool) -> int:
        self.now += 1.0
        for track in tracks:
            self.made[track.id] += 1
        return len(tracks)

    def _half_width(self, track: Any) -> float:
        return 0.001 if track.id in self.easy else 0.5

    def _usable(self, track: Any, attempt: int) -> int:
        return 99

    def _too_wide(self, track: Any) -> bool:
        return False


@pytest.mark.parametrize(
    ("easy", "made"),
    [
        ("", {"a": 10, "b": 10, "c": 10}),
        ("a", {"a": 5, "b": 12, "c": 13}),  # what the first leaves is shared by the others
    ],
)
def test_no_block_takes_the_time_of_those_after_it(
    easy: str, made: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Counted("abc", budget=30.0, easy=easy, monkeypatch=monkeypatch)
    sampling.run()
    assert sampling.made == made


@pytest.mark.parametrize(("spent", "made"), [(10.0, 20), (18.0, 12), (29.0, 10), (500.0, 10)])
def test_what_came_before_is_of_the_budget_but_a_third_is_for_measuring(
    spent: float, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Counted("a", budget=30.0, easy="", monkeypatch=monkeypatch, spent=spent)
    sampling.run()
    assert sampling.made == {"a": made}


def test_a_block_that_its_share_cut_short_goes_on_with_what_the_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Counted("abc", budget=30.0, easy="bc", monkeypatch=monkeypatch)
    sampling.run()
    assert sampling.made == {"a": 20, "b": 5, "c": 5}


@pytest.mark.parametrize(("budget", "made"), [(30.0, 2 * 5 + 5), (11.0, 2 * 5)])
def test_noisy_cells_are_measured_again_only_if_the_time_allows_an_attempt_that_counts(
    budget: float, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "pause", lambda seconds: None)
    sampling = Counted("ab", budget=budget, easy="ab", monkeypatch=monkeypatch)
    sampling.protocol = replace(sampling.protocol, attempts=2)
    sampling.ensemble.note = lambda text: None  # type: ignore[method-assign]
    monkeypatch.setattr(sampling, "_noisy", lambda: [sampling.ensemble.tracks["a"]])
    monkeypatch.setattr(sampling, "_last_before", lambda attempt, tracks: 5)
    sampling.run()
    assert sum(sampling.made.values()) == made


def test_only_a_cell_whose_slices_disagree_is_given_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Counted("ab", budget=30.0, easy="a", monkeypatch=monkeypatch)
    taken = {"a": [1.0] * 9, "b": [1.0, 2.0] * 9}
    given: dict[str, int] = {"a": 0, "b": 0}

    def one_slice(track: Any) -> None:
        given[track.id] += 1

    monkeypatch.setattr(sampling, "_slice", one_slice)
    settled = lambda track: stats.is_settled(taken[track.id][: given[track.id]])  # noqa: E731
    monkeypatch.setattr("edgebench.sampling._settled", settled)
    sampling.ensemble.random = random.Random(0)
    sampling.ensemble.guarded = lambda track, step: step(track)  # type: ignore[method-assign]
    sampling._rounds(list(sampling.ensemble.tracks.values()))
    assert given == {"a": DEFAULT.rounds, "b": DEFAULT.most_rounds}


def test_a_row_that_could_not_be_published_goes_on_though_every_ratio_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Counted("ab", budget=100.0, easy="ab", monkeypatch=monkeypatch)
    monkeypatch.setattr(sampling, "_cut", lambda: [["a", "b"]])
    monkeypatch.setattr(sampling, "_too_wide", lambda track: track.id == "a" and sampling.made["a"] < 9)
    sampling.run()
    assert sampling.made == {"a": 9, "b": 5}, "b rests, and what a told after nine could be published"


@pytest.mark.parametrize(("agree_after", "made"), [(2, 2), (3, 3), (99, 4)])
def test_a_first_look_takes_two_generations_and_more_only_where_they_disagree(
    agree_after: int, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Counted("a", budget=100.0, easy="", monkeypatch=monkeypatch)
    sampling.protocol = QUICK
    monkeypatch.setattr(sampling, "_half_width", lambda track: 0.5 if sampling.made["a"] >= agree_after else 2.0)
    sampling.run()
    assert sampling.made == {"a": made}
