"""From made-up records to figures: what is clean, what is paired, what is withheld, and what is called faster."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from edgebench import figures, stats
from edgebench.codec import Options
from edgebench.metrics.latency import Latency, judge, slice_medians, timed
from edgebench.metrics.sustained import Sustained
from edgebench.schema import DEFAULT, Artifact, Cell, Result, Work

ARTIFACT = Artifact(format="onnx", path="m.onnx", sha256="0", size=1000)
PROTOCOL = replace(DEFAULT, least_generations=5)


def work(recipe: str = "base", baseline: str | None = None) -> Work:
    cell = Cell(model="m", recipe=recipe, backend="b", device="d")
    return Work(cell=cell, artifact=ARTIFACT, data=ARTIFACT, baseline=baseline or cell.id)


def taken(walls: Sequence[int], delays: Sequence[int] | None = None, drop: int = 0, **evidence: Any) -> dict[str, Any]:
    delays = delays or [0] * len(walls)
    groups = [[1, i % 16, w, d, 0, 0] for i, (w, d) in enumerate(zip(walls, delays, strict=True))]
    return {"wall_ns": list(walls), "groups": groups, "drop": drop, "evidence": evidence, "window": [0.0, 1.0]}


def record(made: Work, generation: int, *slices: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"cell": made.cell.id, "generation": generation, "slices": list(slices), "load_s": 0.1, **more}


def campaign(made: Work, scale: float, seed: int, generations: int = 6, noise: float = 0.003) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    out = [record(made, 0)]
    for g in range(1, generations + 1):
        level = scale * draw.gauss(1, noise)
        out.append(
            record(made, g, *(taken([round(1e6 * level * draw.gauss(1, 0.01)) for _ in range(30)]) for _ in range(4)))
        )
    return out


def conclude(
    records: Mapping[str, Sequence[Any]], *works: Work, environment: Mapping[str, Any] | None = None
) -> list[Result]:
    book = figures.Book(r for each in records.values() for r in each)
    return figures.conclude(works, book, {"latency": Latency()}, PROTOCOL, Options(environment or {}))


def test_only_samples_that_were_not_made_to_wait_make_the_median() -> None:
    walls = [1_000_000] * 13 + [9_000_000] * 8
    found = judge(record(work(), 1, taken(walls, [0] * 13 + [5_000_000] * 8)), threads=1)
    assert found is not None
    assert (found.calls, found.clean) == (18, 10)  # a slice begins cold: its first three are none
    assert found.median == pytest.approx(1e-3)
    assert found.all_median == pytest.approx(1e-3)


def test_the_first_samples_of_a_slice_are_dropped_but_still_spoil_their_followers() -> None:
    slow_start = taken([5_000_000, 5_000_000, *[1_000_000] * 8], drop=2)
    found = judge(record(work(), 1, slow_start), threads=1)
    assert found is not None
    assert found.calls == 8
    assert found.median == pytest.approx(1e-3)


def test_calls_right_after_another_program_had_the_core_do_not_count_though_they_never_waited() -> None:
    """On a full machine each turn of 3 ms begins with another's caches: most short calls wait for nothing, and mislead."""
    turn = [900_000, 700_000, 600_000, 500_000, 400_000, 400_000]  # the last one is cut short by the next switch
    waits = [0, 0, 0, 0, 0, 3_000_000]
    found = judge(record(work(), 1, taken(turn * 10, waits * 10)), threads=1)
    assert found is not None
    assert found.median == pytest.approx(4e-4)
    assert found.clean == 10  # one a turn
    assert found.clean / found.calls < 0.3


def test_a_slice_from_which_the_hypervisor_took_time_has_no_clean_sample() -> None:
    found = judge(record(work(), 1, taken([1_000_000] * 10, steal_s=0.01)), threads=1)
    assert found is not None
    assert found.clean == 0
    assert found.median is None


def test_a_slice_says_the_median_of_its_clean_calls_or_of_all_where_few_are_clean() -> None:
    ms = 1_000_000
    clean_first = taken([ms] * 9 + [9 * ms] * 8, [0] * 9 + [5 * ms] * 8)
    few = taken([ms] * 6 + [9 * ms] * 4, [0] * 6 + [5 * ms] * 4)
    assert slice_medians(record(work(), 1, clean_first, few), threads=1) == [ms, 9 * ms]


