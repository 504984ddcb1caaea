"""How a device fares before and after: temperatures, clocks, throttling, power mode, load, who else uses its GPU.

A `Watch` lives as long as a campaign. Its two looks and what changed between them are part of every result's
environment; nothing of it runs while a sample is taken. Experimental on boards that have not been at hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgebench import measure
from edgebench.devices import android, clocks, files, heat, identity
from edgebench.schema import Care

NO_CARE = Care()

COOL_STEP = 1.0
"""Seconds between two looks at the thermometers of a board that cools down."""

WARMER = 10.0
"""Degrees Celsius by which a device may become hotter before it is said."""

GPU_FILES = re.compile(
    r"/dev/(?:nvhost-gpu|nvhost-[a-z]*gpu|nvidia\d+|nvgpu/.*|dri/renderD\d+|mali\d|kgsl-3d0|accel/accel\d+)$"
)
"""Device files of graphics processors and accelerators: who has one open may be using it."""


def snapshot(root: Path = Path("/")) -> dict[str, Any]:
    """The device now, as plain JSON. Temperatures in degrees Celsius, clocks in kHz, loads from 0 to 1.

    What the device does not tell is left out, so that nothing that is there was made up.
    """
    folders = files.matches(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq")
    found: dict[str, Any] = {
        "temperatures": heat.temperatures(root),
        "khz": [khz for f in folders if (khz := files.integer(f / "scaling_cur_freq")) is not None],
        "throttle": heat.throttle(heat.throttle_files(root)) | heat.firmware_throttle(root),
        "power_mode": identity.power_mode(root),
        "clocks_locked": clocks.locked(root),
        "load": _load(root),
        "gpu": _gpu(root),
        "npu": _npu(root),
        "gpu_users": gpu_users(root),
        "android": android.read(root),
    }
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What happened between two snapshots that reduces the trust in figures, a sentence each."""
    return tuple(_changes(before, after))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    slowed = heat.throttled(before.get("throttle", {}), after.get("throttle", {}))
    if slowed:
        counts = ", ".join(f"{name} {count}" for name, count in slowed.items())
        yield f"The hardware was slowed down while it was measured: {counts}."
    if before.get("power_mode") != after.get("power_mode"):
        yield f"The power mode changed from {before.get('power_mode', '–')} to {after.get('power_mode', '–')}."
    start, end = _hottest(before), _hottest(after)
    if start is not None and end is not None and end - start > WARMER:
        yield f"The hottest thermometer rose from {start:.0f} to {end:.0f} °C: earlier cells ran cooler."
    users = {f"{u['name']} ({u['pid']})" for look in (before, after) for u in look.get("gpu_users", ())}
    if users:
        yield f"Other programs had the GPU or an accelerator open: {', '.join(sorted(users))}."
    status = max((look.get("android", {}).get("thermal_status", 0) for look in (before, after)), default=0)
    if status > 0:
        yield f"Android reported the thermal status {android.STATUS.get(status, status)}."


def _hottest(look: Mapping[str, Any]) -> float | None:
    return max(look.get("temperatures", {}).values(), default=None)


