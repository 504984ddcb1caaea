"""The log of an external power meter: a CSV of the time since 1970 and watts, cut by our phases' windows.

Seconds, or milliseconds and less as loggers write them: told by how great they are.

Both clocks must agree to much less than a window: set them by NTP. What else stands in a row is not looked
at.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from edgebench.devices.sensors import Scope
from edgebench.errors import DataError

HOLE = 5.0
"""A gap of more than so many usual steps between two rows is a hole in the log."""

LATEST = 1e11
"""Seconds since 1970 of a day some three thousand years from now: what is greater counts in a smaller unit."""
UNITS = (1, 1e3, 1e6, 1e9)
"""Seconds, milliseconds, microseconds, nanoseconds: how many there are in a second."""


class MeterCsv:
    """A log, read whole. Raises DataError when it is missing, is no such log, or goes back in time."""

    def __init__(self, path: Path, scope: Scope = "wall") -> None:
        self.name = f"meter {path.name}"
        self.scope = scope
        self._path = path
        self._times, self._watts = _read(path)
        self.period = median(b - a for a, b in pairwise(self._times))

    def joules(self, start: float, end: float) -> float:
        """The energy from `start` to `end` (seconds since 1970), by trapezoids, the ends interpolated.

        Raises DataError for a window that the log does not cover from end to end.
        """
        times = self._times
        if not start < end:
            raise ValueError(f"a window from {start} to {end} is none")
        if start < times[0] or end > times[-1]:
            covered = f"{times[0]:.1f} to {times[-1]:.1f}"
            raise DataError(
                f"{self._path} covers {covered}, not the whole window {start:.1f} to {end:.1f}.",
                "Let the meter log from before the run until after it, and set both clocks by NTP.",
            )
        first, last = bisect_right(times, start), bisect_left(times, end)
        inside = times[max(0, first - 1) : last + 1]
        hole = max(b - a for a, b in pairwise(inside))
        if hole > HOLE * self.period:
            raise DataError(
                f"{self._path} has a hole of {hole:.1f} s in the window {start:.1f} to {end:.1f}.",
                "Measure again with a meter that logs without a break.",
            )
        xs = [start, *times[first:last], end]
        ys = [self._at(start), *self._watts[first:last], self._at(end)]
        return sum((xs[i + 1] - xs[i]) * (ys[i] + ys[i + 1]) / 2 for i in range(len(xs) - 1))

    def _at(self, time: float) -> float:
        """Watts at a time within the log, between the two rows around it."""
        i = max(1, bisect_left(self._times, time))
        t0, t1 = self._times[i - 1], self._times[i]
        w0, w1 = self._watts[i - 1], self._watts[i]
        return w0 + (w1 - w0) * (time - t0) / (t1 - t0)


def _read(path: Path) -> tuple[list[float], list[float]]:
    fix = "Give a CSV with a row for each reading: seconds since 1970, watts."
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise DataError(f"The meter's log {path} cannot be read: {error.strerror}.", "Check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The meter's log {path} is no CSV text.", fix) from error
    times: list[float] = []
    watts: list[float] = []
    for n, row in enumerate(rows):
        values = _numbers(row)
        if values is None:
            if n == 0:
                continue  # a heading
            raise DataError(f"Row {n + 1} of the meter's log {path} is not a time and a power: {','.join(row)}.", fix)
        if times and values[0] <= times[-1]:
            raise DataError(f"Row {n + 1} of the meter's log {path} is not later than the row before it.", fix)
        times.append(values[0])
        watts.append(values[1])
    if len(times) < 2:
        raise DataError(f"The meter's log {path} holds fewer than two readings.", fix)
    unit = next((unit for unit in UNITS if times[-1] / unit < LATEST), UNITS[-1])
    return [time / unit for time in times], watts


def _numbers(row: Sequence[str]) -> tuple[float, float] | None:
    try:
        time, power = float(row[0]), float(row[1])
    except (ValueError, IndexError):
        return None
    return (time, power) if math.isfinite(time) and math.isfinite(power) else None
