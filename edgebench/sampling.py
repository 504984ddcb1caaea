"""The timed generations of a campaign: fresh workers, their slices in turn, until every published ratio is known.

The measurement protocol's items 4 to 9: blocks of cells, generations of fresh processes, interleaved rounds, the stopping
rule, and the noisy cells once more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from edgebench import blocks, figures, measure, stats, stopping
from edgebench.ensemble import Ensemble
from edgebench.metrics.latency import slice_medians
from edgebench.track import Track

SETTLE_STEP, SETTLE_CAP = 0.01, 0.1
RETRY_PAUSE = 2.0
LEAST_SHARE = 1 / 3
"""Of a run's budget: the timed generations may have so much, whatever compressing and checking took."""


class Sampling:
    """Measures the cells of an ensemble. `noisy` says which of them must be measured again."""

    def __init__(self, ensemble: Ensemble, noisy: Callable[[], Sequence[Track]]) -> None:
        self.ensemble, self.protocol, self._noisy = ensemble, ensemble.protocol, noisy
        self._until = self._deadline = math.inf
        self._pace = 0.0
        """Seconds that one cell took of a generation, the last time."""
        self._blocks_left = 0

    def run(self) -> None:
        """Attempt 0 of every block, more of those that their share cut short, then the noisy cells again: while there is time."""
        self._deadline = self._end()
        cut = [[self.ensemble.tracks[cell] for cell in block] for block in self._cut()]
        going = self._each([self._attempt(0, block, number) for number, block in enumerate(cut) if block])
        self._each(going)
        self._until = self._share(0)
        for attempt in range(1, self.protocol.attempts):
            again = self._with_baselines(self._noisy())
            # An attempt that cannot be ended says less than the one before it.
            if not again or not self._time_left(
                RETRY_PAUSE + self.protocol.least_generations * len(again) * self._pace
            ):
                break
            self.ensemble.note(f"{len(again)} cells again, for the noise")
            measure.pause(RETRY_PAUSE)
            most = self.protocol.block_cells
            for i in range(0, len(again), most):
                next(self._attempt(attempt, self._with_baselines(again[i : i + most]), 0), None)

    def _each(self, attempts: Sequence[Iterator[int]]) -> list[Iterator[int]]:
        """Go on with attempts, each in its share of the time; those that it cut short."""
        short = []
        for number, attempt in enumerate(attempts, start=1):
            self._blocks_left = len(attempts) - number
            self._until = self._share(self._blocks_left)
            if not self._time_left() or next(attempt, None) is not None:
                short.append(attempt)
        return short

    def _cut(self) -> list[list[str]]:
        """The blocks; where a campaign goes on, every cell stays in the block in which it was begun."""
        known: dict[str, int] = {}
        for track in self.ensemble.alive:
            begun = [
                blocks.block_of(r["generation"])
                for r in self.ensemble.book.of(track.id)
                if r["generation"] > 0 and not r.get("attempt")
            ]
            if begun:
                known[track.id] = min(begun)
        return blocks.cut([t.work for t in self.ensemble.alive], known, self.protocol.block_cells)

    def _attempt(self, attempt: int, tracks: Sequence[Track], block: int) -> Iterator[int]:
        """Generations until the stopping rule holds. Whenever the time is up it yields how many there are."""
        p = self.protocol
        first = self._last_before(attempt, tracks) if attempt else block * blocks.STRIDE
        widths: list[list[float]] = []
        todo = list(tracks)
        for i in range(1, p.most_generations + 1 if self.ensemble.still(tracks) else 1):
            began = measure.monotonic()
            ran = self._generation(first + i, attempt, todo, more=i < p.least_generations)
            seconds = measure.monotonic() - began
            self._pace = seconds / ran if ran else self._pace
            open_ratios = {t.id: w for t in self.ensemble.still(tracks) if (w := self._half_width(t)) is not None}
            widths.append(list(open_ratios.values()))
            spent = i * p.rounds * p.slice_seconds
            verdict = stopping.enough(
                widths, target=p.half_width, least=p.least_generations, spent=spent, cap=p.cell_seconds
            )
            lacking = [t for t in self.ensemble.still(tracks) if self._lacks(t, attempt)]
            if verdict == "capped" or (verdict == "reached" and not lacking):
                return
            if i == p.least_generations and p.budget_seconds is not None:
                yield i  # first every block has what a figure needs at least
            while not self._time_left(seconds):
                yield i
            if i >= p.least_generations:
                # More time goes where the intervals are widest: cells that are known well enough rest.
                wide = [
                    t for t in self.ensemble.still(tracks) if t in lacking or open_ratios.get(t.id, 0.0) > p.half_width
                ]
                todo = self._with_baselines(wide) or todo
            self._estimate(i, seconds, max(widths[-1], default=0.0))

    def _last_before(self, attempt: int, tracks: Sequence[Track]) -> int:
        records = [r for t in tracks for r in self.ensemble.book.of(t.id)]
        return max((r["generation"] for r in records if r.get("attempt", 0) < attempt), default=0)

    def _estimate(self, done: int, seconds: float, widest: float) -> None:
        """The time that is left: a mean's interval narrows with the root of the number of generations."""
        p = self.protocol
        needed: float = p.least_generations
        if done >= 2 and math.isfinite(widest) and widest > p.half_width:
            needed = max(needed, done * (widest / p.half_width) ** 2)
        left = min(max(needed, done + 1), p.most_generations) - done + self._blocks_left * p.least_generations
        estimate = left * seconds
        self.ensemble.left_s = max(0.0, min(estimate, self._deadline - measure.monotonic()))

    def _half_width(self, track: Track) -> float | None:
        rung = figures.rung_of(self.ensemble.environment)
        comparison = figures.compare(track.work, self.ensemble.book, rung)
        return None if comparison is None else figures.half_width(comparison)

    def _lacks(self, track: Track, attempt: int) -> bool:
        """Whether the row could not be published now: too few generations, or its ratio (a baseline's latency) too wide."""
        return self._usable(track, attempt) < self.protocol.least_generations or self._too_wide(track)

    def _too_wide(self, track: Track) -> bool:
        rung = figures.rung_of(self.ensemble.environment)
        return figures.told_width(track.work, self.ensemble.book, rung) > self.protocol.withhold_half_width

    def _usable(self, track: Track, attempt: int) -> int:
        """How many generations of this attempt gave a median, or a ratio to the baseline."""
        book, work, rung = self.ensemble.book, track.work, figures.rung_of(self.ensemble.environment)
        medians = len(figures.generations(book, track.id, work.cell.threads, rung, attempt))
        return max(medians, len(figures.ratios(work, book, rung, attempt)))

    def _with_baselines(self, tracks: Sequence[Track]) -> list[Track]:
        ids = {t.id for t in tracks} | {t.work.baseline for t in tracks}
        return [t for t in self.ensemble.alive if t.id in ids]

    def _share(self, others: int) -> float:
        """Until when a block may take, so that each of the others after it can have as much of the budget as it had."""
        now = measure.monotonic()
        return now + (self._deadline - now) / (others + 1)

    def _end(self) -> float:
        """When the budget of the whole run is spent; what came before may not leave too little to measure anything."""
        budget, ensemble = self.protocol.budget_seconds, self.ensemble
        if budget is None:
            return math.inf
        return max(ensemble.began + budget - ensemble.job.spent_seconds, measure.monotonic() + LEAST_SHARE * budget)

    def _time_left(self, needed: float = 0.0) -> bool:
        return measure.monotonic() + needed <= self._until

    def _generation(self, generation: int, attempt: int, tracks: Sequence[Track], *, more: bool) -> int:
        """One generation of those cells that do not have it yet; of how many."""
        ensemble, crew = self.ensemble, self.ensemble.crew
        todo = [t for t in ensemble.still(tracks) if not ensemble.book.has(t.id, generation)]
        # Who starts first may get the better memory: by lot, so that it stays no difference between cells.
        todo = ensemble.random.sample(todo, len(todo))
        crew.open_nurseries([t.work.cell.backend for t in todo], more=more)
        for track in todo:
            ensemble.guarded(track, ensemble.start)
        ensemble.together(todo, partial(_open, generation=generation, attempt=attempt))
        ensemble.watch.cool()
        self._warm(todo)
        self._rounds(todo)
        for track in ensemble.still(todo):
            ensemble.guarded(track, self._repeat)
        self._close(todo, f"generation {blocks.shown(generation)}")
        crew.end_generation()
        return len(todo)

    def _rounds(self, todo: Sequence[Track]) -> None:
        """Every cell once in each; those whose slices disagree have some more, and nothing that was taken is dropped."""
        p, ensemble = self.protocol, self.ensemble
        for number in range(max(p.rounds, p.most_rounds)):
            turns = [t for t in ensemble.still(todo) if number < p.rounds or not _settled(t)]
            for track in ensemble.random.sample(turns, len(turns)):
                ensemble.guarded(track, self._slice)

    def _warm(self, todo: Sequence[Track]) -> None:
        """Rouse as many at once as there are cores for; whether each runs steadily is then looked at alone."""
        self.ensemble.together(todo, partial(_note_answer, what="rouse"))
        for track in self.ensemble.still(todo):
            self.ensemble.guarded(track, partial(_note_answer, what="warm"))

    def _slice(self, track: Track) -> None:
        self._settle(track)
        track.current["slices"].append(track.ask({"do": "slice"})["slice"])

    def _repeat(self, track: Track) -> None:
        self._settle(track)
        track.current.update(track.ask({"do": "repeat"}))

    def _close(self, todo: Sequence[Track], what: str) -> None:
        for track in self.ensemble.still(todo):
            track.ask_to_close()
        for track in self.ensemble.still(todo):
            self.ensemble.guarded(track, Track.closed)
            if track in self.ensemble.alive:
                self.ensemble.keep(track)
                self.ensemble.step(f"{what}: {track.label}")

    def _settle(self, turn: Track) -> None:
        """Wait until the other workers are idle: a spinning thread pool burns 30 to 40 ms after its slice."""
        others = [t.child.pid for t in self.ensemble.alive if t.child is not None and t is not turn]
        before = sum(map(cpu_ns, others))
        for _ in range(round(SETTLE_CAP / SETTLE_STEP)):
            measure.pause(SETTLE_STEP)
            now = sum(map(cpu_ns, others))
            if now - before < 1_000_000:
                return
            before = now


def _open(track: Track, generation: int, attempt: int) -> None:
    track.prepared(generation, attempt)
    track.open()


def _settled(track: Track) -> bool:
    return stats.is_settled(slice_medians(track.current, track.work.cell.threads))


def _note_answer(track: Track, what: str) -> None:
    track.current.update(track.ask({"do": what}))


def cpu_ns(pid: int) -> int:
    """CPU time of a process so far, all threads, in nanoseconds; 0 when it is gone."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                total += int(stat.read().split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return total
