"""The wire to a board's runner: one request in, marked lines of JSON out, over whatever command reaches the board."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.devices.push import runner
from edgebench.errors import EdgebenchError
from edgebench.lines import TAIL_BYTES

BEAT_SECONDS = 5.0
LEASE_SECONDS = 20.0
"""A board that hears nothing for so long ends the campaign; the controller says a word every BEAT_SECONDS."""


class RemoteError(EdgebenchError):
    """The board could not be reached, or did not do what it was told."""


class LinkLost(RemoteError):
    """The way to the board broke, or is not there; what was under way can be gone on with."""


def loader(python: str) -> list[str]:
    """The command of the board that receives the runner and becomes it: the same text for every request."""
    return [python, "-IS", "-c", (Path(__file__).parent / "receive.py").read_text(encoding="utf-8")]


class Wire:
    """One request on its way. Iterate over `answers`; then `code` and `said` tell how the command ended."""

    def __init__(self, command: Sequence[str], workdir: str, request: Mapping[str, Any]) -> None:
        self.mark = f"edgebench-{secrets.token_hex(8)}"
        self.code: int | None = None
        self.said = ""
        # A file, not a pipe: the connection that ssh leaves in the background would keep a pipe open.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the wire)
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
        except FileNotFoundError:
            self._stderr.close()
            raise RemoteError("There is no ssh on this machine.", "Install the OpenSSH client.") from None
        zipapp = runner()
        head = {"size": len(zipapp), "sha256": hashlib.sha256(zipapp).hexdigest(), "workdir": workdir}
        self.send(json.dumps(head).encode() + b"\n" + zipapp)
        self.send(json.dumps({**request, "mark": self.mark}, allow_nan=False).encode() + b"\n")

    def send(self, data: bytes) -> None:
        """Send bytes. That the other end is gone is noticed when its answers end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def answers(self) -> Iterator[dict[str, Any]]:
        """What the runner says, until it ends. Other lines come from the shell's start-up files, and are left out."""
        assert self._process.stdout is not None
        wanted = self.mark.encode() + b" "
        for line in self._process.stdout:
            _, found, text = line.partition(wanted)
            if found and line.endswith(b"\n"):
                yield dict(json.loads(text))
        self.code = self._process.wait()
        self._stderr.seek(0)
        self.said = self._stderr.read()[-TAIL_BYTES:].decode("utf-8", "replace").strip()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Tell the board every few seconds that its controller lives."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_SECONDS):
                self.send(b"\n")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def kill(self) -> None:
        """End it at once, as a time-out does."""
        self._process.kill()

    def close(self) -> None:
        """Hang up: the runner ends with all that it started."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
