"""A runtime that needs only numpy and does what its model file says: for tests, examples, our own overhead.

The file is JSON: `inputs` and `outputs` as TensorSpecs, `seed`, and `behave`. Output k is a linear map of all
the inputs of a sample, flattened and joined; numpy.random.default_rng((seed, k)) draws its matrix from the normal
distribution. So the right answers are known, and a wrong one is caught. `behave` may hold

    sleep, spin, slow    wait so many seconds, hash so many rounds, both times `slow`, in each inference
    sway                 be slower by this share in every other spell of calls
    memory               hold so many bytes while open
    threads, precision   say that this was in force, whatever was asked
    wrong                add a relative error of this size to the answers
    cached               answer every question like the first
    remembers            answer an input that was seen before at once
    print_at, raise_at, exit_at, segfault_at, abort_at, hang_at, eat_at
                         do so at "open", "run" or "close"; eat: take memory until there is none
    after                let so many inferences pass before one of these strikes at "run"
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgebench.backend import (
    Artifact,
    Availability,
    Backend,
    Feeds,
    ModelError,
    Outputs,
    Session,
    Tensor,
    TensorSpec,
    np,
)

REMAKE = "Write it again with edgebench.testing.fake_artifact."


class FakeBackend(Backend):
    name = "fake"
    accepts = frozenset({"fake"})
    endings = {".fake": "fake"}
    precisions = {"fp32": "fake"}
    module = "numpy"
    fork_safe = True
    extra = "edgebench"

    def probe(self) -> Availability:
        return Availability(ok=True, version=np.__version__)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        try:
            model = json.loads(Path(artifact.path).read_text(encoding="utf-8"))
            session = FakeSession(model, options)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{artifact.path} is no model of the fake runtime: {error!r}.", REMAKE) from error
        session.strike("open")
        return session


class FakeSession(Session):
    def __init__(self, model: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.inputs = _specs(model["inputs"])
        self.outputs = _specs(model["outputs"])
        self._behave: Mapping[str, Any] = model.get("behave", {})
        unknown = set(self._behave) - KNOWN
        if unknown:
            raise ValueError(f"unknown behaviour {sorted(unknown)[0]!r}")
        width = sum(_size(spec) for spec in self.inputs)
        self._weights = [
            np.random.default_rng((model.get("seed", 0), k)).standard_normal((width, _size(spec)))
            for k, spec in enumerate(self.outputs)
        ]
        slow = self._behave.get("slow", 1.0)
        self._sleep = self._behave.get("sleep", 0.0) * slow
        self._spin = int(self._behave.get("spin", 0) * slow)
        self._held = np.ones(self._behave.get("memory", 0), np.uint8)
        self._found = {key: self._behave.get(key, options[key]) for key in ("precision", "threads")}
        self._first: Outputs | None = None
        self._runs = 0
        self._seen: set[bytes] = set()

    def run(self, feeds: Feeds) -> Outputs:
        if self._runs >= self._behave.get("after", 0):
            self.strike("run")
        self._runs += 1
        answers = self._answers([_fitting(spec, feeds) for spec in self.inputs])
        if not (self._behave.get("remembers") and self._remembered(feeds)):
            self._work()
        if self._behave.get("cached"):
            self._first = answers = self._first or answers
        return answers

    def _work(self) -> None:
        # Each process begins elsewhere in a spell: else those of every generation would fall on its slices alike.
        spell = (self._runs + os.getpid()) // SPELL % 2 * self._behave.get("sway", 0.0)
        if self._sleep:
            threading.Event().wait(self._sleep * (1 + spell))
        if self._spin:
            # In one call of C on a few bytes: how fast a loop of Python runs differs by half from process to process.
            hashlib.pbkdf2_hmac("sha256", b"edge", b"bench", self._spin)

    def _remembered(self, feeds: Feeds) -> bool:
        key = b"".join(feeds[spec.name].tobytes() for spec in self.inputs)
        known = key in self._seen
        self._seen.add(key)
        return known

    def effective(self) -> Mapping[str, Any]:
        return self._found

    def close(self) -> None:
        self.strike("close")
        self._held = np.empty(0, np.uint8)

    def strike(self, moment: str) -> None:
        """Do the mischief that the model file has for this moment."""
        for name, mischief in MISCHIEF.items():
            if self._behave.get(name) == moment:
                mischief()

    def _answers(self, arrays: list[Tensor]) -> Outputs:
        rows = np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)
        wrong = 1.0 + self._behave.get("wrong", 0.0)
        # einsum, since a matrix product would start BLAS's own threads.
        return [
            (np.einsum("ni,io->no", rows, w) * wrong).astype(spec.dtype).reshape(len(rows), *spec.shape[1:])
            for w, spec in zip(self._weights, self.outputs, strict=True)
        ]


def _specs(items: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=i["name"], dtype=i["dtype"], shape=tuple(i["shape"])) for i in items)


def _size(spec: TensorSpec) -> int:
    return int(np.prod([d for d in spec.shape[1:] if d is not None]))


def _fitting(spec: TensorSpec, feeds: Feeds) -> Tensor:
    array = feeds.get(spec.name)
    found = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
    fits = array is not None and array.dtype == spec.dtype and array.shape[1:] == spec.shape[1:]
    if array is None or not fits:
        raise ModelError(
            f"Input {spec.name!r} must be {spec.dtype}{list(spec.shape)} and is {found}.",
            "Give it the type and shape of the model.",
        )
    return array


def _print() -> None:
    sys.stdout.write("garbage from the fake runtime\n")
    sys.stdout.flush()
    os.write(1, b"\xff\x00 garbage from its native side\n")


def _raise() -> None:
    raise RuntimeError("the fake runtime was told to fail")


def _hang() -> None:
    threading.Event().wait()


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(np.ones(2**26, np.uint8))


MISCHIEF: Mapping[str, Callable[[], None]] = {
    "print_at": _print,
    "raise_at": _raise,
    "exit_at": lambda: sys.exit(3),
    "segfault_at": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort_at": os.abort,
    "hang_at": _hang,
    "eat_at": _eat,
}
SPELL = 25
"""With `sway`, so many calls in a row are slower by that share, and then as many are not."""
KNOWN = {
    "sleep",
    "spin",
    "slow",
    "sway",
    "memory",
    "threads",
    "precision",
    "wrong",
    "cached",
    "remembers",
    "after",
    *MISCHIEF,
}
