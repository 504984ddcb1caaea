"""Power of a Raspberry Pi 5 by its power-management chip: `vcgencmd pmic_read_adc`.

The sum of volts times amperes over the rails that have both: processor, memory and their converters. The 5 V
input has no current meter, so that USB and HATs are not in it: compare with other Pis only. Each reading
starts a process: not more often than twice a second, and never in a latency run. Experimental: written from
documented output.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from edgebench.devices.sensors import Kind, Scope, Sensor

PLACES = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
_LINE = re.compile(r"^\s*(\S+)_([AV])\s+(?:current|volt)\(\d+\)=(\S+?)[AV]\s*$", re.MULTILINE)


class Pmic(Sensor):
    """All metered rails together."""

    name = "raspberry-pi pmic"
    scope: Scope = "soc"
    kind: Kind = "power"
    period = 0.5

    def __init__(self, program: Path) -> None:
        self._program = program

    def read(self) -> float | None:
        """Watts now."""
        try:
            done = subprocess.run(
                [str(self._program), "pmic_read_adc"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=2,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return watts(done.stdout) if done.returncode == 0 else None


def watts(output: str) -> float | None:
    """The sum over the rails of one `pmic_read_adc`; None unless every current has its voltage."""
    meters: dict[tuple[str, str], float] = {}
    for rail, quantity, value in _LINE.findall(output):
        try:
            meters[rail, quantity] = float(value)
        except ValueError:
            return None
    currents = {rail: value for (rail, quantity), value in meters.items() if quantity == "A"}
    if not currents or any((rail, "V") not in meters for rail in currents):
        return None
    total = sum(value * meters[rail, "V"] for rail, value in currents.items())
    return total if 0 < total < 50 else None


def find(root: Path = Path("/")) -> tuple[Sensor, ...]:
    """The chip of a Pi 5; older boards have the program but no such meter, and then answer None."""
    programs = [root / place for place in PLACES if (root / place).is_file()]
    return tuple(Pmic(program) for program in programs[:1])
