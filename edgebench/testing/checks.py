"""What every backend keeps, one function per clause: each gets a fresh process, and says what is wrong.

Sessions are left open on purpose, except by the check of `close`: a crash there must not hide the rest.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgebench.backend import Availability, Backend, EdgebenchError, ModelError, Session
from edgebench.schema import Artifact
from edgebench.testing.contract import Case
from edgebench.testing.instruments import (
    alike,
    busy_threads,
    copied,
    describe,
    different,
    distance,
    identical,
    is_json,
    repeat,
    require,
    resident_bytes,
    watched_clocks,
)  # fmt: skip

ROUNDED = 1e-5
"""A network really computed below fp32 is further than this from the fp32 answer; fp32 itself is nearer.

Seen: 1e-7 to 1e-6 for fp32, from 3e-4 for fp16."""

ROUNDING = 0.1
"""An error above this is no rounding any more: that network is wrong, and the check of `outputs` says so."""

LEAK = 2048
"""Bytes per call by which the resident memory may grow."""

WARM_CALLS = 100


class RuntimeAbsentError(Exception):
    """The runtime is not here: nothing more can be checked."""


def probe(backend: Backend, case: Case) -> None:
    """`probe` answers and never raises; a no has a reason and a fix, a yes has a version."""
    found = backend.probe()
    require(isinstance(found, Availability), f"probe() must return an Availability, not {found!r}")
    if not found.ok:
        require(bool(found.reason and found.fix), "probe() said no without a reason or a fix")
        raise RuntimeAbsentError(f"{found.reason}. {found.fix}")
    require(bool(found.version), "probe() must say the version of the runtime")


def declared(backend: Backend, case: Case) -> None:
    """The class says its name, formats, precisions, options and what to install."""
    require(isinstance(backend.name, str) and bool(backend.name), "name must be a word")
    accepts = backend.accepts
    require(isinstance(accepts, frozenset) and bool(accepts), "accepts must be a frozenset of formats")
    require(case.artifact.format in accepts, f"accepts lacks {case.artifact.format!r}, the format of this case")
    require(case.precision in backend.precisions, f"precisions lacks {case.precision!r}, asked by this case")
    strange = {ending: form for ending, form in backend.endings.items() if form not in accepts or ending[:1] != "."}
    require(not strange, f"endings {strange} must be like '.net', each with a format of accepts")
    twice = {"threads", "batch", "precision"} & set(backend.options)
    require(not twice, f"options must not declare {sorted(twice)}: every backend is given these")
    mute = [name for name, text in backend.options.items() if not text.strip()]
    require(not mute, f"options {mute} have no line of help")
    require(bool(backend.extra), "extra must say what to install")


def specs(backend: Backend, case: Case) -> None:
    """`inputs` and `outputs` describe what goes in and what comes out."""
    session = opened(backend, case)
    wanted, given = [s.name for s in session.inputs], sorted(case.feeds)
    require(sorted(wanted) == given, f"inputs are named {wanted}, and the case feeds {given}")
    found = session.run(case.feeds)
    require(isinstance(found, list), f"run() must return a list of arrays, not {type(found).__name__}")
    require(len(found) == len(session.outputs), f"{len(session.outputs)} outputs are declared, {len(found)} came")
    for spec, array in zip(session.outputs, found, strict=True):
        require(
            isinstance(array, np.ndarray),
            f"output {spec.name!r} is {type(array).__name__}, not a numpy array",
        )
        require(
            spec.takes(array),
            f"output {spec.name!r} is declared as {spec.dtype}{list(spec.shape)} and is {describe(array)}",
        )


def outputs(backend: Backend, case: Case) -> None:
    """Every expected output is among the answers, within the tolerance of the precision."""
    found = opened(backend, case).run(case.feeds)
    require(len(found) == len(case.expected), f"{len(case.expected)} outputs are expected, {len(found)} came")
    for i, wanted in enumerate(case.expected):
        error = min(distance(array, wanted) for array in found)
        require(
            error <= case.allowed,
            f"wrong outputs: output {i} is off by {error:.2g} (relative L2; {case.allowed:.2g} is allowed)",
        )


def order(backend: Backend, case: Case) -> None:
    """The outputs come in the order of the network's outputs."""
    found = opened(backend, case).run(case.feeds)
    for i, array in enumerate(found):
        errors = [distance(array, wanted) for wanted in case.expected]
        nearest = int(np.argmin(errors))
        require(
            nearest == i or (i < len(errors) and errors[i] <= case.allowed),
            f"swapped outputs: what came as output {i} is output {nearest} of the network",
        )


