"""From the raw records of the cells to their Results. Pure: the same records always give the same figures, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgebench import blocks, states, stats, stopping
from edgebench.codec import Options
from edgebench.devices import emulation
from edgebench.metrics import Metric, Record
from edgebench.metrics.latency import Generation, attempts, counting, judge, timed
from edgebench.schema import Artifact, Interval, Measurement, Protocol, Result, Window, Work

SIGNIFICANT = 0.05
REPAIRED_BIAS = 0.05
"""How far the median of the clean samples may be off where they are 30 to 50 % of all."""


class Book:
    """Everything that the workers wrote down, by cell. Each generation is judged once, however often it is asked for."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records: dict[str, list[Record]] = {}
        self._judged: dict[tuple[str, int, int, bool], Generation | None] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        self._records.setdefault(record["cell"], []).append(record)

    def of(self, cell: str) -> Sequence[Record]:
        """A cell's records in the order in which they were written."""
        return self._records.get(cell, ())

    def has(self, cell: str, generation: int) -> bool:
        return any(r["generation"] == generation for r in self.of(cell))

    def judged(self, cell: str, threads: int, rung: int = 1, attempt: int | None = None) -> list[Generation]:
        """The timed generations of a cell's last (or this) attempt, in order."""
        isolated = rung >= 2
        out = []
        for record in timed(self.of(cell), attempt):
            key = (cell, int(record["generation"]), int(record.get("attempt", 0)), isolated)
            if key not in self._judged:
                self._judged[key] = judge(record, threads, isolated=isolated)
            found = self._judged[key]
            if found is not None:
                out.append(found)
        return out


@dataclass(frozen=True)
class Comparison:
    """One cell against its baseline: baseline time over own time, paired by generation."""

    ratio: stats.Estimate
    p: float
    pairs: int


def generations(
    book: Book, cell: str, threads: int, rung: int = 1, attempt: int | None = None
) -> dict[int, Generation]:
    """The judged generations of a cell's last (or this) attempt that gave a median, by number."""
    return {g.number: g for g in book.judged(cell, threads, rung, attempt) if g.median is not None}


def compare(work: Work, book: Book, rung: int = 1) -> Comparison | None:
    """The speed-up over the cell's baseline; None for the baseline itself, or when no generation has both."""
    pairs = {attempt: ratios(work, book, rung, attempt) for attempt in attempts(book.of(work.cell.id))}
    # Only what ran side by side is paired: when just one of the two was measured again, their last attempt together.
    both = pairs.get(counting({attempt: len(found) for attempt, found in pairs.items()}), [])
    if len(both) < 2:
        return None
    return Comparison(stopping.interval(both), stopping.p_value(both), len(both))


def ratios(work: Work, book: Book, rung: int, attempt: int) -> list[float]:
    """The baseline's time to the cell's, in each generation of an attempt that can tell; the baseline has none."""
    if not work.baseline or work.baseline == work.cell.id:
        return []
    threads = work.cell.threads  # a baseline has the threads of its cells
    ours = {g.number: g for g in book.judged(work.cell.id, threads, rung, attempt)}
    theirs = {g.number: g for g in book.judged(work.baseline, threads, rung, attempt)}
    found = (_ratio(theirs[number], ours[number]) for number in sorted(ours.keys() & theirs.keys()))
    return [ratio for ratio in found if ratio is not None]


def _ratio(base: Generation, own: Generation) -> float | None:
    """The baseline's time to the cell's in one generation, None if it cannot tell.

    Where the slices of either disagree it is that of their rounds: a neighbour that came and went met both in the same ones.
    """
    if base.clean_median is None or own.clean_median is None:
        return None
    if base.settled and own.settled:
        return base.clean_median / own.clean_median
    rounds = [theirs / ours for theirs, ours in zip(base.slices, own.slices, strict=False)]
    return stats.median(rounds) if stats.is_settled(rounds) else None


def half_width(comparison: Comparison) -> float:
    """The relative half-width of a comparison's interval; infinite while there is none."""
    _, low, high = comparison.ratio
    return stats.half_width(low, high) if low is not None and high is not None else float("inf")


