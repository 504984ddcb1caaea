"""The cells of one job that are still in: their tracks, the workers that run for them, and all that these wrote down."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edgebench import environment, measure
from edgebench.codec import Options, to_json
from edgebench.devices import isolation, sensors
from edgebench.devices.evidence import SliceEvidence
from edgebench.devices.health import Watch
from edgebench.figures import Book
from edgebench.lines import ChildDied
from edgebench.nursery import Crew
from edgebench.schema import Job, Result
from edgebench.track import CellFailed, Track

Emit = Callable[[Mapping[str, Any]], None]
MEMORY_SHARE = 0.8
LOOK_SECONDS = 0.5


def _others() -> float | None:
    """How many CPUs the other programs of this machine take, over a moment in which we do nothing."""
    around = SliceEvidence()
    before = around.snapshot()
    measure.pause(LOOK_SECONDS)
    busy = SliceEvidence.difference(before, around.snapshot())["others_s"]
    return None if busy is None else busy / LOOK_SECONDS


def _meterless(names: Iterable[str]) -> list[str]:
    return [
        f"The sensor {name}, which the device's profile asks for, was not found." for name in sensors.missing(names)
    ]


class Ensemble:
    """Starts workers, keeps their records, and gives a cell that fails its row. `emit` gets every event."""

    def __init__(self, job: Job, earlier: Iterable[Mapping[str, Any]], emit: Emit) -> None:
        self.job, self.protocol, self.emit = job, job.protocol, emit
        self.began = measure.monotonic()
        self.random = random.Random(job.protocol.seed)
        self.watch = Watch(job.care)
        threads = max((w.cell.threads for w in job.work), default=1)
        # The load average still holds what compressing took just now: what others take is measured while we wait.
        facts = {**environment.preflight(threads=threads), "others": _others()}
        self.rung = (
            isolation.choose(threads=threads) if job.protocol.isolate else isolation.Rung(reason="not asked for")
        )
        self.machine = {
            **facts,
            "warnings": [*environment.warnings(facts, threads), *_meterless(job.protocol.sensors)],
            "fingerprint": environment.fingerprint(facts),
            "source_hash": environment.source_hash(),
        }
        available = int(MEMORY_SHARE * (facts.get("memory_available") or 0)) or None
        self.crew = Crew(self.random, self.rung.adopt, job.protocol.memory_limit or available)
        self.book = Book(earlier)
        """Also what an earlier campaign wrote of cells that are finished: they may be baselines."""
        self.tracks = {w.cell.id: Track(w, job.protocol) for w in job.work}
        self.alive = list(self.tracks.values())
        self.done_steps, self.steps = 0, len(self.alive) * (1 + job.protocol.least_generations)
        self.left_s: float | None = None

    @property
    def environment(self) -> Options:
        """The machine, and the isolation as it is now: a rung that could not keep its promise has stepped down."""
        found = {"isolation": self.rung.name, "isolation_reason": self.rung.reason, "health": self.watch.facts}
        return Options({**self.machine, **found, "warnings": [*self.machine["warnings"], *self.watch.warnings]})

    def each(self, what: str, step: Callable[[Track], None]) -> None:
        """Do one step for every cell still in; a cell that fails gets its row and leaves."""
        for track in list(self.alive):
            self.note(f"{what} {track.label}")
            self.guarded(track, step)

    def guarded(self, track: Track, step: Callable[[Track], None]) -> None:
        try:
            step(track)
        except CellFailed as failure:
            self._drop(track, failure)

    def _drop(self, track: Track, failure: CellFailed) -> None:
        track.stop()
        self.alive.remove(track)
        self.done_steps = min(self.steps, self.done_steps + 1 + self.protocol.least_generations)
        result = Result(
            cell=track.work.cell,
            status="skipped" if failure.missing else "failed",
            reason=failure.reason,
            fix=failure.fix,
            stderr=failure.stderr,
            environment=self.environment,
            artifact=track.work.artifact,
        )
        self.emit({"event": "result", "result": to_json(result)})

    def still(self, tracks: Sequence[Track]) -> list[Track]:
        return [t for t in tracks if t in self.alive]

    def together(self, tracks: Sequence[Track], step: Callable[[Track], None]) -> None:
        """The same for these, as many at once as there are CPUs for their threads: nothing of it may be timed closely."""
        most = max((t.work.cell.threads for t in tracks), default=1)
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // most)) as several:
            for _ in several.map(lambda track: self.guarded(track, step), self.still(tracks)):
                pass  # for the exceptions

    def start(self, track: Track) -> None:
        try:
            track.begin(self.crew.start(track.work.cell.backend))
        except ChildDied as death:
            raise CellFailed(f"The worker {death.reason}.", stderr=death.stderr) from death

    def keep(self, track: Track) -> None:
        """Put down what a worker that ended well has written."""
        self.book.add(track.current)
        self.emit({"event": "record", "record": track.current})

    def weighed(self, track: Track) -> int:
        """How many of its workers told their memory."""
        return sum(bool(r.get("memory")) for r in self.book.of(track.id))

    def step(self, note: str) -> None:
        """A step of the work is done."""
        self.done_steps += 1
        self.note(note)

    def note(self, note: str) -> None:
        """Say what is going on; `left_s` is the time that the measuring will still take, once that can be told."""
        self.steps = max(self.steps, self.done_steps)
        left = {} if self.left_s is None else {"left_s": round(self.left_s, 1)}
        self.emit({"event": "progress", "done": self.done_steps, "total": self.steps, "note": note, **left})

    def close(self) -> None:
        for track in self.tracks.values():
            track.stop()
        self.crew.close()
        self.rung.close()
        self.watch.close()
