"""On the device: one process = one generation of one cell. It is told what to do by JSON lines and answers with them.

    {"do": "prepare", "work": ..., "protocol": ...}                  ->  the runtime imported, the data read
    {"do": "open", "expected": path?, "check": true?}                ->  load figures, memory, effective configuration
    {"do": "observe", "metric": name, "save": path?}                 ->  what the metric wrote down
    {"do": "rouse"}                                                  ->  the first part of the warm-up, beside others
    {"do": "warm"}                                                   ->  how the rest of it went, alone
    {"do": "slice"}                                                  ->  the samples of one slice with their evidence
    {"do": "repeat"}                                                 ->  times on fresh inputs and on one repeated
    {"do": "close"}                                                  ->  end

An error is an answer too ({"event": "failed", "reason": ..., "fix": ...}); after it the worker ends. It stops by itself
when its stdin closes or its parent dies.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from edgebench import feeding, lines, measure, plugins
from edgebench.backend import Backend, ModelError
from edgebench.codec import from_json, to_json
from edgebench.devices.evidence import Canaries, SampleEvidence, SliceEvidence
from edgebench.errors import EdgebenchError, MissingRuntime
from edgebench.metrics import Subject, memory
from edgebench.metrics.accuracy import relative_error
from edgebench.metrics.memory import reset_peak, status
from edgebench.scaled import told
from edgebench.schema import Cell, Protocol, Work

SAME_RUN_TOLERANCE = 1e-2
"""A timed inference repeats what the same runtime answered in the accuracy run; only summation order may differ."""

PRELUDE = "numpy"
"""What every worker imports before its runtime: no part of the time that the runtime's import takes."""
_imported: dict[str, float] = {}


