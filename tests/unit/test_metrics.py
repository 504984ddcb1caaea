"""The metrics that drive a session, on sessions and clocks made for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.backend import Feeds, Outputs, Session
from edgebench.devices import sensors
from edgebench.devices.sensors import Sensor
from edgebench.measure import serve
from edgebench.metrics import Subject, Tools
from edgebench.metrics.accuracy import Accuracy, gate, relative_error, run_all
from edgebench.metrics.energy import LOADS, Energy
from edgebench.metrics.gpu import Gpu
from edgebench.metrics.offline import Offline
from edgebench.metrics.server import Server, poisson_schedule
from edgebench.metrics.sustained import Sustained, time_to_throttle
from edgebench.schema import DEFAULT, Artifact, Cell, TensorSpec, Work

CELL = Cell(model="m", recipe="r", backend="b", device="d")
WORK = Work(
    cell=CELL,
    artifact=Artifact(format="x", path="", sha256="0", size=1),
    data=Artifact(format="x", path="", sha256="0", size=1),
)


def test_a_runtime_without_device_timers_says_so() -> None:
    assert Gpu().figures(WORK, [{}], DEFAULT) == ()
    (told,) = Gpu().figures(WORK, [{"gpu": {"definitions": {}}}], DEFAULT)
    assert (told.metric, told.value, told.note) == ("gpu", None, "b has no device timers that it can be asked for")


class World:
    """Time that passes only while something works or sleeps."""

    def __init__(self) -> None:
        self.ns = 0

    def clock(self) -> int:
        self.ns += 50
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class Doubling(Session):
    """Answers twice its input and takes `cost` ns of its world's time."""

    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, 3)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, 3)),)

    def __init__(self, world: World, cost: int = 1_000_000) -> None:
        self.world, self.cost, self.batches = world, cost, []

    def run(self, feeds: Feeds) -> Outputs:
        self.world.ns += self.cost
        self.batches.append(len(feeds["x"]))
        return [feeds["x"] * 2]


def subject(batch: int = 1, count: int = 10, **more: Any) -> Subject:
    world = World()
    x = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    cell = Cell(model="m", recipe="r", backend="b", device="d", batch=batch)
    given: dict[str, Any] = {
        "labels": None, "reference": [x * 2], "parent": [], "baseline": {}, "tools": Tools(clock=world.clock, sleep=world.sleep),
        "session": Doubling(world),
    }  # fmt: skip
    return Subject(cell=cell, inputs={"x": x}, **{**given, **more})


@pytest.mark.parametrize("batch", [1, 3, 4, 10, 16])
def test_every_sample_is_answered_once_whatever_the_batch(batch: int) -> None:
    made = subject(batch)
    (outputs,) = run_all(made)
    assert np.array_equal(outputs, made.inputs["x"] * 2)
    assert set(made.session.batches) == {batch}  # type: ignore[attr-defined]


def test_accuracy_and_agreement_count_what_they_say() -> None:
    x = np.eye(4, 3, dtype=np.float32)
    made = subject(reference=[x * 2], labels=np.array([0, 1, 0, 0]), parent=[np.eye(4, 3)[[0, 1, 2, 1]]])
    made.inputs = {"x": x}
    found = Accuracy().observe(made)
    assert (found["n"], found["correct"], found["agree"]) == (4, 3, 3)
    assert found["gate"]["ok"]
    figures = {m.metric: m for m in Accuracy().figures(WORK, [{"accuracy": found}], DEFAULT)}
    assert figures["accuracy"].value == 0.75
    assert figures["accuracy"].interval is not None


def test_the_gate_knows_wrong_shapes_numbers_and_counts() -> None:
    right = [np.ones((4, 3), np.float32)]
    assert gate(right, right, "fp32") == {"ok": True, "error": 0.0, "tolerance": 1e-3, "why": ""}
    for wrong in ([right[0] * 1.01], [right[0][:, :2]], [right[0], right[0]], [right[0] * np.nan], [np.zeros((4, 3))]):
        verdict = gate(wrong, right, "fp32")
        assert not verdict["ok"]
        assert verdict["why"]
    assert gate([right[0] * 1.01], right, "int8")["ok"]
    assert not gate([right[0] * 1.5], right, "int8")["ok"]
    assert gate(right, [], "fp32")["error"] is None


