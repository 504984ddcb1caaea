"""Device profiles: what devices there are, by name, and how each is reached.

The shipped ones lie in profiles/*.toml. A file of the same name in ~/.config/edgebench/devices changes some
keys of it (the address, mostly); a file of a new name is a new device. So does a file beside the plan: NAME.toml
there, or in a folder devices/ there, holds for the plans of that folder only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from edgebench import plugins, toml
from edgebench.devices import Device, identity, sensors
from edgebench.devices.adb import AdbDevice
from edgebench.devices.local import LocalDevice
from edgebench.devices.ssh import SshDevice
from edgebench.errors import EdgebenchError, PlanError, did_you_mean
from edgebench.schema import Care, DeviceProfile

SHIPPED = Path(__file__).parent / "profiles"
TRANSPORTS: dict[str, type[Device]] = {"local": LocalDevice, "ssh": SshDevice, "adb": AdbDevice}

_KEYS: dict[str, Any] = {
    "transport": str, "description": str, "address": str, "python": str, "workdir": str, "price": float,
    "compatible": list, "backends": list, "sensors": list, "setup": list, "care": dict,
}  # fmt: skip
_CARE: dict[str, Any] = {"cool_to": float, "cool_seconds": float, "lock_clocks": bool}
assert set(_CARE) == {f.name for f in fields(Care)}


def user_folder() -> Path:
    """Where a user's own profiles lie: $XDG_CONFIG_HOME/edgebench/devices, or ~/.config/edgebench/devices."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgebench/devices"


def names(beside: Path | None = None) -> tuple[str, ...]:
    """Every device that can be named: `local` first, then the shipped ones and the user's, sorted.

    `beside` is the folder of the plan, whose own profiles count too.
    """
    found = {p.stem for folder in (SHIPPED, user_folder()) for p in _tomls(folder)}
    return ("local", *sorted((found | set(_beside(beside))) - {"local"}))


def find(name: str, beside: Path | None = None) -> DeviceProfile:
    """The profile of a name. Raises EdgebenchError for an unknown name, and PlanError for a wrong file."""
    known = names(beside)
    if name not in known:
        if beside is not None:
            _check_neighbour(beside / f"{name}.toml")
        fix = f"Give it a name first: edgebench device add NAME {name}" if "@" in name else did_you_mean(name, known)
        raise EdgebenchError(f'There is no device "{name}".', fix)
    return _merged(name, [SHIPPED / f"{name}.toml", user_folder() / f"{name}.toml", *_beside(beside).get(name, ())])


def _check_neighbour(path: Path) -> None:
    """A file beside the plan that is called as the device, and is no profile for its mistakes. Raises PlanError with them."""
    if path.is_file() and not {"recipe", "model", "data"} & toml.read(path).data.keys():
        _read(path)


def find_shipped(name: str) -> DeviceProfile:
    """The profile as edgebench ships it, whatever the user made of it."""
    return _merged(name, [SHIPPED / f"{name}.toml"])


def _merged(name: str, paths: list[Path]) -> DeviceProfile:
    """Later files change keys of earlier ones. Raises PlanError for a wrong file."""
    values: dict[str, Any] = {}
    care: dict[str, Any] = {}
    for path in paths:
        if path.is_file():
            read = _read(path)
            care |= read.pop("care", {})
            values |= read
    values.setdefault("transport", "ssh")  # a profile that forgot its address is not this machine under another name
    return DeviceProfile(name=name, care=Care(**care), **values)


def _tomls(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.glob("*.toml")) if p.is_file()) if folder.is_dir() else iter(())


def _beside(folder: Path | None) -> dict[str, list[Path]]:
    """Name -> profiles in the plan's folder: all of its devices/, and of itself what has an address or a transport."""
    found: dict[str, list[Path]] = {}
    if folder is not None:
        here = [p for p in _tomls(folder) if _is_profile(p)]
        for path in (*_tomls(folder / "devices"), *here):
            found.setdefault(path.stem, []).append(path)
    return found


def _is_profile(path: Path) -> bool:
    """Whether a TOML file is about a device: in a folder of plans, most are not, and some may be broken."""
    try:
        return bool({"address", "transport"} & toml.read(path).data.keys())
    except PlanError:
        return False


def resolve(name: str, root: Path = Path("/"), beside: Path | None = None) -> Device:
    """The device of a name, ready to be used from this machine; `beside` is the plan's folder.

    A device that needs an address and has none may still be this very machine: then it is measured here,
    under that name. Raises EdgebenchError when it is neither.
    """
    profile = find(name, beside)
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
        f"Run edgebench on the board itself, or add it: edgebench device add {name} {_example(profile)}",
    )


def _example(profile: DeviceProfile) -> str:
    return "adb:SERIAL" if profile.transport == "adb" else "user@host"


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
        if key == "care" and isinstance(value, dict):
            toml.check_table(document, ("care",), value, _CARE, problems)
        values[key] = value
    _check_values(values, problems)
    problems.raise_if_any()
    return values


def _check_values(values: dict[str, Any], problems: toml.Problems) -> None:
    """What is of the right type and makes no sense all the same."""
    if str(values.get("address", "")).startswith("-"):
        problems.add(("address",), "an address cannot begin with a dash: ssh would take it for an option.")
    for key, known in (("backends", plugins.names("edgebench.backends")), ("sensors", sensors.KINDS)):
        for i, name in enumerate(values.get(key, ())):
            if isinstance(name, str) and name not in known:
                problems.add(
                    (key, i), f'{key} holds "{name}", which there is not. {did_you_mean(name, plugins.offered(known))}'
                )
    price = values.get("price")
    if isinstance(price, (int, float)) and not 0 <= price < float("inf"):
        problems.add(("price",), f"price is what one costs in US dollars, not {price}.")
    care = values.get("care")
    care = care if isinstance(care, dict) else {}
    for key, least, most, unit in (("cool_to", -40, 150, "degrees Celsius"), ("cool_seconds", 0, 86_400, "seconds")):
        value = care.get(key)
        if isinstance(value, (int, float)) and not least <= value <= most:
            problems.add(("care", key), f"{key} must be {least} to {most} {unit}, not {value}.")
