"""Temperatures, and what the hardware did about them: throttle counters and throttle states.

Sources: the kernel's thermal sysfs and thermal_throttle, Raspberry Pi `get_throttled`, Tegra's soctherm
over-current events. Experimental on boards that have not been at hand.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgebench.devices import files

PI_NOW = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of a Raspberry Pi's get_throttled; 16 bits higher, the same since boot."""

PI_BITS = 0xFFFFF

GROWING = ("_count", "_events")
MOST_STATE = 1000
"""Of a cooling device that does not tell its own `max_state`."""

_COOLERS = re.compile(r"cpufreq|devfreq|processor|throttl|balanced", re.IGNORECASE)
"""Cooling devices that cool by slowing down; the others are fans."""


def temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Degrees Celsius by thermal zone ("cpu-thermal", "x86_pkg_temp") or hwmon chip, if plausible."""
    found: dict[str, float] = {}
    for zone in files.matches(root / "sys/class/thermal", "thermal_zone*"):
        _put(found, files.text(zone / "type") or zone.name, celsius(zone))
    for chip in files.matches(root / "sys/class/hwmon", "hwmon*"):
        name = files.text(chip / "name") or ""
        if name in ("coretemp", "k10temp", "zenpower"):  # x86 without thermal zones of its own
            _put(found, name, celsius(chip, "temp1_input"))
    return found


def celsius(folder: Path, name: str = "temp") -> float | None:
    """One thermometer. None for what is none: unwired zones answer EAGAIN, 0, -256 or a constant."""
    value = files.integer(folder / name)
    if value is None or not -40_000 <= value <= 150_000 or value in (0, -256):
        return None
    if value == 100_000 and (files.text(folder / "type") or "").upper().startswith("PMIC"):
        return None  # Tegra's PMIC-Die says 100 degrees, always
    return value / 1000


def _put(found: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        same = sum(k == name or k.startswith(f"{name}#") for k in found)
        found[f"{name}#{same + 1}" if same else name] = value


def throttle(sources: Mapping[str, Sequence[Path]]) -> dict[str, int]:
    """Read what `throttle_files` found: "…_count" and "…_events" only grow, the others are states, 0 at rest.

    What cannot be read, or is no count, state or bits at all, is left out: an unreadable throttle bit is no sign of health.
    So is a sum with such a part: it would seem to jump when the part comes back.
    """
    found = {}
    for name, paths in sources.items():
        known = [value for path in paths if (value := _told(name, path)) is not None]
        if known and len(known) == len(paths):
            found[name] = sum(known)
    return found


def _told(name: str, path: Path) -> int | None:
    value = _hex(path) if name == "get_throttled" else files.integer(path)
    if value is None or value < 0:
        return None
    if name.endswith(GROWING):
        return value
    most = PI_BITS if name == "get_throttled" else files.integer(path.with_name("max_state")) or MOST_STATE
    return value if value <= most else None


def throttle_files(root: Path = Path("/")) -> dict[str, list[Path]]:
    """Name -> files (to be summed) of everything on this machine that tells of throttling."""
    found: dict[str, list[Path]] = {}
    for scope in ("core", "package"):
        pattern = f"cpu[0-9]*/thermal_throttle/{scope}_throttle_count"
        found[f"{scope}_throttle_count"] = files.matches(root / "sys/devices/system/cpu", pattern)
    for pattern in ("soc/soc:firmware/get_throttled", "soc@*/*firmware*/get_throttled"):
        found.setdefault("get_throttled", []).extend(files.matches(root / "sys/devices/platform", pattern)[:1])
    for chip in files.matches(root / "sys/class/hwmon", "hwmon*"):
        name = files.text(chip / "name")
        if name == "soctherm_oc":
            for path in files.matches(chip, "oc*_event_cnt"):
                found[f"soctherm_{path.name.split('_')[0]}_events"] = [path]
        elif name == "rpi_volt":
            found["under_voltage"] = files.matches(chip, "in0_lcrit_alarm")
    for device in files.matches(root / "sys/class/thermal", "cooling_device*"):
        kind = files.text(device / "type") or ""
        if _COOLERS.search(kind) and "fan" not in kind:
            found[f"{device.name} {kind}"] = [device / "cur_state"]
    return {name: paths for name, paths in found.items() if paths}


def firmware_throttle(root: Path = Path("/")) -> dict[str, int]:
    """A Raspberry Pi's throttle bits by its program, where its kernel has no file for them; {} elsewhere.

    Costs a process: for a look before and after, never for a slice. Unreadable bits are left out; 0 would be a lie.
    """
    if "get_throttled" in throttle_files(root):
        return {}
    for place in ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd"):
        if (root / place).is_file():
            try:
                done = subprocess.run(
                    [str(root / place), "get_throttled"],
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=2,
                    stdin=subprocess.DEVNULL,
                )
            except (OSError, subprocess.TimeoutExpired):
                return {}
            match = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", done.stdout.strip())
            return {"get_throttled": int(match[1], 16)} if match and done.returncode == 0 else {}
    return {}


def _hex(path: Path) -> int | None:
    try:
        return int(files.text(path) or "", 16)
    except ValueError:
        return None


def throttled(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What throttled between two readings: name -> events counted, or the state found; empty if nothing did.

    A Pi's sticky bits that were set before say nothing of the time between, so they do not count.
    """
    found = {}
    for name, end in after.items():
        start = before.get(name, 0)
        if name.endswith(GROWING):
            change = end - start if name in before else 0
        elif name == "get_throttled":
            change = (start | end) & 0xF | ((end & ~start) >> 16) & 0xF
        else:
            change = max(start, end)
        if change > 0:
            found[name] = change
    return found
