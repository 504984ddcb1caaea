"""What a step is given beside the network: data, seed, a way to report progress, and the network's description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.codec import Options
from edgebench.data import DataSet

if TYPE_CHECKING:
    from edgebench.compress.timing import Timing

Progress = Callable[[str, int, int, str], None]
"""(stage, done, total, note)."""
Measure = Callable[[Sequence[Any], Options], "Sequence[Timing]"]
"""(networks, the fields of timing.Place) -> the latency of each, also as a share of the first one's."""


def silent(stage: str, done: int, total: int, note: str) -> None:
    """The progress callback for nobody."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How a network is built again without its weights: a python entry, and what was changed since.

    `changes` maps a module's name to the attributes that differ from the entry's ("out_channels": 24).
    """

    entry: str
    options: Options = Options()
    changes: Options = Options()


@dataclass(kw_only=True)
class Context:
    """Handed to `Method.apply`. A method that returns another network than it was given sets `architecture`."""

    data: DataSet
    base: Path
    architecture: Architecture
    seed: int = 0
    stage: str = ""
    progress: Progress = silent
    scratch: Path | None = None
    """Where a training keeps its state, so that a killed one goes on; None keeps none."""
    ancestors: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    """Networks of the recipe to learn from: "parent", what its last compressing step was given, and "first", the first one."""
    measure: Measure | None = None
    """Measures networks on a device, where whoever carries out the recipe has one."""
    quantization: Any = None
    """Set by a method with a precision: how the lowerings are to quantize."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What a method wants on record: the loss it ended with, the budget it hit."""

    def report(self, done: int, total: int, note: str = "") -> None:
        self.progress(self.stage, done, total, note)

    def remember(self, **facts: Any) -> None:
        self.facts.update(facts)

    def described(self, entry: str, options: Mapping[str, Any]) -> None:
        """From here on the network is the one that this entry builds."""
        self.architecture = Architecture(entry=entry, options=Options(options))
