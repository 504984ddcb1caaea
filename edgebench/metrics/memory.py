"""Memory of the process while it loads and runs: the kernel's own high-water mark, and what is live after it.

The protocol's item 13. Every worker tells its own, before it warms up. A peak is the greatest of them: it has to fit
on the worst day, and glibc's allocator moves its thresholds with addresses that are drawn for each process, so that the same
model takes 43 MiB in one and 47 in the next. A spread of more than 1 % is said. Never ru_maxrss: it is inherited from the parent.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgebench import stats
from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

SPREAD = 0.02
RUNS = 4


def status(path: Path = Path("/proc/self/status")) -> dict[str, int]:
    """The Vm* and Rss* lines of a process in bytes; empty where there is no /proc."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    return {k: int(v) * 1024 for k, v in re.findall(r"^((?:Vm|Rss)\w+):\s+(\d+) kB", text, re.MULTILINE)}


def reset_peak(path: Path = Path("/proc/self/clear_refs")) -> bool:
    """Set VmHWM back to the present size (proc(5): writing 5 to clear_refs). False where that is not allowed."""
    try:
        path.write_text("5")
    except OSError:
        return False
    return True


def held(subject: Subject, *, trim: bool) -> dict[str, int]:
    """What this process holds, in bytes, after a few inferences; with `trim` also what is live once the allocator let go.

    `peak` and `baseline` are totals; `anonymous`, `file` and `live` are above the baseline. What the harness itself took since
    (inputs that it drew) is no part of it.
    """
    for start in range(RUNS):
        subject.session.run(subject.feeds(start * subject.cell.batch))
    found, base = status(), subject.baseline
    if "VmHWM" not in found or "VmHWM" not in base:
        return {}
    out = {
        "peak": max(found["VmHWM"] - subject.own_bytes, subject.load_peak or 0),
        "baseline": base["VmHWM"],
        "anonymous": found["RssAnon"] - subject.own_bytes - base["RssAnon"],
        "file": found["RssFile"] - base["RssFile"],
    }
    if trim and _trim():
        out["live"] = status()["VmRSS"] - subject.own_bytes - base["VmRSS"]
    return out


def _trim() -> bool:
    """Let the C library give freed memory back to the kernel; False where it has no malloc_trim (it is glibc's)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return False
    return True


class Memory(Metric):
    """Bytes: peak above what the imports alone take, peak in all, and its parts."""

    name: ClassVar[str] = "memory"

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        seen = [r["memory"] for r in records if r.get("memory")]
        found = (
            _figure("memory_peak", "VmHWM, above the imports", [m["peak"] - m["baseline"] for m in seen]),
            _figure("memory_total", "VmHWM", [m["peak"] for m in seen]),
            _figure("memory_anonymous", "RssAnon, above the imports", _each(seen, "anonymous")),
            _figure("memory_file", "RssFile, above the imports", _each(seen, "file")),
            _figure("memory_live", "VmRSS after malloc_trim, above the imports", _each(seen, "live")),
        )
        return tuple(m for m in found if m is not None)


def _each(seen: Sequence[Mapping[str, Any]], key: str) -> list[int]:
    return [m[key] for m in seen if key in m]


def _figure(name: str, what: str, values: Sequence[int]) -> Measurement | None:
    if not values:
        return None
    peak = name in ("memory_peak", "memory_total")
    value = max(values) if peak else stats.median(values)
    spread = (max(values) - min(values)) / value if value > 0 else 0.0
    return Measurement(
        metric=name,
        unit="B",
        phase="load and run",
        source=f"/proc/self/status: {what}",
        value=float(value),
        n=len(values),
        samples=tuple(float(v) for v in values),
        note=f"{100 * spread:.0f} % less in another process" if peak and spread > SPREAD else "",
    )
