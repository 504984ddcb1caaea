"""One campaign: its child, its guard, and its events on the disk by the job's id, so that a job sent twice runs once.

After the request, stdin brings the campaign's own input up to an empty line, and then a line every few seconds as long as the
controller lives. The runner ends, with everything it started, when that stops: at the end of stdin (the controller or its
link died), after `lease` seconds of silence (a black hole), and at the deadline. Between events it sleeps.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from . import lock, stock

KEPT_JOBS = 20
TAIL_BYTES = 4000
PR_SET_CHILD_SUBREAPER = 36


def run(request: "dict[str, Any]", workdir: str, say: "Callable[[str], None]") -> None:
    lines = _input()
    signal.signal(signal.SIGTERM, lambda *_: leave(143))
    signal.signal(signal.SIGALRM, lambda *_: leave(142))
    signal.alarm(int(request["seconds"]))
    threading.Thread(target=_guard, args=(float(request["lease"]),), daemon=True).start()
    handle, holder = lock.take(request)
    if handle < 0:
        say(json.dumps({"runner": "busy", "holder": holder}))
        return
    folder = os.path.join(workdir, "jobs", "".join(c if c.isalnum() or c in "-_." else "_" for c in request["job"]))
    if _replayed(folder, request, say):
        return
    wrong = [f["path"] for f in request["files"] if not stock.is_right(f["path"], f["sha256"])]
    if wrong:
        say(json.dumps({"runner": "wrong", "path": wrong[0]}))
        return
    _begin(folder, request)
    code, stderr = _execute(request, lines, folder, say)
    sweep()
    say(json.dumps({"runner": "ended", "code": code, "stderr": stderr}))


def _input() -> "list[bytes]":
    """The lines for the campaign, with the empty one that ends them."""
    lines = []
    for line in iter(sys.stdin.buffer.readline, b""):
        lines.append(line)
        if not line.strip():
            return lines
    sys.exit(1)


def _guard(lease: float) -> None:
    """Leave when the controller is silent. What readline has buffered was read: from here on the descriptor is ours."""
    while select.select([0], [], [], lease)[0]:
        if not os.read(0, 4096):
            break
    leave(1)


def _replayed(folder: str, request: "dict[str, Any]", say: "Callable[[str], None]") -> bool:
    """Whether this very job has been done here: then its events are told once more."""
    try:
        with open(os.path.join(folder, "done.json"), encoding="utf-8") as file:
            if json.load(file) != request["digest"]:
                return False
        with open(os.path.join(folder, "events.jsonl"), encoding="utf-8", newline="\n") as file:
            for line in file:
                say(line.rstrip("\n"))
    except (OSError, ValueError):
        return False
    return True


def _begin(folder: str, request: "dict[str, Any]") -> None:
    """An empty folder for the job; of the older ones the latest are kept."""
    jobs = os.path.dirname(folder)
    os.makedirs(jobs, exist_ok=True)
    older = sorted((os.path.join(jobs, name) for name in os.listdir(jobs)), key=os.path.getmtime)
    for path in older[: -KEPT_JOBS + 1]:
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)


def _execute(
    request: "dict[str, Any]", lines: "list[bytes]", folder: str, say: "Callable[[str], None]"
) -> "tuple[int, str]":
    """Run the campaign and pass its lines on; those that say more than progress are on the disk first."""
    # Without it what outlives its parent is found by no one; the campaign's workers die with it all the same.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile() as stderr, open(os.path.join(folder, "events.jsonl"), "ab") as kept:
        child = subprocess.Popen(
            [sys.executable] + request["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(request),
            cwd=os.path.expanduser("~"),
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(b"".join(lines))
            child.stdin.close()
        except OSError:
            pass  # it died at once: its stderr says why
        for line in child.stdout:
            if b'"event":"progress"' not in line[:24]:
                kept.write(line)
                kept.flush()
                os.fsync(kept.fileno())
            if line == b'{"event":"done"}\n':
                stock.write(os.path.join(folder, "done.json"), request["digest"])
            say(line.decode("utf-8", "replace").rstrip("\n"))
        code = child.wait()
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - TAIL_BYTES))
        return code, stderr.read().decode("utf-8", "replace").strip()


def _environment(request: "dict[str, Any]") -> "dict[str, str]":
    """This login's environment, with the pushed packages before its own PYTHONPATH."""
    own = os.environ.get("PYTHONPATH")
    return dict(os.environ, PYTHONPATH=os.pathsep.join(request["paths"] + ([own] if own else [])))


def leave(code: int) -> None:
    """End everything that was started, and then this process: the lock goes with it."""
    sweep()
    os._exit(code)


def sweep() -> None:
    """Kill every descendant, until there is none: a worker leads a process group of its own."""
    for _ in range(100):
        found = _descendants()
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], 0.02)


def _descendants() -> "list[int]":
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]
