"""The offline scenario: everything is there, how much is done per second? Swept over inferences in flight."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from edgebench import stats
from edgebench.backend import Session
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Interval, Measurement, Protocol, Work

WINDOWS = 3
WINDOW_SECONDS = 2.0
KNEE = 0.95
"""The knee is the smallest number in flight that reaches this share of the best throughput."""


class Offline(Metric):
    """Items per second with 1, 2, 4, ... sessions in flight, a thread each, up to twice the cores; and the knee.

    Runtimes release the interpreter's lock while they infer. Batch is an axis of the plan: ask for several to see that curve.
    """

    name: ClassVar[str] = "offline"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        cores = len(os.sched_getaffinity(0))
        points, sessions = [], [subject.session]
        flights = [1]
        while flights[-1] < 2 * cores:
            flights.append(2 * flights[-1])
        try:
            for flight in flights:
                while len(sessions) < flight and subject.reopen is not None:
                    sessions.append(subject.reopen())
                points.append({"in_flight": flight, "rates": _windows(subject, sessions[:flight])})
        finally:
            for session in sessions[1:]:
                session.close()
        return {"points": points, "batch": subject.cell.batch}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out: list[Measurement] = []
        for record in (r["offline"] for r in records if r.get("offline")):
            out += [_figure(f"offline_{p['in_flight']}", p) for p in record["points"]]
            medians = [stats.median(p["rates"]) for p in record["points"]]
            knee = next(p for p, rate in zip(record["points"], medians, strict=True) if rate >= KNEE * max(medians))
            out.append(_figure("offline_knee", knee))
        return tuple(out)


def _figure(name: str, point: Mapping[str, Any]) -> Measurement:
    rates = point["rates"]
    return Measurement(
        metric=name,
        unit="1/s",
        phase=f"offline, {point['in_flight']} in flight",
        source="a thread and a session each",
        value=stats.median(rates),
        n=len(rates),
        samples=tuple(rates),
        note="interval: least and greatest window",
        interval=Interval(low=min(rates), high=max(rates), confidence=0.0),
    )


def _windows(subject: Subject, sessions: Sequence[Session]) -> list[float]:
    """Throughput in items/s of each window after a first one that is not counted."""
    lanes = [subject.thunks(4, session) for session in sessions]
    rates = [_window(subject, lanes) for _ in range(WINDOWS + 1)]
    return rates[1:]


def _window(subject: Subject, lanes: Sequence[Sequence[Callable[[], Any]]]) -> float:
    clock = subject.tools.clock
    done = [0] * len(lanes)
    start = clock()
    end = start + int(WINDOW_SECONDS * 1e9)

    def work(lane: int) -> None:
        calls, i = lanes[lane], 0
        while clock() < end:
            calls[i % len(calls)]()
            i += 1
        done[lane] = i

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(lanes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return subject.cell.batch * sum(done) / ((clock() - start) / 1e9)
