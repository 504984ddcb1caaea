"""Whether the figure of a cell may be published, by what is known of how it was measured. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CellStatus = Literal["valid", "repaired", "throttled", "noisy", "swayed", "unverified"]
"""Of a swayed cell the ratio to its baseline is told, and no time."""


@dataclass(frozen=True, kw_only=True)
class CellEvidence:
    """What is known of how a cell was measured. `clean` is None where the system gives no such evidence."""

    samples: int
    clean: int | None
    generations: int
    """Generations that gave usable samples."""
    measured: int | None = None
    """Generations that were measured at all, where that is known."""
    steal: float = 0.0
    """Share of the time that the hypervisor took."""
    throttled: bool = False
    reached: bool = True
    """Whether the stopping rule was met."""
    rung: int = 1
    """Isolation: 1 none, 2 CPU weight, 3 cores of its own."""
    all_over_clean: float = 1.0
    """Median of all samples over that of the clean ones."""


def cell_status(e: CellEvidence, least_generations: int = 5) -> tuple[CellStatus, str]:
    """Whether the cell's figure may be published, and the reason if not without reserve (item 11)."""
    if e.throttled:
        return "throttled", "the clock was throttled"
    if not e.reached:
        return "noisy", "the interval did not become narrow enough in the time given"
    if e.steal > 0.01:
        return "noisy", f"the hypervisor took {e.steal:.1%} of the time"
    if (
        e.measured is not None and e.measured < least_generations
    ):  # an interval from so few is wide, and true all the same
        given = f"the time given was enough for {e.measured} of at least {least_generations} generations"
        sound = e.measured >= 2 and e.generations >= e.measured
        return "unverified" if sound else "noisy", f"{given}: give more, with --budget"
    if e.generations < least_generations:
        return "noisy", f"{e.generations} of at least {least_generations} generations gave usable samples"
    if e.generations < 2:
        return "unverified", "one process says nothing of how the next would differ"
    if e.clean is None:
        return "unverified", "this system does not say whether a sample was disturbed"
    return _status_by_share(e, e.clean, e.clean / e.samples if e.samples else 0.0)


def _status_by_share(e: CellEvidence, clean: int, share: float) -> tuple[CellStatus, str]:
    if share < 0.3:
        return "noisy", f"only {share:.0%} of the samples ran undisturbed"
    if clean < 50:
        return "noisy", f"only {clean} of 50 samples ran undisturbed"
    if share < 0.5:
        return "repaired", f"{share:.0%} of the samples ran undisturbed: its interval allows for another 5 %"
    if e.rung >= 2 and abs(e.all_over_clean - 1) > 0.03:
        return (
            "noisy",
            f"the median of all samples is {e.all_over_clean - 1:+.1%} off that of the undisturbed",
        )
    return "valid", ""
