"""Energy per inference, from a meter or not at all.

Windows of idle, load, idle (the protocol's item 14): the total is published first, what is above idle second; an idle that
drifted by more than 5 % makes the second one invalid. Where there is no meter there is no number, and never a guess from a
rated power.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from edgebench.devices import sensors
from edgebench.measure import run_slice, warm_up
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

WINDOW_SECONDS = 10.0
POLL_SECONDS = 0.1
IDLE_DRIFT = 0.05


class Energy(Metric):
    """Joules per inference, total and above idle, for every meter of the machine, each with its scope."""

    name: ClassVar[str] = "energy"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True
    window_seconds: ClassVar[float] = WINDOW_SECONDS

    def __init__(self, find: Callable[[], Sequence[sensors.Sensor]] = sensors.find) -> None:
        self._find = find

    def observe(self, subject: Subject) -> dict[str, Any]:
        meters = tuple(self._find())
        if not meters:
            return {"meters": []}
        tools, thunks, seconds = subject.tools, subject.thunks(), self.window_seconds
        warm_up(thunks, tools.clock, seconds=0.5, inferences=10, cap=5.0)
        counts: list[int] = []

        def load() -> None:
            counts.append(len(run_slice(thunks, tools.clock, lambda: (), seconds=seconds, inferences=1).wall_ns))

        windows = [
            _watch(subject, meters, what) for what in (lambda: tools.sleep(seconds), load, lambda: tools.sleep(seconds))
        ]
        return {
            "inferences": counts[0],
            "meters": [
                {
                    "name": meter.name,
                    "scope": meter.scope,
                    "kind": meter.kind,
                    "period": meter.period,
                    "windows": [window[i] for window in windows],
                }
                for i, meter in enumerate(meters)
            ],
        }

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out: list[Measurement] = []
        for record in (r["energy"] for r in records if r.get("energy")):
            if not record["meters"]:
                out.append(
                    Measurement(metric="energy", unit="J", phase="load", source="no meter", note="no meter was found")
                )
            for meter in record["meters"]:
                out += _figures(meter, record["inferences"] * work.cell.batch)
        return tuple(out)


def _watch(
    subject: Subject, meters: Sequence[sensors.Sensor], during: Callable[[], None]
) -> list[list[tuple[float, float | None]]]:
    """Readings (seconds, value) of every meter at the ends of a window and about ten times a second within it."""
    clock = subject.tools.clock
    readings: list[list[tuple[float, float | None]]] = [[] for _ in meters]
    over = threading.Event()

    def read() -> None:
        for meter, kept in zip(meters, readings, strict=True):
            kept.append((clock() / 1e9, meter.read()))

    def poll() -> None:
        while not over.wait(POLL_SECONDS):
            read()

    read()
    poller = threading.Thread(target=poll, daemon=True)
    poller.start()
    during()
    over.set()
    poller.join()
    read()
    return readings


def _figures(meter: dict[str, Any], items: int) -> list[Measurement]:
    watts, joules = [], []
    for window in meter["windows"]:
        found = sensors.joules(meter["kind"], [tuple(r) for r in window])
        joules.append(found)
        watts.append(None if found is None else found / (window[-1][0] - window[0][0]))
    before, load, after = watts
    source = f"{meter['name']} ({meter['kind']})"
    count = sum(len(w) for w in meter["windows"])
    common: dict[str, Any] = {"unit": "J", "phase": f"load, scope {meter['scope']}", "source": source, "n": count}
    if joules[1] is None or load is None:
        return [Measurement(metric=f"energy_{meter['scope']}", **common, note="the meter gave no true value")]
    out = [Measurement(metric=f"energy_{meter['scope']}", **common, value=joules[1] / items)]
    if before is None or after is None:
        return out
    drift = abs(after - before) / max(before, after)
    idle = (before + after) / 2
    seconds = meter["windows"][1][-1][0] - meter["windows"][1][0][0]
    steady = drift <= IDLE_DRIFT
    out.append(
        Measurement(
            metric=f"energy_{meter['scope']}_above_idle",
            **common,
            value=(load - idle) * seconds / items if steady else None,
            note="" if steady else f"idle power drifted by {drift:.0%}",
        )
    )
    return out