def fresh(backend: Backend, case: Case) -> None:
    """Answers depend on the question: other inputs other outputs, the same inputs the same."""
    session = opened(backend, case)
    first = copied(session.run(case.feeds))
    other = copied(session.run(different(case.feeds)))
    again = session.run(case.feeds)
    require(not alike(first, other), "cached outputs: two different inputs got the same answer")
    require(alike(first, again), "the same input got two different answers")


def stale(backend: Backend, case: Case) -> None:
    """What `run` returned stays as it was when `run` is called again."""
    session = opened(backend, case)
    first = session.run(case.feeds)
    kept = copied(first)
    session.run(different(case.feeds))
    session.bind(different(case.feeds))()
    require(identical(first, kept), "stale buffers: the outputs of one run() changed during the next")


def inputs(backend: Backend, case: Case) -> None:
    """Inputs are read only: never written to, and accepted when numpy marks them so."""
    feeds = {name: array.copy() for name, array in case.feeds.items()}
    session = opened(backend, case)
    session.run(feeds)
    session.bind(feeds)()
    changed = [name for name, array in feeds.items() if not np.array_equal(array, case.feeds[name], equal_nan=True)]
    require(not changed, f"mutated inputs: {changed} were written to")
    for array in feeds.values():
        array.flags.writeable = False
    session.run(feeds)
    session.bind(feeds)()


def misfits(backend: Backend, case: Case) -> None:
    """An input of the wrong dtype or shape, or none, is a ModelError naming what came and what was wanted."""
    session = opened(backend, case)
    for spec in session.inputs:
        good = case.feeds[spec.name]
        wrong = good.astype("float64" if good.dtype != np.float64 else "float32")
        must_refuse(session, case, spec.name, wrong, f"dtype {wrong.dtype}", [str(good.dtype), str(wrong.dtype)])
        fixed = [axis for axis, size in enumerate(spec.shape) if axis and size is not None]
        if fixed:
            wider = np.concatenate([good, good], axis=fixed[-1])
            size = good.shape[fixed[-1]]
            must_refuse(session, case, spec.name, wider, f"shape {list(wider.shape)}", [str(size), str(2 * size)])
        must_refuse(session, case, spec.name, None, "nothing", [spec.name])


def bind(backend: Backend, case: Case) -> None:
    """Bound calls answer as `run` does, also when two of them alternate."""
    session = opened(backend, case)
    feeds, other = case.feeds, different(case.feeds)
    wanted = [copied(session.run(feeds)), copied(session.run(other))]
    calls = [session.bind(feeds), session.bind(other)]
    for turn in (0, 1, 1, 0):
        found = calls[turn]()
        require(alike(found, wanted[turn]), "bind() answers differently from run() on the same inputs")
    require(alike(session.run(feeds), wanted[0]), "run() answers differently after bind()")


def silent(backend: Backend, case: Case) -> None:
    """Nothing is written to standard output, which belongs to whoever called."""
    libc: Any = ctypes.CDLL(None)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 1)
        sys.stdout = os.fdopen(os.dup(1), "w")
        session = backend.open(case.artifact, case.asked())
        session.run(case.feeds)
        session.bind(case.feeds)()
        session.effective()
        session.profile(case.feeds)
        sys.stdout.flush()
        libc.fflush(None)
        captured.seek(0)
        text = captured.read()
    require(not text, f"it prints to standard output: {text[:200]!r}")


def clock(backend: Backend, case: Case) -> None:
    """The backend's own code reads no clock: measuring is not its business. (A runtime within may.)"""
    readings: list[str] = []
    with watched_clocks(backend, readings):
        session = backend.open(case.artifact, case.asked())
    with watched_clocks(backend, readings, session):
        session.run(case.feeds)
        session.bind(case.feeds)()
        session.effective()
        session.profile(case.feeds)
    require(not readings, f"it reads a clock: {', '.join(dict.fromkeys(readings))}")


def threads(backend: Backend, case: Case) -> None:
    """The threads asked for are those in force, by `effective` and by who used the CPU; or open() refuses."""
    for asked in (1, 2):
        try:
            session = backend.open(case.artifact, case.asked(threads=asked))
        except EdgebenchError as refusal:
            require(asked != case.threads, f"{asked} threads, the case's own number, are refused: {refusal}")
            continue
        session.run(case.feeds)
        found = session.effective().get("threads")
        require(found in (None, asked), f"threads ignored: asked for {asked}, effective() says {found}")
        if asked == 1:  # with more, a runtime may leave some idle
            busy = busy_threads(partial(session.run, case.feeds), 20 * case.calls)
            require(busy <= 1, f"threads ignored: 1 was asked for, and {busy} did the work")


