"""A campaign and its workers, as real processes, on networks of the fake runtime that do what their file says."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgebench import lines
from edgebench.schema import Artifact, Cell, Job, Options, Protocol, Result, TensorSpec, Work, from_json, to_json
from edgebench.testing import fake_artifact

FAST = Protocol(
    least_generations=2,
    most_generations=2,
    rounds=2,
    slice_seconds=0.02,
    warmup_seconds=0.02,
    warmup_inferences=5,
    warmup_cap=0.3,
    attempts=1,
    command_timeout=20.0,
    withhold_half_width=10.0,
)
METRICS = ("latency", "throughput", "memory", "accuracy")
RANDOM = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))


def work(folder: Path, name: str, behave: Mapping[str, Any] | None = None, **cell: Any) -> Work:
    artifact = fake_artifact(folder, {"sleep": 0.001, **(behave or {})}, name=name)
    asked = Cell(model="fake", recipe=name, backend="fake", device="local", **cell)
    return Work(cell=asked, artifact=artifact, data=RANDOM)


def campaign(
    works: Iterable[Work],
    protocol: Protocol = FAST,
    metrics: tuple[str, ...] = METRICS,
    earlier: Iterable[Mapping[str, Any]] = (),
) -> tuple[dict[str, Result], list[dict[str, Any]]]:
    child = lines.spawn([sys.executable, "-m", "edgebench.campaign"])
    child.send(to_json(Job(id="test", work=tuple(works), metrics=metrics, protocol=protocol)))
    for record in earlier:
        child.send(record)
    child.end_input()
    events = []
    try:
        while not events or events[-1]["event"] != "done":
            try:
                events.append(child.receive(120))
            except lines.ChildDied as death:
                pytest.fail(f"{death}: {death.stderr}")
            assert events[-1]["event"] != "failed", events[-1]
    finally:
        child.kill()
        child.close()
    found = [from_json(Result, e["result"]) for e in events if e["event"] == "result"]
    assert len({r.cell.id for r in found}) == len(found), "a cell ended twice"
    return {r.cell.recipe: r for r in found}, events


def test_a_cell_that_works_has_all_its_figures(tmp_path: Path) -> None:
    results, events = campaign([work(tmp_path, "good", {"sleep": 0.005})], replace(FAST, slice_seconds=0.1))
    good = results["good"]
    assert good.status == "ok"
    found = {m.metric: m for m in good.measurements}
    assert {"latency", "latency_p90", "latency_p99", "throughput", "load", "first_inference", "import", "size"} <= set(
        found
    )
    assert found["latency_p99"].value is None
    assert found["latency_p99"].note == "n < 662"
    median = found["latency"].value or pytest.fail("no latency")
    assert 0.005 <= median < 0.008
    assert found["latency"].interval is not None
    assert 100 < (found["throughput"].value or 0) < 200
    assert good.effective["precision"] == "fp32"
    assert "isolation" in good.environment
    records = [e["record"] for e in events if e["event"] == "record"]
    assert sorted(r["generation"] for r in records) == [0, 1, 2]
    assert all(len(r["slices"]) == FAST.rounds for r in records if r["generation"])


MISCHIEF = {
    "segfault": ({"segfault_at": "run"}, "SIGSEGV"),
    "late-segfault": ({"segfault_at": "run", "after": 40}, "SIGSEGV"),
    "abort": ({"abort_at": "open"}, "SIGABRT"),
    "exit": ({"exit_at": "run"}, "exit status 3"),
    "raise": ({"raise_at": "run"}, "RuntimeError: the fake runtime was told to fail"),
    "close": ({"segfault_at": "close"}, "SIGSEGV"),
    "precision": ({"precision": "bf16"}, "fp32 was asked for, and the runtime ran bf16"),
}


def test_each_kind_of_ruin_costs_one_row_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    works = [work(tmp_path, "first"), *(work(tmp_path, n, b) for n, (b, _) in MISCHIEF.items()), work(tmp_path, "last")]
    results, _ = campaign(works)
    assert set(results) == {w.cell.recipe for w in works}
    for name, (_, reason) in MISCHIEF.items():
        assert results[name].status == "failed", name
        assert reason in results[name].reason, name
    assert results["first"].status == results["last"].status == "ok"


def test_garbage_on_stdout_spoils_nothing(tmp_path: Path) -> None:
    results, _ = campaign([work(tmp_path, "noisy", {"print_at": "run"})])
    assert results["noisy"].status == "ok"


def test_a_hang_ends_at_the_deadline(tmp_path: Path) -> None:

    results, _ = campaign(
        [work(tmp_path, "hang", {"hang_at": "run"}), work(tmp_path, "good")], replace(FAST, command_timeout=3.0)
    )
    assert "hung: no answer within 3 s" in results["hang"].reason
    assert results["good"].status == "ok"


def test_a_runtime_that_eats_all_memory_costs_one_row(tmp_path: Path) -> None:
    limited = replace(FAST, memory_limit=1 << 30, command_timeout=60.0)
    results, _ = campaign([work(tmp_path, "eat", {"eat_at": "run"}), work(tmp_path, "good")], limited)
    assert results["eat"].status == "failed"
    assert "of memory, over the limit of 1.0 GiB" in results["eat"].reason
    assert results["good"].status == "ok"


def with_reference(folder: Path, name: str, behave: Mapping[str, Any]) -> Work:
    import numpy as np

    from edgebench.testing import fake_outputs

    made = work(folder, name, behave)
    inputs = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    reference = fake_outputs(made.artifact, {"input": inputs})[0]
    path = folder / "data.npz"
    np.savez(
        path, **{"input:input": inputs, "labels": reference.argmax(1), "reference": reference, "parent": reference}
    )

    return replace(made, data=Artifact(format="npz", path=str(path), sha256="0", size=0))


def test_right_outputs_pass_the_gate_and_count_as_accurate(tmp_path: Path) -> None:
    results, _ = campaign([with_reference(tmp_path, "right", {})])
    right = results["right"]
    assert right.status == "ok"
    accuracy, agreement = right.get("accuracy"), right.get("agreement")
    assert accuracy is not None
    assert agreement is not None
    assert (accuracy.value, accuracy.n, agreement.value) == (1.0, 40, 1.0)


@pytest.mark.parametrize("behave", [{"wrong": 0.05}, {"cached": True}])
def test_wrong_and_cached_outputs_are_refused_by_the_gate(tmp_path: Path, behave: dict[str, Any]) -> None:
    results, _ = campaign([with_reference(tmp_path, "wrong", behave)])
    assert results["wrong"].status == "failed"
    assert "correctness gate" in results["wrong"].reason


def test_without_a_reference_the_first_runtime_is_the_reference(tmp_path: Path) -> None:

    right = work(tmp_path, "right")
    wrong = work(tmp_path, "wrong", {"wrong": 0.05})
    # The same file as far as the campaign knows: two runtimes that answer differently.
    wrong = replace(wrong, artifact=replace(wrong.artifact, sha256=right.artifact.sha256))
    results, _ = campaign([right, wrong])
    assert results["right"].status == "ok"
    assert "with fake as the reference" in results["wrong"].reason


def test_a_campaign_goes_on_from_the_records_of_an_earlier_one(tmp_path: Path) -> None:
    works = [work(tmp_path, "a"), work(tmp_path, "b")]
    _, events = campaign(works)
    records = [e["record"] for e in events if e["event"] == "record"]
    earlier = [r for r in records if r["generation"] < 2]
    results, events = campaign(works, earlier=earlier)
    fresh = [e["record"] for e in events if e["event"] == "record"]
    assert {(r["cell"], r["generation"]) for r in fresh} == {(w.cell.id, 2) for w in works}
    assert all(r.status == "ok" and r.noise["generations"] == 2 for r in results.values())


def test_a_slower_variant_is_called_slower_and_the_baseline_is_not_compared_with_itself(tmp_path: Path) -> None:

    base = work(tmp_path, "base", {"sleep": 0.004})
    slow = replace(work(tmp_path, "slow", {"sleep": 0.008}), baseline=base.cell.id)
    results, _ = campaign(
        [replace(base, baseline=base.cell.id), slow],
        replace(FAST, least_generations=4, most_generations=4, slice_seconds=0.1),
    )
    assert results["base"].get("speedup") is None
    speedup = results["slow"].get("speedup")
    assert speedup is not None
    assert speedup.note == "slower"
    assert 0.45 < (speedup.value or 0) < 0.55


def test_the_scenarios_run_in_workers_of_their_own(tmp_path: Path) -> None:
    results, events = campaign(
        [work(tmp_path, "served", {"sleep": 0.0005})], metrics=(*METRICS, "multistream", "profile")
    )
    found = {m.metric: m for m in results["served"].measurements}
    assert 0.004 < (found["multistream_p99"].value or 0) < 0.1
    apart = [e["record"] for e in events if e["event"] == "record" and e["record"]["generation"] < 0]
    assert {name for r in apart for name in ("multistream", "profile") if name in r} == {"multistream", "profile"}


def test_peak_memory_is_the_model_s_and_not_the_harness_s(tmp_path: Path) -> None:
    held = 64 << 20
    wide = (
        TensorSpec(name="input", dtype="float32", shape=(None, 1 << 20)),
    )  # 16 inputs of 4 MiB, drawn by the worker
    big = fake_artifact(tmp_path, {"memory": held}, name="big")
    drawn = fake_artifact(
        tmp_path, {}, inputs=wide, outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 1)),), name="drawn"
    )
    cells = [Cell(model="fake", recipe=n, backend="fake", device="local") for n in ("big", "drawn")]
    works = [Work(cell=c, artifact=a, data=RANDOM) for c, a in zip(cells, (big, drawn), strict=True)]
    results, _ = campaign(works)
    peaks = {name: next(m.value for m in r.measurements if m.metric == "memory_peak") for name, r in results.items()}
    assert held <= (peaks["big"] or 0) < held + (8 << 20)
    assert (peaks["drawn"] or 0) < 40 << 20  # its weights and one batch; not the 64 MiB of all inputs
