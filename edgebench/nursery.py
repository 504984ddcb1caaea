"""A process that has imported one runtime and forks the workers of one generation from it.

Starting workers is most of a campaign's time, and importing a framework is most of a start. A nursery is a fresh process
(own memory layout) for each generation; the workers it forks share its imports and nothing else: each loads its own model
and makes its own threads. Only backends that say `fork_safe` are treated so, and import time, load time and memory come
from the check generation, whose workers are started from nothing.

The campaign passes the worker's three file descriptors over a Unix socket; the answers are the pid, and later the exit
status.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from edgebench import lines, plugins
from edgebench.lines import Child, ChildDied

START_SECONDS = 120.0


class Crew:
    """Starts workers for a campaign: from a nursery where one is open for the runtime, else from nothing."""

    def __init__(self, draw: random.Random, adopt: Callable[[int], None], memory_limit: int | None) -> None:
        self._draw, self._adopt, self._memory_limit = draw, adopt, memory_limit
        self._nurseries: dict[str, Nursery] = {}
        self._coming: dict[str, Nursery] = {}

    def start(self, backend: str, *, from_nothing: bool = False) -> Child:
        """A fresh worker for a cell of this backend. Raises ChildDied when its nursery could not import the runtime."""
        nursery = None if from_nothing else self._nurseries.get(backend)
        if nursery is not None:
            child = nursery.fork(self._memory_limit)
        else:
            argv = [sys.executable, "-m", "edgebench.worker"]
            child = lines.spawn(argv, env=self._padded(), memory_limit=self._memory_limit)
        self._adopt(child.pid)
        return child

    def open_nurseries(self, backends: Sequence[str]) -> None:
        """One for each runtime that several workers will need. New ones every generation: each has its own layout."""
        for name in self._worth_one(backends):
            self._nurseries[name] = self._coming.pop(name) if name in self._coming else self._new(name)

    def prepare_nurseries(self, backends: Sequence[str]) -> None:
        """Let those of the next generation import already, while this one warms up; `quiet` waits for the end of it."""
        for name in self._worth_one(backends):
            if name not in self._coming:
                self._coming[name] = self._new(name)

    def quiet(self) -> None:
        """Wait until no nursery is importing any more: nothing of ours may run beside a slice."""
        for nursery in self._coming.values():
            nursery.wait_until_ready()

    def _worth_one(self, backends: Sequence[str]) -> list[str]:
        kinds = {name: plugins.backend(name) for name in set(backends) if backends.count(name) > 1}
        return sorted(name for name, kind in kinds.items() if kind.fork_safe and kind.module)

    def _new(self, name: str) -> Nursery:
        return Nursery(plugins.backend(name).module, self._padded())

    def has_nursery(self, backend: str) -> bool:
        return backend in self._nurseries

    def end_generation(self) -> None:
        for nursery in self._nurseries.values():
            nursery.close()
        self._nurseries.clear()

    def close(self) -> None:
        self.end_generation()
        for nursery in self._coming.values():
            nursery.close()
        self._coming.clear()

    def _padded(self) -> dict[str, str]:
        """An environment that makes the stack begin elsewhere: one memory layout must not decide a table."""
        return {**os.environ, "EDGEBENCH_PAD": "x" * self._draw.randrange(4096)}


class Nursery:
    """The campaign's side: one nursery process for a runtime."""

    def __init__(self, module: str, env: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the nursery)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgebench.nursery", module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env=dict(env),
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def fork(self, memory_limit: int | None) -> Child:
        """A new worker. Raises ChildDied when the nursery itself is gone (its import failed, say)."""
        stdin_read, stdin_write = os.pipe()
        stdout_read, stdout_write = os.pipe()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  (handed to the Child)
        try:
            socket.send_fds(self._socket, [b'{"do": "fork"}'], [stdin_read, stdout_write, stderr.fileno()])
            pid = self._ask(None)["pid"]
        except (OSError, ValueError) as error:
            os.close(stdin_write)
            os.close(stdout_read)
            raise ChildDied("could not be started: its runtime does not import", self._last_words()) from error
        finally:
            os.close(stdin_read)
            os.close(stdout_write)
        process = Forked(self, pid, os.fdopen(stdin_write, "wb"), os.fdopen(stdout_read, "rb"))
        return Child(process, stderr, memory_limit=memory_limit)

    def wait_until_ready(self) -> None:
        """Until its runtime is imported, or it failed to (the next fork will say so)."""
        with contextlib.suppress(OSError, ValueError):
            self._ask({"do": "ready"})

    def status(self, pid: int) -> int | None:
        """The exit status of one of its workers; None while it runs."""
        try:
            code = self._ask({"do": "status", "pid": pid})["code"]
        except (OSError, ValueError):
            return -9  # the nursery was killed, and its workers with it
        return None if code is None else int(code)

    def _ask(self, message: Mapping[str, Any] | None) -> dict[str, Any]:
        if message is not None:
            self._socket.sendall(json.dumps(message).encode())
        if not select.select([self._socket], [], [], START_SECONDS)[0]:
            raise OSError("the nursery does not answer")
        return dict(json.loads(self._socket.recv(4096)))

    def _last_words(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace")[-lines.TAIL_BYTES :].strip()

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._stderr.close()


class Forked:
    """A worker forked by a nursery, in the shape of a subprocess.Popen."""

    def __init__(self, nursery: Nursery, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.nursery, self.pid = nursery, pid
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        left = timeout
        while self._code is None:
            self._code = self.nursery.status(self.pid)
            if self._code is None:
                if left is not None and left <= 0:
                    raise subprocess.TimeoutExpired(["worker"], timeout or 0.0)
                select.select([], [], [], 0.01)
                left = None if left is None else left - 0.01
        return self._code


def main() -> None:
    """The nursery's side: import, then fork on demand until the campaign hangs up."""
    lines.die_with_parent()
    link = socket.socket(fileno=int(sys.argv[2]))
    from edgebench import worker  # what every worker needs, imported once

    os.environ[worker.FORKED] = "1"
    importlib.import_module(sys.argv[1])
    while True:
        data, fds, _, _ = socket.recv_fds(link, 4096, 3)
        if not data:
            break
        message = json.loads(data)
        if message["do"] == "fork":
            pid = os.fork()
            if pid == 0:
                link.close()
                _become_worker(fds, worker.main)
            for fd in fds:
                os.close(fd)
            link.sendall(json.dumps({"pid": pid}).encode())
        elif message["do"] == "status":
            link.sendall(json.dumps({"code": _exit_status(message["pid"])}).encode())
        else:
            link.sendall(b"{}")


def _become_worker(fds: list[int], run: Any) -> None:
    """In the forked child: take over the three descriptors, run, and leave without the nursery's clean-up."""
    code = 1
    try:
        os.setsid()
        for ours, theirs in enumerate(fds):
            os.dup2(theirs, ours)
            os.close(theirs)
        sys.stdin, sys.stderr = os.fdopen(0, "r"), os.fdopen(2, "w", buffering=1)
        run()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _exit_status(pid: int) -> int | None:
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return -9
    return os.waitstatus_to_exitcode(status) if found else None


if __name__ == "__main__":
    main()
