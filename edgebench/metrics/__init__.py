"""Metrics: each drives or observes a session in the worker, and turns what was recorded into figures.

A metric is two pure-ish halves. `observe` runs in the worker and returns plain JSON; `figures` runs wherever the records
are (the campaign, or the host rebuilding a table) and must give the same figures from the same records.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgebench.backend import Feeds, Outputs, Session
from edgebench.measure import epoch, now_ns, pause
from edgebench.schema import Cell, Measurement, Protocol, Work

Record = Mapping[str, Any]
"""What one worker process (a generation of one cell) wrote down: see worker.py for the keys."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a metric may not have of its own: the clock (ns) and sleep, given by the worker, or by a test."""

    clock: Callable[[], int] = now_ns
    sleep: Callable[[float], None] = pause
    epoch: Callable[[], float] = epoch


@dataclass(kw_only=True)
class Subject:
    """What a metric may look at in the worker: the open session and the data it is judged on."""

    cell: Cell
    session: Session
    inputs: dict[str, Any]
    """Input name -> array (N, ...); N is at least the batch."""
    labels: Any | None
    reference: Sequence[Any]
    """Expected float outputs (N, ...), one per network output; empty when there is none."""
    parent: Sequence[Any]
    baseline: Mapping[str, int]
    """Memory after the imports, before the model was loaded, in bytes."""
    load_peak: int | None = None
    """The high-water mark of memory while the model was loaded, in bytes; the mark was set back after it."""
    own_bytes: int = 0
    """What the harness itself took since the baseline (inputs that it drew): no part of what the model needs."""
    precision: str = ""
    """The precision found in force; the one asked for where the runtime does not tell."""
    outputs: Sequence[Any] = ()
    """What the accuracy run answered for all samples (N, ...), kept for the gate on timed inferences."""
    tools: Tools = field(default_factory=Tools)
    protocol: Protocol = Protocol()
    application: Mapping[str, Any] = field(default_factory=dict)
    """What the user's program does around the network, by name: see metrics/application.py."""
    reopen: Callable[[int], Session] | None = None
    """Opens the same model once more, for a batch of so many: for scenarios with several inferences in flight."""

    def thunks(self, count: int = 16, session: Session | None = None) -> list[Callable[[], Outputs]]:
        """Bound calls on `count` different batches, to be called in turn."""
        session = session or self.session
        return [session.bind(self.feeds(i * self.cell.batch)) for i in range(count)]

    @property
    def size(self) -> int:
        return len(next(iter(self.inputs.values())))

    def feeds(self, start: int) -> Feeds:
        """One batch from sample `start` on, wrapping round at the end."""
        import numpy as np

        index = (np.arange(self.cell.batch) + start) % self.size
        return {name: np.ascontiguousarray(array[index]) for name, array in self.inputs.items()}

    def fresh_feeds(self) -> Iterator[Feeds]:
        """Batches that no runtime can have seen: floats with a little noise added, other numbers in another order."""
        import numpy as np

        rng, start = np.random.default_rng(self.protocol.seed + 1), 0
        while True:
            feeds = dict(self.feeds(start))
            for name, array in feeds.items():
                if array.dtype.kind == "f":
                    feeds[name] = array + (1e-3 * rng.standard_normal(array.shape)).astype(array.dtype)
                else:
                    feeds[name] = np.ascontiguousarray(rng.permuted(array, axis=-1))
            yield feeds
            start += self.cell.batch


class Metric(ABC):
    """One kind of figure. `observes` says whether the worker is asked, in the check generation.

    A metric that disturbs the others (a scenario, a profile) is `apart`: it gets `workers` workers of its own.
    """

    name: ClassVar[str]
    observes: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    workers: ClassVar[int] = 1

    def observe(self, subject: Subject) -> dict[str, Any]:
        """Measure in the worker; plain JSON back. Called once, in the check generation."""
        return {}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        """The figures of one cell from all its records. Pure."""
        return ()


__all__ = ["Metric", "Outputs", "Record", "Subject", "Tools"]
