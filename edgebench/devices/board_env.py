"""The environment of a board, resolved on the host: wheels for its Python, glibc and architecture, unpacked into one folder.

The board needs no compiler, no package index and no root. What its own Python has of a runtime (JetPack's TensorRT, a vendor's
build) is used as it is and not pushed. Wheel tags: PEP 425, PEP 600.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgebench import plugins
from edgebench.backend import Backend
from edgebench.devices.link import RemoteError
from edgebench.devices.push import MANIFEST, manifest, staging

LEAST_PYTHON = (3, 10)
OLDEST_GLIBC = 17
LEGACY_TAGS = {"x86_64": ("manylinux2014", "manylinux2010", "manylinux1")}
CORE = "numpy"
"""What the campaign itself imports; the other base dependencies serve the command line."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What decides which wheels run on a board."""

    python: str
    machine: str
    glibc: str

    @property
    def minor(self) -> str:
        return ".".join(self.python.split(".")[:2])

    @property
    def platforms(self) -> list[str]:
        """The wheel platform tags, the newest glibc first."""
        newest = int(self.glibc.split(".")[1])
        legacy = LEGACY_TAGS.get(self.machine, ("manylinux2014",))
        tags = [f"manylinux_2_{n}" for n in range(newest, OLDEST_GLIBC - 1, -1)]
        return [f"{tag}_{self.machine}" for tag in (*tags, *legacy, "linux")]

    @property
    def markers(self) -> dict[str, str]:
        """The values of PEP 508's environment markers there; pip itself would take this host's."""
        return {
            "python_version": self.minor,
            "python_full_version": self.python,
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "platform_system": "Linux",
            "platform_release": "",
            "platform_version": "",
            "sys_platform": "linux",
            "os_name": "posix",
        }

    def __str__(self) -> str:
        return f"Python {self.minor} on {self.machine} with glibc {self.glibc}"


def target(found: Mapping[str, Any], address: str) -> Target:
    """The target that a board's hello describes. Raises RemoteError for a Python or a C library without wheels."""
    version = str(found["python"])
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_PYTHON:
        raise RemoteError(
            f"The Python of {address} is {version}, and measuring needs 3.10 or newer.",
            'Name a newer one in the profile: python = "/path/to/python3".',
        )
    name, _, glibc = " ".join(found.get("libc") or []).partition(" ")
    if name != "glibc" or not glibc.startswith("2.") or found.get("implementation") != "cpython":
        raise RemoteError(
            f"{address} has neither glibc nor CPython, for which runtimes publish their packages.",
            "Use a system with glibc and its CPython on the board.",
        )
    return Target(python=version, machine=str(found["machine"]), glibc=glibc)


def requirements(backends: Iterable[Backend], own: Mapping[str, bool], board: Target) -> list[str]:
    """What must be pushed for these backends; a runtime that the board's Python has of its own is left out."""
    wanted: list[str] = []
    for backend in backends:
        if backend.extra and not own.get(backend.module):
            wanted += _expanded(Requirement(backend.extra), board)
    if not own.get(CORE) or any(canonicalize_name(Requirement(w).name) != CORE for w in wanted):
        wanted += [r for r in _of_edgebench(set(), board) if canonicalize_name(Requirement(r).name) == CORE]
    return sorted(set(wanted))


def _expanded(asked: Requirement, board: Target) -> list[str]:
    if canonicalize_name(asked.name) != "edgebench":
        return [str(asked)]
    out = []
    for text in _of_edgebench(asked.extras, board):
        found = Requirement(text)
        if canonicalize_name(found.name) == "edgebench":
            out += _expanded(found, board)
        elif text not in _of_edgebench(set(), board):
            out.append(text)
    return out


def _of_edgebench(extras: set[str], board: Target) -> list[str]:
    return needed(importlib.metadata.requires("edgebench") or [], extras, board)


def needed(lines: Iterable[str], extras: set[str], board: Target) -> list[str]:
    """The requirements of a package's metadata that hold on the board with these extras, without their markers."""
    out = []
    for line in lines:
        found = Requirement(line)
        environments = [{**board.markers, "extra": extra} for extra in (extras or {""})]
        if found.marker is None or any(found.marker.evaluate(environment) for environment in environments):
            found.marker = None
            out.append(str(found))
    return out


