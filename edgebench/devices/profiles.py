"""Device profiles: what devices there are, by name, and how each is reached.

The shipped ones lie in profiles/*.toml. A file of the same name in ~/.config/edgebench/devices changes some
keys of it (the address, mostly); a file of a new name is a new device.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench import toml
from edgebench.devices import Device, identity
from edgebench.devices.local import LocalDevice
from edgebench.devices.ssh import SshDevice
from edgebench.errors import EdgebenchError, PlanError, did_you_mean
from edgebench.schema import DeviceProfile

SHIPPED = Path(__file__).parent / "profiles"
TRANSPORTS: dict[str, type[Device]] = {"local": LocalDevice, "ssh": SshDevice}

_KEYS: dict[str, Any] = {
    "transport": str, "description": str, "address": str, "python": str, "workdir": str,
    "compatible": list, "backends": list, "sensors": list, "setup": list,
}  # fmt: skip


def user_folder() -> Path:
    """Where a user's own profiles lie: $XDG_CONFIG_HOME/edgebench/devices, or ~/.config/edgebench/devices."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgebench/devices"


def names() -> tuple[str, ...]:
    """Every device that can be named: `local` first, then the shipped ones and the user's, sorted."""
    found = {p.stem for folder in (SHIPPED, user_folder()) if folder.is_dir() for p in folder.glob("*.toml")}
    return ("local", *sorted(found - {"local"}))


def find(name: str) -> DeviceProfile:
    """The profile of a name. Raises EdgebenchError for an unknown name, and PlanError for a wrong file."""
    if name not in names():
        raise EdgebenchError(f'There is no device "{name}".', did_you_mean(name, names()))
    values: dict[str, Any] = {}
    for folder in (SHIPPED, user_folder()):
        path = folder / f"{name}.toml"
        if path.is_file():
            values |= _read(path)
    values.setdefault("transport", "ssh" if values.get("address") else "local")
    return DeviceProfile(name=name, **values)


def resolve(name: str, root: Path = Path("/")) -> Device:
    """The device of a name, ready to be used from this machine.

    A device that needs an address and has none may still be this very machine: then it is measured here,
    under that name. Raises EdgebenchError when it is neither.
    """
    profile = find(name)
    if profile.transport == "local":
        return LocalDevice(profile)
    if profile.address:
        return _transport(profile)(profile)
    if identity.matches(profile.compatible, root):
        return LocalDevice(replace(profile, transport="local"))
    what = profile.description.partition(":")[0]
    article = "an" if what[:1].lower() in "aeiou" else "a"
    this = f"This machine is not {article} {what} and no" if what else "No"
    raise EdgebenchError(
        f'{this} address is configured for device "{name}".',
        f"Run edgebench on the board itself, or add the board's address in {user_folder() / name}.toml "
        '(address = "user@host").',
    )


def _transport(profile: DeviceProfile) -> type[Device]:
    if profile.transport in TRANSPORTS:
        return TRANSPORTS[profile.transport]
    from edgebench import plugins

    known = {*TRANSPORTS, *plugins.names("edgebench.devices")}
    if profile.transport not in known:
        raise PlanError(
            f'No transport "{profile.transport}" is installed, which device "{profile.name}" asks for.',
            f"{did_you_mean(profile.transport, known)}",
        )
    kind: type[Device] = plugins.load("edgebench.devices", profile.transport)
    return kind


def _read(path: Path) -> dict[str, Any]:
    """The keys of one profile file, checked. Raises PlanError with every mistake."""
    document = toml.read(path)
    problems = toml.Problems(document)
    toml.check_table(document, (), document.data, _KEYS, problems)
    values: dict[str, Any] = {}
    for key, value in document.data.items():
        if isinstance(value, list):
            for i, item in enumerate(value):
                if not isinstance(item, str):
                    problems.add((key, i), f"{key} holds texts in quotes, not {item!r}.")
            value = tuple(value)
        values[key] = value
    if str(values.get("address", "")).startswith("-"):
        problems.add(("address",), "an address cannot begin with a dash: ssh would take it for an option.")
    problems.raise_if_any()
    return values
