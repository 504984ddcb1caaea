"""Throughput of one stream, back to back: items finished per second of wall time, waits included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgebench import stats
from edgebench.metrics import Metric, Record
from edgebench.metrics.latency import timed
from edgebench.schema import Measurement, Protocol, Work


class Throughput(Metric):
    """Items per second at the cell's batch, from all calls of each generation; the median generation is the figure."""

    name: ClassVar[str] = "throughput"

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        rates = []
        for record in timed(records):
            walls = [w for s in record["slices"] for w in s["wall_ns"][s.get("drop", 0) :]]
            if walls:
                rates.append(work.cell.batch * len(walls) / (sum(walls) / 1e9))
        if not rates:
            return ()
        return (
            Measurement(
                metric="throughput",
                unit="1/s",
                phase="steady",
                source="calls back to back, one stream",
                value=stats.median(rates),
                n=len(rates),
                samples=tuple(rates),
            ),
        )
