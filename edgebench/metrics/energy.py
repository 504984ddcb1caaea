"""Energy per inference, from a meter or not at all.

The protocol's item 14: a window of idle, five of load, one of idle, ten seconds each. The total is published first, what is
above idle second; an idle that drifted by more than 5 % makes the second one invalid. Where there is no meter there is no
number, and never a guess from a rated power. For an external meter the same windows are kept by the clock of the day: its log
is joined to them afterwards (edgebench/metered.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from edgebench import stats
from edgebench.devices import sensors
from edgebench.measure import run_slice, warm_up
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Interval, Measurement, Protocol, Work

WINDOW_SECONDS = 10.0
LOADS = 5
POLL_SECONDS = 0.1
IDLE_DRIFT = 0.05
LEAST_UPDATES = 100
"""A window needs so many new values of its meter."""
NO_FIGURE_UPDATES = 10
"""With fewer than these it has no figure at all: its ends alone would be off by a tenth."""


class Energy(Metric):
    """Joules per inference, total and above idle, for every meter of the machine, each with its scope."""

    name: ClassVar[str] = "energy"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True
    window_seconds: ClassVar[float] = WINDOW_SECONDS

    def __init__(self, find: Callable[[], Sequence[sensors.Sensor]] | None = None) -> None:
        self._find = find

    def observe(self, subject: Subject) -> dict[str, Any]:
        meters = tuple(self._find() if self._find else sensors.find(names=subject.protocol.sensors))
        if not meters and not subject.protocol.external_meter:
            return {"meters": []}
        tools, thunks, seconds = subject.tools, subject.thunks(), self.window_seconds
        warm_up(thunks, tools.clock, seconds=0.5, inferences=10, cap=5.0)
        counts: list[int] = []

        def idle() -> None:
            tools.sleep(seconds)

        def load() -> None:
            counts.append(len(run_slice(thunks, tools.clock, lambda: (), seconds=seconds, inferences=1).wall_ns))

        windows, epochs = [], []
        for during in (idle, *[load] * LOADS, idle):
            start = tools.epoch()
            windows.append(_watch(subject, meters, during))
            epochs.append([start, tools.epoch()])
        return {
            "inferences": counts,
            "epochs": epochs,
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
        seen = [r["energy"] for r in records if r.get("energy")]
        metered = [(record, meter) for record in seen for meter in record["meters"]]
        if seen and not metered:
            waiting = "the external meter's log has not been joined yet: edgebench energy RUN LOG.csv"
            note = waiting if seen[-1].get("epochs") else "no meter was found"
            return (Measurement(metric="energy", unit="J", phase="load", source="no meter", note=note),)
        out: dict[str, Measurement] = {}
        for record, meter in metered:  # a log that is joined again replaces what it gave before
            out.update({m.metric: m for m in _figures(meter, [n * work.cell.batch for n in record["inferences"]])})
        return tuple(out.values())


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
    if meters:
        poller.start()
    during()
    over.set()
    if meters:
        poller.join()
    read()
    return readings


def _figures(meter: dict[str, Any], items: Sequence[int]) -> list[Measurement]:
    """`items` counts what each window of load inferred; the first and the last window are idle."""
    windows = [[tuple(r) for r in window] for window in meter["windows"]]
    seconds = [window[-1][0] - window[0][0] for window in windows]
    joules = [sensors.joules(meter["kind"], window) for window in windows]
    source = f"{meter['name']} ({meter['kind']})"
    count = sum(len(w) for w in windows)
    common: dict[str, Any] = {"unit": "J", "phase": f"load, scope {meter['scope']}", "source": source, "n": count}
    total = f"energy_{meter['scope']}"
    if _updates(meter, seconds) < NO_FIGURE_UPDATES:
        return [Measurement(metric=total, **common, note=f"{_few(meter, seconds)}: withheld")]
    loads = [j for j in joules[1:-1] if j is not None]
    if len(loads) < len(items):
        return [Measurement(metric=total, **common, note="the meter gave no true value")]
    each = [j / n for j, n in zip(loads, items, strict=True)]
    out = [_figure(total, each, _few(meter, seconds), common)]
    if joules[0] is None or joules[-1] is None:
        return out
    before, after = joules[0] / seconds[0], joules[-1] / seconds[-1]
    drift = abs(after - before) / max(before, after)
    if drift > IDLE_DRIFT:
        out.append(Measurement(metric=f"{total}_above_idle", **common, note=f"idle power drifted by {drift:.0%}"))
        return out
    idle = (before + after) / 2
    above = [(j - idle * s) / n for j, s, n in zip(loads, seconds[1:-1], items, strict=True)]
    out.append(_told_from_idle(_figure(f"{total}_above_idle", above, "", common)))
    return out


def _told_from_idle(m: Measurement) -> Measurement:
    """Withheld where the interval over the windows reaches zero: the load then drew no more than idling, as far as is known."""
    if m.value is None or (m.value > 0 and (m.interval is None or m.interval.low > 0)):
        return m
    ends = f" ({m.interval.low:.2g} to {m.interval.high:.2g} J)" if m.interval else ""
    return replace(
        m,
        value=None,
        interval=None,
        note=f"not told from idle: the interval over {len(m.samples)} windows{ends} includes 0",
    )


def _few(meter: dict[str, Any], seconds: Sequence[float]) -> str:
    updates = _updates(meter, seconds)
    return "" if updates >= LEAST_UPDATES else f"only about {updates:.0f} new values of the meter in a window"


def _updates(meter: dict[str, Any], seconds: Sequence[float]) -> float:
    period = meter.get("period")
    return min(seconds) / period if period else LEAST_UPDATES


def _figure(name: str, each: Sequence[float], note: str, common: dict[str, Any]) -> Measurement:
    """The median of the windows, with the t-interval of their mean."""
    estimate = stats.t_interval(each)
    known = estimate.low is not None and estimate.high is not None
    interval = Interval(low=estimate.low or 0.0, high=estimate.high or 0.0) if known else None
    return Measurement(
        metric=name, **common, value=stats.median(each), samples=tuple(each), interval=interval, note=note
    )
