"""Where measuring happens. A device turns a command into a command that runs there, and brings files there.

The transports are `local` (this machine) and `ssh`; another one is a class like these, registered under the
entry point group `edgebench.devices` by the name that a profile gives as its `transport`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from edgebench.schema import Artifact, Availability, DeviceProfile


class Device(ABC):
    """One board, made from its profile. Constructing it does nothing: no connection, no look around."""

    def __init__(self, profile: DeviceProfile) -> None:
        self.profile = profile

    @property
    def name(self) -> str:
        return self.profile.name

    @property
    def python(self) -> str:
        """The interpreter that has edgebench there."""
        return self.profile.python

    @abstractmethod
    def check(self) -> Availability:
        """Say whether edgebench can run there, and its version there. Never raises."""

    @abstractmethod
    def command(self, argv: Sequence[str]) -> list[str]:
        """The command of this machine that runs `argv` there, stdin, stdout and stderr passed through."""

    @abstractmethod
    def push(self, artifact: Artifact) -> Artifact:
        """Bring a file there, verified by its sha256; the answer has the path that it has there.

        Raises EdgebenchError when the file is not what its hash says, or cannot be brought there.
        """
