"""The emulated board as the tests and the bars see it: how it is reached, what runs on it, and how its link is disturbed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent
FOLDER = Path(
    os.environ.get("EDGEBENCH_BOARD")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgebench-board"
)
PROFILE = 'address = "emulated"\ntransport = "ssh"\ndescription = "the emulated board of the tests"\n'


def environment(scratch: Path, workdir: str = "") -> dict[str, str]:
    """What reaches the board: its ssh first in PATH, a profile "emulated", sockets and a cache of one's own."""
    profiles = scratch / "config/edgebench/devices"
    profiles.mkdir(parents=True, exist_ok=True)
    (profiles / "emulated.toml").write_text(PROFILE + (f'workdir = "{workdir}"\n' if workdir else ""))
    (scratch / "run").mkdir(exist_ok=True)
    return {
        **os.environ,
        "PATH": f"{FOLDER / 'bin'}:{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(scratch / "config"),
        "XDG_RUNTIME_DIR": str(scratch / "run"),
        "EDGEBENCH_CACHE": os.environ.get("EDGEBENCH_CACHE") or str(scratch / "cache"),
    }


@contextmanager
def alone() -> Iterator[None]:
    """There is one board, and several programs test with it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def script(name: str) -> None:
    """Run make.sh, start.sh or stop.sh. Raises RuntimeError with its last word."""
    done = subprocess.run([SCRIPTS / name, FOLDER], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")


def started() -> None:
    """Make the board answer, whether it runs or not. Raises RuntimeError where it cannot be had."""
    script("make.sh")
    known = (FOLDER / "bin/ssh").exists() and (FOLDER / "pid").exists()
    if not known or subprocess.run([FOLDER / "bin/ssh", "emulated", "true"], capture_output=True).returncode:
        script("start.sh")


def processes() -> dict[int, str]:
    """The processes in the board's namespace but for its first, the sshd that listens: pid -> command line.

    They are told by their namespace and not by their parents: the kernel's lists of children miss some while others end.
    """
    unshare = int((FOLDER / "pid").read_text())
    try:
        board = os.readlink(f"/proc/{unshare}/ns/pid_for_children")
    except OSError:
        return {}
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = os.readlink(folder / "ns/pid") == board
            if inside and (folder / "stat").read_text().rpartition(")")[2].split()[1] != str(unshare):
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
        except OSError:
            continue  # it has ended meanwhile
    return found


def campaigns() -> list[int]:
    """The programs of ours that run there."""
    words = ("edgebench.", "-IS")
    return [pid for pid, command in processes().items() if any(word in command for word in words)]


def measuring() -> bool:
    return any("edgebench.campaign" in command for command in processes().values())


def unlocked() -> bool:
    with (FOLDER / "root/run/lock/edgebench-board.lock").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_until(true: Callable[[], Any], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def kill_connections() -> int:
    """Kill the sshd processes of every connection, and say how many there were."""
    killed = 0
    for pid, command in processes().items():
        if command.rstrip().endswith("sshd_config -R"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


def interface() -> str:
    """This machine's end of the board's cable."""
    return (FOLDER / "netns").read_text().strip()


def link(state: str) -> None:
    """Plug the cable: "down" or "up"."""
    subprocess.run(["ip", "link", "set", interface(), state], check=True)


def sent() -> int:
    """The bytes that went to the board since it was started, all headers included."""
    return int(Path(f"/sys/class/net/{interface()}/statistics/tx_bytes").read_text())


@contextmanager
def limited(megabits: int) -> Iterator[None]:
    """A cable that carries so many Mbit/s to the board. Raises RuntimeError where the kernel cannot do that."""
    where = ["dev", interface(), "root"]
    limit = ["tc", "qdisc", "add", *where, "tbf", "rate", f"{megabits}mbit", "burst", "64k", "latency", "50ms"]
    if subprocess.run(limit, capture_output=True).returncode:
        raise RuntimeError("this kernel cannot limit a link's rate (tbf)")
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", *where], check=True)
