"""The offline scenario: everything is there, how much is done per second? Swept over the batch, then over inferences in flight.

The curve is taken in short windows; the knee, the smallest effort that nearly reaches the best throughput, is then measured
as the protocol wants it (item 12): three windows of ten seconds after a first that does not count.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

from edgebench import stats
from edgebench.backend import EdgebenchError, Session
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Interval, Measurement, Protocol, Work

WINDOWS = 3
SEARCH_SECONDS, KNEE_SECONDS = 1.0, 10.0
KNEE = 0.95
"""The knee is the smallest batch, or number in flight, that reaches this share of the best throughput."""
LARGEST_BATCH = 64
QUICK_SHARE = 0.1


class Offline(Metric):
    """Items per second over batches 1, 2, 4, ... where the network allows them, and over 1, 2, 4, ... sessions in flight.

    A session in flight has a thread of its own (runtimes release the interpreter's lock while they infer), up to twice the cores.
    """

    name: ClassVar[str] = "offline"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True
    search_seconds: ClassVar[float] = SEARCH_SECONDS
    knee_seconds: ClassVar[float] = KNEE_SECONDS

    def observe(self, subject: Subject) -> dict[str, Any]:
        scale = QUICK_SHARE if subject.protocol.trust == "quick" else 1.0
        short, long = scale * self.search_seconds, scale * self.knee_seconds
        batches = _sweep(subject, short)
        batch = _knee(batches)["batch"]
        flights = [_point(subject, batch, flight, short) for flight in _flights()]
        knee = _point(subject, batch, _knee(flights)["in_flight"], long)
        return {"batches": batches, "points": flights, "knee": knee}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out: list[Measurement] = []
        for record in (r["offline"] for r in records if r.get("offline")):
            if len(record["batches"]) > 1:
                out += [_figure(f"offline_batch_{p['batch']}", p) for p in record["batches"]]
            out += [_figure(f"offline_{p['in_flight']}", p) for p in record["points"]]
            out.append(_figure("offline_knee", record["knee"]))
        return tuple(out)


def _sweep(subject: Subject, seconds: float) -> list[dict[str, Any]]:
    """A point for each batch, until the network refuses one that its shape seemed to allow, or memory ends."""
    own, points = subject.cell.batch, []
    for batch in _batches(subject):
        try:
            points.append(_point(subject, batch, 1, seconds))
        except (EdgebenchError, MemoryError):
            if batch <= own:
                raise
            break
    return points


def _batches(subject: Subject) -> list[int]:
    """The cell's own batch, and where the batch is free the powers of two up to the largest."""
    own = subject.cell.batch
    free = all(spec.shape and spec.shape[0] is None for spec in subject.session.inputs)
    if not free or subject.reopen is None:
        return [own]
    sizes = [1]
    while sizes[-1] < LARGEST_BATCH:
        sizes.append(2 * sizes[-1])
    return sorted({own, *sizes})


def _flights() -> list[int]:
    cores = len(os.sched_getaffinity(0))
    flights = [1]
    while flights[-1] < 2 * cores:
        flights.append(2 * flights[-1])
    return flights


def _knee(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first point, in order, that nearly reaches the best throughput."""
    medians = [stats.median(p["rates"]) for p in points]
    return next(p for p, rate in zip(points, medians, strict=True) if rate >= KNEE * max(medians))


def _figure(name: str, point: Mapping[str, Any]) -> Measurement:
    rates = point["rates"]
    return Measurement(
        metric=name,
        unit="1/s",
        phase=f"offline, batch {point['batch']}, {point['in_flight']} in flight",
        source="a thread and a session each",
        value=stats.median(rates),
        n=len(rates),
        samples=tuple(rates),
        note="interval: least and greatest window",
        interval=Interval(low=min(rates), high=max(rates), confidence=0.0),
    )


def _point(subject: Subject, batch: int, flight: int, seconds: float) -> dict[str, Any]:
    """Throughput in items/s of each window, after a first one that is not counted."""
    sized = replace(subject, cell=replace(subject.cell, batch=batch))
    with ExitStack() as stack:
        sessions = [_session(subject, batch, stack) for _ in range(flight)]
        lanes = [sized.thunks(4, session) for session in sessions]
        rates = [_window(sized, lanes, seconds) for _ in range(WINDOWS + 1)]
    return {"batch": batch, "in_flight": flight, "rates": rates[1:]}


def _session(subject: Subject, batch: int, stack: ExitStack) -> Session:
    if subject.reopen is None:
        return subject.session
    return stack.enter_context(subject.reopen(batch))


def _window(subject: Subject, lanes: Sequence[Sequence[Callable[[], Any]]], seconds: float) -> float:
    clock = subject.tools.clock
    done = [0] * len(lanes)
    start = clock()
    end = start + int(seconds * 1e9)

    def work(lane: int) -> None:
        calls, i = lanes[lane], 0
        while clock() < end or not i:
            calls[i % len(calls)]()
            i += 1
        done[lane] = i

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(lanes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return subject.cell.batch * sum(done) / ((clock() - start) / 1e9)