def test_a_generation_whose_slices_disagree_says_nothing_and_is_counted() -> None:
    made = work()
    torn = record(made, 6, *(taken([1_000_000 * k] * 20) for k in (1, 1, 2, 2, 1, 2, 1, 2)))
    (result,) = conclude({"base": [*campaign(made, 1.0, seed=1, generations=5), torn]}, made)
    assert result.noise["unsettled"] == 1
    assert result.noise["generations"] == 6
    latency = result.get("latency")
    assert latency is not None
    assert len(latency.samples) == 5
    assert latency.value == pytest.approx(1e-3, rel=0.01)


def test_the_interval_of_a_repaired_cell_allows_for_five_per_cent_more() -> None:
    made = work()
    calls = [1_000_000] * 40 + [3_000_000] * 60
    delays = [0] * 40 + [2_000_000] * 60
    records = [record(made, g, *(taken([w + g for w in calls], delays) for _ in range(4))) for g in range(1, 7)]
    (result,) = conclude({"base": records}, made)
    assert result.noise["state"] == "repaired"
    latency = result.get("latency")
    assert latency is not None
    assert latency.interval is not None
    assert latency.interval.low == pytest.approx(1e-3 / 1.05, rel=0.001)
    assert latency.interval.high == pytest.approx(1e-3 * 1.05, rel=0.001)


def test_canaries_are_told_as_how_much_longer_than_the_fastest_they_took() -> None:
    sung = [{"hash_ns": h, "copy_ns": 2_000_000} for h in (100, 120, 150)]
    one = record(work(), 1, *(taken([1] * 5, canaries=c) for c in sung))
    assert figures.canaries([one]) == pytest.approx({"hash": 0.2, "copy": 0.0})
    assert figures.canaries([record(work(), 1, taken([1] * 5))]) == {}


def test_the_last_attempt_counts_and_the_check_does_not() -> None:
    made = work()
    records = [record(made, 0), record(made, 1, taken([1])), record(made, 2, taken([1]), attempt=1), record(made, -1)]
    assert [r["generation"] for r in timed(records)] == [2]


def test_an_attempt_that_was_cut_off_does_not_replace_the_one_before_it() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {base.cell.id: campaign(base, 1.0, 1), fast.cell.id: campaign(fast, 0.8, 2)}
    for own in records.values():
        own.append({**own[1], "generation": 7, "attempt": 1})
    results = conclude(records, base, fast)
    assert {r.noise["state"] for r in results} == {"valid"}
    assert [r.noise["generations"] for r in results] == [6, 6]
    speedup = results[1].get("speedup")
    assert speedup is not None
    assert (speedup.note, speedup.n) == ("faster", 6)


def spells(made: Work, scale: float, seed: int, generations: int = 6) -> list[dict[str, Any]]:
    """A neighbour that takes half of the machine in some rounds: the same rounds for whoever has the same seed."""
    slow, draw = random.Random(seed), random.Random(scale)
    out = [record(made, 0)]
    for g in range(1, generations + 1):
        rounds = slow.sample([1.0, 1.0, 1.0, 1.8, 1.8, 1.8, 1.0, 1.8], 8)
        level = scale * draw.gauss(1, 0.003)
        out.append(
            record(made, g, *(taken([round(1e6 * r * level * draw.gauss(1, 0.01)) for _ in range(30)]) for r in rounds))
        )
    return out


def test_what_comes_and_goes_beside_both_leaves_their_ratio_and_takes_the_latency() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {base.cell.id: spells(base, 1.0, seed=1), fast.cell.id: spells(fast, 0.8, seed=1)}
    first, second = conclude(records, base, fast)
    assert (first.noise["state"], second.noise["state"]) == ("noisy", "swayed")
    speedup, latency = second.get("speedup"), second.get("latency")
    assert speedup is not None
    assert speedup.interval is not None
    assert (speedup.note, speedup.n) == ("faster", 6)
    assert speedup.interval.low < 1.25 < speedup.interval.high < 1.28
    assert latency is not None
    assert (latency.value, latency.note) == (None, "swayed: it swayed within 5 of 5 generations or more")
    assert second.noise["why"] == "it swayed within 5 of 5 generations or more"


