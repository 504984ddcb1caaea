"""A board reached by the system's own OpenSSH: ~/.ssh/config, agents, jump hosts and known_hosts all hold.

Nothing is put into a remote shell but quoted arguments and the profile's own `setup` lines. A host key that
is not known is refused: the first connection is made, and its key accepted, by the user.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from edgebench.devices import Device
from edgebench.devices.local import verify
from edgebench.errors import EdgebenchError
from edgebench.schema import SCHEMA, Artifact, Availability, Options

WORKDIR = "~/.cache/edgebench"
"""Where files go on a board whose profile names no `workdir`."""

CHECK_SECONDS = 30.0
PUSH_SECONDS = 3600.0

_PYTHON = 'python = "/path/to/venv/bin/python"'

# ServerAlive: a dead link is noticed in 10 to 15 s, where the default is to hang; ControlMaster: one login.
_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "2",
    "ControlMaster": "auto",
    "ControlPath": "~/.ssh/edgebench-%C",
    "ControlPersist": "60",
}

_PROBE = """\
import json, platform, sys
found = {"python": platform.python_version(), "machine": platform.machine()}
try:
    import edgebench.schema, edgebench.campaign
    found["schema"] = edgebench.schema.SCHEMA
except Exception as error:
    found["error"] = "%s: %s" % (type(error).__name__, error)
print(json.dumps(found))
"""


class RemoteError(EdgebenchError):
    """The board could not be reached, or did not do what it was told."""


class SshDevice(Device):
    """One board at `profile.address` = [user@]host[:port], or a Host of ~/.ssh/config."""

    def check(self) -> Availability:
        try:
            found = self._ask([self.python, "-c", _PROBE], timeout=CHECK_SECONDS)
        except EdgebenchError as error:
            return Availability(ok=False, reason=error.problem, fix=error.fix)
        version, details = f"Python {found.get('python', '?')}", Options(found)
        if "error" in found:
            reason = f"edgebench does not import in {self.python} on {self.profile.address}: {found['error']}."
            fix = f"Install edgebench there, or name the Python that has it in the profile: {_PYTHON}."
            return Availability(ok=False, version=version, reason=reason, fix=fix, details=details)
        if found.get("schema") != SCHEMA:
            reason = f"{self.profile.address} has another version of edgebench (schema {found.get('schema')})."
            fix = "Install the same version of edgebench on both sides."
            return Availability(ok=False, version=version, reason=reason, fix=fix, details=details)
        return Availability(ok=True, version=version, details=details)

    def command(self, argv: Sequence[str]) -> list[str]:
        match = re.fullmatch(
            r"(?P<host>(?:[^@\s]+@)?(?:\[[^\]\s]+\]|[^:\s]+))(?::(?P<port>\d+))?", self.profile.address
        )
        if match is None or self.profile.address.startswith("-"):
            raise EdgebenchError(
                f'"{self.profile.address}", the address of device "{self.name}", is not an SSH address.',
                'Write it as "user@host" or "user@host:port".',
            )
        options = [part for key, value in _OPTIONS.items() for part in ("-o", f"{key}={value}")]
        port = ["-p", match["port"]] if match["port"] else []
        # exec: the shell makes way, so that the end of the link ends the program and not a shell around it.
        line = " && ".join([*self.profile.setup, f"exec {shlex.join(argv)}"])
        return ["ssh", "-T", *options, *port, "--", re.sub(r"[\[\]]", "", match["host"]), line]

    def push(self, artifact: Artifact) -> Artifact:
        """Bring the file into <workdir>/store/<sha256>/<name>, unless the board has it already."""
        verify(artifact)
        found = self._receive(artifact, "ask", None)
        if "path" not in found:
            with Path(artifact.path).open("rb") as file:
                found = self._receive(artifact, "take", file)
        if "path" not in found:
            raise RemoteError(
                f"{Path(artifact.path).name} could not be brought to {self.profile.address}: "
                f"{found.get('error', 'it did not arrive')}.",
                "Check the free space and the rights of its workdir, then run the same command again.",
            )
        return replace(artifact, path=str(found["path"]))

    def _receive(self, artifact: Artifact, verb: str, stdin: IO[bytes] | None) -> dict[str, Any]:
        program = (Path(__file__).parent / "receive.py").read_text(encoding="utf-8")
        store = f"{self.profile.workdir or WORKDIR}/store"
        argv = [self.python, "-c", program, store, artifact.sha256, Path(artifact.path).name, verb]
        return self._ask(argv, timeout=PUSH_SECONDS, stdin=stdin)

    def _ask(self, argv: Sequence[str], *, timeout: float, stdin: IO[bytes] | None = None) -> dict[str, Any]:
        """Run a short program there and return the JSON object of its only line. Raises RemoteError."""
        command = self.command(argv)
        # A file, not a pipe: the connection that ssh leaves in the background would keep a pipe open.
        with tempfile.TemporaryFile() as stderr:
            try:
                done = subprocess.run(
                    command,
                    stdin=stdin or subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    timeout=timeout,
                )
            except FileNotFoundError:
                raise RemoteError("There is no ssh on this machine.", "Install the OpenSSH client.") from None
            except subprocess.TimeoutExpired:
                raise self._unreachable(f"no answer within {timeout:g} s") from None
            stderr.seek(0)
            said = stderr.read().decode("utf-8", "replace").strip()
        return self._parse(done.returncode, done.stdout.decode("utf-8", "replace"), said)

    def _parse(self, code: int, out: str, said: str) -> dict[str, Any]:
        last = said.splitlines()[-1].strip().rstrip(".") if said else f"exit status {code}"
        if code == 255:  # ssh's own; every other status is that of the program over there
            raise self._unreachable(last)
        if code == 127:
            raise RemoteError(
                f"There is no {self.python} on {self.profile.address}.",
                f"Name one in the profile: {_PYTHON}.",
            )
        if code != 0:
            raise RemoteError(
                f"{self.profile.address} refused: {last}.", "Check the device's profile and its setup lines."
            )
        lines = out.strip().splitlines()
        try:
            found = json.loads(lines[-1])
        except (ValueError, IndexError):
            found = None
        if not isinstance(found, dict) or len(lines) != 1:
            raise RemoteError(
                f"A start-up file of the shell on {self.profile.address} prints text of its own.",
                "Make its ~/.bashrc silent when it is not interactive: edgebench speaks over that line.",
            )
        return found

    def _unreachable(self, why: str) -> RemoteError:
        address = self.profile.address
        return RemoteError(
            f"{address} cannot be reached: {why}.",
            f'Make "ssh {address}" work by hand, so that it asks for no host key and no password.',
        )
