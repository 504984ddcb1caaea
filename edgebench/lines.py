"""A child process that speaks JSON lines: asked, waited for with a deadline, and mourned with its reason.

Both links of the chain use it: the host with its campaign, the campaign with its workers. The waiting side sleeps in
select(); it wakes twice a second to look at the child's memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from edgebench.measure import monotonic

WATCH_SECONDS = 0.5
TAIL_BYTES = 4000


class ChildDied(Exception):
    """The child ended, hung, or was stopped; `reason` is one clause for a table, `stderr` its last words, `fix` a sentence."""

    def __init__(self, reason: str, stderr: str = "", fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.stderr = stderr
        self.fix = fix


def claim_stdout() -> IO[str]:
    """Give the caller the real stdout for its JSON lines, and send everything else printed there to stderr.

    Runtimes print. File descriptor 1 itself is moved, so that native code cannot spoil the lines either.
    """
    real = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return real


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (prctl(2), Linux): no orphan may disturb a machine."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def write_line(stream: IO[str], message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message, allow_nan=False, separators=(",", ":")) + "\n")
    stream.flush()


class Process(Protocol):
    """What a Child needs of a process: subprocess.Popen has it, and so has a worker forked in a nursery."""

    pid: int

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def spawn(argv: Sequence[str], *, env: Mapping[str, str] | None = None, memory_limit: int | None = None) -> Child:
    """Start a program as a Child, in its own process group."""
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the child)
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=dict(env) if env is not None else None,
        start_new_session=True,
    )
    return Child(process, stderr, memory_limit=memory_limit)


class Child:
    """One child process that leads its own process group. `memory_limit` in bytes is enforced by watching its RSS."""

    def __init__(self, process: Process, stderr: IO[bytes], *, memory_limit: int | None = None) -> None:
        self._process, self._stderr = process, stderr
        self._memory_limit = memory_limit
        self._buffer = bytearray()
        self._lines: list[bytes] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one line. A child that is gone already is noticed by the next receive."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n")
            self._process.stdin.flush()

    def end_input(self) -> None:
        """Send the empty line that ends a list of messages."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def ask(self, message: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        self.send(message)
        return self.receive(timeout)

    def receive(self, timeout: float | None) -> dict[str, Any]:
        """Return the next line. Raises ChildDied if the child ends, breaks the protocol, or takes too long."""
        deadline = None if timeout is None else monotonic() + timeout
        while not self._lines:
            wait = WATCH_SECONDS if deadline is None else min(WATCH_SECONDS, deadline - monotonic())
            if wait <= 0:
                self.kill()
                raise ChildDied(f"hung: no answer within {timeout:g} s", self.stderr_tail())
            self._read_some(wait)
            self._check_memory()
        line = self._lines.pop(0)
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.kill()
            raise ChildDied("spoke something that is not a JSON object", self.stderr_tail())
        return message

    def _read_some(self, wait: float) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], wait)[0]:
            return
        chunk = os.read(stdout.fileno(), 1 << 20)
        if not chunk:
            raise self._died()
        self._buffer += chunk
        *whole, rest = self._buffer.split(b"\n")
        self._lines += [bytes(w) for w in whole if w.strip()]
        self._buffer = bytearray(rest)

    def _check_memory(self) -> None:
        if self._memory_limit is None:
            return
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return
        size = pages * os.sysconf("SC_PAGE_SIZE")
        if size > self._memory_limit:
            self.kill()
            raise ChildDied(
                f"used {_size(size)} of memory, over the limit of {_size(self._memory_limit)}",
                self.stderr_tail(),
                'Give it more, as in [budget] memory = "4 GiB", or measure a smaller network or batch.',
            )

    def _died(self) -> ChildDied:
        # stdout is closed: the process is ending, or closed it and lives on, which is as good as dead to us.
        try:
            code = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.kill()
            return ChildDied("closed its output and went on running", self.stderr_tail())
        return ChildDied(exit_reason(code), self.stderr_tail())

    def stderr_tail(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - TAIL_BYTES))
        return self._stderr.read().decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """End the child and everything it started."""
        self.sweep()
        self._process.wait()

    def close(self, timeout: float = 5.0) -> int:
        """Close its stdin, wait for it to end by itself, and return its exit status; kill it if it does not."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self.sweep()
        self._stderr.close()
        return code

    def sweep(self) -> None:
        """End what the child left running: its process group outlives it as long as anything is in it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def exit_reason(code: int) -> str:
    """One clause saying how a process ended, from its exit status (negative: a signal)."""
    if code >= 0:
        return f"ended by itself with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {"SIGSEGV": " (segmentation fault)", "SIGABRT": " (abort)", "SIGKILL": " (killed; out of memory?)"}
    return f"was ended by {name}{hint.get(name, '')}"
