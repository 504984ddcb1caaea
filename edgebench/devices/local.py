"""This machine as a device."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import Backend, processor
from edgebench.devices import Device
from edgebench.errors import EdgebenchError
from edgebench.schema import Artifact, Availability, DeviceProfile


class LocalDevice(Device):
    """Commands run as they are, files stay where they lie."""

    @property
    def python(self) -> str:
        """The interpreter that runs us, unless the profile names another."""
        return sys.executable if self.profile.python == DeviceProfile.python else self.profile.python

    def check(self) -> Availability:
        fix = 'Name one in the profile: python = "/path/to/python".'
        if not self.profile.setup:
            there = shutil.which(self.python) is not None
            reason = "" if there else f"There is no {self.python} on this machine."
            return Availability(ok=there, reason=reason, fix="" if there else fix)
        done = subprocess.run(
            self.command([self.python, "-c", ""]), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            return Availability(ok=True)
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1].rstrip(".")
        reason = f"{self.python} does not start on this machine after the profile's setup lines: {last}."
        return Availability(ok=False, reason=reason, fix="Mend the profile's setup lines, or its python.")

    def furnish(self, backends: Mapping[str, Backend], cache: Path) -> None:
        """Nothing is brought here; a Python that is not there is told before anything is made."""
        found = self.check()
        if not found.ok:
            raise EdgebenchError(found.reason, found.fix)

    def processor(self) -> Mapping[str, Any]:
        return processor({})

    def command(self, argv: Sequence[str]) -> list[str]:
        if not self.profile.setup:
            return list(argv)
        return ["sh", "-c", " && ".join([*self.profile.setup, 'exec "$@"']), "sh", *argv]

    def push(self, artifact: Artifact) -> Artifact:
        verify(artifact)
        return artifact


def verify(artifact: Artifact) -> None:
    """Raise EdgebenchError if the file, or one beside it that belongs to it, is not there or not the one that was hashed."""
    path = Path(artifact.path)
    _verify(path, artifact.sha256)
    for name, sha256 in artifact.facts.get("beside", {}).items():
        _verify(path.parent / name, sha256)


def _verify(path: Path, wanted: str) -> None:
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
    except OSError as error:
        raise EdgebenchError(
            f"{path} cannot be read: {error.strerror}.", "Make it again: run the same command again."
        ) from error
    if sha256.hexdigest() != wanted:
        raise EdgebenchError(f"{path} has changed since it was made.", "Delete it and run the same command again.")
