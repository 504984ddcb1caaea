"""The multi-stream scenario: a query of eight samples is answered when the last of them is (MLPerf inference, MultiStream)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from edgebench import stats
from edgebench.measure import run_slice, warm_up
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

SAMPLES = 8
QUERIES = 662
SECONDS_CAP = 20.0


class MultiStream(Metric):
    """p99 of the time of a query of 8 samples, one behind the other through one session, from at least 662 queries."""

    name: ClassVar[str] = "multistream"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        thunks = subject.thunks()

        def query(first: int) -> Callable[[], Any]:
            calls = [thunks[(first + i) % len(thunks)] for i in range(SAMPLES)]
            return lambda: [call() for call in calls][-1]

        queries = [query(i) for i in range(len(thunks))]
        clock = subject.tools.clock
        warm = warm_up(queries, clock, seconds=0.5, inferences=5, cap=5.0)
        count = min(QUERIES, max(5, int(SECONDS_CAP / (warm.call_ns / 1e9))))
        return {"wall_ns": run_slice(queries, clock, lambda: (), seconds=0.0, inferences=count).wall_ns}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out = []
        for record in (r["multistream"] for r in records if r.get("multistream")):
            seconds = [ns / 1e9 for ns in record["wall_ns"]]
            bound = stats.percentile_bound(seconds, 0.99)
            for name, value in (("multistream_p50", stats.median(seconds)), ("multistream_p99", bound)):
                out.append(
                    Measurement(
                        metric=name,
                        unit="s",
                        phase=f"query of {SAMPLES} samples: time until the last is answered",
                        source="one session, sample after sample",
                        value=value,
                        n=len(seconds),
                        note="" if value is not None else f"n < {stats.samples_needed(0.99)}",
                    )
                )
        return tuple(out)