def precision(backend: Backend, case: Case) -> None:
    """The precision in force is the one asked for, and the answers are rounded accordingly."""
    session = opened(backend, case)
    answers = session.run(case.feeds)
    found = session.effective().get("precision")
    require(found in (None, case.precision), f"{case.precision} was asked for, effective() says {found}")
    error = max(distance(a, w) for a, w in zip(answers, case.expected, strict=True))
    if case.precision == "fp32":
        rounded = case.allowed < error < ROUNDING
        require(not rounded, f"it says fp32, and is off by {error:.2g}: a lower precision ran")
    else:
        require(
            error > ROUNDED,
            f"it says {case.precision}, and is only {error:.1g} off the fp32 network: nothing was rounded",
        )


def told(backend: Backend, case: Case) -> None:
    """`effective` is plain JSON, and says the precision and what every declared option was set to."""
    session = opened(backend, case)
    session.run(case.feeds)
    found = session.effective()
    require(is_json(found), f"effective() must be plain JSON, not {found!r}")
    require("precision" in found, f"effective() does not say the precision in force: {dict(found)!r}")
    untold = [name for name in backend.options if name not in found]
    require(not untold, f"effective() does not say what the options {untold} were set to")


def profile(backend: Backend, case: Case) -> None:
    """`profile` gives name, op and seconds of each operator, and leaves the session as it was; or nothing."""
    session = opened(backend, case)
    before = copied(session.run(case.feeds))
    for op in session.profile(case.feeds):
        require({"name", "op", "seconds"} <= set(op), f"an operator needs name, op and seconds: {dict(op)!r}")
        require(op["seconds"] >= 0 and is_json(op), f"seconds must be >= 0, and all plain JSON: {dict(op)!r}")
    require(alike(session.run(case.feeds), before), "run() answers differently after profile()")


def leak(backend: Backend, case: Case) -> None:
    """Many inferences, by `run` and bound, do not grow the process (no collector, as when measuring)."""
    session = opened(backend, case)
    gc.disable()
    for name, call in (
        ("run()", lambda: session.run(case.feeds)),
        ("a bound call", session.bind(case.feeds)),
    ):
        repeat(call, WARM_CALLS)
        before = resident_bytes()
        repeat(call, case.calls)
        grown = resident_bytes() - before
        require(
            grown <= LEAK * case.calls,
            f"memory leak: {case.calls} inferences by {name} grew it by {grown} bytes",
        )


def corrupt(backend: Backend, case: Case) -> None:
    """A file that is missing, empty, cut or garbage is a ModelError with problem and fix, never a crash."""
    content = Path(case.artifact.path).read_bytes()
    garbage = np.random.default_rng(0).bytes(4096)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(case.artifact.path).name
        for kind, damaged in (
            ("missing", None), ("empty", b""), ("cut", content[: len(content) // 2]), ("garbage", garbage)
        ):  # fmt: skip
            path.unlink(missing_ok=True)
            if damaged is not None:
                path.write_bytes(damaged)
            file = Artifact(format=case.artifact.format, path=str(path), sha256="", size=len(damaged or b""))
            try:
                backend.open(file, case.asked())
            except ModelError as error:
                require(bool(error.problem and error.fix), f"the refusal of a file that is {kind} has no fix")
            except Exception as error:
                raise AssertionError(f"a file that is {kind} must be a ModelError, not {error!r}") from error
            else:
                raise AssertionError(f"a file that is {kind} was opened without complaint")


def close(backend: Backend, case: Case) -> None:
    """A closed session lets the process end normally; the suite looks at the exit status after this one."""
    session = opened(backend, case)
    call = session.bind(case.feeds)
    call()
    session.close()


CHECKS: Mapping[str, Callable[[Backend, Case], None]] = {
    f.__name__: f
    for f in (
        probe, declared, specs, outputs, order, fresh, stale, inputs, misfits, bind, silent, clock, threads,
        precision, told, profile, leak, corrupt, close,
    )
}  # fmt: skip


def opened(backend: Backend, case: Case) -> Session:
    return backend.open(case.artifact, case.asked())


def must_refuse(session: Session, case: Case, name: str, array: Any, what: str, words: Sequence[str]) -> None:
    feeds = {k: v for k, v in case.feeds.items() if k != name}
    if array is not None:
        feeds[name] = array
    ways: dict[str, Callable[[], Any]] = {
        "run()": lambda: session.run(feeds),
        "bind()": lambda: session.bind(feeds)(),
    }
    for way, call in ways.items():
        try:
            call()
        except ModelError as error:
            missing = [word for word in words if word not in str(error)]
            require(not missing, f"the refusal of {what} for input {name!r} must name {missing}: {error}")
        except Exception as error:
            raise AssertionError(f"{way} with {what} for input {name!r} must be a ModelError, not {error!r}") from error
        else:
            raise AssertionError(f"{way} with {what} for input {name!r} was answered without complaint")