class Worker:
    """Holds one cell's session from `open` to `close`."""

    def __init__(self) -> None:
        self.work: Work
        self.protocol: Protocol
        self.backend: Backend
        self.arrays: dict[str, Any] = {}
        self.subject: Subject
        self.expected: list[Any] = []
        self.thunks: list[measure.Thunk] = []
        self.group = 1
        self.turn = 0
        self.evidence: measure.Evidence = lambda: ()
        self.refresh: Callable[[], None] = lambda: None
        self.canaries: Canaries

    def prepare(self, message: dict[str, Any]) -> dict[str, Any]:
        self.work = from_json(Work, message["work"])
        self.protocol = from_json(Protocol, message["protocol"])
        self.backend = plugins.backend(self.work.cell.backend)
        self.arrays = feeding.load_arrays(self.work.data)
        name = self.backend.module
        took = imported(name) if name else 0.0
        return {"import_s": took, "version": str(getattr(sys.modules.get(name.split(".")[0]), "__version__", ""))}

    def open(self, message: dict[str, Any]) -> dict[str, Any]:
        cell = self.work.cell
        _check_threads(cell)
        reset_peak()
        baseline = status()
        start = measure.now_ns()
        session = self.backend.open(self.work.artifact, asked_options(cell))
        opened = measure.now_ns()
        load_peak = status().get("VmHWM")
        self.subject = feeding.subject_of(self.work, session, self.arrays, baseline)
        reset_peak()
        self.subject.load_peak = load_peak
        if self.work.data.format == "random":
            self.subject.own_bytes = sum(a.nbytes for a in self.subject.inputs.values())
        self.subject.protocol, self.subject.application = self.protocol, self.work.application
        self.subject.reopen = lambda batch: self.backend.open(
            self.work.artifact, {**asked_options(cell), "batch": batch}
        )
        feeds = self.subject.feeds(0)
        first = measure.now_ns()
        session.run(feeds)
        ended = measure.now_ns()
        held = memory.held(self.subject, trim=bool(message.get("check")))
        # Asking a runtime what it ran may cost another session: once, in the check generation.
        found = dict(session.effective()) if message.get("check") else {}
        self.subject.precision = str(found.get("precision", cell.precision))
        _check_precision(cell, found)
        if message.get("expected"):
            self.expected = _load_expected(Path(message["expected"]))
        return {
            "load_s": (opened - start) / 1e9,
            "first_s": (ended - first) / 1e9,
            "memory": held,
            **({"effective": found} if found else {}),
        }

    def observe(self, message: dict[str, Any]) -> dict[str, Any]:
        metric = plugins.load("edgebench.metrics", message["metric"])()
        record = metric.observe(self.subject)
        if message.get("save"):
            _save_expected(Path(message["save"]), self.subject, self.protocol)
        return {"record": record}

    def rouse(self, message: dict[str, Any]) -> dict[str, Any]:
        """Bind the buffers and infer: nothing that is measured, so several workers may do it at once."""
        p, batch = self.protocol, self.subject.cell.batch
        self.thunks = [self.subject.session.bind(self.subject.feeds(i * batch)) for i in range(p.gate_buffers)]
        done = measure.run_slice(
            self.thunks, measure.now_ns, lambda: (), seconds=p.rouse_seconds, inferences=p.warmup_inferences
        )
        return {"roused": len(done.wall_ns)}

    def warm(self, message: dict[str, Any]) -> dict[str, Any]:
        """Until the times are steady. The worker is alone on the machine: a neighbour would look like drift."""
        p = self.protocol
        warmup = measure.warm_up(
            self.thunks, measure.now_ns, seconds=p.warmup_seconds, inferences=p.warmup_inferences, cap=p.warmup_cap,
            window_seconds=p.warmup_window,
        )  # fmt: skip
        self.group = measure.group_size(warmup.call_ns)
        # The file descriptors of the threads are opened now: the runtime has made its pool by the first inference.
        sample = SampleEvidence()
        self.refresh = sample.refresh
        self.canaries = Canaries()
        self.evidence = lambda: (time.process_time_ns(), *sample.read())
        gc.collect()
        gc.freeze()
        gc.disable()
        return {"warmup": vars(warmup), "group": self.group, "sees": "delay" if sample.sees_delay else ""}

    def slice(self, message: dict[str, Any]) -> dict[str, Any]:
        p = self.protocol
        self.refresh()  # a runtime may have started threads since
        around = SliceEvidence()
        start, before = measure.epoch(), around.snapshot()
        taken = measure.run_slice(
            self.thunks,
            measure.now_ns,
            self.evidence,
            seconds=p.slice_seconds,
            inferences=p.slice_inferences + p.slice_drop,
            group=self.group,
            first=self.turn,
        )
        after, end = around.snapshot(), measure.epoch()
        canaries = self.canaries.sing(measure.now_ns)
        self.turn = (taken.last_buffer + 1) % len(self.thunks)
        self._check_timed(taken)
        return {
            "slice": {
                "window": [start, end],
                "wall_ns": taken.wall_ns,
                "drop": min(p.slice_drop * self.group, len(taken.wall_ns) - 1),
                "groups": taken.groups,
                "evidence": {**around.difference(before, after), "canaries": canaries},
            }
        }

    def _check_timed(self, taken: measure.Slice) -> None:
        """The correctness gate on a timed inference: the same answer as in the accuracy run (protocol, item 3)."""
        import numpy as np

        if not self.expected:
            return
        batch, size = self.subject.cell.batch, self.subject.size
        rows = (np.arange(batch) + taken.last_buffer * batch) % size
        for found, wanted in zip(told(self.subject.session.outputs, taken.last), self.expected, strict=True):
            if np.ndim(found) and len(found) == batch and len(wanted) > rows.max():
                error = relative_error(np.asarray(found), wanted[rows])
                if error > SAME_RUN_TOLERANCE:
                    raise ModelError(
                        f"A timed inference answered differently from the accuracy run (relative L2 {error:.2g}).",
                        "Do not use this runtime's figures; report it with this model to the runtime's authors.",
                    )

    def repeat(self, message: dict[str, Any]) -> dict[str, Any]:
        """The caching test: fresh inputs against one that is repeated, in turn (protocol, item 3)."""
        p, session = self.protocol, self.subject.session
        fresh = self.subject.fresh_feeds()
        same = self.subject.feeds(0)
        times = measure.in_turn(
            lambda: partial(session.run, next(fresh)),
            lambda: partial(session.run, same),
            measure.now_ns,
            seconds=p.repeat_seconds,
            pairs=p.repeat_pairs,
        )
        size = sum(array.nbytes for array in same.values())
        return {"repeat": {"fresh_ns": times[0], "same_ns": times[1], "bytes": size}}

    def close(self, message: dict[str, Any]) -> dict[str, Any]:
        if hasattr(self, "subject"):  # a worker that only built has opened nothing
            self.subject.session.close()
        return {}

    def build(self, message: dict[str, Any]) -> dict[str, Any]:
        """Let the backend compile the artifact on this device, in this process of its own."""
        work = from_json(Work, message["work"])
        start = measure.now_ns()
        artifact = plugins.backend(work.cell.backend).build(
            work.artifact, asked_options(work.cell), Path(message["out"])
        )
        return {"artifact": to_json(artifact), "build_s": (measure.now_ns() - start) / 1e9}


