"""A process that has imported one runtime and forks the workers of one generation from it.

Starting workers is most of a campaign's time, and importing a framework is most of a start. A nursery is a fresh process
(own memory layout) for each generation; the workers it forks share its imports and nothing else: each loads its own model
and makes its own threads. It imports the runtime of backends that say `fork_safe`, and numpy alone for the others, whose workers
go on from there by themselves.

What a worker tells is what a process started from nothing would tell: the import was timed in the nursery, and a fork touches
the pages of the libraries that its nursery had in memory before its memory is looked at (devices/pages.py).

The campaign passes the worker's three file descriptors over a Unix socket; the answers are the pid, and later the exit
status.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from edgebench import lines, plugins, worker
from edgebench.devices import pages
from edgebench.lines import Child, ChildDied

START_SECONDS = 120.0


class Crew:
    """Starts workers for a campaign: from a nursery where one is open for the runtime, else from nothing."""

    def __init__(self, draw: random.Random, adopt: Callable[[int], None], memory_limit: int | None) -> None:
        self._draw, self._adopt, self._memory_limit = draw, adopt, memory_limit
        self._open: dict[str, Nursery] = {}
        self._spare: dict[str, Nursery] = {}

    def start(self, backend: str) -> Child:
        """A fresh worker for a cell of this backend. Raises ChildDied when its nursery could not import the runtime."""
        nursery = self._open.get(imports_of(backend))
        if nursery is not None:
            child = nursery.fork(self._memory_limit)
        else:
            argv = [sys.executable, "-m", "edgebench.worker"]
            child = lines.spawn(argv, env=self._padded(), memory_limit=self._memory_limit)
        self._adopt(child.pid)
        return child

    def open_nurseries(self, backends: Sequence[str], *, more: bool = True) -> None:
        """One for each import that several workers need, new ones every generation: each has its own layout.

        Waits until all have imported: nothing of ours may run beside a slice. An import keeps one CPU busy, so where there are
        several and `more` generations will come, the next one's is made beside it.
        """
        needed = [imports_of(name) for name in backends] if pages.can_tell() else []
        for module in sorted({m for m in needed if needed.count(m) > 1} - set(self._open)):
            spare = self._spare.pop(module, None)
            self._open[module] = spare or self._new(module)
            if more and spare is None and (os.cpu_count() or 1) > 1:
                self._spare[module] = self._new(module)
        for nursery in [*self._open.values(), *self._spare.values()]:
            nursery.wait_until_ready()

    def _new(self, module: str) -> Nursery:
        nursery = Nursery(module, self._padded())
        self._adopt(nursery.pid)
        return nursery

    def end_generation(self) -> None:
        for nursery in self._open.values():
            nursery.close()
        self._open.clear()

    def close(self) -> None:
        self.end_generation()
        for nursery in self._spare.values():
            nursery.close()
        self._spare.clear()

    def _padded(self) -> dict[str, str]:
        """An environment that makes the stack begin elsewhere: one memory layout must not decide a table."""
        return {**os.environ, "EDGEBENCH_PAD": "x" * self._draw.randrange(4096)}


def imports_of(backend: str) -> str:
    """What the nursery of a backend's workers imports."""
    kind = plugins.backend(backend)
    return kind.module if kind.fork_safe and kind.module else worker.PRELUDE


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
            start_new_session=True,
        )
        self._turn = threading.Lock()  # several cells are checked at once
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, memory_limit: int | None) -> Child:
        """A new worker. Raises ChildDied when the nursery itself is gone (its import failed, say)."""
        stdin_read, stdin_write = os.pipe()
        stdout_read, stdout_write = os.pipe()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  (handed to the Child)
        try:
            pid = self._ask({"do": "fork"}, [stdin_read, stdout_write, stderr.fileno()])["pid"]
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

    def _ask(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(message).encode()], fds)
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
    importlib.import_module(worker.PRELUDE)
    worker.imported(sys.argv[1])
    gc.freeze()  # what is imported is no garbage: a collection in a worker need not look through it
    had = pages.resident()
    while True:
        data, fds, _, _ = socket.recv_fds(link, 4096, 3)
        if not data:
            break
        message = json.loads(data)
        if message["do"] == "fork":
            pid = os.fork()
            if pid == 0:
                link.close()
                _become_worker(fds, had)
            for fd in fds:
                os.close(fd)
            link.sendall(json.dumps({"pid": pid}).encode())
        elif message["do"] == "status":
            link.sendall(json.dumps({"code": _exit_status(message["pid"])}).encode())
        else:
            link.sendall(b"{}")


def _become_worker(fds: list[int], had: Sequence[int]) -> None:
    """In the forked child: take over the three descriptors, run, and leave without the nursery's clean-up."""
    code = 1
    try:
        os.setsid()
        for ours, theirs in enumerate(fds):
            os.dup2(theirs, ours)
            os.close(theirs)
        sys.stdin, sys.stderr = os.fdopen(0, "r"), os.fdopen(2, "w", buffering=1)
        pages.touch(had)
        worker.main()
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
