"""Every device that can be named: whether it can be reached, what it is, which runtimes it has, and what it lacks."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgebench import plugins
from edgebench.devices import Device, android, identity, profiles, sensors
from edgebench.devices.adb import AdbDevice
from edgebench.devices.board import BOOT, Board, BoardError, ask, lay_out
from edgebench.devices.introduce import LEAST_PYTHON, python_of
from edgebench.devices.local import LocalDevice
from edgebench.devices.openssh import by_hand
from edgebench.errors import EdgebenchError
from edgebench.schema import DeviceProfile

AT_ONCE = 8
NO_SENSOR = "Make it readable, or take it out of the profile's sensors: without it there is no figure of energy."
SEEN_IN_FILES = ("ina3221",)
"""The sensors that a board's answer to the question who it is shows: small files that every login may read."""


def devices(beside: Path | None = None) -> list[dict[str, Any]]:
    """One plain mapping a device, in the order of profiles.names, all asked at the same time.

    `known` (it is this machine, or has an address), `ok` (can be measured now), `reachable`, `is` (one line), `identity`,
    `runtimes` {name: version} that it has of its own, `pushed` (those that a run brings there), and `missing`, a list of
    {what, fix} with the command that mends it.
    """
    names = profiles.names(beside)
    with ThreadPoolExecutor(AT_ONCE) as several:
        return list(several.map(lambda name: _device(name, beside), names))


def _device(name: str, beside: Path | None) -> dict[str, Any]:
    out: dict[str, Any] = {"name": name, "ok": False, "reachable": False, "is": "", "identity": {}, "runtimes": {}}
    out |= {"transport": "", "address": "", "description": "", "pushed": [], "missing": [], "known": True}
    try:
        profile = profiles.find(name, beside)
        out |= {key: getattr(profile, key) for key in ("transport", "address", "description", "price")}
        out["known"] = bool(profile.address)
        device = profiles.resolve(name, beside=beside)
        out["known"] = True
        out["transport"] = device.profile.transport
        meters: list[str] = []
        if isinstance(device, LocalDevice):
            meters = _here(device, out)
        elif isinstance(device, AdbDevice):
            found = android.identity(device.properties())
            out |= {"reachable": True, "identity": found, "is": identity.words(found)}
        else:
            meters = _there(device, out)
        ready = device.check()
        if not ready.ok and not out["missing"]:  # what is known in particular says more
            out["missing"].append({"what": ready.reason, "fix": ready.fix})
        out["missing"] += [{"what": f"The sensor {m} of its profile was not found.", "fix": NO_SENSOR} for m in meters]
        out["ok"] = ready.ok
    except EdgebenchError as error:
        out["reachable"] |= isinstance(error, BoardError) and error.reached
        out["missing"].append({"what": error.problem, "fix": error.fix})
    return out


def _here(device: Device, out: dict[str, Any]) -> list[str]:
    """This machine; which sensors it lacks."""
    found, runtimes = identity.identity(), identity.runtimes()
    out |= {"reachable": True, "identity": found, "is": identity.words(found), "runtimes": runtimes}
    for name in device.profile.backends:
        ready = plugins.backend(name).probe()
        if not ready.ok:
            out["missing"].append({"what": f"{name}: {ready.reason}.", "fix": ready.fix})
    return sensors.missing(device.profile.sensors)


def _there(device: Device, out: dict[str, Any]) -> list[str]:
    """A board over SSH; which sensors it lacks. A runtime is brought with the first run, if its Python is new enough."""
    address = device.profile.address
    board = ask(device.command([device.python, "-c", BOOT]), address, python=device.python)
    out |= {"reachable": True, "identity": dict(board.identity), "is": identity.words(dict(board.identity))}
    out["runtimes"] = {**board.runtimes, **({"trtexec": "there"} if board.trtexec else {})}
    out["pushed"] = list(device.profile.backends)
    out["missing"] += lacks(device.profile, board)
    return meterless(device.profile, board)


def meterless(profile: DeviceProfile, board: Board) -> list[str]:
    """The sensors of the profile that the board's files do not have. The other kinds are seen by a run alone."""
    with tempfile.TemporaryDirectory(prefix="edgebench-board-") as folder:
        lay_out(board.answer, Path(folder))
        return sensors.missing([name for name in profile.sensors if name in SEEN_IN_FILES], Path(folder))


def lacks(profile: DeviceProfile, board: Board) -> list[dict[str, str]]:
    """What keeps a board that answered from being measured: {what, fix} each."""
    new_enough = {path for version, path in board.pythons.items() if _minor(version) >= LEAST_PYTHON}
    too_old = _minor(board.python) < LEAST_PYTHON and profile.python not in new_enough
    found = [_older_python(profile, board)] if too_old else []
    if not board.rsync:
        what = f"There is no rsync on {profile.address}, by which files are brought there."
        found.append({"what": what, "fix": f"{by_hand(profile.address)} sudo apt-get install rsync"})
    return found


def _older_python(profile: DeviceProfile, board: Board) -> dict[str, str]:
    address, better = profile.address, python_of(board, "")
    what = f"{profile.python} on {address} is Python {board.python}, and measuring needs 3.10."
    if better:
        return {"what": what, "fix": f"edgebench device add {profile.name} {address} --python {better} --replace"}
    return {"what": what, "fix": f"{by_hand(address)} sudo apt-get install python3.10"}


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