class Watch:
    """Looks after a device during a campaign, as its profile asks. `facts` and `warnings` are recorded with results."""

    def __init__(
        self,
        care: Care = NO_CARE,
        root: Path = Path("/"),
        *,
        pause: Callable[[float], object] = measure.pause,
        clock: Callable[[], float] = measure.monotonic,
        state: Path | None = None,
    ) -> None:
        self._care, self._root, self._pause, self._clock = care, root, pause, clock
        self._lock = clocks.Lock(root, state)
        self._cooled: dict[str, float] = {}
        self._reachable = float("-inf")
        self._notes: list[str] = []
        if self._lock.mend():
            self._notes.append("The clocks that a killed run had set were put back first.")
        self._clocks = self._set_clocks()
        self.before = snapshot(root)
        self.after: dict[str, Any] = {}

    def _set_clocks(self) -> str:
        if not self._care.lock_clocks:
            return "not asked for"
        refused = self._lock.take()
        if refused:
            self._notes.append(f"The clocks were to be locked and are not: {refused}.")
        return refused or "locked"

    def cool(self) -> None:
        """Wait until the hottest thermometer is low enough, at most `cool_seconds`. Returns at once if not asked for.

        A temperature that the surroundings do not allow is waited for once: after that, what was reached then will do.
        """
        if self._care.cool_to is None:
            return
        target = max(self._care.cool_to, self._reachable)
        began = self._clock()
        now = self._hottest()
        if now is None:
            self._note("A temperature to cool down to was set, and this device has no thermometer.")
            return
        hottest = now
        while now > target and self._clock() - began < self._care.cool_seconds:
            self._pause(COOL_STEP)
            seen = self._hottest()
            now = target if seen is None else seen
        self._cooled["times"] = self._cooled.get("times", 0) + 1
        self._cooled["seconds"] = round(self._cooled.get("seconds", 0.0) + self._clock() - began, 1)
        self._cooled["from"] = max(hottest, self._cooled.get("from", hottest))
        self._cooled["to"] = max(now, self._cooled.get("to", now))
        if now > target:
            self._reachable = now
            seconds = self._care.cool_seconds
            self._note(
                f"The device was to cool to {self._care.cool_to:g} °C and was at {now:.0f} °C after {seconds:g} s."
            )

    def _hottest(self) -> float | None:
        """The highest thermometer; of a phone that keeps its thermal zones to itself, the battery's."""
        zones = heat.temperatures(self._root).values()
        return max(zones) if zones else android.read(self._root).get("battery_celsius")

    def _note(self, words: str) -> None:
        if words not in self._notes:
            self._notes.append(words)

    def finish(self) -> None:
        """The look afterwards."""
        self.after = snapshot(self._root)

    @property
    def facts(self) -> dict[str, Any]:
        """`before`, `after`, `clocks` (locked, not asked for, or why not), `cooled`: times, seconds, highest from and to."""
        found = {"before": self.before, "after": self.after, "clocks": self._clocks, "cooled": self._cooled}
        return {key: value for key, value in found.items() if value}

    @property
    def warnings(self) -> list[str]:
        return [*self._notes, *(changes(self.before, self.after) if self.after else ())]

    def close(self) -> None:
        """Put the clocks back."""
        self._lock.give_back()


def gpu_users(root: Path = Path("/")) -> list[dict[str, Any]]:
    """Other processes that have a graphics processor or an accelerator open, of those that we may look into."""
    found = []
    for process in files.matches(root / "proc", "[0-9]*"):
        pid = int(process.name)
        if not _ours(process, root) and any(GPU_FILES.match(target) for target in _open_files(process)):
            found.append({"pid": pid, "name": files.text(process / "comm") or "?"})
    return found


def _ours(process: Path, root: Path) -> bool:
    """This process, or one that it started, however far down."""
    me = str(os.getpid())
    for _ in range(64):
        if process.name == me:
            return True
        status = re.search(r"^PPid:\s*(\d+)", files.text(process / "status") or "", re.MULTILINE)
        if status is None or status[1] in ("0", "1"):
            return False
        process = root / "proc" / status[1]
    return False


def _open_files(process: Path) -> Iterator[str]:
    try:
        handles = os.listdir(process / "fd")
    except OSError:  # of another user
        return
    for handle in handles:
        try:
            yield os.readlink(process / "fd" / handle)
        except OSError:  # closed since
            continue


def _load(root: Path) -> float | None:
    try:
        return float((files.text(root / "proc/loadavg") or "").split()[0])
    except (ValueError, IndexError):
        return None


def _gpu(root: Path) -> dict[str, Any]:
    """The clock in kHz and the load from 0 to 1 of a Jetson's graphics processor (sysfs says 0 to 1000)."""
    folder = identity.gpu_folder(root)
    if folder is None:
        return {}
    hz, load = files.integer(folder / "cur_freq"), files.integer(folder / "device/load")
    found = {
        "khz": None if hz is None or hz <= 0 else hz // 1000,
        "load": None if load is None or not 0 <= load <= 1000 else load / 1000,
    }
    return {key: value for key, value in found.items() if value is not None}


def _npu(root: Path) -> dict[str, Any]:
    """An Intel NPU by its driver's files (intel_vpu): busy time in s since it was loaded, clock in kHz, memory in bytes."""
    for accel in files.matches(root / "sys/class/accel", "accel*"):
        busy = files.integer(accel / "device/npu_busy_time_us")
        mhz = files.integer(accel / "device/npu_current_frequency_mhz")
        memory = files.integer(accel / "device/npu_memory_utilization")
        found = {
            "busy_s": None if busy is None or busy < 0 else busy / 1e6,
            "khz": None if mhz is None or mhz < 0 else mhz * 1000,
            "memory": None if memory is None or memory < 0 else memory,
        }
        kept = {key: value for key, value in found.items() if value is not None}
        if kept:
            return kept
    return {}