def test_a_latency_that_no_two_processes_agree_on_is_withheld_though_its_ratio_is_known() -> None:
    base, fast = work(), work("fast", work().cell.id)

    def apart(made: Work, scale: float) -> list[dict[str, Any]]:
        levels = [scale * 1e6 * 5 ** (g % 2) * (1 + g / 1000) for g in range(1, 7)]
        slices = [[taken([round(level)] * 30) for _ in range(4)] for level in levels]
        return [record(made, 0), *(record(made, g, *each) for g, each in enumerate(slices, start=1))]

    _, second = conclude({base.cell.id: apart(base, 1.0), fast.cell.id: apart(fast, 0.8)}, base, fast)
    speedup, latency = second.get("speedup"), second.get("latency")
    assert speedup is not None
    assert latency is not None
    assert speedup.note == "faster"
    assert latency.value is None
    assert "not known to a factor of two" in latency.note


def test_a_ratio_whose_rounds_disagree_is_none() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {base.cell.id: spells(base, 1.0, seed=1), fast.cell.id: spells(fast, 0.8, seed=2)}
    second = conclude(records, base, fast)[1]
    assert second.noise["state"] == "noisy"
    speedup = second.get("speedup")
    assert speedup is not None
    assert speedup.value is None


def test_a_true_difference_is_called_and_the_interval_holds_it() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {base.cell.id: campaign(base, 1.0, 1), fast.cell.id: campaign(fast, 0.8, 2)}
    result = conclude(records, base, fast)[1]
    speedup = result.get("speedup")
    assert speedup is not None
    assert speedup.interval is not None
    assert speedup.note == "faster"
    assert speedup.interval.low < 1.25 < speedup.interval.high
    assert result.noise["state"] == "valid"


def test_the_same_network_is_called_the_same_and_the_baseline_has_no_speedup() -> None:
    base, again = work(), work("again", work().cell.id)
    records = {base.cell.id: campaign(base, 1.0, 1), again.cell.id: campaign(again, 1.0, 2)}
    results = conclude(records, base, again)
    assert results[0].get("speedup") is None
    speedup = results[1].get("speedup")
    assert speedup is not None
    assert speedup.note == "same"


def test_many_comparisons_of_nothing_do_not_make_a_difference() -> None:
    base = work()
    others = [work(f"v{i}", base.cell.id) for i in range(30)]
    records = {base.cell.id: campaign(base, 1.0, 99, generations=5)}
    records |= {o.cell.id: campaign(o, 1.0, i, generations=5, noise=0.02) for i, o in enumerate(others)}
    verdicts = [m.note for r in conclude(records, base, *others)[1:] if (m := r.get("speedup")) and m.value is not None]
    assert "faster" not in verdicts
    assert "slower" not in verdicts


def test_a_noisy_cell_keeps_its_samples_and_loses_its_figures() -> None:
    made = work()
    records = [record(made, 0)]
    records += [record(made, g, taken([1_000_000] * 60, [900_000] * 55 + [0] * 5)) for g in range(1, 7)]
    (result,) = conclude({made.cell.id: records}, made)
    latency = result.get("latency")
    assert latency is not None
    assert result.status == "ok"
    assert result.noise["state"] == "noisy"
    assert latency.value is None
    assert latency.note.startswith("noisy: ")
    assert result.noise["calls"] == 342
    load = result.get("load")
    assert load is not None
    assert load.value == pytest.approx(0.1)


def test_a_row_without_a_ratio_is_withheld_too_where_its_own_interval_is_wide() -> None:
    alone = work("alone")
    (result,) = conclude({"alone": campaign(alone, 1.0, seed=1, noise=0.2)}, alone)
    assert result.noise["state"] == "noisy"
    assert "narrow enough" in result.noise["why"]
    (steady,) = conclude({"alone": campaign(alone, 1.0, seed=1)}, alone)
    assert steady.noise["state"] == "valid"


def test_throttling_during_a_slice_is_never_valid() -> None:
    made = work()
    records = [record(made, 0)]
    records += [
        record(made, g, *(taken([1_000_000] * 30, throttle={"core": 1}) for _ in range(4))) for g in range(1, 7)
    ]
    (result,) = conclude({made.cell.id: records}, made)
    assert result.noise["state"] == "throttled"


