"""The timed loop, and the only clocks of the harness. Pure: the clock and the evidence are arguments.

A *sample* is one inference, timed alone. Inferences shorter than a millisecond are timed in *groups* of k calls that
together last about one: each call keeps its own time, and the evidence (which costs a few microseconds, outside the
timed window) is read once a group. Times are integers in nanoseconds.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgebench import stats

Clock = Callable[[], int]
Thunk = Callable[[], Any]
Evidence = Callable[[], tuple[int, ...]]

EVIDENCE = ("cpu_ns", "delay_ns", "nivcsw", "majflt")
"""What an Evidence callable returns, as running totals of the process (measurement protocol, item 7)."""

GROUP_NS = 1_000_000

now_ns: Clock = time.perf_counter_ns


def monotonic() -> float:
    """Seconds on a clock that never steps; for deadlines."""
    return time.monotonic()


def epoch() -> float:
    """Seconds since 1970, for windows that an outside meter's log is joined to."""
    return time.time()


def pause(seconds: float) -> None:
    time.sleep(seconds)


def spent() -> tuple[float, float]:
    """Seconds of the clock and of the processor, all threads of this process together, since some moment of its own."""
    return time.monotonic(), time.process_time()


def utc_stamp() -> str:
    """The time now as 20261123T193000Z."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


@dataclass
class Slice:
    """One cell's turn: per-call wall times in order, and per group its size, buffer and evidence deltas."""

    wall_ns: list[int] = field(default_factory=list)
    groups: list[tuple[int, ...]] = field(default_factory=list)
    """(calls, index of the first buffer, cpu_ns, delay_ns, nivcsw, majflt) for each group."""
    last: Any = None
    """The outputs of the last call, for the correctness gate, and the index of the buffer they came from."""
    last_buffer: int = 0


def run_slice(
    thunks: Sequence[Thunk],
    clock: Clock,
    evidence: Evidence,
    *,
    seconds: float,
    inferences: int,
    group: int = 1,
    first: int = 0,
) -> Slice:
    """Call the thunks in turn, beginning with buffer `first`, for `seconds` and at least `inferences` calls."""
    out = Slice()
    end = clock() + int(seconds * 1e9)
    buffer = first
    n = len(thunks)
    before = evidence()
    while True:
        calls = [thunks[(buffer + i) % n] for i in range(group)]
        stamps, out.last = _time_group(calls, clock)
        after = evidence()
        out.wall_ns += [b - a for a, b in zip(stamps, stamps[1:], strict=False)]
        out.groups.append((group, buffer, *(b - a for a, b in zip(before, after, strict=True))))
        out.last_buffer = (buffer + group - 1) % n
        buffer = (buffer + group) % n
        before = after
        if stamps[-1] >= end and len(out.wall_ns) >= inferences:
            return out


def _time_group(calls: Sequence[Thunk], clock: Clock) -> tuple[list[int], Any]:
    stamps = [clock()]
    stamp = stamps.append
    result = None
    for call in calls:
        result = call()
        stamp(clock())
    return stamps, result


def group_size(call_ns: float) -> int:
    """How many calls make a group of about one millisecond; 1 from a millisecond up."""
    return max(1, min(1000, round(GROUP_NS / max(call_ns, 1.0))))


@dataclass
class Warmup:
    """How the warm-up went; `steady` is False when the cap ended it, and `drift` is then worth publishing."""

    seconds: float
    inferences: int
    steady: bool
    drift: float
    call_ns: float


def warm_up(
    thunks: Sequence[Thunk], clock: Clock, *, seconds: float, inferences: int, cap: float, window_seconds: float = 0.1
) -> Warmup:
    """Infer until two consecutive windows' medians differ by less than 2 % (protocol, item 5), or until `cap`.

    A window is `window_seconds` long and at least 5 inferences; `drift` is the last relative difference.
    """
    start = clock()
    done, medians, drift = 0, [], 1.0
    while True:
        window = run_slice(thunks, clock, lambda: (), seconds=window_seconds, inferences=5, first=done)
        done += len(window.wall_ns)
        medians.append(stats.median(window.wall_ns))
        elapsed = (clock() - start) / 1e9
        if len(medians) > 1:
            drift = medians[-1] / medians[-2] - 1.0
        steady = len(medians) > 1 and stats.is_steady(medians[-2], medians[-1])
        enough = done >= inferences and elapsed >= seconds
        if (steady and enough) or elapsed >= cap:
            return Warmup(elapsed, done, steady, drift, medians[-1])


def in_turn(
    first: Callable[[], Thunk], second: Callable[[], Thunk], clock: Clock, *, seconds: float, pairs: int
) -> tuple[list[int], list[int]]:
    """Times (ns) of the calls that two makers make, in turn, for `seconds` and at least `pairs` pairs.

    What making a call takes is not timed. The order within a pair alternates, so that neither is always the later.
    """
    times: tuple[list[int], list[int]] = ([], [])
    end = clock() + int(seconds * 1e9)
    while len(times[0]) < pairs or clock() < end:
        order = (0, 1) if len(times[0]) % 2 == 0 else (1, 0)
        for i in order:
            call = (first, second)[i]()
            start = clock()
            call()
            times[i].append(clock() - start)
    return times


@dataclass
class Served:
    """An open-loop run: per request, latency from its scheduled arrival, how late we were to look, and service time."""

    latency_ns: list[int] = field(default_factory=list)
    late_ns: list[int] = field(default_factory=list)
    service_ns: list[int] = field(default_factory=list)


SPIN_NS = 2_000_000


def serve(thunks: Sequence[Thunk], clock: Clock, sleep: Callable[[float], None], schedule: Sequence[int]) -> Served:
    """One server, first come first served, on arrivals scheduled in advance (ns after the start).

    The schedule does not wait for the server: a request that arrives while another is served counts its wait. `late_ns` is
    the time between the moment a request could be begun (its arrival, or the end of the one before) and the moment it was.
    """
    out = Served()
    origin = free = clock()
    for i, offset in enumerate(schedule):
        arrival = origin + offset
        while (left := arrival - clock()) > SPIN_NS:
            sleep((left - SPIN_NS) / 1e9)  # sleeping to the end would add the scheduler's own lateness
        while clock() < arrival:
            pass
        begin = clock()
        thunks[i % len(thunks)]()
        end = clock()
        out.latency_ns.append(end - arrival)
        out.late_ns.append(begin - max(arrival, free))
        out.service_ns.append(end - begin)
        free = end
    return out