def wheels(wanted: Sequence[str], board: Target, cache: Path) -> Path | None:
    """The unpacked environment, made once for each set of requirements. Raises RemoteError where a wheel is missing."""
    if not wanted:
        return None
    key = hashlib.sha256(json.dumps([list(wanted), str(board)]).encode()).hexdigest()[:16]
    folder = cache / "boards" / f"env-{key}"
    if not (folder / MANIFEST).exists():
        house = folder.with_name(f"wheels-{key}")
        _download(wanted, board, house)
        with staging(folder) as part:
            for wheel in sorted(house.glob("*.whl")):
                unpack(wheel, part)
            manifest(part)
            os.replace(part, folder)
        shutil.rmtree(house)
    return folder


def _download(wanted: Sequence[str], board: Target, house: Path) -> None:
    """Fetch the wheels, and what their metadata asks for on the board and not on this host, until nothing lacks."""
    asked = list(wanted)
    while True:
        _pip(asked, board, house)
        have = {canonicalize_name(path.name.split("-")[0]) for path in house.glob("*.whl")}
        lines = [line for path in house.glob("*.whl") for line in _requires(path)]
        lacking = [
            text for text in needed(lines, set(), board) if canonicalize_name(Requirement(text).name) not in have
        ]
        if not lacking:
            return
        asked += lacking


def _pip(asked: Sequence[str], board: Target, house: Path) -> None:
    tag = "cp" + board.minor.replace(".", "")
    platforms = [part for platform in board.platforms for part in ("--platform", platform)]
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    argv += ["--dest", str(house), "--only-binary=:all:", "--implementation", "cp", "--python-version", board.minor]
    argv += ["--abi", tag, "--abi", "abi3", "--abi", "none", *platforms, "--", *asked]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise RemoteError(
            f"No packages for {board} could be had ({(said or ['pip failed'])[-1].rstrip('.')}).",
            "Leave that runtime out, use a newer Python on the board, or install the runtime there by hand.",
        )


def _requires(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        found = HeaderParser().parsestr(archive.read(name).decode("utf-8", "replace"))
    return found.get_all("Requires-Dist") or []


def unpack(wheel: Path, folder: Path) -> None:
    """What a wheel puts on the path (its scripts and headers are left out). Raises RemoteError for one that leaves the folder."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            place = name
            if ".data/" in name:
                _, kind, place = name.split("/", 2) if name.count("/") >= 2 else ("", "", "")
                if kind not in ("purelib", "platlib"):
                    continue
            target = folder / place
            if name.endswith("/") or not place:
                continue
            if not target.resolve().is_relative_to(folder.resolve()):
                raise RemoteError(f"The wheel {wheel.name} holds a path outside of itself.", "Do not use that package.")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)


def code(backends: Iterable[str], cache: Path) -> Path:
    """edgebench itself and the packages of these backends, with their entry points: a folder named by its content."""
    with staging(cache / "boards" / "code") as part:
        for package in ("edgebench", *sorted({_package(name) for name in backends})):
            _copy_package(package, part)
        for name in backends:
            _copy_metadata(_owner(name), part)
        digest = manifest(part)
        folder = part.with_name(f"code-{digest[:16]}")
        if not folder.exists():
            os.replace(part, folder)
        return folder


def _package(backend: str) -> str:
    return type(plugins.backend(backend)).__module__.split(".")[0]


def _owner(backend: str) -> importlib.metadata.Distribution:
    """The distribution that registers the backend: edgebench itself, or its vendor's."""
    return next(
        found
        for found in importlib.metadata.distributions()
        if any(e.group == "edgebench.backends" and e.name == backend for e in found.entry_points)
    )


def _copy_package(name: str, folder: Path) -> None:
    spec = importlib.util.find_spec(name)
    for place in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(place).rglob("*")):
            if path.suffix in (".py", ".toml", ".json"):
                target = folder / name / path.relative_to(place)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)


def _copy_metadata(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    """The two files by which importlib.metadata knows a distribution and its plug-ins."""
    name = f"{distribution.metadata['Name'].replace('-', '_')}-{distribution.version}.dist-info"
    (folder / name).mkdir(exist_ok=True)
    for file in ("METADATA", "entry_points.txt"):
        (folder / name / file).write_text(distribution.read_text(file) or "", encoding="utf-8")
