"""What the kernel knows of the disturbance while we measured: per sample, and per slice.

Per sample: the time that this process's threads were runnable and did not run (`run_delay`, field 2 of
/proc/<pid>/task/<tid>/schedstat), involuntary switches and major faults (getrusage(2)). On a busy machine
these say which samples to trust (measurement protocol, item 7). Only counters of the kernel are read, never
a clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgebench.devices import cpu, files, heat


class SampleEvidence:
    """Running totals of this process, cheap enough to be read around every sample.

    Made after warm-up, when the runtime has its threads; `refresh` takes in those that came later. What a
    thread had waited stays counted when it ends, so the totals never fall. About 2 us a read, and 1 us more
    per thread.
    """

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}
        self._waited: dict[str, int] = {}
        self._offset = 0
        self.refresh()

    @property
    def sees_delay(self) -> bool:
        """Whether this kernel states run_delay. If not, it reads 0 and a sample cannot be called clean."""
        own = files.text(Path("/proc/thread-self/schedstat")) or "0"
        return bool(self._fds) and own.split()[0] != "0"

    def read(self) -> tuple[int, int, int]:
        """(run_delay in ns summed over the threads, involuntary context switches, major page faults)."""
        waited = self._waited
        try:
            for task, fd in self._fds.items():
                waited[task] = int(os.pread(fd, 64, 0).split()[1])
        except (OSError, IndexError, ValueError):
            self._drop_ended()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return self._offset + sum(waited.values()), usage.ru_nivcsw, usage.ru_majflt

    def refresh(self) -> None:
        """Follow the threads that are new. What they waited before now is not counted."""
        with contextlib.suppress(OSError):
            for task in os.listdir("/proc/self/task"):
                if task not in self._fds:
                    self._follow(task)

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _follow(self, task: str) -> None:
        with contextlib.suppress(OSError, IndexError, ValueError):
            fd = os.open(f"/proc/self/task/{task}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            self._fds[task] = fd
            self._waited[task] = int(os.pread(fd, 64, 0).split()[1])
            self._offset -= self._waited[task]

    def _drop_ended(self) -> None:
        for task, fd in list(self._fds.items()):
            try:
                self._waited[task] = int(os.pread(fd, 64, 0).split()[1])
            except (OSError, IndexError, ValueError):
                os.close(self._fds.pop(task))
                self._offset += self._waited.pop(task, 0)


class SliceEvidence:
    """What happened to the machine during a slice. A snapshot takes some 30 us, outside of any sample."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._clocks, self._throttle, self._zones = _places(root)

    def snapshot(self) -> dict[str, Any]:
        """The counters now. What this machine does not tell is None or left out."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        busy, steal = _processor_time(self._root)
        return {
            "busy_s": busy,
            "steal_s": steal,
            "own_s": usage.ru_utime + usage.ru_stime,
            "pressure_us": _pressure(self._root),
            "khz": [khz for path in self._clocks if (khz := files.integer(path)) is not None],
            "celsius": max((c for zone in self._zones if (c := heat.celsius(zone)) is not None), default=None),
            "throttle": heat.throttle(self._throttle),
        }

    @staticmethod
    def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        """What passed between two snapshots.

        `steal_s`: time that the hypervisor took from us; `others_s`: CPU time of all other processes (both
        in ticks of 10 ms, summed over the CPUs); `pressure_us`: time in which some task of the machine
        waited for a CPU (PSI); `khz`: the clocks of our CPUs at the end; `celsius`: the hottest zone at the
        end; `throttle`: see heat.throttled.
        """

        def passed(key: str) -> Any:
            return None if before[key] is None or after[key] is None else after[key] - before[key]

        busy, own = passed("busy_s"), passed("own_s")
        return {
            "steal_s": passed("steal_s"),
            "others_s": None if busy is None else max(0.0, round(busy - own, 6)),
            "pressure_us": passed("pressure_us"),
            "khz": after["khz"],
            "celsius": after["celsius"],
            "throttle": heat.throttled(before["throttle"], after["throttle"]),
        }


class Canaries:
    """Two fixed pieces of work, done after each slice: one that computes, and one that needs the memory's bandwidth.

    What neighbours do to caches and memory, or those of a virtual machine to its cores, no counter tells. That a canary took
    longer than it can is evidence of it; it is no measure to correct by (of isolated slices' residuals, the copy explains
    little and the hash less). 32 MiB, and some 4 ms a turn on a workstation.
    """

    HASHED, COPIED = 1 << 16, 1 << 24

    def __init__(self) -> None:
        self._text = bytes(self.HASHED)
        self._source, self._target = (memoryview(bytearray(b"x" * self.COPIED)) for _ in range(2))

    def sing(self, clock: Callable[[], int]) -> dict[str, int]:
        """What each took, in nanoseconds of the clock."""
        start = clock()
        hashlib.sha256(self._text).digest()
        hashed = clock()
        self._target[:] = self._source
        return {"hash_ns": hashed - start, "copy_ns": clock() - hashed}


@lru_cache(maxsize=8)
def _places(root: Path) -> tuple[list[Path], dict[str, list[Path]], list[Path]]:
    """Clock files of the CPUs that we may use, throttle files, thermal zones: looked for only once."""
    cpus = root / "sys/devices/system/cpu"
    clocks = [cpus / f"cpu{n}/cpufreq/scaling_cur_freq" for n in cpu.allowed(root)]
    zones = files.matches(root / "sys/class/thermal", "thermal_zone*")
    return [c for c in clocks if c.exists()], heat.throttle_files(root), zones


def _processor_time(root: Path) -> tuple[float | None, float | None]:
    """(busy, stolen) seconds of all CPUs together since boot, from /proc/stat (proc(5))."""
    line = (files.text(root / "proc/stat") or "").partition("\n")[0].split()
    try:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in line[1:9])
    except ValueError:
        return None, None
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick


def _pressure(root: Path) -> int | None:
    """Microseconds in which some task waited for a CPU, since boot (Documentation/accounting/psi)."""
    line = (files.text(root / "proc/pressure/cpu") or "").partition("\n")[0]
    total = line.rpartition("total=")[2]
    return int(total) if total.isdigit() else None
