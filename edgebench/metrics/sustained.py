"""Sustained load: latency, clock and temperature over minutes. A cold burst and a hot device are two figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from edgebench import stats
from edgebench.devices.evidence import SliceEvidence
from edgebench.measure import run_slice, warm_up
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

WINDOW_SECONDS = 5.0
SLOWED = 1.05
"""A window this much slower than the burst, for the rest of the run, or a throttle counter that moved, is throttling."""
FAST = 10
"""One call in so many is faster than what is compared: a neighbour slows many calls, a lower clock all of them."""


class Sustained(Metric):
    """Burst latency (first window), sustained latency (median of the last third), and the time until it throttled.

    Ten minutes without a pause by default (Protocol.sustained_seconds).
    """

    name: ClassVar[str] = "sustained"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        seconds = subject.protocol.sustained_seconds
        clock, thunks, evidence = subject.tools.clock, subject.thunks(), SliceEvidence()
        warm_up(thunks, clock, seconds=0.5, inferences=10, cap=5.0)
        start = clock()
        windows: list[dict[str, Any]] = []
        while (at := (clock() - start) / 1e9) < seconds:
            before = evidence.snapshot()
            taken = run_slice(thunks, clock, lambda: (), seconds=min(WINDOW_SECONDS, seconds / 3), inferences=5)
            windows.append(
                {
                    "at": at,
                    "median_ns": stats.median(taken.wall_ns),
                    "fast_ns": _fast(taken.wall_ns),
                    "calls": len(taken.wall_ns),
                    **SliceEvidence.difference(before, evidence.snapshot()),
                }
            )
        return {"seconds": seconds, "windows": windows}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out: list[Measurement] = []
        for record in (r["sustained"] for r in records if r.get("sustained")):
            windows, minutes = record["windows"], record["seconds"] / 60
            last = windows[-max(1, len(windows) // 3) :]
            burst = windows[0]["median_ns"] / 1e9
            sustained = stats.median([w["median_ns"] for w in last]) / 1e9
            throttled, why = time_to_throttle(windows)
            out += [
                _figure("latency_burst", burst, f"first {WINDOW_SECONDS:g} s", windows[0]["calls"]),
                _figure(
                    "latency_sustained", sustained, f"last third of {minutes:g} min", sum(w["calls"] for w in last)
                ),
                _figure(
                    "time_to_throttle",
                    throttled,
                    f"{minutes:g} min",
                    len(windows),
                    why,
                ),
            ]
        return tuple(out)


def _figure(metric: str, value: float | None, phase: str, n: int, note: str = "") -> Measurement:
    return Measurement(
        metric=metric, unit="s", phase=f"sustained, {phase}", source="calls back to back", value=value, n=n, note=note
    )


def _fast(wall_ns: Sequence[int]) -> int:
    return sorted(wall_ns)[len(wall_ns) // FAST]


def time_to_throttle(windows: Sequence[dict[str, Any]]) -> tuple[float | None, str]:
    """Seconds until a throttle counter moved, or until even the fast calls stayed slower than the burst's; and by which sign.

    None if neither came: then what was slower, if anything, was made to wait by others.
    """
    burst = _fastest(windows[0])
    for i, window in enumerate(windows):
        if any((window.get("throttle") or {}).values()):
            return float(window["at"]), "the throttle counter moved"
        if i and all(_fastest(w) > SLOWED * burst for w in windows[i:]) and len(windows) - i >= 3:
            return float(window["at"]), "inferred, no counter moved: from then on even the fast calls were slower"
    return None, "did not throttle"


def _fastest(window: dict[str, Any]) -> float:
    """What the fast calls of a window took; records of older versions hold the median alone."""
    return float(window.get("fast_ns", window["median_ns"]))
