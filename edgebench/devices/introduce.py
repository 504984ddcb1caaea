"""`edgebench device add`: ask a board who it is, and write its profile when its host key was confirmed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgebench import toml
from edgebench.devices import android, identity, keys, openssh, profiles
from edgebench.devices.adb import AdbDevice
from edgebench.devices.board import BOOT, Board, BoardError, ask
from edgebench.devices.ssh import SshDevice
from edgebench.errors import EdgebenchError
from edgebench.schema import DeviceProfile

LEAST_PYTHON = (3, 10)
"""What the measuring worker needs; the runner around it is content with 3.6."""

LASTING = ("module_name", "model", "module", "soc", "cpu", "accelerators", "emulated")
"""What stays true of a board when its system is updated or its power mode set: the rest is read anew each time."""


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """A board that answered. `new` says that its host key was not known before; `save` may follow."""

    address: str
    identity: Mapping[str, Any]
    compatible: tuple[str, ...]
    board: Board | None
    fingerprints: tuple[str, ...] = ()
    new: bool = False
    key_file: Path | None = None
    ssh: Mapping[str, str]


@contextmanager
def meet(name: str, address: str, python: str = "python3", fingerprint: str | None = None) -> Iterator[Introduction]:
    """Ask the board at `address` ("user@host", "user@host:port", a Host of ~/.ssh/config, "adb:SERIAL"), once.

    Where a `fingerprint` is given, a board with another host key is not logged into.

    Raises EdgebenchError when the name cannot be used, the board does not answer, or its host key has changed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == "local":
        raise EdgebenchError(
            f'"{name}" cannot be the name of a device.', "Use letters, digits, dots and dashes, and not the name local."
        )
    if address.startswith("adb:"):
        said = AdbDevice(DeviceProfile(name=name, transport="adb", address=address)).properties()
        found = android.identity(said)
        yield Introduction(address=address, identity=found, compatible=("android",), board=None, ssh={})
        return
    command = SshDevice(DeviceProfile(name=name, transport="ssh", address=address)).command([python, "-c", BOOT])
    with tempfile.TemporaryDirectory(prefix="edgebench-keys-") as folder:
        new, configured = Path(folder) / "known_hosts", keys.configuration(command)
        meeting = keys.first_meeting(command, new, configured)
        if fingerprint is not None:
            _check_key(fingerprint, address, meeting, new, configured)
        try:
            board = ask(meeting, address, python=python)
        except BoardError as error:
            raise keys.changed(error.said, address) or error from None
        met = new.is_file() and bool(new.read_text().strip())
        yield Introduction(
            address=address,
            identity=board.identity,
            compatible=board.compatible,
            board=board,
            fingerprints=keys.fingerprints(new) if met else keys.known_fingerprints(configured),
            new=met,
            key_file=new if met else None,
            ssh=configured,
        )


def _check_key(wanted: str, address: str, meeting: list[str], new: Path, configured: Mapping[str, str]) -> None:
    """Raise EdgebenchError unless the board's host key, known already or met now without a login, is the wanted one."""
    shown = keys.known_fingerprints(configured)
    if not shown:
        said = keys.met_without_login(meeting)
        shown = keys.fingerprints(new) if new.is_file() else ()
        if not shown:
            raise keys.changed(said, address) or openssh.ended(address, "", 255, said, reached=False)
    if wanted.strip() not in [f.split()[0] for f in shown]:
        raise EdgebenchError(
            f"The host key of {address} is {', '.join(shown)}, and not {wanted}.",
            "Check the address; nothing was asked of it, and nothing was written.",
        )


def check_kind(name: str, found: Introduction) -> None:
    """Refuse to call a board by the name of another kind of board, as shipped profiles are. Raises EdgebenchError."""
    if not (profiles.SHIPPED / f"{name}.toml").is_file():
        return
    patterns = profiles.find_shipped(name).compatible or (("android",) if name == base_of(found) else ())
    if not any(fnmatchcase(known, pattern) for known in found.compatible for pattern in patterns):
        what = identity.words(dict(found.identity)) or "a board that does not say what it is"
        raise EdgebenchError(
            f'{found.address} is {what}, which the name "{name}" does not stand for.',
            "Give it another name: edgebench device add NAME " + found.address,
        )


def base_of(found: Introduction) -> str:
    """The shipped profile that such a board is described by; "" if none fits."""
    if found.board is None:
        return "android"
    for name in ("jetson", "raspberry-pi", "intel-npu", "generic-arm64"):
        patterns = profiles.find_shipped(name).compatible
        if any(fnmatchcase(known, pattern) for known in found.compatible for pattern in patterns):
            return name
    return ""


def python_of(board: Board, asked: str) -> str:
    """The Python for measuring there: the one that answered if it is new enough, else the newest one that is."""
    if _minor(board.python) >= LEAST_PYTHON:
        return asked
    newer = {version: path for version, path in board.pythons.items() if _minor(version) >= LEAST_PYTHON}
    return str(newer[max(newer, key=_minor)]) if newer else asked


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def save(
    name: str, found: Introduction, python: str = "python3", price: float | None = None, *, replace: bool = False
) -> Path:
    """Write the profile, remember the confirmed host key, and return the profile's path. Raises EdgebenchError."""
    path = profiles.user_folder() / f"{name}.toml"
    if path.exists() and not replace:
        raise EdgebenchError(f"There is a profile {path} already.", "Add --replace to write it anew.")
    text = _text(name, found, python, price)
    if found.key_file is not None:
        keys.remember(found.key_file, found.ssh)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EdgebenchError(f"{path} cannot be written: {error.strerror}.", "Make that folder writable.") from error
    return path


def _text(name: str, found: Introduction, python: str, price: float | None) -> str:
    """The profile as TOML. A shipped profile of that name gives what is not said here; another one is copied."""
    base = base_of(found)
    values: dict[str, Any] = {
        "description": identity.words({k: found.identity.get(k) for k in LASTING})
        or "a board that says little of itself",
        "transport": "ssh" if found.board is not None else "adb",
        "address": found.address.removeprefix("adb:"),
    }
    if found.board is not None:
        values["python"] = python_of(found.board, python)
    if price is not None:
        values["price"] = price
    if base and name != base:
        shipped = profiles.find_shipped(base)
        values |= {key: list(getattr(shipped, key)) for key in ("compatible", "backends", "sensors")}
        if found.board is None:
            values |= {"python": shipped.python, "workdir": shipped.workdir}
    lines = [f"{key} = {toml.written(value)}" for key, value in values.items() if value not in ([], "")]
    return "\n".join(["# Written by: edgebench device add", *lines]) + "\n"
