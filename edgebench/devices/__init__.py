"""Where measuring happens. A device turns a command into a command that runs there, and brings files there.

The transports are `local` (this machine) and `ssh`; another one is a class like these, registered under the
entry point group `edgebench.devices` by the name that a profile gives as its `transport`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import Backend
from edgebench.codec import to_json
from edgebench.errors import EdgebenchError
from edgebench.lines import spawn
from edgebench.schema import Artifact, Availability, DeviceProfile, Job

Event = Mapping[str, Any]


def _unheard(words: str) -> None:
    """Where nobody waits."""


class Device(ABC):
    """One board, made from its profile. Constructing it does nothing: no connection, no look around."""

    def __init__(self, profile: DeviceProfile) -> None:
        self.profile = profile
        self.tell: Callable[[str], None] = _unheard
        """Called with a few words whenever it begins what a person has to wait for."""

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

    def processor(self) -> Mapping[str, Any]:
        """`machine` ("aarch64") and `flags` of the CPU there, for which files are lowered; {} where it cannot say.

        Raises EdgebenchError when the device cannot be reached.
        """
        return {}

    def furnish(self, backends: Mapping[str, Backend], cache: Path) -> None:  # noqa: B027  (most have nothing to do)
        """Bring there what these backends need, where the device is furnished from here; `cache` keeps it on this side.

        Raises EdgebenchError when that cannot be had, or the device cannot be reached.
        """

    def conduct(self, job: Job, earlier: Iterable[Event], on_event: Callable[[Event], None]) -> None:
        """Run a job's campaign there and hand over its events; `earlier` are the records of one that was cut off.

        Raises ChildDied if it ends before it is done, and EdgebenchError where it says why it cannot begin.
        """
        child = spawn(self.command([self.python, "-m", "edgebench.campaign"]))
        try:
            child.send(to_json(job))
            for record in earlier:
                child.send(record)
            child.end_input()
            while (event := child.receive(timeout=None))["event"] != "done":
                if event["event"] == "failed":
                    raise EdgebenchError(event["reason"], event["fix"])
                on_event(event)
        finally:
            child.kill()
            child.close()
