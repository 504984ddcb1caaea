"""What an Android device says of its heat and its battery: `dumpsys thermalservice` and `dumpsys battery`.

Source: Android's power and thermal documentation (PowerManager.THERMAL_STATUS_*). The kernel's own thermal zones are
closed to the shell user on most phones, so the services are asked; each costs a process, so this is done before and
after a campaign, never within. Experimental: no phone has been at hand.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATUS = {0: "none", 1: "light", 2: "moderate", 3: "severe", 4: "critical", 5: "emergency", 6: "shutdown"}

PROGRAM = "system/bin/dumpsys"


def read(root: Path = Path("/")) -> dict[str, Any]:
    """`thermal_status` 0 to 6, `battery_celsius`, `battery_level` 0 to 1, `plugged`; {} on what is no Android."""
    program = root / PROGRAM
    if not program.is_file():
        return {}
    return {**thermal(_say(program, "thermalservice")), **battery(_say(program, "battery"))}


def properties(text: str) -> dict[str, str]:
    """What `getprop` prints, "[ro.product.model]: [Pixel 8]", as a mapping."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]\s*$", text, re.MULTILINE))


def identity(said: Mapping[str, str]) -> dict[str, Any]:
    """The device out of its properties: `kind`, `model`, `soc`, `release` (of Android); never its serial number."""
    if "ro.build.version.release" not in said:
        return {}
    maker, model = (said.get(f"ro.product.{key}", "") for key in ("manufacturer", "model"))
    found = {
        "kind": "android",
        "model": model if model.lower().startswith(maker.lower()) else f"{maker} {model}",
        "soc": said.get("ro.soc.model") or said.get("ro.board.platform", ""),
        "release": said["ro.build.version.release"],
    }
    return {key: value for key, value in found.items() if value}


def here(root: Path = Path("/")) -> dict[str, Any]:
    """The identity of the Android device that this runs on; {} elsewhere."""
    program = root / "system/bin/getprop"
    return identity(properties(_say(program))) if program.is_file() else {}


def thermal(text: str) -> dict[str, Any]:
    """The status of the whole device out of `dumpsys thermalservice`."""
    match = re.search(r"^\s*Thermal Status:\s*(\d+)\s*$", text, re.MULTILINE)
    return {"thermal_status": int(match[1])} if match and int(match[1]) in STATUS else {}


def battery(text: str) -> dict[str, Any]:
    """The battery out of `dumpsys battery`: its temperature comes in tenths of a degree, its level by a scale."""
    said = dict(re.findall(r"^\s*([A-Za-z ]+?):\s*(\S+)\s*$", text, re.MULTILINE))
    found: dict[str, Any] = {}
    tenths, level, scale = (_integer(said.get(key)) for key in ("temperature", "level", "scale"))
    if tenths is not None and -400 <= tenths <= 1000 and tenths != 0:
        found["battery_celsius"] = tenths / 10
    if level is not None and scale and 0 <= level <= scale:
        found["battery_level"] = level / scale
    supplies = [said[key] for key in ("AC powered", "USB powered", "Wireless powered") if key in said]
    if supplies:
        found["plugged"] = "true" in supplies
    return found


def _integer(word: str | None) -> int | None:
    return int(word) if word and re.fullmatch(r"-?\d+", word) else None


def _say(program: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [str(program), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=5,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
