"""Power rails of NVIDIA Jetson boards: INA3221 monitors, in the hwmon form (from JetPack 5) and the iio form.

Sources: the kernel's hwmon/ina3221 (mV and mA), L4T's ina3221x (mW), hwmon/ina2xx for the Thor carrier (uW),
and NVIDIA's rail tables. Which rail is the total differs from board to board: some rails already contain
others. Experimental on boards that have not been at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgebench.devices import files
from edgebench.devices.sensors import Kind, Scope, Sensor

Reader = Callable[[], float | None]

INPUTS = ("VDD_IN", "POM_5V_IN")
"""A module's own supply, where that is a rail: it contains all the others."""

SUMS = (
    (
        "VDD_GPU_SOC",
        "VDD_CPU_CV",
        "VIN_SYS_5V0",
    ),  # AGX Orin; the rails of its second monitor are inside these
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
"""Rails that together are the module, on boards without a rail for its supply."""

_MOST_WATTS = 1000.0


class Rails(Sensor):
    """One rail, or several that are added up; the name is the formula."""

    kind: Kind = "power"

    def __init__(self, name: str, readers: list[Reader], scope: Scope, period: float | None) -> None:
        self.name = name
        self.scope = scope
        self.period = period
        self._readers = readers

    def read(self) -> float | None:
        """Watts now. A sum with an unreadable part is none, and so is a supply that gives nothing."""
        values = [reader() for reader in self._readers]
        known = [value for value in values if value is not None and 0 <= value < _MOST_WATTS]
        total = sum(known)
        if len(known) < len(values) or (total == 0 and self.scope != "rail"):
            return None
        return total


def find(root: Path = Path("/")) -> tuple[Sensor, ...]:
    """The board's total first, if its rails are known to add up to one; then every rail by itself."""
    rails: dict[str, tuple[Reader, float | None]] = {}
    carrier: list[Sensor] = []
    for chip in files.matches(root / "sys/bus/i2c/devices", "*"):
        name = files.text(chip / "name") or ""
        if "ina3221" in name:
            rails |= _iio_rails(chip) | _hwmon_rails(chip)
        elif "ina238" in name:
            watts = [path for hwmon in _hwmons(chip) for path in files.matches(hwmon, "power1_input")]
            carrier += [Rails("ina238 VIN", [_watts(path, 1e6)], "carrier", None) for path in watts]
    total = _total(rails)
    singles = [Rails(f"ina3221 {name}", [reader], "rail", period) for name, (reader, period) in rails.items()]
    return (*carrier, *total, *(rail for rail in singles if all(rail.name != whole.name for whole in total)))


def _total(rails: dict[str, tuple[Reader, float | None]]) -> list[Sensor]:
    formulas = [(name,) for name in INPUTS] + list(SUMS)
    names = next((formula for formula in formulas if set(formula) <= set(rails)), None)
    if names is None:
        return []
    slowest = max((rails[name][1] or 0.0 for name in names), default=0.0)
    formula = f"ina3221 {' + '.join(names)}"
    return [Rails(formula, [rails[name][0] for name in names], "module", slowest or None)]


def _hwmons(chip: Path) -> list[Path]:
    return files.matches(chip / "hwmon", "hwmon*")


def _hwmon_rails(chip: Path) -> dict[str, tuple[Reader, float | None]]:
    """Channels 1 to 3; channel 7, if there is one, is a sum of shunt voltages and no rail."""
    found: dict[str, tuple[Reader, float | None]] = {}
    for hwmon in _hwmons(chip):
        interval = files.integer(hwmon / "update_interval")  # milliseconds
        for n in (1, 2, 3):
            name = files.text(hwmon / f"in{n}_label") or ""
            if name and name != "NC":
                reader = _volts_times_amperes(hwmon / f"in{n}_input", hwmon / f"curr{n}_input")
                found[name] = (reader, interval / 1000 if interval else None)
    return found


def _iio_rails(chip: Path) -> dict[str, tuple[Reader, float | None]]:
    found: dict[str, tuple[Reader, float | None]] = {}
    for device in files.matches(chip, "iio:device*"):
        for n in (0, 1, 2):
            name = files.text(device / f"rail_name_{n}") or ""
            if name and name != "NC":
                found[name] = (_watts(device / f"in_power{n}_input", 1e3), None)
    return found


def _volts_times_amperes(millivolts: Path, milliamperes: Path) -> Reader:
    def read() -> float | None:
        volts, amperes = files.integer(millivolts), files.integer(milliamperes)
        # 26 V and, by the shunts in use, less than 100 A are what the chip can tell.
        if volts is None or amperes is None or not 0 < volts <= 33_000 or not 0 <= amperes < 100_000:
            return None
        return volts * amperes / 1e6

    return read


def _watts(path: Path, per_watt: float) -> Reader:
    def read() -> float | None:
        value = files.integer(path)
        return None if value is None else value / per_watt

    return read