def test_relative_error_is_blind_where_the_reference_is_not_finite() -> None:
    assert relative_error(np.array([1.0, 5.0]), np.array([1.0, np.inf])) == 0.0


def test_a_poisson_schedule_has_its_rate_and_its_seed() -> None:
    schedule = poisson_schedule(100.0, 5000, seed=1)
    assert schedule == poisson_schedule(100.0, 5000, seed=1) != poisson_schedule(100.0, 5000, seed=2)
    gaps = np.diff(schedule) / 1e9
    assert np.mean(gaps) == pytest.approx(0.01, rel=0.05)
    assert np.std(gaps) == pytest.approx(0.01, rel=0.07)


def test_an_open_loop_counts_the_wait_that_a_closed_loop_hides() -> None:
    world = World()
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        world.ns += 500_000_000 if calls == 50 else 1_000_000

    served = serve([call], world.clock, world.sleep, [i * 2_000_000 for i in range(400)])
    assert sum(ns > 100_000_000 for ns in served.latency_ns) > 150
    assert sum(ns > 100_000_000 for ns in served.service_ns) == 1
    assert max(served.late_ns) < 100_000


def test_the_server_scenario_queues_more_at_more_load() -> None:
    made = subject()
    record = Server().observe(made)
    found = {m.metric: m.value for m in Server().figures(WORK, [{"server": record}], DEFAULT)}
    assert (found["server_p99_30"] or 0) < (found["server_p99_60"] or 0) < (found["server_p99_80"] or 0)
    assert (found["server_p50_30"] or 0) >= 1e-3
    assert 0 < (found["server_rate"] or 0) < 1000


class Meter(Sensor):
    name, scope, kind, period = "meter", "wall", "counter", 0.1

    def __init__(self, world: World, session: Doubling, idle: Sequence[float]) -> None:
        self.world, self.session, self.idle = world, session, list(idle)

    def read(self) -> float:
        """`idle` watts, and two joules for each inference."""
        watts = self.idle[0] if self.world.ns < 20_000_000_000 else self.idle[1]
        return self.world.ns / 1e9 * watts + 2.0 * len(self.session.batches)


@pytest.mark.parametrize(("idle", "above"), [([3.0, 3.0], 2.0), ([3.0, 30.0], None)])
def test_energy_is_total_first_and_above_idle_only_when_idle_was_steady(idle: list[float], above: float | None) -> None:
    made = subject()
    world: World = made.session.world  # type: ignore[attr-defined]
    energy = Energy(lambda: [Meter(world, made.session, idle)])  # type: ignore[arg-type]
    record = energy.observe(made)
    found = {m.metric: m for m in energy.figures(WORK, [{"energy": record}], DEFAULT)}
    total, net = found["energy_wall"], found["energy_wall_above_idle"]
    assert total.unit == "J"
    if above is None:
        assert net.value is None
        assert "drifted" in net.note
    else:
        assert total.value == pytest.approx(2.0 + 3.0 * 1e-3, rel=0.02)
        assert net.value == pytest.approx(above, rel=0.02)


def test_without_a_meter_there_is_no_energy() -> None:
    record = Energy(lambda: []).observe(subject())
    (said,) = Energy().figures(WORK, [{"energy": record}], DEFAULT)
    assert (said.value, said.note) == (None, "no meter was found")


def test_the_meters_are_those_that_the_devices_profile_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def find(root: Path = Path("/"), names: object = ()) -> tuple[()]:
        asked.append(names)
        return ()

    monkeypatch.setattr(sensors, "find", find)
    made = subject()
    Energy().observe(made)
    Energy().observe(replace(made, protocol=replace(made.protocol, sensors=("rapl",))))
    assert asked == [(), ("rapl",)]