def test_no_p99_under_662_samples_and_no_p90_under_64() -> None:
    made = work()
    few = conclude({made.cell.id: [record(made, 1, taken([1_000_000] * 63))]}, made)[0]
    enough = conclude({made.cell.id: [record(made, 1, taken([1_000_000] * 662))]}, made)[0]
    notes = {m.metric: m.note for m in few.measurements}
    assert notes["latency_p90"].endswith(
        "the time given was enough for 1 of at least 5 generations: give more, with --budget"
    )
    bare = {m.metric: m for m in Latency().figures(made, [record(made, 1, taken([1_000_000] * 63))], PROTOCOL)}
    assert (bare["latency_p90"].value, bare["latency_p90"].note) == (None, "n < 64")
    full = {m.metric: m for m in Latency().figures(made, [record(made, 1, taken([1_000_000] * 662))], PROTOCOL)}
    assert full["latency_p99"].value == pytest.approx(1e-3)
    assert enough.cell == made.cell


def test_a_baseline_that_was_measured_again_is_still_compared_with_what_ran_beside_it() -> None:
    base, fast = work(), work("fast", work().cell.id)
    again = [{**r, "generation": r["generation"] + 6, "attempt": 1} for r in campaign(base, 1.3, 3)[1:]]
    records = {base.cell.id: campaign(base, 1.0, 1) + again, fast.cell.id: campaign(fast, 0.8, 2)}
    speedup = conclude(records, base, fast)[1].get("speedup")
    assert speedup is not None
    assert speedup.value == pytest.approx(1.25, rel=0.02)


def test_without_a_generation_side_by_side_the_reason_is_told() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {base.cell.id: [record(base, 0)], fast.cell.id: campaign(fast, 0.8, 2)}
    speedup = conclude(records, fast)[0].get("speedup")
    assert speedup is not None
    assert speedup.value is None
    assert "baseline" in speedup.note


def test_figures_made_twice_are_identical() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {base.cell.id: campaign(base, 1.0, 1), fast.cell.id: campaign(fast, 0.8, 2)}
    results = conclude(records, base, fast)
    samples = [r for own in records.values() for r in own]
    assert figures.rebuild(results, samples, {"latency": Latency()}, PROTOCOL) == tuple(results)


def repeated(generation: int, fresh: Sequence[float], same: Sequence[float]) -> dict[str, Any]:
    times = {"fresh_ns": [round(t * 1e6) for t in fresh], "same_ns": [round(t * 1e6) for t in same]}
    return record(work(), generation, taken([10**6] * 30), repeat=times)


@pytest.mark.parametrize(
    ("fresh", "marked"),
    [(1.0, False), (1.1, True), (1.02, False)],
    ids=["no faster", "10 % faster", "within what a processor's cache does"],
)
def test_a_repeated_input_that_is_clearly_faster_is_marked(fresh: float, marked: bool) -> None:
    draw = random.Random(1)
    times = [[fresh * draw.gauss(1, 0.01) for _ in range(10)] for _ in range(2)]
    (result,) = conclude({work().cell.id: [repeated(g, t, [1.0] * 10) for g, t in enumerate(times, start=1)]}, work())
    assert result.effective["repeating"]["value"] == pytest.approx(fresh, rel=0.02)
    assert figures.caches(result.effective) is marked


def test_a_machine_that_sways_by_half_accuses_one_honest_cell_of_hundreds() -> None:
    draw = random.Random(2)

    def swaying(generation: int) -> dict[str, Any]:
        spell, fresh, same = 1.0, [], []
        for _ in range(10):
            spell = draw.choice((spell, spell, 1.0, 1.5, 2.2))
            fresh.append(spell * draw.choice((1.0, 1.0, 1.4)))
            same.append(spell * draw.choice((1.0, 1.0, 1.4)))
        return repeated(generation, fresh, same)

    honest = [figures.repeating([swaying(1), swaying(2)]) for _ in range(400)]
    assert sum(figures.caches(found._asdict()) for found in honest if found) <= 2


def test_too_few_pairs_accuse_nobody() -> None:
    found = figures.repeating([repeated(1, [2.0] * 4, [1.0] * 4), repeated(2, [2.0] * 4, [1.0] * 4)])
    assert found == stats.Estimate(2.0, None, None)


def test_the_book_judges_a_generation_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    monkeypatch.setattr(figures, "judge", lambda r, threads, isolated: judged.append(r) or judge(r, threads, isolated))
    book = figures.Book(campaign(work(), 1.0, seed=1))
    first = book.judged(work().cell.id, 1)
    assert book.judged(work().cell.id, 1) == first
    assert len(judged) == len(first) == 6


