"""Control groups, version 1 and 2: which ones this process is in, and what they allow it.

Sources: the kernel's admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgebench.devices import files


@dataclass(frozen=True, kw_only=True)
class Group:
    """A hierarchy that this process is in: where it is mounted, and this process's own folder in it."""

    version: int
    controllers: frozenset[str]
    mount: Path
    own: Path

    def folders(self) -> list[Path]:
        """The own folder and all above it, up to the mount: a limit on any of them binds."""
        above = [self.own, *self.own.parents]
        return above[: above.index(self.mount) + 1] if self.mount in above else [self.mount]


def groups(root: Path = Path("/")) -> tuple[Group, ...]:
    """Every mounted hierarchy that this process is in."""
    paths: dict[str, str] = {}
    for line in (files.text(root / "proc/self/cgroup") or "").splitlines():
        _, names, where = [*line.split(":", 2), "", ""][:3]
        paths.update(dict.fromkeys(names.split(","), where))
    out = []
    for line in (files.text(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) < 5 or not right or right[0] not in ("cgroup", "cgroup2"):
            continue
        mount = root / re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), left[4]).lstrip("/")
        if right[0] == "cgroup2":
            controllers = frozenset((files.text(mount / "cgroup.controllers") or "").split())
            path, version = paths.get(""), 2
        else:
            controllers = frozenset(right[-1].split(",")) - {"rw", "ro"}
            path, version = next((paths[c] for c in controllers if c in paths), None), 1
        if path is not None:
            out.append(Group(version=version, controllers=controllers, mount=mount, own=_own(mount, left[3], path)))
    return tuple(out)


def _own(mount: Path, mounted: str, path: str) -> Path:
    """Where `path` is below the mount: a container may see the host's path, and a part of the mount."""
    if mounted != "/" and path.startswith(mounted):
        path = path[len(mounted) :]
    inside = mount / path.strip("/")
    return inside if ".." not in path and inside.is_dir() else mount


def quota(root: Path = Path("/")) -> float | None:
    """How many CPUs' worth of time this process may use, by its tightest group; None if unlimited."""
    limits = [limit for g in groups(root) for folder in g.folders() if (limit := _cpu_limit(folder)) is not None]
    return min(limits, default=None)


def _cpu_limit(folder: Path) -> float | None:
    content = files.text(folder / "cpu.max")  # version 2: "max 100000" or "50000 100000"
    if content is not None:
        spent, _, period = content.partition(" ")
    else:
        spent = files.text(folder / "cpu.cfs_quota_us") or "-1"
        period = files.text(folder / "cpu.cfs_period_us") or "100000"
    try:
        return int(spent) / int(period) if int(spent) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None


def memory_limit(root: Path = Path("/")) -> int | None:
    """The tightest memory limit of all groups, in bytes; None if unlimited."""
    limits = []
    for group in groups(root):
        for folder in group.folders():
            for name in ("memory.max", "memory.limit_in_bytes"):
                value = files.integer(folder / name)
                # Version 1 says "unlimited" by the largest number of pages.
                if value is not None and value < 2**62:
                    limits.append(value)
    return min(limits, default=None)


def cpuset(root: Path = Path("/")) -> str:
    """The CPUs that the groups leave to this process, as the kernel writes them; "" where none says."""
    names = ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus")
    return next((c for g in groups(root) for name in names if (c := files.text(g.own / name))), "")
