"""One campaign on a board at a time, whoever starts it: a lock that the kernel frees when its holder ends, however it ends."""

import contextlib
import fcntl
import json
import os
import select
import signal
from typing import Any

PLACES = ("/run/lock", "/tmp")
"""The lock is the board's, not a user's: it lies where everyone may write. EDGEBENCH_LOCK_FOLDER names another place."""
LOOK_SECONDS = 0.25


def take(request: "dict[str, Any]") -> "tuple[int, dict[str, Any]]":
    """(descriptor, {}) with the lock taken, or (-1, who holds it).

    A holder that runs the same job for the same controller is what a lost link left behind: it is ended. One that runs the
    same job for another controller is waited for: its events are the answer.
    """
    given = os.environ.get("EDGEBENCH_LOCK_FOLDER")
    handle = _open(given or next((p for p in PLACES if os.access(p, os.W_OK)), PLACES[-1]))
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(handle)
            if holder.get("job") not in (None, request["job"]):
                os.close(handle)
                return -1, holder
            if holder.get("controller") == request["controller"] and not told:
                told = _end(holder)
            select.select([], [], [], LOOK_SECONDS)
        else:
            _sign(handle, request)
            return handle, {}


def _open(place: str) -> int:
    path = os.path.join(place, "edgebench-board.lock")
    try:
        # Without O_CREAT where it is there: the kernel refuses that for a stranger's file in a sticky folder.
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        os.fchmod(handle, 0o666)
        return handle


def _sign(handle: int, request: "dict[str, Any]") -> None:
    holder = {key: request[key] for key in ("job", "controller", "who")}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(dict(holder, pid=os.getpid())).encode(), 0)


def _holder(handle: int) -> "dict[str, Any]":
    try:
        found = json.loads(os.pread(handle, 65536, 0).decode())
    except ValueError:  # it has just taken the lock, and not signed yet
        return {}
    return found if isinstance(found, dict) else {}


def _end(holder: "dict[str, Any]") -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError):  # it has ended meanwhile
        os.kill(int(holder["pid"]), signal.SIGTERM)
    return True
