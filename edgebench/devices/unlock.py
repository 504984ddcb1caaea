"""Puts a machine's clocks back: the guard that devices/clocks.py starts before it changes anything.

Run as a program with the state file as its argument. It sleeps until its stdin gets a byte or ends - the campaign
says so, or is gone, killed with -9 even - and then undoes what the file lists, last change first, and deletes it.
Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

RESTORE_SECONDS = 30


def put_back(state: dict[str, Any]) -> list[str]:
    """Undo the changes; which of them failed. One that cannot be undone does not keep the others from it."""
    failed = []
    for argv in state["commands"]:
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=RESTORE_SECONDS)
            if done.returncode:
                failed.append(argv[0])
        except (OSError, subprocess.SubprocessError):
            failed.append(argv[0])
    for path, value in reversed(state["files"]):
        try:
            with open(path, "w") as file:
                file.write(value)
        except OSError:
            failed.append(path)
    return failed


def main(path: str) -> int:
    # Ctrl-C and the end of a session go to the campaign; this one has to outlive both.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read(1)
    with open(path) as file:
        failed = put_back(json.load(file))
    os.unlink(path)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