def test_a_cell_in_two_blocks_says_so_and_is_paired_within_each() -> None:
    base, other = work(), work("other", baseline=work().cell.id)

    def second_block(made: Work, scale: float) -> list[dict[str, Any]]:
        return [{**r, "generation": r["generation"] + 1000} for r in campaign(made, scale, seed=3)[1:]]

    records = {
        base.cell.id: [*campaign(base, 1.0, seed=1), *second_block(base, 2.0)],
        other.cell.id: [record(other, 0), *second_block(other, 1.0)],
    }
    first, second = conclude(records, base, other)
    assert (first.noise["blocks"], second.noise["blocks"]) == ([1, 2], [2])
    speedup = second.get("speedup")
    assert speedup is not None
    assert speedup.n == 6
    assert speedup.value == pytest.approx(2.0, rel=0.02)


def test_fewer_generations_than_asked_for_are_told_as_that_with_their_wide_interval() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {
        base.cell.id: campaign(base, 1.0, seed=1, generations=3),
        fast.cell.id: campaign(fast, 0.5, seed=2, generations=3),
    }
    for result in conclude(records, base, fast):
        assert result.noise["state"] == "unverified"
        assert result.noise["why"].startswith("the time given was enough for 3 of at least 5 generations")
        latency = result.get("latency")
        assert latency is not None
        assert latency.interval is not None
    torn = [record(fast, 0), *campaign(fast, 0.5, seed=2, generations=2)[1:], record(fast, 3, taken([10**6], [10**9]))]
    _, second = conclude({base.cell.id: records[base.cell.id], fast.cell.id: torn}, base, fast)
    assert second.noise["state"] == "noisy"


def test_a_cell_whose_time_never_came_is_told_as_that() -> None:
    made = work()
    (result,) = conclude({made.cell.id: [record(made, 0)]}, made)
    assert result.noise["state"] == "noisy"
    assert result.noise["why"].startswith("the time given was enough for 0 of at least 5 generations")


def test_one_generation_is_unverified_and_its_row_says_that_no_two_ran_beside_the_baseline() -> None:
    base, fast = work(), work("fast", work().cell.id)
    records = {w.cell.id: campaign(w, 1.0, seed=i, generations=1) for i, w in enumerate((base, fast))}
    book = figures.Book(r for each in records.values() for r in each)
    protocol = replace(PROTOCOL, least_generations=1)
    results = figures.conclude((base, fast), book, {"latency": Latency()}, protocol, Options({}))
    assert {r.noise["state"] for r in results} == {"unverified"}
    speedup = results[1].get("speedup")
    assert speedup is not None
    assert speedup.note == "fewer than two generations ran beside the baseline's"


def test_a_noisy_row_tells_no_sustained_latency_either() -> None:
    made = work()
    windows = [{"at": 5.0 * i, "median_ns": 10**6, "fast_ns": 10**6, "calls": 9} for i in range(6)]
    records = [
        *campaign(made, 1.0, seed=1, generations=1),
        record(made, -5, sustained={"seconds": 30, "windows": windows}),
    ]
    book = figures.Book(records)
    metrics = {"latency": Latency(), "sustained": Sustained()}
    (result,) = figures.conclude([made], book, metrics, PROTOCOL, Options({}))
    assert result.noise["state"] == "noisy"
    sustained = result.get("latency_sustained")
    assert sustained is not None
    assert sustained.value is None
    assert sustained.note.startswith("noisy: ")


def test_nothing_is_called_faster_than_a_baseline_that_is_withheld() -> None:
    base, fast = work(), work("fast", work().cell.id)
    disturbed = [
        record(base, g, *(taken([1_000_000] * 23, [0] * 7 + [5_000_000] * 16) for _ in range(4))) for g in range(1, 7)
    ]
    records = {base.cell.id: [record(base, 0), *disturbed], fast.cell.id: campaign(fast, 0.5, seed=2)}
    first, second = conclude(records, base, fast)
    assert (first.noise["state"], second.noise["state"]) == ("noisy", "valid")
    speedup = second.get("speedup")
    assert speedup is not None
    assert (speedup.value, speedup.interval) == (None, None)
    assert speedup.note.startswith("noisy: its baseline: ")
    latency = second.get("latency")
    assert latency is not None
    assert latency.value is not None
