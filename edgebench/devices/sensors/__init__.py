"""Energy meters that machines bring along: each reads joules (a counter) or watts (a power) in a named scope.

No meter, no number: what cannot be read, or cannot be true, is None. A meter that never moves is no meter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

Kind = Literal["counter", "power"]
Scope = Literal["package", "gpu", "soc", "module", "carrier", "wall", "rail"]
"""What a figure includes. Figures of different scopes must not be compared.

package: the processor's sockets; gpu: a graphics board; soc: the chips of a board, without its USB and
extensions; module: a compute module without its carrier board; carrier: with it; wall: all of it; rail: one
supply among many.
"""


class Sensor(ABC):
    """One meter. `period` is how often it has a new value, in seconds, where that is known."""

    name: str
    scope: Scope
    kind: Kind
    period: float | None = None

    @abstractmethod
    def read(self) -> float | None:
        """Joules since some start (counter) or watts now (power); None when there is no true value."""


KINDS = ("rapl", "nvml", "ina3221", "raspberry-pi")


def find(root: Path = Path("/"), names: Sequence[str] = ()) -> tuple[Sensor, ...]:
    """The meters that this machine has and that answer now; with `names` (a profile's) only of those kinds.

    An external meter's log is read by meter_csv instead.
    """
    from edgebench.devices.sensors import ina3221, nvml, rapl, raspberry_pi

    finders: Sequence[Callable[[Path], Sequence[Sensor]]] = (rapl.find, nvml.find, ina3221.find, raspberry_pi.find)
    wanted = [finder for name, finder in zip(KINDS, finders, strict=True) if not names or name in names]
    return tuple(sensor for finder in wanted for sensor in finder(root) if sensor.read() is not None)


def missing(names: Iterable[str], root: Path = Path("/")) -> list[str]:
    """Those of the kinds that a profile asks for of which this machine has no meter that answers."""
    return [name for name in names if not find(root, [name])]


def joules(kind: Kind, readings: Sequence[tuple[float, float | None]]) -> float | None:
    """The energy of a window from (seconds, value) readings in the order of time.

    A counter's is the last less the first, a power's the area by trapezoids. None for a window with a hole,
    with fewer than two readings, in which a counter fell, or in which the meter never changed: a constant is
    no measurement.
    """
    values = [value for _, value in readings if value is not None]
    if len(values) < max(2, len(readings)) or min(values) == max(values):
        return None
    if kind == "counter":
        return values[-1] - values[0] if values == sorted(values) else None
    times = [time for time, _ in readings]
    return sum((times[i + 1] - times[i]) * (values[i] + values[i + 1]) / 2 for i in range(len(values) - 1))
