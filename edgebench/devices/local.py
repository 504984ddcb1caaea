"""This machine as a device."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import processor
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
        if shutil.which(self.python) is None:
            reason = f"There is no {self.python} on this machine."
            return Availability(ok=False, reason=reason, fix='Name one in the profile: python = "/path/to/python".')
        return Availability(ok=True)

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
