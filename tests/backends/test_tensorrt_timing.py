"""LOGIC TESTS of the timing loops on a fake device whose copies take 0.25 ms and whose inferences take 1 ms."""

from __future__ import annotations

from typing import Any

import pytest
import tensorrt_fake as fake
from edgebench_tensorrt import timing
from hypothesis import given
from hypothesis import strategies as st

from edgebench.backend import EdgebenchError


def slot(device: fake.FakeCuda, *, graphs: bool = True) -> timing.Slot:
    def capture(stream: Any) -> Any:
        if not graphs:
            raise EdgebenchError("It has no CUDA graphs.", "Do without.")
        return lambda: device.work(stream, "graph", fake.COMPUTE / 2)

    return timing.Slot(
        copy_in=lambda stream: device.work(stream, "h2d", fake.COPY),
        start=lambda stream: device.work(stream, "compute", fake.COMPUTE),
        copy_out=lambda stream: device.work(stream, "d2h", fake.COPY),
        capture=capture,
    )


def run(name: str, **options: Any) -> tuple[fake.FakeCuda, timing.Times]:
    device = fake.FakeCuda(noting=True)
    slots = [slot(device, **options) for _ in range(2)]
    return device, timing.measure(device, slots, timing.DEFINITIONS[name], seconds=0.1)


def test_gpu_compute_is_one_in_flight_without_copies() -> None:
    device, found = run("gpu_compute")
    assert (found["in_flight"], found["transfers"], found["cuda_graph"]) == (1, False, False)
    assert {round(s, 9) for s in found["compute"]} == {fake.COMPUTE}
    assert found["latency"] == found["compute"]
    assert [what for what, _ in device.log if what in ("h2d", "d2h")] == ["h2d"]  # once, before the loop
    order = [what for what, _ in device.log if what in ("compute", "synchronize_event")]
    assert order[1:5] == ["compute", "synchronize_event", "compute", "synchronize_event"]


def test_trtexec10_is_two_in_flight_with_copies_and_waiting_does_not_count() -> None:
    device, found = run("trtexec10")
    assert (found["in_flight"], found["transfers"], found["cuda_graph"]) == (2, True, False)
    assert found["latency"][-1] == pytest.approx(2 * fake.COPY + fake.COMPUTE)
    # Overlapped: the device computes without a pause, so that copies cost no throughput.
    assert found["throughput"] == pytest.approx(1 / fake.COMPUTE, rel=0.02)
    order = [what for what, _ in device.log if what in ("compute", "synchronize_event")]
    assert order[2:7] == ["compute", "compute", "synchronize_event", "compute", "synchronize_event"]


def test_each_part_waits_for_the_one_before() -> None:
    first, into, compute, out = range(4)  # the streams, in the order in which they are made
    device, _ = run("trtexec10")
    start = device.log.index(("record", first))
    loop = [what for what in device.log[start + 4 :] if what[0] != "synchronize"]
    warm_up = [("h2d", compute), ("compute", compute)]  # each slot once plainly
    assert loop[:4] == warm_up * 2
    assert loop[4:15] == [
        ("record", into), ("h2d", into), ("record", into), ("wait", compute),
        ("record", compute), ("compute", compute), ("record", compute), ("wait", out),
        ("record", out), ("d2h", out), ("record", out),
    ]  # fmt: skip


def test_trtexec11_launches_a_graph_and_copies_nothing() -> None:
    found = run("trtexec11")[1]
    assert (found["in_flight"], found["transfers"], found["cuda_graph"]) == (2, False, True)
    assert found["latency"][-1] == pytest.approx(fake.COMPUTE / 2)
    assert found["h2d"] == found["d2h"] == [0.0] * len(found["compute"])


def test_a_device_without_graphs_is_told_so() -> None:
    found = run("trtexec11", graphs=False)[1]
    assert not found["cuda_graph"]
    assert found["latency"][-1] == pytest.approx(fake.COMPUTE)


def test_the_warm_up_does_not_count_and_the_time_asked_for_is_measured() -> None:
    found = run("gpu_compute")[1]
    assert 100 <= len(found["compute"]) <= 103  # 0.1 s of 1 ms, after 0.2 s of warm-up
    slow = timing.Query((0.0, 0.1), (0.1, 0.15), (0.15, 0.2))
    late = timing.Query((0.19, 0.2), (0.2, 0.3), (0.3, 0.4))
    assert timing.summary([slow, late])["compute"] == [pytest.approx(0.1)]


@pytest.mark.parametrize(("count", "percent", "index"), [(100, 99, 99), (100, 90, 89), (1000, 99, 990), (10, 99, 9)])
def test_percentiles_are_rounded_as_trtexec_does(count: int, percent: float, index: int) -> None:
    assert timing.percentile(list(range(count)), percent) == index


@given(st.lists(st.floats(0, 1), min_size=1))
def test_median_and_percentile_stay_among_the_samples(samples: list[float]) -> None:
    assert min(samples) <= timing.median(samples) <= max(samples)
    assert timing.percentile(samples, 99) in samples
