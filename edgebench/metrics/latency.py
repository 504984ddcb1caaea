"""Latency of one call at the cell's batch: load, first inference, median with interval, p90 and p99 bounds.

The protocol's item 8: the figure is the geometric mean over generations, from ten on without the outermost, of each one's
*undisturbed* median: of the calls that were not made to wait, and that found caches and predictors as their process had left
them. p90 and p99 are upper bounds from *all* samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from edgebench import stats
from edgebench.metrics import Metric, Record
from edgebench.schema import Interval, Measurement, Protocol, Work

SOURCE = "perf_counter_ns around the runtime's call"
LEAST_CLEAN = 5
"""Fewer undisturbed calls than this make no median of a generation."""
ISOLATED_CLEAN_SHARE = 0.9
"""On an isolated rung, with this share of undisturbed samples, all samples may speak (protocol, item 8)."""
FEW_PROCESSES, LEAST_HALF_WIDTH = 3, 0.02
"""Fewer processes than this, or an interval of no width, may agree by chance or by the clock's step: that is no certainty. Their
interval is at least as wide as the band within which two latencies are called the same."""


Call = tuple[int, bool]
"""Wall time in nanoseconds, and whether it ran undisturbed, by a process that was warm."""


@dataclass(frozen=True)
class Generation:
    """One worker process's samples, judged. Times in seconds."""

    number: int
    calls: int
    clean: int
    all_median: float
    clean_median: float | None
    steal: float
    throttled: bool
    settled: bool = True
    slices: tuple[float, ...] = ()
    """What each of its slices says, by round."""

    @property
    def median(self) -> float | None:
        """What the generation says of the latency.

        Nothing where its slices disagree to the end: something came and went beside it, and another is measured instead.
        """
        return self.clean_median if self.settled else None


def judge(record: Record, threads: int, isolated: bool = False) -> Generation | None:
    """Sort a generation's samples; None when it holds none (a check, a scenario)."""
    slices = [calls_of(taken, threads) for taken in record["slices"]]
    calls = [call for each in slices for call in each]
    steal = 0.0
    throttled = False
    for taken in record["slices"]:
        evidence = taken.get("evidence", {})
        steal += evidence.get("steal_s") or 0.0
        throttled = throttled or any((evidence.get("throttle") or {}).values())
    walls = [wall for wall, _ in calls]
    if not walls:
        return None
    seconds = sum(walls) / 1e9
    good = [wall for wall, clean in calls if clean]
    said = list(map(_says, slices))
    everything = isolated and len(good) >= ISOLATED_CLEAN_SHARE * len(walls)
    return Generation(
        number=int(record["generation"]),
        calls=len(walls),
        clean=len(good),
        all_median=stats.median(walls) / 1e9,
        clean_median=stats.median(walls if everything else good) / 1e9 if len(good) >= LEAST_CLEAN else None,
        steal=steal / seconds if seconds else 0.0,
        throttled=throttled,
        settled=stats.is_settled(said),
        slices=tuple(wall / 1e9 for wall in said),
    )


