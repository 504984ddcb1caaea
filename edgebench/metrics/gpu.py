"""Latency by the device's own event timers, under the definitions by which others publish it: see the backend's timing.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from edgebench import stats
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

PARTS = ("latency", "h2d", "compute", "d2h")


class Gpu(Metric):
    """Medians by definition (gpu_compute, trtexec10, trtexec11), beside the application's latency, which is the standard figure.

    For sessions with `device_times(feeds)`: definition -> lists of seconds for latency, h2d, compute and d2h, and throughput.
    """

    name: ClassVar[str] = "gpu"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        times = getattr(subject.session, "device_times", None)
        return {"definitions": {name: dict(said) for name, said in times(subject.feeds(0)).items()} if times else {}}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out, seen = [], [r["gpu"] for r in records if r.get("gpu")]
        if seen and not any(record["definitions"] for record in seen):
            note = f"{work.cell.backend} has no device timers that it can be asked for"
            return (Measurement(metric="gpu", unit="s", phase="gpu", source="no device timers", note=note),)
        for record in seen:
            for name, said in record["definitions"].items():
                graph = "a CUDA graph" if said["cuda_graph"] else "no CUDA graph"
                copies = "copies included" if said["transfers"] else "without copies"
                how = f"device events; {said['in_flight']} in flight, {copies}, {graph}"
                out += [_figure(f"{name}:{part}", how, said[part]) for part in PARTS if any(said[part])]
                out.append(
                    Measurement(
                        metric=f"{name}:throughput", unit="1/s", phase="gpu", source=how,
                        value=said["throughput"] * work.cell.batch, n=len(said["latency"]),
                    )
                )  # fmt: skip
        return tuple(out)


def _figure(metric: str, how: str, seconds: Sequence[float]) -> Measurement:
    return Measurement(
        metric=metric, unit="s", phase="gpu", source=how, value=stats.median(seconds), n=len(seconds),
    )  # fmt: skip