def rung_of(environment: Mapping[str, Any]) -> int:
    """2 from "R2 cgroup ...": how well the workers were isolated."""
    name = str(environment.get("isolation", "R1"))
    return int(name[1]) if name[:1] == "R" and name[1:2].isdigit() else 1


def conclude(
    works: Sequence[Work],
    book: Book,
    metrics: Mapping[str, Metric],
    protocol: Protocol,
    environment: Options,
    campaign: str = "",
) -> list[Result]:
    """The Results of the cells that ran, with the verdicts of their table corrected for being many (Holm)."""
    rung = rung_of(environment)
    compared = {w.cell.id: c for w in works if (c := compare(w, book, rung))}
    adjusted = dict(zip(compared, stats.holm([c.p for c in compared.values()]), strict=True))
    evidence = {w.cell.id: _evidence(w, book, compared.get(w.cell.id), protocol, rung) for w in works}
    out = []
    for work in works:
        own = sorted(book.of(work.cell.id), key=lambda r: int(r["generation"]))
        found = [_size(work), *(m for metric in metrics.values() for m in metric.figures(work, own, protocol))]
        if work.baseline and work.baseline != work.cell.id:
            comparison = compared.get(work.cell.id)
            speedup = _speedup(comparison, adjusted[work.cell.id]) if comparison else _NO_SPEEDUP
            reserve = _reserve(evidence.get(work.baseline), comparison, protocol)
            found.append(_withheld(speedup, reserve) if reserve else speedup)
        state, why = states.cell_status(evidence[work.cell.id], protocol.least_generations)
        least = min(protocol.least_generations, evidence[work.cell.id].measured or 0)
        swayed = _swayed([*generations(book, work.cell.id, work.cell.threads, rung).values()], least)
        if state == "noisy":
            found = [_withheld(m, why) for m in found]
        elif swayed:
            state, why = "swayed", f"{swayed}; {why}" if state in ("throttled", "unverified") else swayed
            found = [m if m.metric == "speedup" else _withheld(m, why, state) for m in found]
        elif state == "repaired":
            found = [_allowed_for(m) for m in found]
        noisy = {**noise(work, book), "state": state, "why": why}
        result = replace(_result(work, own, tuple(found), noisy, environment), campaign=campaign)
        out.append(emulation.withhold(result))
    return out


def rebuild(
    results: Sequence[Result], samples: Iterable[Record], metrics: Mapping[str, Metric], protocol: Protocol
) -> tuple[Result, ...]:
    """The same results once more, every figure of the cells that ran made anew from the raw samples."""
    book = Book(samples)
    fresh: dict[str, Result] = {}
    for campaign in dict.fromkeys(r.campaign for r in results if r.status == "ok"):
        group = [r for r in results if r.status == "ok" and r.campaign == campaign]
        works = [
            Work(cell=r.cell, artifact=r.artifact, data=_data_of(r, r.artifact), baseline=r.baseline)
            for r in group
            if r.artifact
        ]
        for result in conclude(works, book, metrics, protocol, group[0].environment, campaign):
            fresh[result.cell.id] = result
    return tuple(fresh.get(r.cell.id, r) for r in results)


def _data_of(result: Result, artifact: Artifact) -> Artifact:
    """What is still known of the data that a cell was checked with: its hash."""
    return replace(artifact, sha256=str(result.effective.get("data", "")))


_NO_SPEEDUP = Measurement(
    metric="speedup",
    unit="1",
    phase="steady",
    source="latency ratio paired by generation",
    note="fewer than two generations ran beside the baseline's",
)


def _size(work: Work) -> Measurement:
    return Measurement(
        metric="size", unit="B", phase="artifact", source="bytes of the file", value=float(work.artifact.size), n=1
    )


def _speedup(comparison: Comparison, adjusted_p: float) -> Measurement:
    value, low, high = comparison.ratio
    verdict = stats.verdict(comparison.ratio)
    if verdict in ("faster", "slower") and adjusted_p >= SIGNIFICANT:
        verdict = "unresolved"
    return Measurement(
        metric="speedup",
        unit="1",
        phase="steady",
        source="latency ratio paired by generation",
        value=value,
        n=comparison.pairs,
        interval=Interval(low=low, high=high) if low is not None and high is not None else None,
        note=verdict,
    )


