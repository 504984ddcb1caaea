"""Peak memory of the process while it loads and runs, from the kernel's own high-water mark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgebench.metrics import Metric, Record, Subject
from edgebench.schema import Measurement, Protocol, Work

SOURCE = "VmHWM of /proc/self/status"


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


class Memory(Metric):
    """Peak memory in bytes, total and above what the imports alone take; never ru_maxrss, which is inherited."""

    name: ClassVar[str] = "memory"
    observes: ClassVar[bool] = True

    def observe(self, subject: Subject) -> dict[str, Any]:
        for start in range(4):
            subject.session.run(subject.feeds(start * subject.cell.batch))
        found = status()
        peak = found.get("VmHWM")
        if peak is not None:
            peak = max(peak - subject.own_bytes, subject.load_peak or 0)
        return {
            "peak": peak,
            "anonymous": found.get("RssAnon"),
            "file": found.get("RssFile"),
            **{"baseline": subject.baseline.get("VmHWM")},
        }

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        seen = [r["memory"] for r in records if r.get("memory") and r["memory"].get("peak")]
        above = [m["peak"] - m["baseline"] for m in seen if m.get("baseline")]
        total = [m["peak"] for m in seen]
        named = (("memory_peak", above), ("memory_total", total))
        return tuple(
            Measurement(
                metric=name,
                unit="B",
                phase="load and run",
                source=SOURCE,
                value=float(max(values)),
                n=len(values),
                samples=tuple(float(v) for v in values),
            )
            for name, values in named
            if values
        )
