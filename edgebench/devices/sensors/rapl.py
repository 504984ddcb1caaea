"""Processor energy by RAPL: the kernel's powercap (Documentation/power/powercap; Intel, and AMD since Zen).

The counters need root on most systems, are missing in virtual machines, and wrap around after minutes to
hours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgebench.devices import files
from edgebench.devices.sensors import Kind, Scope, Sensor

_MOST_UJ = 1 << 62
"""Where a counter does not tell its range: 64 bits are what the kernel gives, and no machine has used so much."""


class Rapl(Sensor):
    """All packages together. Read it more often than it wraps: once a minute is enough for any processor."""

    scope: Scope = "package"
    kind: Kind = "counter"
    period = 0.001

    def __init__(self, zones: Sequence[Path]) -> None:
        self.name = f"rapl {'+'.join(files.text(zone / 'name') or zone.name for zone in zones)}"
        self._zones = [(zone / "energy_uj", files.integer(zone / "max_energy_range_uj")) for zone in zones]
        self._last: list[int | None] = [None] * len(zones)
        self._total_uj = 0

    def read(self) -> float | None:
        """Joules since the first reading."""
        now = [files.integer(path) for path, _ in self._zones]
        passed = 0
        for value, last, (_, reach) in zip(now, self._last, self._zones, strict=True):
            # Virtual machines answer 0 for ever, and beyond its range a counter does not count.
            if value is None or not 0 < value <= (reach or _MOST_UJ):
                return None
            if last is not None:
                if value < last and not reach:
                    return None
                passed += value - last + (reach or 0) * (value < last)
        self._last = list(now)
        self._total_uj += passed
        return self._total_uj / 1e6


def find(root: Path = Path("/")) -> tuple[Sensor, ...]:
    """The package counter, if there is one that may be read."""
    # intel-rapl:0 is a package, intel-rapl:0:1 a part of it, intel-rapl-mmio:0 the same package once more.
    zones = [
        zone
        for zone in files.matches(root / "sys/class/powercap", "intel-rapl:*")
        if re.fullmatch(r"intel-rapl:\d+", zone.name) and (files.text(zone / "name") or "").startswith("package")
    ]
    return (Rapl(zones),) if zones else ()
