"""How the times of a cell's calls are spread: a few quantiles of every call that was kept, for a picture of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from edgebench.metrics.latency import counting, timed

LEVELS = (
    0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
    0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999,
)  # fmt: skip
"""Which quantiles are kept: close together where curves bend, and no maximum, which says more of a run's length."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """`times` in seconds, one for each of LEVELS, of `calls` calls: all of the attempt that counts, waits included."""

    calls: int
    times: tuple[float, ...]


def spreads(samples: Iterable[Mapping[str, Any]]) -> dict[str, Spread]:
    """From the raw records of a run (`RunFolder.samples`) to the spread of each cell, by cell id."""
    kept: dict[str, dict[int, list[array[int]]]] = {}
    for record in samples:
        for counted in timed([record], record.get("attempt", 0)):
            walls = array("q", (w for s in counted["slices"] for w in s["wall_ns"][s.get("drop", 0) :]))
            kept.setdefault(str(record["cell"]), {}).setdefault(record.get("attempt", 0), []).append(walls)
    last = {cell: found[counting({a: len(each) for a, each in found.items()})] for cell, found in kept.items()}
    return {cell: spread(chain.from_iterable(each)) for cell, each in last.items() if any(each)}


def spread(nanoseconds: Iterable[int]) -> Spread:
    """The quantiles of at least one time: each is a call that took place, the nearest by rank."""
    ordered = sorted(nanoseconds)
    last = len(ordered) - 1
    return Spread(calls=len(ordered), times=tuple(ordered[round(level * last)] / 1e9 for level in LEVELS))