def _allowed_for(m: Measurement) -> Measurement:
    """The interval of a repaired cell's latency with the bias that few clean samples may have (item 11)."""
    if m.interval is None or m.metric != "latency":
        return m
    low, high = m.interval.low / (1 + REPAIRED_BIAS), m.interval.high * (1 + REPAIRED_BIAS)
    return replace(m, interval=replace(m.interval, low=low, high=high))


def _withheld(m: Measurement, why: str, state: str = "noisy") -> Measurement:
    """The times of a cell in this state are not published; its samples are kept."""
    if m.phase != "steady" and not m.phase.startswith("sustained"):
        return m
    return replace(m, value=None, interval=None, samples=(), note=f"{state}: {why}")


def _evidence(
    work: Work, book: Book, comparison: Comparison | None, protocol: Protocol, rung: int
) -> states.CellEvidence:
    """What the protocol's item 11 judges a cell by: valid, repaired, throttled, noisy or unverified, and why."""
    own, judged = book.of(work.cell.id), book.judged(work.cell.id, work.cell.threads, rung)
    calls, clean = sum(g.calls for g in judged), sum(g.clean for g in judged)
    medians = [g.clean_median for g in judged if g.clean_median]
    usable = [g for g in judged if g.median is not None]
    return states.CellEvidence(
        samples=calls,
        clean=clean if all(r.get("sees", "delay") == "delay" for r in own) else None,
        generations=max(len(usable), comparison.pairs if comparison else 0),
        measured=len(judged),
        steal=sum(g.steal for g in judged) / len(judged) if judged else 0.0,
        throttled=any(g.throttled for g in judged),
        reached=_width(comparison, usable) <= protocol.withhold_half_width,
        rung=rung,
        all_over_clean=stats.geometric_mean([g.all_median for g in judged]) / stats.geometric_mean(medians)
        if medians
        else 1.0,
    )


def _reserve(baseline: states.CellEvidence | None, comparison: Comparison | None, protocol: Protocol) -> str:
    """Why a ratio to this baseline is not to be believed. That its latency swayed is no reason: the pairing takes that out."""
    if baseline is None or comparison is None:
        return ""
    paired = replace(baseline, reached=True, generations=max(baseline.generations, comparison.pairs))
    state, why = states.cell_status(paired, protocol.least_generations)
    return f"its baseline: {why}" if state == "noisy" else ""


def _swayed(usable: Sequence[Generation], least: int) -> str:
    """Why a cell whose ratio is known, round by round, has no latency to tell.

    Too few generations agreed with themselves, or they disagree so much with one another that the figure says nothing.
    """
    if len(usable) < least:
        return f"it swayed within {least - len(usable)} of {least} generations or more"
    if len(usable) < 2:
        return ""
    low, high = stats.geometric_interval([g.median for g in usable if g.median])
    if low and high and stats.half_width(low, high) > UNKNOWN:
        return "its processes disagree so much that it is not known to a factor of two"
    return ""


def told_width(work: Work, book: Book, rung: int) -> float:
    """The relative half-width of what a row would tell now; 0 where it would tell nothing."""
    judged = book.judged(work.cell.id, work.cell.threads, rung)
    return _width(compare(work, book, rung), [g for g in judged if g.median is not None])


def _width(comparison: Comparison | None, usable: Sequence[Generation]) -> float:
    """The relative half-width of what a row tells: of its ratio, or of its latency where there is none; 0 if of neither."""
    if comparison is not None:
        return half_width(comparison)
    low, high = stats.geometric_interval([g.median for g in usable if g.median]) if usable else (None, None)
    return stats.half_width(low, high) if low and high else 0.0


def blocks_of(own: Sequence[Record]) -> list[int]:
    """The blocks of the grid that a cell was measured in, from 1 up."""
    return sorted({1 + blocks.block_of(r["generation"]) for r in timed(own)})


