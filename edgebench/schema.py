"""The nouns: frozen, keyword-only records.

Numbers are raw samples in SI base units (seconds, bytes, joules, 1/s); nothing is rounded here, reports do that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from edgebench.codec import SCHEMA, Options, digest
from edgebench.scaled import Scaled

Status = Literal["ok", "skipped", "failed"]


Grade = Literal["measured", "published", "calibrated", "transferred", "simulated", "roofline"]


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a network. `shape` holds None where an axis is free (usually the batch)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scaled: Scaled | None = None
    """For integers that stand for real numbers. A session takes and gives the integers: turning them is the application's."""

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape is one: a free axis takes any size."""
        return len(shape) == len(self.shape) and all(s in (None, d) for s, d in zip(self.shape, shape, strict=True))

    def takes(self, array: Any) -> bool:
        """Whether this numpy array is one: its type, and its shape."""
        return bool(array.dtype == self.dtype) and self.fits(array.shape)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The network under test. `source` is `module:callable` or the path of a ready model file."""

    name: str
    source: str
    task: str = "classify"
    inputs: tuple[TensorSpec, ...] = ()
    weights: str | None = None
    options: Options = Options()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One compression step: the name of a method and its options."""

    method: str
    options: Options = Options()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named, ordered list of steps. The steps alone are its identity: renaming redoes nothing.

    `model` and `data` (its source and options) stand where a recipe is not about the plan's own.
    """

    name: str
    steps: tuple[Step, ...] = ()
    model: ModelSpec | None = None
    data: Options = Options()

    @property
    def id(self) -> str:
        return digest(self.steps)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that was made or given. `parent` is the sha256 of what it was made from; `path` is where it lies now."""

    format: str
    path: str
    sha256: str
    size: int
    made_by: Options = Options()
    parent: str | None = None
    facts: Options = Options()


@dataclass(frozen=True, kw_only=True)
class Care:
    """How a device is looked after while it is measured.

    Its hottest thermometer must be at most `cool_to` (degrees Celsius) before cells are measured, or `cool_seconds` have passed;
    with `lock_clocks` its clocks are set to their highest and put back afterwards.
    """

    cool_to: float | None = None
    cool_seconds: float = 300.0
    lock_clocks: bool = False


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """What a device is and how it is reached; data only, read from TOML."""

    name: str
    transport: str = "local"
    description: str = ""
    address: str = ""
    python: str = "python3"
    workdir: str = ""
    price: float | None = None
    """What one costs, in US dollars, where its profile says it."""
    compatible: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    care: Care = Care()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One square of the comparison: what was *asked*. What was found is in the Result."""

    model: str
    recipe: str
    backend: str
    device: str
    precision: str = "fp32"
    batch: int = 1
    threads: int = 1
    options: Options = Options()

    @cached_property
    def id(self) -> str:
        """Readable and unique within a run; stable from run to run."""
        tail = "/" + digest(self.options)[:8] if self.options else ""
        return (
            f"{self.model}/{self.recipe}/{self.precision}/{self.backend}@{self.device}"
            f"/b{self.batch}t{self.threads}{tail}"
        )


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How to measure; every number of the sampling is here and is recorded with the results. Times in seconds.

    A campaign stops after `least_generations` as soon as every ratio's half-width is at most `half_width` twice in a row, and at
    the latest after `most_generations`, or `cell_seconds` of samples a cell, or the budget. A ratio that is still wider than
    `withhold_half_width` then is not published.
    """

    trust: Literal["default", "quick", "precise"] = "default"
    least_generations: int = 5
    most_generations: int = 20
    half_width: float = 0.02
    withhold_half_width: float = 0.1
    cell_seconds: float = 60.0
    attempts: int = 3
    isolate: bool = True
    block_cells: int = 8
    """More cells than this are measured in several blocks that share an anchor cell."""
    rounds: int = 4
    most_rounds: int = 8
    """A cell whose slices of a generation disagree is given more of them, up to so many."""
    slice_seconds: float = 0.1
    slice_inferences: int = 5
    slice_drop: int = 2
    rouse_seconds: float = 0.4
    """The first part of the warm-up, in which several workers may run at once; `warmup_seconds` is each one's alone."""
    warmup_seconds: float = 0.1
    warmup_window: float = 0.05
    warmup_inferences: int = 10
    warmup_cap: float = 5.0
    gate_buffers: int = 16
    repeat_seconds: float = 0.03
    repeat_pairs: int = 4
    """The caching test of each generation: so long, and at least so many pairs of a fresh and a repeated input."""
    memory_processes: int = 3
    sustained_seconds: float = 600.0
    external_meter: bool = False
    """Keep windows of idle and load for the log of an outside power meter."""
    sensors: tuple[str, ...] = ()
    """Only these kinds of the machine's own meters, as the device's profile says; empty: every one it has."""
    command_timeout: float = 120.0
    budget_seconds: float | None = None
    memory_limit: int | None = None
    """Bytes of RSS at which a worker is stopped; by default four fifths of what is available."""
    seed: int = 0


