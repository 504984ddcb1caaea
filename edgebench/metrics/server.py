"""The server scenario: requests arrive when they arrive (open loop, Poisson), and wait their turn.

Latency counts from the *scheduled* arrival. A closed loop, which sends the next request when the last one is answered, hides
every queue: its p99 is too low by 3x at 30 % load and by 15x at 80 % (and by 100x when something stalls).
Rules: MLPerf inference, Server scenario; HdrHistogram's note on coordinated omission.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from edgebench import stats
from edgebench.measure import serve, warm_up
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

LOADS = (0.3, 0.6, 0.8)
REQUESTS = 700
"""Enough for a p99 bound at 99 % confidence (662)."""
LATENESS_SHARE = 0.05
"""The generator itself may be late (p99) by this share of the median service time; above it the point is invalid."""
BISECTIONS = 6


def poisson_schedule(rate: float, count: int, seed: int) -> list[int]:
    """Arrival times in ns after the start, with exponential gaps of mean 1/rate seconds."""
    draw = random.Random(seed)
    at, out = 0.0, []
    for _ in range(count):
        at += draw.expovariate(rate)
        out.append(round(at * 1e9))
    return out


class Server(Metric):
    """p50 and p99 from the scheduled arrival at 30, 60 and 80 % of capacity, and the greatest rate under a p99 bound.

    The bound is ten service times: the rate that keeps the p99 under it is found by bisection, each point >= 662 requests.
    """

    name: ClassVar[str] = "server"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        tools, thunks = subject.tools, subject.thunks()
        warm = warm_up(thunks, tools.clock, seconds=0.5, inferences=10, cap=5.0)
        points = []

        def point(load: float) -> dict[str, Any]:
            schedule = poisson_schedule(load / (warm.call_ns / 1e9), REQUESTS, seed=round(load * 1000))
            served = serve(thunks, tools.clock, tools.sleep, schedule)
            points.append({"load": load, **vars(served)})
            return points[-1]

        for load in LOADS:
            point(load)
        bound, low, high = 10 * warm.call_ns, 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            reached = stats.percentile_bound(point(middle)["latency_ns"], 0.99)
            low, high = (middle, high) if reached is not None and reached <= bound else (low, middle)
        return {"capacity": 1e9 / warm.call_ns, "points": points, "bound_ns": bound, "greatest_load": low}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out: list[Measurement] = []
        for record in (r["server"] for r in records if r.get("server")):
            for point in record["points"][: len(LOADS)]:
                out += _point(point)
            out.append(_rate(record))
        return tuple(out)


def _rate(record: Mapping[str, Any]) -> Measurement:
    """Withheld where no rate was found that meets the bound, or where the generator was too late to keep to its schedule."""
    rate, note = record["greatest_load"] * record["capacity"], ""
    tried = record["points"][len(LOADS) :]
    deciding = next((p for p in tried if p["load"] == record["greatest_load"]), None)
    bound = f"p99 <= {record['bound_ns'] / 1e9:.3g} s"
    if deciding is None:
        least = min((p["load"] for p in tried), default=LOADS[0])
        late = max((stats.quantile(p["late_ns"], 0.99) for p in tried), default=0.0)
        note = (
            f"no rate down to {least:.1%} of capacity met {bound}; the generator was late by {late / 1e3:.0f} us (p99)"
        )
    elif not _on_time(deciding):
        note = "the generator was late by over 5 % of the service time, withheld"
    return Measurement(
        metric="server_rate",
        unit="1/s",
        phase=f"server: greatest rate of requests with {bound}",
        source="bisection over open-loop runs",
        value=None if note else rate,
        n=BISECTIONS,
        note=note,
    )


def _on_time(point: Mapping[str, Any]) -> bool:
    late: float = stats.quantile(point["late_ns"], 0.99)
    return late <= LATENESS_SHARE * stats.median(point["service_ns"])


def _point(point: Mapping[str, Any]) -> list[Measurement]:
    phase = f"server at {point['load']:.0%} of capacity: time from the scheduled arrival to the answer"
    late, valid = stats.quantile(point["late_ns"], 0.99), _on_time(point)
    note = f"generator late by {late / 1e3:.0f} us (p99)" + (
        "" if valid else ": over 5 % of the service time, withheld"
    )
    seconds = [ns / 1e9 for ns in point["latency_ns"]]
    figures = (("server_p50", stats.median(seconds)), ("server_p99", stats.percentile_bound(seconds, 0.99)))
    return [
        Measurement(
            metric=f"{name}_{point['load']:.0%}".rstrip("%"),
            unit="s",
            phase=phase,
            source="from the scheduled arrival, one server",
            n=len(seconds),
            value=value if valid else None,
            note=note,
        )
        for name, value in figures
    ]
