"""Latency by definitions that others publish, from the device's own event timers: no clock of the host is read here.

    gpu_compute   one inference in flight, kernels only, from the event before them to the event behind them
    trtexec10     as trtexec of TensorRT 8.5 to 10 measures by default: H2D + compute + D2H, two in flight, no CUDA graph
    trtexec11     as trtexec of TensorRT 11: compute only, two in flight, a CUDA graph where there are any

The application's latency (one in flight, copies included, the host's clock) is what edgebench measures anyway. Source of the
trtexec definitions: NVIDIA/TensorRT, samples/common/sampleInference.cpp and sampleReporting.cpp, v8.6.1, v10.3, v10.16, v11.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgebench.backend import EdgebenchError, np
from edgebench_tensorrt.cuda import Cuda

WARM_UP = 0.2
"""Seconds from the start in which queries do not count; trtexec's --warmUp."""
LEAST = 10
"""Queries that count, at least; trtexec's --iterations."""

Times = Mapping[str, Any]
"""latency, h2d, compute, d2h: lists of seconds, a query each; throughput (1/s), cuda_graph, in_flight, transfers."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    in_flight: int
    transfers: bool
    graph: bool = False


DEFINITIONS: Mapping[str, Definition] = {
    "gpu_compute": Definition(in_flight=1, transfers=False),
    "trtexec10": Definition(in_flight=2, transfers=True),
    "trtexec11": Definition(in_flight=2, transfers=False, graph=True),
}


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One set of buffers: what copies in, starts the kernels and copies out, on a stream that is given."""

    copy_in: Callable[[Any], None]
    start: Callable[[Any], None]
    copy_out: Callable[[Any], None]
    capture: Callable[[Any], Callable[[], None]]


@dataclass
class Query:
    """Seconds since the common start at which each part began and ended."""

    h2d: tuple[float, float]
    compute: tuple[float, float]
    d2h: tuple[float, float]


@dataclass
class Lane:
    """A slot with its six events; it is busy from `enqueue` until `finish`."""

    slot: Slot
    events: dict[str, Any]
    launch: Callable[[Any], None]
    busy: bool = False


@dataclass
class Streams:
    first: Any
    into: Any
    compute: Any
    out: Any
    zero: Any
    done: list[Query] = field(default_factory=list)


def measure(cuda: Cuda, slots: Sequence[Slot], definition: Definition, *, seconds: float) -> Times:
    """Run queries until `seconds` of the device's time after the warm-up have passed, and at least LEAST counted."""
    streams = _streams(cuda)
    lanes, graph = [], False
    for slot in slots[: definition.in_flight]:
        launch, captured = _launcher(cuda, slot, streams.compute, definition)
        graph = graph or captured
        lanes.append(Lane(slot, {name: cuda.event() for name in EVENTS}, launch))
    turn = 0
    while not _enough(streams.done, seconds):
        lane = lanes[turn % len(lanes)]
        _enqueue(cuda, streams, lane, definition)
        turn += 1
        other = lanes[turn % len(lanes)]  # the oldest in flight; the same lane where there is one only
        if other.busy:
            _finish(cuda, streams, other, definition)
    for lane in lanes:
        if lane.busy:
            _finish(cuda, streams, lane, definition)
    return {**summary(streams.done), "cuda_graph": graph, "in_flight": len(lanes), "transfers": definition.transfers}


EVENTS = ("h2d0", "h2d1", "compute0", "compute1", "d2h0", "d2h1")


def _streams(cuda: Cuda) -> Streams:
    """Three streams that wait for one event, recorded on a fourth: time zero."""
    streams = Streams(cuda.stream(), cuda.stream(), cuda.stream(), cuda.stream(), cuda.event())
    cuda.record(streams.zero, streams.first)
    for stream in (streams.into, streams.compute, streams.out):
        cuda.wait(stream, streams.zero)
    return streams


def _launcher(cuda: Cuda, slot: Slot, stream: Any, definition: Definition) -> tuple[Callable[[Any], None], bool]:
    """What starts the kernels, and whether that is a CUDA graph. As trtexec: once plainly, then captured, or plainly on."""
    slot.copy_in(stream)
    slot.start(stream)
    cuda.synchronize(stream)
    if definition.graph:
        try:
            launched = slot.capture(stream)
        except EdgebenchError:
            return slot.start, False  # recorded as no graph: some networks and pycuda have none
        return lambda _stream: launched(), True
    return slot.start, False


def _enqueue(cuda: Cuda, streams: Streams, lane: Lane, definition: Definition) -> None:
    e = lane.events
    if definition.transfers:
        cuda.record(e["h2d0"], streams.into)
        lane.slot.copy_in(streams.into)
        cuda.record(e["h2d1"], streams.into)
        cuda.wait(streams.compute, e["h2d1"])
    cuda.record(e["compute0"], streams.compute)
    lane.launch(streams.compute)
    cuda.record(e["compute1"], streams.compute)
    if definition.transfers:
        cuda.wait(streams.out, e["compute1"])
        cuda.record(e["d2h0"], streams.out)
        lane.slot.copy_out(streams.out)
        cuda.record(e["d2h1"], streams.out)
    lane.busy = True


def _finish(cuda: Cuda, streams: Streams, lane: Lane, definition: Definition) -> None:
    e = lane.events
    cuda.synchronize_event(e["d2h1" if definition.transfers else "compute1"])
    at = {n: cuda.elapsed(streams.zero, e[n]) for n in (EVENTS if definition.transfers else EVENTS[2:4])}
    start, end = at["compute0"], at["compute1"]
    h2d = (at["h2d0"], at["h2d1"]) if definition.transfers else (start, start)
    d2h = (at["d2h0"], at["d2h1"]) if definition.transfers else (end, end)
    streams.done.append(Query(h2d, (start, end), d2h))
    lane.busy = False


def _enough(done: Sequence[Query], seconds: float) -> bool:
    return bool(done) and done[-1].compute[0] >= WARM_UP + seconds and len(_counted(done)) >= LEAST


def _counted(done: Sequence[Query]) -> list[Query]:
    return [q for q in done if q.compute[0] >= WARM_UP]


def summary(done: Sequence[Query]) -> dict[str, Any]:
    """Without the warm-up. Latency is the sum of the three parts: what waits in between does not count, as in trtexec."""
    counted = _counted(done)
    parts = {n: [getattr(q, n)[1] - getattr(q, n)[0] for q in counted] for n in ("h2d", "compute", "d2h")}
    span = counted[-1].d2h[1] - counted[0].h2d[0]
    return {
        **parts,
        "latency": [sum(three) for three in zip(*parts.values(), strict=True)],
        "throughput": len(counted) / span if span > 0 else 0.0,
    }


def percentile(samples: Sequence[float], percent: float) -> float:
    """As trtexec rounds it: index N - 1 - int((1 - p/100) N) in float32, so that p99 of 100 is the greatest."""
    left = (np.float32(1) - np.float32(percent) / np.float32(100)) * np.float32(len(samples))
    return sorted(samples)[max(len(samples) - 1 - int(left), 0)]


def median(samples: Sequence[float]) -> float:
    """The mean of the middle two of an even number."""
    ordered, half = sorted(samples), len(samples) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
