"""Backends that break one clause of the contract each, for the suite to catch."""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar

import numpy as np
from edgebench_fake import FakeBackend, FakeSession

from edgebench.backend import Artifact, Availability, Feeds, ModelError, OpProfile, Outputs, Session


class Broken(FakeBackend):
    """The fake backend with another session around the same network."""

    precisions = {"fp32": "fake", "int8": "fake"}
    session: ClassVar[type[BrokenSession]]

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        inner = super().open(artifact, options)
        assert isinstance(inner, FakeSession)
        return self.session(inner)


class BrokenSession(Session):
    def __init__(self, inner: FakeSession) -> None:
        self.inner = inner
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self.kept: list[Any] = []

    def run(self, feeds: Feeds) -> Outputs:
        return self.inner.run(feeds)

    def effective(self) -> Mapping[str, Any]:
        return self.inner.effective()


class WrongOutputs(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            return [1.5 * a for a in super().run(feeds)]


class SwappedOutputs(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            return super().run(feeds)[::-1]


class StaleBuffers(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            answers = super().run(feeds)
            self.kept = self.kept or [np.empty_like(a) for a in answers]
            for mine, a in zip(self.kept, answers, strict=True):
                mine[:] = a
            return self.kept


class MutatedInputs(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            answers = super().run(feeds)
            for a in feeds.values():
                a += 1
            return answers


class ReadOnlyRefused(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            for a in feeds.values():
                if not a.flags.writeable:
                    raise ValueError("array is not writeable")
            return super().run(feeds)


class ClockRead(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            self.started = time.perf_counter()
            return super().run(feeds)


class Prints(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            print("inferring")
            return super().run(feeds)


class PrintsNatively(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            os.write(1, b"inferring")
            return super().run(feeds)


class ThreadsIgnored(Broken):
    class session(BrokenSession):  # noqa: N801
        def effective(self) -> Mapping[str, Any]:
            return {**super().effective(), "threads": 4}


class ThreadsLied(Broken):
    """Says what was asked, and works with two more."""

    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            if not self.kept:
                self.kept = [ThreadPoolExecutor(2), Barrier(2), bytes(100_000)]
            pool, both, block = self.kept

            def work() -> None:
                both.wait()  # else one thread may do the work of both, where the other gets no CPU
                hashlib.sha256(block)

            for done in [pool.submit(work) for _ in range(2)]:
                done.result()
            return super().run(feeds)


class PrecisionLied(Broken):
    """Says int8, and computes in float."""

    session = BrokenSession


class PrecisionOther(Broken):
    """Computes in another precision than was asked, and says so."""

    class session(BrokenSession):  # noqa: N801
        def effective(self) -> Mapping[str, Any]:
            return {**super().effective(), "precision": "bf16"}


class PrecisionLowered(Broken):
    """Says fp32, and rounds as bf16 does."""

    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            return [(a.view(np.uint32) & 0xFFFF0000).view(np.float32) for a in super().run(feeds)]


class PrecisionUntold(Broken):
    class session(BrokenSession):  # noqa: N801
        def effective(self) -> Mapping[str, Any]:
            return {}


class Leak(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            self.kept.append(np.ones(1024))
            return super().run(feeds)


class LeakWhenBound(Broken):
    class session(BrokenSession):  # noqa: N801
        def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
            def infer() -> Outputs:
                self.kept.append(np.ones(1024))
                return self.run(feeds)

            return infer


class CrashAtClose(Broken):
    class session(BrokenSession):  # noqa: N801
        def close(self) -> None:
            os.kill(os.getpid(), signal.SIGSEGV)


class CrashAtExit(Broken):
    class session(BrokenSession):  # noqa: N801
        def close(self) -> None:
            atexit.register(os.abort)


class HangAtClose(Broken):
    class session(BrokenSession):  # noqa: N801
        def close(self) -> None:
            threading.Event().wait()


class Cached(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            self.kept = self.kept or super().run(feeds)
            return [a.copy() for a in self.kept]


class BoundToOthers(Broken):
    """All bound calls answer for the inputs that were bound last."""

    class session(BrokenSession):  # noqa: N801
        def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
            self.kept = [feeds]
            return lambda: self.run(self.kept[0])


class WrongSpecs(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            return [a.astype(np.float64) for a in super().run(feeds)]


class TakesAnyInput(Broken):
    class session(BrokenSession):  # noqa: N801
        def run(self, feeds: Feeds) -> Outputs:
            wanted = {s.name: feeds.get(s.name, np.ones((3, 8))) for s in self.inputs}
            return super().run({n: a[:, :8].astype(np.float32) for n, a in wanted.items()})


class ProfileWithoutTime(Broken):
    class session(BrokenSession):  # noqa: N801
        def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
            return [{"name": "all", "op": "MatMul"}]


class OptionUntold(Broken):
    options = {"mode": "how it runs (default fast)"}
    session = BrokenSession


class StrangeEnding(Broken):
    endings = {".acme": "acme"}
    session = BrokenSession


class NoHelp(Broken):
    options = {"threads": ""}
    session = BrokenSession


class ProbeRaises(Broken):
    session = BrokenSession

    def probe(self) -> Availability:
        raise ImportError("no such runtime")


class NotHere(Broken):
    session = BrokenSession

    def probe(self) -> Availability:
        return Availability(ok=False, reason="the acme chip is not in this machine", fix="Plug it in.")


class CrashOnGarbage(Broken):
    session = BrokenSession

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        path = Path(artifact.path)
        if path.exists() and not path.read_bytes().startswith(b"{"):
            os.abort()
        return super().open(artifact, options)


class TracebackOnGarbage(Broken):
    session = BrokenSession

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        try:
            return super().open(artifact, options)
        except ModelError as error:
            raise RuntimeError("bad magic") from error


class ExitsAtOpen(Broken):
    session = BrokenSession

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        sys.exit(7)
