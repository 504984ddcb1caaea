"""The isolation rungs: how far the workers are kept from what else runs on the machine (protocol, item 2).

R3: CPUs that the administrator has isolated. R2: a control group whose CPU weight dwarfs all others', or the
workers' own sessions at autogroup nice -20: nearly what real-time scheduling gives, without its throttling.
R1: none. Plain nice and pinning alone were measured to do nothing, so they are no rungs.

`choose` takes the best that can be had and tries it on a child process before it says so. What we make, we
remove.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from edgebench.devices import cgroups, files

PREFIX = "edgebench-"
"""Our control groups are named by this and the id of the process that made them."""

NONE = "R1 none"

_SESSION_WAIT, _REMOVE_WAIT = 20, 50  # steps of 10 ms


class Rung:
    """The isolation in force. `name` goes into every table; `reason` says why it is no better one."""

    def __init__(self, name: str = NONE, reason: str = "") -> None:
        self.name = name
        self.reason = reason

    def adopt(self, pid: int) -> None:
        """Put a worker, the leader of its own session, under this isolation.

        A worker that is gone already is let go. One that cannot be adopted turns this rung into R1, with the
        reason: a campaign must not claim an isolation that one of its workers did not have.
        """
        try:
            self._adopt(pid)
        except OSError as error:
            if Path(f"/proc/{pid}").exists():
                self.name, self.reason = NONE, f"{self.name}: {_why(error)}"

    def _adopt(self, pid: int) -> None:
        """What each rung does to a process. Raises OSError."""

    def close(self) -> None:
        """Undo what was set up. May be called again."""


class IsolatedCpus(Rung):
    """R3. The kernel does not balance load between isolated CPUs, so that this is for one thread only."""

    def __init__(self, cpus: tuple[int, ...]) -> None:
        super().__init__(f"R3 isolated CPUs {','.join(map(str, cpus))}")
        self._cpus = cpus

    def _adopt(self, pid: int) -> None:
        os.sched_setaffinity(pid, self._cpus)


class WeightGroup(Rung):
    """R2 by a control group of our own at the top of its hierarchy. Raises OSError when it cannot be made."""

    def __init__(self, mount: Path, version: int) -> None:
        file, weight = ("cpu.weight", "10000") if version == 2 else ("cpu.shares", "262144")
        super().__init__(f"R2 cgroup v{version} {file}")
        self._maker = os.getpid()
        self._group = mount / f"{PREFIX}{self._maker}"
        self._group.mkdir(exist_ok=True)
        try:
            (self._group / file).write_text(weight)
        except OSError:
            self.close()
            raise
        atexit.register(self.close)

    def _adopt(self, pid: int) -> None:
        (self._group / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        atexit.unregister(self.close)
        if os.getpid() == self._maker:  # and not a child that was forked with our atexit list
            _remove(self._group)


class Autogroup(Rung):
    """R2 for workers that lead sessions of their own: the scheduler ranks sessions, theirs first."""

    def __init__(self) -> None:
        super().__init__("R2 autogroup -20")

    def _adopt(self, pid: int) -> None:
        for _ in range(_SESSION_WAIT):
            if os.getsid(pid) != os.getsid(0):  # a forked worker may not have made its session yet
                with contextlib.suppress(BlockingIOError):  # only so many changes a second are taken
                    Path(f"/proc/{pid}/autogroup").write_text("-20")
                    return
            select.select([], [], [], 0.01)
        raise PermissionError("the worker has no session of its own, and ours must not be raised")


def available(root: Path = Path("/"), threads: int | None = None) -> list[str]:
    """The names of the rungs that this machine seems to offer, the best first; always ends with R1.

    `threads` is the largest thread count of the workers: R3 is offered for 1 only.
    """
    return [name for name, _ in _offers(root, threads)] + [NONE]


def choose(root: Path = Path("/"), threads: int | None = None) -> Rung:
    """Prepare the best rung that really works here, proven on a child process. Never raises."""
    reasons = []
    _sweep(root)
    for name, make in _offers(root, threads):
        try:
            rung = make()
        except OSError as error:
            reasons.append(f"{name}: {_why(error)}")
            continue
        failure = _trial(rung)
        if not failure:
            rung.reason = "; ".join(reasons)
            return rung
        rung.close()
        reasons.append(f"{name}: {failure}")
    reasons = reasons or ["the system offers no isolation to this user"]
    return Rung(reason="; ".join(reasons))


def _offers(root: Path, threads: int | None) -> Iterator[tuple[str, Callable[[], Rung]]]:
    isolated = _isolated(root)
    if isolated and threads == 1:
        yield f"R3 isolated CPUs {','.join(map(str, isolated))}", lambda: IsolatedCpus(isolated)
    groups = cgroups.groups(root)
    weighing = next((g for g in groups if "cpu" in g.controllers), None)
    limited = cgroups.quota(root) is not None or (
        weighing is not None and weighing.version == 2 and cgroups.memory_limit(root) is not None
    )
    # To leave a group with a limit would be to measure what the application will not get.
    if weighing is not None and not limited and _may_weigh(weighing):
        mount, version = weighing.mount, weighing.version
        file = "cpu.weight" if version == 2 else "cpu.shares"
        yield f"R2 cgroup v{version} {file}", lambda: WeightGroup(mount, version)
    if files.integer(root / "proc/sys/kernel/sched_autogroup_enabled") == 1 and _ungrouped(weighing):
        yield "R2 autogroup -20", Autogroup


def _isolated(root: Path) -> tuple[int, ...]:
    """CPUs kept free by isolcpus or by an isolated cpuset partition (version 2)."""
    found = files.cpu_list(files.text(root / "sys/devices/system/cpu/isolated"))
    for group in cgroups.groups(root):
        found += files.cpu_list(files.text(group.mount / "cpuset.cpus.isolated"))
    return tuple(sorted(set(found)))


def _may_weigh(group: cgroups.Group) -> bool:
    """Whether a group at the top would have a weight: version 2 must hand the controller down."""
    if not os.access(group.mount, os.W_OK):
        return False
    handed_down = (files.text(group.mount / "cgroup.subtree_control") or "").split()
    return group.version == 1 or "cpu" in handed_down


def _ungrouped(group: cgroups.Group | None) -> bool:
    """Autogroups rank only what no control group ranks already: tasks of the root group."""
    if group is None or group.own == group.mount:
        return True
    handed_down = (files.text(group.mount / "cgroup.subtree_control") or "").split()
    return group.version == 2 and "cpu" not in handed_down


def _trial(rung: Rung) -> str:
    """Adopt a child that does nothing; "" if that worked, else why it did not."""
    try:
        with subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        ) as child:
            rung.adopt(child.pid)
            child.kill()
    except OSError as error:
        return _why(error)
    return rung.reason


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _sweep(root: Path) -> None:
    """Remove the groups of campaigns that were killed before they could."""
    for group in cgroups.groups(root):
        if "cpu" in group.controllers:
            for folder in files.matches(group.mount, f"{PREFIX}*"):
                pid = re.fullmatch(rf"{PREFIX}(\d+)", folder.name)
                if pid and not (root / "proc" / pid[1]).exists():
                    _remove(folder)


def _remove(group: Path) -> None:
    """Remove one of our groups; whatever still runs in it goes back to the group above."""
    for _ in range(_REMOVE_WAIT):
        with contextlib.suppress(OSError):
            for pid in (files.text(group / "cgroup.procs") or "").split():
                with contextlib.suppress(OSError):
                    (group.parent / "cgroup.procs").write_text(pid)
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            select.select([], [], [], 0.01)  # a process that has just ended is let go of a moment later
        else:
            return
