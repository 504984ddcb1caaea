"""The timed loop, on a clock that only moves when told."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from edgebench import measure


class Clock:
    """Nanoseconds that pass only in `work`."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def work(self, ns: int, answer: object = None) -> measure.Thunk:
        def call() -> object:
            self.now += ns
            return answer

        return call


def nothing() -> tuple[int, ...]:
    return (0, 0, 0, 0)


def test_a_slice_lasts_its_seconds_and_rotates_the_buffers() -> None:
    clock = Clock()
    order: list[int] = []

    def thunk(i: int) -> measure.Thunk:
        def call() -> int:
            order.append(i)
            clock.now += 10_000_000
            return i

        return call

    taken = measure.run_slice([thunk(i) for i in range(3)], clock, nothing, seconds=0.1, inferences=5, first=2)
    assert taken.wall_ns == [10_000_000] * 10
    assert order == [2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert taken.last == 2
    assert taken.last_buffer == 2


def test_a_slow_network_still_gets_its_inferences() -> None:
    clock = Clock()
    taken = measure.run_slice([clock.work(1_000_000_000)], clock, nothing, seconds=0.1, inferences=5)
    assert len(taken.wall_ns) == 5


def test_evidence_is_kept_as_differences_and_stays_outside_the_timed_window() -> None:
    clock = Clock()
    total = 0

    def evidence() -> tuple[int, ...]:
        nonlocal total
        total += 7
        clock.now += 5_000
        return (total, 0, 0, 0)

    taken = measure.run_slice([clock.work(1_000_000)], clock, evidence, seconds=0.01, inferences=1)
    assert set(taken.wall_ns) == {1_000_000}
    assert {group[2] for group in taken.groups} == {7}


def test_short_calls_are_timed_in_groups_of_about_a_millisecond_and_keep_their_own_times() -> None:
    clock = Clock()
    size = measure.group_size(100_000)
    assert size == 10
    taken = measure.run_slice([clock.work(100_000)] * 16, clock, nothing, seconds=0.005, inferences=5, group=size)
    assert len(taken.wall_ns) == 50
    assert [g[0] for g in taken.groups] == [10] * 5
    assert [g[1] for g in taken.groups] == [0, 10, 4, 14, 8]
    assert measure.group_size(5e6) == 1


def test_warm_up_ends_when_two_windows_agree() -> None:
    clock = Clock()
    calls = 0

    def cooling() -> None:
        nonlocal calls
        calls += 1
        clock.now += 100_000_000 if calls <= 5 else 10_000_000

    warmup = measure.warm_up([cooling], clock, seconds=0.2, inferences=10, cap=5.0)
    assert warmup.steady
    assert warmup.call_ns == 10_000_000
    assert warmup.inferences >= 10
    assert abs(warmup.drift) < 0.02


def test_warm_up_that_never_settles_ends_at_the_cap_and_says_so() -> None:
    clock = Clock()
    step = 10_000_000

    def growing() -> None:
        nonlocal step
        step = int(step * 1.05)
        clock.now += step

    warmup = measure.warm_up([growing], clock, seconds=0.1, inferences=5, cap=2.0)
    assert not warmup.steady
    assert warmup.seconds >= 2.0
    assert warmup.drift > 0.02


def test_two_kinds_of_calls_are_timed_in_turn_without_their_making() -> None:
    now, order = 0, []

    def clock() -> int:
        return now

    def maker(name: str, cost: int) -> Callable[[], Callable[[], None]]:
        def make() -> Callable[[], None]:
            nonlocal now
            now += 1_000_000  # making it is dear, and not timed

            def call() -> None:
                nonlocal now
                order.append(name)
                now += cost

            return call

        return make

    fresh, same = measure.in_turn(maker("fresh", 70), maker("same", 50), clock, seconds=0.0, pairs=4)
    assert (fresh, same) == ([70] * 4, [50] * 4)
    assert order == ["fresh", "same", "same", "fresh"] * 2
    fresh, _ = measure.in_turn(maker("fresh", 70), maker("same", 50), clock, seconds=0.02, pairs=1)
    assert len(fresh) == 10


def test_a_request_that_comes_while_another_is_served_counts_its_wait() -> None:
    """Arrivals at 1, 2 and 20 ms, each served in 5 ms: the second waits for the first, the third for nobody."""
    ms = 1_000_000
    clock, slept = Clock(), []

    def ticking() -> int:
        clock.now += 1_000  # what looking at it takes, so that the last two milliseconds pass while spinning
        return clock.now

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += round(seconds * 1e9)

    served = measure.serve([clock.work(5 * ms)], ticking, sleep, [1 * ms, 2 * ms, 20 * ms])
    assert [round(ns / ms, 1) for ns in served.latency_ns] == [5.0, 9.0, 5.0]
    assert [round(ns / ms, 1) for ns in served.service_ns] == [5.0, 5.0, 5.0]
    assert max(served.late_ns) < 0.01 * ms
    assert sum(slept) < 0.0075  # 9 ms lie between the second answer and the third arrival: the last two are not slept


def test_the_clocks_of_the_harness() -> None:
    start, since = measure.monotonic(), measure.now_ns()
    measure.pause(0.01)
    assert 0.01 <= measure.monotonic() - start < 5
    assert measure.now_ns() - since >= 10_000_000
    assert abs(measure.epoch() - time.time()) < 5
    assert re.fullmatch(r"20\d{6}T\d{6}Z", measure.utc_stamp())
