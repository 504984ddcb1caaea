"""An Android phone or board by the Android Debug Bridge: `adb shell`, `adb push`, and the serial number as its address.

Commands run as the user `shell`, whose only place to execute files from is /data/local/tmp. The Python named in the
profile must lie there: one of an app (Termux) cannot be run by that user. Source: Android's adb documentation (shell
protocol 2: exit status, separate stderr, stdin passed through). Experimental: no phone has been at hand.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench.codec import SCHEMA, Options
from edgebench.devices import Device, android, cpu
from edgebench.devices.local import verify
from edgebench.errors import EdgebenchError
from edgebench.schema import Artifact, Availability

WORKDIR = "/data/local/tmp/edgebench"
ASK_SECONDS = 30.0
PUSH_SECONDS = 3600.0

_PROBE = "import edgebench.codec as s, edgebench.campaign, json; print(json.dumps({'schema': s.SCHEMA}))"


class AdbError(EdgebenchError):
    """The device cannot be reached over adb, or did not do what it was told."""


class AdbDevice(Device):
    """One Android device: `profile.address` is its serial number, with or without "adb:" in front."""

    @property
    def serial(self) -> str:
        """Raises AdbError for an address that is no serial number."""
        serial = self.profile.address.removeprefix("adb:")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]*", serial):
            raise AdbError(
                f'"{self.profile.address}", the address of device "{self.name}", is no serial number.',
                "Write what `adb devices` shows for it.",
            )
        return serial

    @property
    def _workdir(self) -> str:
        return self.profile.workdir or WORKDIR

    def command(self, argv: Sequence[str]) -> list[str]:
        """adb joins its arguments with blanks and hands them to a shell there: so it gets one, quoted, line."""
        folder = shlex.quote(self._workdir)
        # The shell user has no home, and /tmp does not exist.
        place = f"mkdir -p {folder} && cd {folder} && export HOME={folder} TMPDIR={folder}"
        line = " && ".join([place, *self.profile.setup, f"exec {shlex.join(argv)}"])
        return ["adb", "-s", self.serial, "shell", "-T", line]

    def check(self) -> Availability:
        try:
            self._adb("get-state")
            said = self._run([self.python, "-c", _PROBE])
            found = json.loads(said.strip().splitlines()[-1])
        except EdgebenchError as error:
            return Availability(ok=False, reason=error.problem, fix=error.fix)
        except (ValueError, IndexError):
            reason = f"{self.python} on {self.serial} did not answer."
            return Availability(ok=False, reason=reason, fix="Name another Python in the profile.")
        if found.get("schema") != SCHEMA:
            reason = f"{self.serial} has another version of edgebench (schema {found.get('schema')})."
            return Availability(ok=False, reason=reason, fix="Install the same version of edgebench on both sides.")
        return Availability(ok=True, details=Options(found))

    def push(self, artifact: Artifact) -> Artifact:
        """Bring the file into <workdir>/store/<sha256>/<name>, unless that is there; its hash is taken on the device."""
        verify(artifact)
        folder = f"{self._workdir}/store/{artifact.sha256}"
        target = f"{folder}/{Path(artifact.path).name}"
        if not self._has(target, artifact.sha256):
            self._run(["mkdir", "-p", folder])
            # Under a name of its own until its hash is known to be right: a cut link leaves no wrong file behind.
            part = f"{target}.part"
            self._adb("push", artifact.path, part, seconds=PUSH_SECONDS)
            if not self._has(part, artifact.sha256):
                raise AdbError(
                    f"{Path(artifact.path).name} arrived on {self.serial} damaged.",
                    "Check the free space of /data and the cable, then run the same command again.",
                )
            self._run(["mv", part, target])
        return replace(artifact, path=target)

    def _has(self, path: str, sha256: str) -> bool:
        try:
            return self._run(["sha256sum", path]).split()[:1] == [sha256]
        except AdbError:
            return False

    def processor(self) -> Mapping[str, Any]:
        found = self._run(["cat", "/proc/cpuinfo"])
        return {"machine": self._run(["uname", "-m"]).strip(), "flags": cpu.flags_of(found)}

    def properties(self) -> dict[str, str]:
        """What `getprop` says: "ro.product.model" and the like. Raises AdbError."""
        return android.properties(self._run(["getprop"]))

    def _run(self, argv: Sequence[str]) -> str:
        return _finish(self.command(argv), ASK_SECONDS, self.serial)

    def _adb(self, *argv: str, seconds: float = ASK_SECONDS) -> str:
        return _finish(["adb", "-s", self.serial, *argv], seconds, self.serial)


def _finish(command: Sequence[str], seconds: float, serial: str) -> str:
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except FileNotFoundError:
        raise AdbError("There is no adb on this machine.", "Install Android's platform tools.") from None
    except subprocess.TimeoutExpired:
        raise AdbError(
            f"{serial} gave no answer within {seconds:g} s.", "Check the cable, then: adb reconnect"
        ) from None
    if done.returncode == 0:
        return done.stdout
    last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
    last = last.removeprefix("error: ").removeprefix("adb: ").strip().rstrip(".")
    if "unauthorized" in last:
        raise AdbError(f"{serial} does not trust this machine.", "Allow USB debugging on its screen, then try again.")
    if done.returncode == 127:
        raise AdbError(f"There is no such program on {serial}: {last}.", "Name its Python in the profile: python = ...")
    raise AdbError(f"{serial} refused: {last}.", "See whether `adb devices` lists it as a device.")