def noise(work: Work, book: Book) -> dict[str, Any]:
    """How disturbed the samples were: what a reader needs to judge a row, and both counts (nothing is dropped silently)."""
    own, judged = book.of(work.cell.id), book.judged(work.cell.id, work.cell.threads)
    calls, clean = sum(g.calls for g in judged), sum(g.clean for g in judged)
    warm = [r["warmup"] for r in timed(own) if "warmup" in r]
    return {
        "calls": calls,
        "clean_calls": clean,
        "clean_share": clean / calls if calls else None,
        "all_median": stats.geometric_mean([g.all_median for g in judged]) if judged else None,
        "generations": len(judged),
        "unsettled": sum(not g.settled for g in judged),
        "attempts": 1 + max((r.get("attempt", 0) for r in own), default=0),
        "steal": sum(g.steal for g in judged) / len(judged) if judged else None,
        "blocks": blocks_of(own),
        "steady": all(w["steady"] for w in warm) if warm else None,
        "drift": max((abs(w["drift"]) for w in warm if not w["steady"]), default=0.0),
        "canaries": canaries(timed(own)),
    }


def canaries(records: Sequence[Record]) -> dict[str, float]:
    """How much longer than the fastest each canary took in the middle: 0.2 for a fifth. Empty where none sang."""
    sung = [c for r in records for s in r["slices"] if (c := s.get("evidence", {}).get("canaries"))]
    took = {name: [c[f"{name}_ns"] for c in sung] for name in ("hash", "copy")}
    return {name: stats.median(ns) / min(ns) - 1 for name, ns in took.items() if ns and min(ns) > 0}


UNKNOWN = 1.0
"""The relative half-width from which on an interval tells nothing worth a figure: a factor of two up or down."""
CACHES = 1.03
"""A repeated input that is answered faster than fresh ones by more than this, interval and all, looks like a cache."""
SURELY = 0.998
"""The confidence of that interval: of a thousand honest cells one may be marked, for a table has many."""


def repeating(own: Sequence[Record]) -> stats.Estimate | None:
    """How much longer fresh inputs take than one that is repeated (protocol, item 3): over all pairs of calls, made in turn.

    What comes and goes beside them meets either call of a pair as often as the other, so the signs of the pairs decide.
    """
    found = [pair for r in timed(own) if r.get("repeat") for pair in _pairs(r["repeat"])]
    return stats.median_interval(found, SURELY) if found else None


def _pairs(taken: Record) -> list[float]:
    return [fresh / same for fresh, same in zip(taken["fresh_ns"], taken["same_ns"], strict=True) if same > 0]


def caches(effective: Mapping[str, Any], least: float = CACHES) -> bool:
    """Whether a result's caching test says that the runtime, or the machine, remembers an input: by more than `least`."""
    found = effective.get("repeating") or {}
    return (found.get("low") or 0.0) > least


def _result(
    work: Work, own: Sequence[Record], found: tuple[Measurement, ...], noisy: dict[str, Any], environment: Options
) -> Result:
    check = next((r for r in own if r["generation"] == 0), own[-1])
    gate = check.get("accuracy", {}).get("gate", {})
    effective = {"version": check.get("version", ""), **check.get("effective", {}), "gate": gate}
    repeated = repeating(own)
    if repeated is not None:
        size = max(int(r["repeat"].get("bytes", 0)) for r in timed(own) if r.get("repeat"))
        effective["repeating"] = {**repeated._asdict(), "bytes": size}
    profile = next((r["profile"] for r in own if r.get("profile")), None)
    if profile:
        effective["layers"] = profile["layers"]
    windows = tuple(
        Window(
            phase=f"generation {r['generation']}", start=r["slices"][0]["window"][0], end=r["slices"][-1]["window"][1]
        )
        for r in own
        if r["slices"]
    )
    return Result(
        cell=work.cell,
        status="ok",
        measurements=found,
        artifact=work.artifact,
        baseline=work.baseline,
        environment=environment,
        effective=Options(effective),
        noise=Options(noisy),
        windows=windows,
    )