def calls_of(taken: Record, threads: int) -> list[Call]:
    """The calls of a slice that count, each with whether it was undisturbed.

    Not those that it began with, until the process can be warm again; of slow calls these are the ones that the worker drops.
    """
    walls, groups = _group_walls(taken), taken["groups"]
    warm = stats.warm(_clean_groups(taken, walls, threads), walls)
    undisturbed = [found for found, group in zip(warm, groups, strict=True) for _ in range(group[0])]
    begin = max(taken.get("drop", 0), min(_cold(taken["wall_ns"]), len(undisturbed) // 2))
    return list(zip(taken["wall_ns"][begin:], undisturbed[begin:], strict=True))


def _cold(walls: Sequence[int]) -> int:
    """How many calls a slice begins with before its process can be warm, if nothing disturbs it."""
    return next((i for i, ran in enumerate(accumulate(walls), 1) if ran >= stats.WARM_NS), len(walls))


def slice_medians(record: Record, threads: int) -> list[float]:
    """What each slice of a generation says, in nanoseconds."""
    return [_says(calls_of(taken, threads)) for taken in record["slices"]]


def _says(calls: Sequence[Call]) -> float:
    """The median of a slice's undisturbed calls, or of all where few are."""
    clean = [wall for wall, clean in calls if clean]
    return stats.median(clean if len(clean) >= LEAST_CLEAN else [wall for wall, _ in calls])


def _clean_groups(taken: Record, walls: Sequence[int], threads: int) -> list[bool]:
    """For each group of a slice, whether it ran without waiting for a CPU, a switch or a page from disk."""
    delay, switches, faults = ([g[i] for g in taken["groups"]] for i in (3, 4, 5))
    stolen = bool(taken.get("evidence", {}).get("steal_s"))
    return stats.clean(walls, delay, switches, faults, threads=threads, stolen=stolen)


def _group_walls(taken: Record) -> list[int]:
    """What the calls of each group took together, in nanoseconds."""
    walls, at = [], 0
    for group in taken["groups"]:
        walls.append(sum(taken["wall_ns"][at : at + group[0]]))
        at += group[0]
    return walls


def attempts(records: Sequence[Record]) -> Counter[int]:
    """How many generations were timed of each attempt at a cell: 0, and more where it was noisy and measured again."""
    return Counter(r.get("attempt", 0) for r in records if r["generation"] > 0 and r["slices"])


def counting(generations: Mapping[int, int]) -> int:
    """Of attempts, and how many generations each has, the one that counts: the last that is not cut off after one or two."""
    least = min(FEW_PROCESSES, max(generations.values(), default=0))
    return max((attempt for attempt, found in generations.items() if found >= least), default=0)


def timed(records: Sequence[Record], attempt: int | None = None) -> list[Record]:
    """The records of the generations that count, in order: those of the attempt that counts, or of the one named."""
    with_slices = [r for r in records if r["generation"] > 0 and r["slices"]]
    attempt = counting(attempts(records)) if attempt is None else attempt
    return sorted((r for r in with_slices if r.get("attempt", 0) == attempt), key=lambda r: int(r["generation"]))


class Latency(Metric):
    """Single-stream latency in seconds (the protocol's items 4 and 8)."""

    name: ClassVar[str] = "latency"

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        out: list[Measurement | None] = [
            _once("import", [r["import_s"] for r in records if "import_s" in r], "import"),
            _once("load", [r["load_s"] for r in records if "load_s" in r], "load"),
            _once("first_inference", [r["first_s"] for r in records if "first_s" in r], "first inference"),
        ]
        counted = timed(records)
        judged = [g for r in counted if (g := judge(r, work.cell.threads))]
        if judged:
            out += [_median(judged), *_tails(counted)]
        return tuple(m for m in out if m is not None)


def _once(name: str, seconds: Sequence[float], phase: str) -> Measurement | None:
    """The median over the processes, and from three of them on the t-interval of their logarithms, stretched to hold it."""
    if not seconds:
        return None
    value, interval = stats.median(seconds), None
    if len(seconds) >= FEW_PROCESSES and min(seconds) > 0:
        low, high = stats.geometric_interval(seconds)
        interval = Interval(low=min(low or value, value), high=max(high or value, value))
    return Measurement(
        metric=name,
        unit="s",
        phase=phase,
        source=SOURCE,
        value=value,
        n=len(seconds),
        samples=tuple(seconds),
        interval=interval,
    )


def _median(judged: Sequence[Generation]) -> Measurement:
    medians = [g.median for g in judged if g.median is not None]
    calls = sum(g.calls for g in judged)
    common: dict[str, Any] = {"metric": "latency", "unit": "s", "phase": "steady", "source": SOURCE, "n": calls}
    if not medians:
        return Measurement(**common, note="no sample ran undisturbed")
    low, high = stats.geometric_interval(medians)
    value, interval = stats.geometric_centre(medians), None
    if low is not None and high is not None:
        interval = believed(Interval(low=low, high=high), value, len(medians))
    return Measurement(**common, value=value, samples=tuple(medians), interval=interval)


def believed(interval: Interval, value: float, processes: int) -> Interval:
    """The interval of a median latency, stretched to the least half-width where few processes or none apart made it."""
    if processes >= FEW_PROCESSES and interval.low < interval.high:
        return interval
    low, high = value / (1 + LEAST_HALF_WIDTH), value * (1 + LEAST_HALF_WIDTH)
    return Interval(low=min(interval.low, low), high=max(interval.high, high), confidence=interval.confidence)


def interval_of(m: Measurement) -> Interval | None:
    """The interval of any figure as it is to be read: of a latency that was measured here, as far as it is to be believed."""
    if m.interval is None or m.value is None or m.metric != "latency" or m.grade != "measured":
        return m.interval
    return believed(m.interval, m.value, len(m.samples) or FEW_PROCESSES)


def _tails(counted: Sequence[Record]) -> list[Measurement]:
    every = [w / 1e9 for r in counted for s in r["slices"] for w in s["wall_ns"][s.get("drop", 0) :]]
    out = []
    for percent in (90, 99):
        bound = stats.percentile_bound(every, percent / 100)
        note = "" if bound is not None else f"n < {stats.samples_needed(percent / 100)}"
        out.append(
            Measurement(
                metric=f"latency_p{percent}",
                unit="s",
                phase="steady",
                source=f"{SOURCE}; bound at 99 % confidence",
                value=bound,
                n=len(every),
                note=note,
            )
        )
    return out