def imported(module: str) -> float:
    """Import a runtime; the seconds that it took, here or in the nursery that this process was forked from."""
    if module not in _imported:
        start = measure.now_ns()
        importlib.import_module(module)
        _imported[module] = (measure.now_ns() - start) / 1e9
    return _imported[module]


def asked_options(cell: Cell) -> dict[str, Any]:
    """What a backend is opened with: the cell's own options, and threads, batch and precision always."""
    return {**cell.options, "threads": cell.threads, "batch": cell.batch, "precision": cell.precision}


def _check_threads(cell: Cell) -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cell.threads > cpus:
        raise ModelError(
            f"{cell.threads} threads were asked for, and {cpus} CPUs may be used here.",
            f"Ask for {cpus} threads or fewer.",
        )


def _check_precision(cell: Cell, found: dict[str, Any]) -> None:
    """Asked and found are different things; a float precision swapped for another is not a measurement of it."""
    asked, ran = cell.precision, found.get("precision", cell.precision)
    of_file = ran == found.get("file_precision")  # a file of fp16 is measured as what it is
    if asked != ran and not (asked == "fp32" and (ran == "int8" or of_file)):
        raise ModelError(
            f"{asked} was asked for, and the runtime ran {ran}.",
            f"Ask for the precision that it really runs, or use {_others(cell)} for this one.",
        )


def _others(cell: Cell) -> str:
    """The other runtimes that say they have the precision of a cell: "openvino or tensorrt"."""
    known = plugins.backends().items()
    found = [n for n, made in known if n not in (cell.backend, plugins.FLOOR) and cell.precision in made.precisions]
    return " or ".join(found) or "another runtime"


def _save_expected(path: Path, subject: Subject, protocol: Protocol) -> None:
    import numpy as np

    rows = min(subject.size, protocol.gate_buffers * subject.cell.batch)
    outputs = subject.outputs or []
    np.savez(path, **{f"out{i}": out[:rows] if out.ndim else out for i, out in enumerate(outputs)})


def _load_expected(path: Path) -> list[Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return [archive[f"out{i}"] for i in range(len(archive.files))]


def main() -> None:
    out = lines.claim_stdout()
    lines.die_with_parent()
    with suppress(OSError):  # if memory runs out, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    worker = Worker()
    commands: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "prepare": worker.prepare,
        "open": worker.open,
        "observe": worker.observe,
        "rouse": worker.rouse,
        "warm": worker.warm,
        "slice": worker.slice,
        "repeat": worker.repeat,
        "close": worker.close,
        "build": worker.build,
    }
    for line in sys.stdin:
        message = json.loads(line)
        if not _answer(out, commands[message["do"]], message):
            sys.exit(1)
        if message["do"] == "close":
            sys.stderr.flush()
            os._exit(0)  # the model is closed; taking a framework's modules apart would only cost a second


def _answer(out: IO[str], command: Callable[[dict[str, Any]], dict[str, Any]], message: dict[str, Any]) -> bool:
    try:
        lines.write_line(out, {"event": message["do"], **command(message)})
    except EdgebenchError as error:
        missing = {"missing": True} if isinstance(error, MissingRuntime) else {}
        lines.write_line(out, {"event": "failed", "reason": error.problem, "fix": error.fix, **missing})
    except Exception as error:
        traceback.print_exc()
        text = str(error).strip().splitlines() or [""]
        lines.write_line(out, {"event": "failed", "reason": f"{type(error).__name__}: {text[0][:300]}", "fix": ""})
    else:
        return True
    return False


if __name__ == "__main__":
    main()