def test_the_time_to_throttle_is_that_of_a_counter_or_of_a_lasting_slowdown() -> None:
    def windows(medians: Sequence[int], throttle_at: int = -1) -> list[dict[str, Any]]:
        return [
            {"at": 5.0 * i, "median_ns": m, "throttle": {"core": 1} if i == throttle_at else {}}
            for i, m in enumerate(medians)
        ]

    assert time_to_throttle(windows([100] * 8)) == (None, "did not throttle")
    at, why = time_to_throttle(windows([100, 100, 110, 110, 110, 110]))
    assert (at, why.split(",")[0]) == (10.0, "inferred")
    assert time_to_throttle(windows([100, 150, 100, 100, 100]))[0] is None
    assert time_to_throttle(windows([100] * 8, throttle_at=3)) == (15.0, "the throttle counter moved")


def test_calls_that_wait_for_a_neighbour_are_no_throttling() -> None:
    """Half the calls take twice as long from the second window on, and the others are as fast as ever."""
    artifact = Artifact(format="onnx", path="m.onnx", sha256="0", size=1)
    work = Work(cell=Cell(model="m", recipe="r", backend="b", device="d"), artifact=artifact, data=artifact)
    windows = [{"at": 5.0 * i, "median_ns": 10**6 * (1 + (i > 0)), "fast_ns": 10**6, "calls": 9} for i in range(6)]
    found = Sustained().figures(work, [{"sustained": {"seconds": 30, "windows": windows}}], DEFAULT)
    assert [m.value for m in found] == [1e-3, 2e-3, None]
    assert found[2].note == "did not throttle"


class Sized(Doubling):
    """Takes a fixed time and a little for each item: a larger batch pays, until it does not."""

    def __init__(self, world: World, batch: int) -> None:
        super().__init__(world)
        self.cost = 1_000_000 + (10_000 if batch <= 8 else 200_000) * batch


class OneAtATime(threading.Thread):
    """A thread that runs to its end when it is started: the made-up clock has one time only."""

    def start(self) -> None:
        self.run()

    def join(self, timeout: float | None = None) -> None:
        pass


def test_offline_finds_the_knee_over_batches_and_measures_it_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = subject()
    world: World = made.session.world  # type: ignore[attr-defined]
    made.reopen = lambda batch: Sized(world, batch)
    monkeypatch.setattr(threading, "Thread", OneAtATime)
    record = Offline().observe(made)
    assert [p["batch"] for p in record["batches"]] == [1, 2, 4, 8, 16, 32, 64]
    best = max(record["batches"], key=lambda p: p["rates"][0])
    assert best["batch"] == 8
    assert record["knee"]["batch"] == 8
    found = {m.metric: m for m in Offline().figures(WORK, [{"offline": record}], DEFAULT)}
    assert found["offline_batch_8"].value == pytest.approx(8 / 1.08e-3, rel=0.01)
    assert found["offline_knee"].n == 3
    assert "batch 8" in found["offline_knee"].phase


def test_offline_keeps_the_batch_of_a_network_that_has_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = subject(batch=2)
    made.session.inputs = (TensorSpec(name="x", dtype="float32", shape=(2, 3)),)
    made.reopen = lambda batch: made.session
    monkeypatch.setattr(threading, "Thread", OneAtATime)
    record = Offline().observe(made)
    assert [p["batch"] for p in record["batches"]] == [2]


def test_windows_are_kept_for_an_outside_meter_only_when_it_was_announced() -> None:
    assert Energy(lambda: []).observe(subject()) == {"meters": []}
    made = subject()
    made.protocol = replace(DEFAULT, external_meter=True)
    record = Energy(lambda: []).observe(made)
    assert len(record["epochs"]) == LOADS + 2
    assert len(record["inferences"]) == LOADS
    (said,) = Energy().figures(WORK, [{"energy": record}], DEFAULT)
    assert said.value is None
    assert "edgebench energy RUN" in said.note
