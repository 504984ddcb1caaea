"""On the device: one Job, conducted. Workers are started and asked, their slices interleaved, Results streamed.

stdin: the Job as one JSON line, then the records of an earlier, interrupted campaign (one a line), then an empty line.
stdout: JSON lines: environment, progress, record (one generation of one cell), result (one a cell).
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgebench import figures, lines, plugins
from edgebench.codec import from_json, to_json
from edgebench.ensemble import Emit, Ensemble
from edgebench.errors import EdgebenchError
from edgebench.sampling import Sampling
from edgebench.schema import Artifact, Job, Result
from edgebench.track import Track
from edgebench.worker import asked_options

APART = -1
"""The generation number of scenarios, profiles and memory: they are no part of the paired figures."""
SCENARIO_TIMEOUT = 3600.0


class Campaign:
    """Conducts one Job. `emit` gets every event as a plain mapping."""

    def __init__(self, job: Job, earlier: Iterable[Mapping[str, Any]], emit: Emit, scratch: Path) -> None:
        self.job, self.emit, self.scratch = job, emit, scratch
        self.ensemble = Ensemble(job, earlier, emit)
        self.metrics = {name: plugins.load("edgebench.metrics", name)() for name in job.metrics}

    def run(self) -> None:
        ensemble = self.ensemble
        self.emit({"event": "environment", "environment": to_json(ensemble.environment)})
        try:
            ensemble.each("build", self._build)
            if self.job.task == "build":
                return
            self._check_all()
            self._compare_with_first()
            Sampling(ensemble, self._noisy).run()
            self._weigh_all()
            if any(metric.apart for metric in self.metrics.values()):
                ensemble.each("scenarios of", self._apart)
            ensemble.watch.finish()
            for result in self._results():
                self.emit({"event": "result", "result": to_json(result)})
        finally:
            ensemble.close()

    def _build(self, track: Track) -> None:
        """Let a backend that compiles do so here, in a worker of its own, so that it never counts as measuring."""
        work = track.work
        if not plugins.backend(work.cell.backend).builds(asked_options(work.cell)):
            return
        out = self.scratch / "built" / f"{len(list(self.scratch.glob('built/*')))}"
        out.mkdir(parents=True)
        self.ensemble.start(track)
        track.prepared(0)
        answer = track.ask({"do": "build", "work": to_json(work), "out": str(out)})
        track.close()
        built = from_json(Artifact, answer["artifact"])
        track.work = replace(work, artifact=built)
        self.emit(
            {"event": "built", "cell": work.cell.id, "artifact": answer["artifact"], "build_s": answer["build_s"]}
        )

    def _check_all(self) -> None:
        """Check every cell, as many at once as there are CPUs: what counts is answers and memory, and no time."""
        self.ensemble.crew.open_nurseries([t.work.cell.backend for t in self.ensemble.alive])
        self.ensemble.together(list(self.ensemble.alive), self._check)
        self.ensemble.crew.end_generation()

    def _check(self, track: Track) -> None:
        """Generation 0: load and memory first, then the accuracy of the whole data set and the gate, in a worker of its own."""
        self.ensemble.note(f"check {track.label}")
        self.ensemble.start(track)
        expected = self.scratch / f"expected-{list(self.ensemble.tracks).index(track.id)}.npz"
        track.prepared(0)
        track.open()
        for name, metric in self.metrics.items():
            if metric.observes and not metric.apart:
                save = str(expected) if name == "accuracy" else ""
                track.current[name] = track.ask({"do": "observe", "metric": name, "save": save})["record"]
        track.close()
        track.expected = str(expected) if expected.exists() else ""
        if not self.ensemble.book.has(track.id, 0):
            self.ensemble.keep(track)
        track.pass_gate()
        self.ensemble.step(f"checked {track.label}")

    def _weigh_all(self) -> None:
        """Workers for memory alone, where few generations were asked for; at once, for memory minds no neighbour."""
        wanted = self.job.protocol.memory_processes
        for _ in range(wanted):
            lacking = [t for t in self.ensemble.alive if 0 < self.ensemble.weighed(t) < wanted]
            self.ensemble.together(lacking, self._weigh)

    def _weigh(self, track: Track) -> None:
        self.ensemble.note(f"memory of {track.label}")
        self.ensemble.start(track)
        track.prepared(APART)
        track.open()
        track.close()
        self.ensemble.keep(track)

    def _apart(self, track: Track) -> None:
        """Scenarios and profiles, each in workers of its own, after the interleaved measuring."""
        for name, metric in self.metrics.items():
            done = sum(name in record for record in self.ensemble.book.of(track.id))
            for _ in range(done, metric.workers if metric.apart else 0):
                self.ensemble.watch.cool()
                self.ensemble.start(track)
                track.prepared(APART)
                track.open()
                asked = {"do": "observe", "metric": name, "save": ""}
                track.current[name] = track.ask(asked, SCENARIO_TIMEOUT)["record"]
                track.close()
                self.ensemble.keep(track)

    def _compare_with_first(self) -> None:
        """Without reference outputs, the first runtime that ran a file is the reference of the others."""
        first: dict[str, Track] = {}
        for track in list(self.ensemble.alive):
            gate = track.current.get("accuracy", {}).get("gate", {})
            if gate.get("error") is not None or not track.expected:
                continue
            key = f"{track.work.artifact.sha256}/{track.work.cell.batch}"
            if key in first:
                self.ensemble.guarded(track, partial(Track.pass_gate_against, first=first[key]))
            else:
                first[key] = track

    def _noisy(self) -> list[Track]:
        return [t for t, r in zip(self.ensemble.alive, self._results(), strict=True) if r.noise.get("state") == "noisy"]

    def _results(self) -> list[Result]:
        ensemble = self.ensemble
        works = [t.work for t in ensemble.alive]
        return figures.conclude(
            works, ensemble.book, self.metrics, self.job.protocol, ensemble.environment, self.job.id
        )


def main() -> None:
    out = lines.claim_stdout()
    lines.die_with_parent()

    one_at_a_time = threading.Lock()  # several cells are checked at once

    def emit(event: Mapping[str, Any]) -> None:
        with one_at_a_time:
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
