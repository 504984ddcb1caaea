"""On the device: one Job, conducted. Workers are started and asked, their slices interleaved, Results streamed.

stdin: the Job as one JSON line, then the records of an earlier, interrupted campaign (one a line), then an empty line.
stdout: JSON lines: environment, progress, record (one generation of one cell), result (one a cell).
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgebench import environment, figures, lines, measure, plugins, stats
from edgebench.backend import Backend
from edgebench.devices import isolation
from edgebench.errors import EdgebenchError
from edgebench.lines import ChildDied
from edgebench.nursery import Crew
from edgebench.schema import Artifact, Job, Options, Result, from_json, to_json
from edgebench.track import CellFailed, Track

Emit = Callable[[Mapping[str, Any]], None]
SETTLE_STEP, SETTLE_CAP = 0.01, 0.1
APART = -1
"""The generation number of scenarios and profiles: they are no part of the paired figures."""
SCENARIO_TIMEOUT = 3600.0
RETRY_PAUSE = 2.0
MEMORY_SHARE = 0.8


class Campaign:
    """Conducts one Job. `emit` gets every event as a plain mapping."""

    def __init__(self, job: Job, earlier: Iterable[Mapping[str, Any]], emit: Emit, scratch: Path) -> None:
        self.job, self.emit, self.scratch = job, emit, scratch
        self.protocol = job.protocol
        self.random = random.Random(job.protocol.seed)
        threads = max((w.cell.threads for w in job.work), default=1)
        facts = environment.preflight(threads=threads)
        self.rung = (
            isolation.choose(threads=threads) if job.protocol.isolate else isolation.Rung(reason="not asked for")
        )
        self.machine = {
            **facts,
            "warnings": list(environment.warnings(facts, threads)),
            "fingerprint": environment.fingerprint(facts),
            "source_hash": environment.source_hash(),
        }
        available = int(MEMORY_SHARE * (facts.get("memory_available") or 0)) or None
        memory_limit = job.protocol.memory_limit or available
        self.crew = Crew(self.random, self.rung.adopt, memory_limit)
        self.tracks = {w.cell.id: Track(w, job.protocol) for w in job.work}
        self.past: dict[str, list[Mapping[str, Any]]] = {}
        """Records of an earlier campaign, also of cells that are finished: they may be baselines."""
        for record in earlier:
            self.past.setdefault(record["cell"], []).append(record)
        for cell, track in self.tracks.items():
            track.records = self.past.setdefault(cell, [])
        self.alive = list(self.tracks.values())
        self.metrics = {name: plugins.load("edgebench.metrics", name)() for name in job.metrics}
        self.done_steps, self.steps = 0, len(self.alive) * (1 + self.protocol.least_generations)
        self.started = measure.monotonic()

    @property
    def environment(self) -> Options:
        """The machine, and the isolation as it is now: a rung that could not keep its promise has stepped down."""
        return Options({**self.machine, "isolation": self.rung.name, "isolation_reason": self.rung.reason})

    def run(self) -> None:
        self.emit({"event": "environment", "environment": to_json(self.environment)})
        try:
            self._each("build", self._build)
            if self.job.task == "build":
                return
            self._check_all()
            self._compare_with_first()
            self._generations()
            if any(metric.apart for metric in self.metrics.values()):
                self._each("scenarios of", self._apart)
            for result in self._results():
                self.emit({"event": "result", "result": to_json(result)})
        finally:
            for track in self.tracks.values():
                track.stop()
            self.crew.close()
            self.rung.close()

    def _each(self, what: str, step: Callable[[Track], None]) -> None:
        """Do one step for every cell still in; a cell that fails gets its row and leaves."""
        for track in list(self.alive):
            self._note(f"{what} {track.id}", 0)
            self._guarded(track, step)

    def _guarded(self, track: Track, step: Callable[[Track], None]) -> None:
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
            status="failed",
            reason=failure.reason,
            fix=failure.fix,
            stderr=failure.stderr,
            environment=self.environment,
            artifact=track.work.artifact,
        )
        self.emit({"event": "result", "result": to_json(result)})

    def _start(self, track: Track) -> None:
        try:
            track.begin(self.crew.start(track.work.cell.backend))
        except ChildDied as death:
            raise CellFailed(f"The worker {death.reason}.", stderr=death.stderr) from death

    def _keep(self, track: Track) -> None:
        track.records.append(track.current)
        self.emit({"event": "record", "record": track.current})

    # the phases

    def _build(self, track: Track) -> None:
        """Let a backend that compiles do so here, in a worker of its own, so that it never counts as measuring."""
        work = track.work
        if type(plugins.backend(work.cell.backend)).build is Backend.build:
            return
        out = self.scratch / "built" / f"{len(list(self.scratch.glob('built/*')))}"
        out.mkdir(parents=True)
        self._start(track)
        track.prepared(0)
        answer = track.ask({"do": "build", "work": to_json(work), "out": str(out)})
        track.close()
        built = from_json(Artifact, answer["artifact"])
        track.work = replace(work, artifact=built)
        self.emit(
            {"event": "built", "cell": work.cell.id, "artifact": answer["artifact"], "build_s": answer["build_s"]}
        )

    def _check_all(self) -> None:
        """Check cell after cell; where there are cores to spare the next worker imports while one is checked."""
        waiting = list(self.alive)
        ahead = 1 if (os.cpu_count() or 1) > 1 else 0
        for i, track in enumerate(waiting):
            for coming in waiting[i : i + 1 + ahead]:
                if coming.child is None and coming in self.alive:
                    self._guarded(coming, self._start)
            if track in self.alive:
                self._note(f"check {track.id}", 0)
                self._guarded(track, self._check)

    def _check(self, track: Track) -> None:
        """Generation 0: memory first, then the accuracy of the whole data set and the gate, in a worker of its own."""
        expected = self.scratch / f"expected-{len(list(self.scratch.glob('expected-*')))}.npz"
        track.prepared(0)
        track.open()
        for name, metric in self.metrics.items():
            if metric.observes and not metric.apart:
                save = str(expected) if name == "accuracy" else ""
                track.current[name] = track.ask({"do": "observe", "metric": name, "save": save})["record"]
        track.close()
        track.expected = str(expected) if expected.exists() else ""
        if not track.has(0):
            self._keep(track)
        track.pass_gate()
        self._step(f"checked {track.id}")

    def _apart(self, track: Track) -> None:
        """Scenarios and profiles, each in a worker of its own, after the interleaved measuring."""
        for name in (n for n, metric in self.metrics.items() if metric.apart):
            if any(name in record for record in track.records):
                continue
            self._start(track)
            track.prepared(APART)
            track.open()
            track.current[name] = track.ask({"do": "observe", "metric": name, "save": ""}, SCENARIO_TIMEOUT)["record"]
            track.close()
            self._keep(track)

    def _compare_with_first(self) -> None:
        """Without reference outputs, the first runtime that ran a file is the reference of the others."""
        first: dict[str, Track] = {}
        for track in list(self.alive):
            gate = track.current.get("accuracy", {}).get("gate", {})
            if gate.get("error") is not None or not track.expected:
                continue
            key = f"{track.work.artifact.sha256}/{track.work.cell.batch}"
            if key in first:
                self._guarded(track, partial(Track.pass_gate_against, first=first[key]))
            else:
                first[key] = track

    def _generations(self) -> None:
        """Generations until every published ratio is known well enough (protocol, item 9), then the noisy cells again."""
        self.started = measure.monotonic()
        self._attempt(0, self.alive)
        for attempt in range(1, self.protocol.attempts):
            noisy = self._noisy()
            if not noisy or not self._time_left():
                break
            self._note(f"{len(noisy)} noisy cells, again", 0)
            measure.pause(RETRY_PAUSE)
            self._attempt(attempt, self._with_baselines(noisy))

    def _attempt(self, attempt: int, tracks: Sequence[Track]) -> None:
        p = self.protocol
        last = max((r["generation"] for t in tracks for r in t.records if r.get("attempt", 0) < attempt), default=0)
        widths: list[list[float]] = []
        todo = list(tracks)
        for i in range(1, p.most_generations + 1):
            began = measure.monotonic()
            self._generation(last + i, attempt, todo, last=i >= p.most_generations)
            seconds = measure.monotonic() - began
            open_ratios = {t.id: w for t in self._still(tracks) if (w := self._half_width(t)) is not None}
            widths.append(list(open_ratios.values()))
            spent = i * p.rounds * p.slice_seconds
            verdict = stats.stopping(
                widths, target=p.half_width, least=p.least_generations, spent=spent, cap=p.cell_seconds
            )
            if verdict != "go on" or not self._time_left(seconds):
                break
            if i >= p.least_generations:
                # More time goes where the intervals are widest: cells that are known well enough rest.
                wide = [t for t in self._still(tracks) if open_ratios.get(t.id, 0.0) > p.half_width]
                todo = self._with_baselines(wide) or todo

    def _half_width(self, track: Track) -> float | None:
        comparison = figures.compare(track.work, self.past, figures.rung_of(self.environment))
        return None if comparison is None else figures.half_width(comparison)

    def _with_baselines(self, tracks: Sequence[Track]) -> list[Track]:
        ids = {t.id for t in tracks} | {t.work.baseline for t in tracks}
        return [t for t in self.alive if t.id in ids]

    def _noisy(self) -> list[Track]:
        return [t for t, r in zip(self.alive, self._results(), strict=True) if r.noise.get("state") == "noisy"]

    def _results(self) -> list[Result]:
        works = [t.work for t in self.alive]
        return figures.conclude(works, self.past, self.metrics, self.protocol, self.environment, self.job.id)

    def _time_left(self, needed: float = 0.0) -> bool:
        budget = self.protocol.budget_seconds
        return budget is None or measure.monotonic() - self.started + needed <= budget

    def _generation(self, generation: int, attempt: int, tracks: Sequence[Track], last: bool) -> None:
        todo = [t for t in tracks if t in self.alive and not t.has(generation)]
        self.crew.open_nurseries([t.work.cell.backend for t in todo])
        # A nursery takes as long as its runtime's import: the workers that start from nothing import meanwhile.
        for track in sorted(todo, key=lambda t: self.crew.has_nursery(t.work.cell.backend)):
            self._guarded(track, self._start)
        for step in (lambda t: t.prepared(generation, attempt), Track.open):
            for track in self._still(todo):
                self._guarded(track, step)
        if not last:
            self.crew.prepare_nurseries([t.work.cell.backend for t in todo])
        for track in self._still(todo):
            self._guarded(track, _warm)
        self.crew.quiet()
        for _ in range(self.protocol.rounds):
            for track in self.random.sample(self._still(todo), len(self._still(todo))):
                self._guarded(track, self._slice)
        for track in self._still(todo):
            track.ask_to_close()
        for track in self._still(todo):
            self._guarded(track, Track.closed)
            if track in self.alive:
                self._keep(track)
                self._step(f"generation {generation}: {track.id}")
        self.crew.end_generation()

    def _still(self, todo: Sequence[Track]) -> list[Track]:
        return [t for t in todo if t in self.alive]

    def _slice(self, track: Track) -> None:
        self._settle(track)
        track.current["slices"].append(track.ask({"do": "slice"})["slice"])

    def _settle(self, turn: Track) -> None:
        """Wait until the other workers are idle: a spinning thread pool burns 30 to 40 ms after its slice."""
        others = [t.child.pid for t in self.alive if t.child is not None and t is not turn]
        before = sum(map(cpu_ns, others))
        for _ in range(round(SETTLE_CAP / SETTLE_STEP)):
            measure.pause(SETTLE_STEP)
            now = sum(map(cpu_ns, others))
            if now - before < 1_000_000:
                return
            before = now

    def _step(self, note: str) -> None:
        self._note(note, 1)

    def _note(self, note: str, steps: int) -> None:
        self.done_steps += steps
        self.steps = max(self.steps, self.done_steps)
        self.emit({"event": "progress", "done": self.done_steps, "total": self.steps, "note": note})


def _warm(track: Track) -> None:
    track.current.update(track.ask({"do": "warm"}))


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


def main() -> None:
    out = lines.claim_stdout()
    lines.die_with_parent()

    def emit(event: Mapping[str, Any]) -> None:
        lines.write_line(out, event)

    try:
        job = from_json(Job, json.loads(sys.stdin.readline()))
        earlier = []
        for line in sys.stdin:
            if not line.strip():
                break
            earlier.append(json.loads(line))
        with tempfile.TemporaryDirectory(prefix="edgebench-") as scratch:
            Campaign(job, earlier, emit, Path(scratch)).run()
        emit({"event": "done"})
    except EdgebenchError as error:
        emit({"event": "failed", "reason": error.problem, "fix": error.fix})


if __name__ == "__main__":
    main()