DEFAULT = Protocol()


QUICK = Protocol(
    trust="quick",
    least_generations=2,
    most_generations=4,
    block_cells=64,
    rounds=2,
    most_rounds=2,
    slice_seconds=0.05,
    slice_inferences=13,
    rouse_seconds=0.06,
    warmup_seconds=0.06,
    warmup_window=0.03,
    warmup_cap=1.0,
    repeat_pairs=10,
    memory_processes=1,
    half_width=1.0,
    withhold_half_width=1.0,
    attempts=1,
)
"""Two generations; up to four where they disagree so much that nothing could be told."""


PRECISE = Protocol(trust="precise", half_width=0.01, most_generations=60)


PROTOCOLS: dict[str, Protocol] = {p.trust: p for p in (DEFAULT, QUICK, PRECISE)}


@dataclass(frozen=True, kw_only=True)
class Work:
    """One cell of a job with the files it needs. `data` holds inputs, and labels and reference outputs if any.

    `baseline` is the id of the cell that its speed is compared with; `application` names what the user's program does around
    the network (metrics/application.py).
    """

    cell: Cell
    artifact: Artifact
    data: Artifact
    baseline: str | None = None
    application: Options = Options()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the host asks of a campaign, sent as one JSON object over its stdin."""

    id: str
    task: Literal["measure", "build"] = "measure"
    work: tuple[Work, ...] = ()
    metrics: tuple[str, ...] = ()
    protocol: Protocol = Protocol()
    care: Care = Care()
    spent_seconds: float = 0.0
    """Of the protocol's budget: what the host has used up before it sent the job."""
    schema: int = SCHEMA


NEVER_NEGATIVE = {"size", "memory_peak", "memory_total"}
"""Of the figures in bytes: a growth of memory may be less than nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A two-sided interval at `confidence` (0.95 = 95 %). Its ends are finite; ValueError otherwise."""

    low: float
    high: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.low, self.high, self.confidence))):
            raise ValueError(f"an interval must be finite, not from {self.low} to {self.high} at {self.confidence}")
        if self.low > self.high:
            raise ValueError(f"an interval goes from low to high, not from {self.low} to {self.high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One figure. It cannot exist without its unit, phase and source (DESIGN 9, rule 2).

    `n` counts the samples behind it; `value` is None when it was withheld, and `note` says why.
    """

    metric: str
    unit: str
    phase: str
    source: str
    value: float | None = None
    samples: tuple[float, ...] = ()
    n: int = 0
    interval: Interval | None = None
    grade: Grade = "measured"
    note: str = ""

    def __post_init__(self) -> None:
        if not (self.metric and self.unit and self.phase and self.source):
            lacking = next(name for name in ("metric", "unit", "phase", "source") if not getattr(self, name))
            raise ValueError(f"a measurement needs its {lacking}")
        if not all(map(math.isfinite, self.samples)):
            raise ValueError(f"{self.metric}: samples must be finite, and one is not")
        if self.value is None:
            return
        if not math.isfinite(self.value):
            raise ValueError(f"{self.metric}: a figure must be finite, not {self.value}")
        if self.value < 0 and (self.unit == "s" or self.metric in NEVER_NEGATIVE):
            raise ValueError(f"{self.metric}: a time or a size is never negative, as {self.value} is")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """When a phase ran, in seconds since the epoch, so that an outside power meter's log can be cut."""

    phase: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one asked cell ended: exactly one of ok, skipped, failed."""

    cell: Cell
    status: Status
    measurements: tuple[Measurement, ...] = ()
    effective: Options = Options()
    noise: Options = Options()
    environment: Options = Options()
    windows: tuple[Window, ...] = ()
    artifact: Artifact | None = None
    baseline: str | None = None
    campaign: str = ""
    """The job it was measured in: verdicts are corrected for the number of comparisons of one campaign."""
    reason: str = ""
    fix: str = ""
    stderr: str = ""

    def get(self, metric: str) -> Measurement | None:
        return self._by_metric.get(metric)

    @cached_property
    def _by_metric(self) -> dict[str, Measurement]:
        return {m.metric: m for m in reversed(self.measurements)}


@dataclass(frozen=True, kw_only=True)
class Run:
    """`run.json`: what was asked of which device by which version; written before anything is measured."""

    id: str
    started: str
    versions: Options
    plan: Options
    device: DeviceProfile
    host: Options
    commit: str = ""
    schema: int = SCHEMA


@dataclass(frozen=True, kw_only=True)
class Availability:
    """What a probe says. `fix` is the command or the step that would mend it."""

    ok: bool
    version: str = ""
    reason: str = ""
    fix: str = ""
    details: Options = field(default_factory=Options)
