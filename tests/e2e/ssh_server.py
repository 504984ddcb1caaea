"""A real SSH server on this machine, started as any user on a port of its own, with keys and a client set-up of its own."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def sshd_program() -> str:
    """Where sshd is; skips the test with the reason where it cannot be run."""
    program = shutil.which("sshd", path=PLACES)
    if program is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("there is no OpenSSH server here: install openssh-server")
    return program


class Server:
    """sshd with one host key, a client configuration that names it `board`, and the user's key let in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.program = folder, sshd_program()
        self.home, self.port = folder / "home", _free_port()
        if os.geteuid() == 0:
            # The service makes it, which nobody started here; sshd wants it of root.
            Path("/run/sshd").mkdir(exist_ok=True)
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        for name in ("host", "user"):
            self.new_key(name)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        self.config = folder / "sshd_config"
        self.config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
            f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        )
        client = self.home / ".ssh/config"
        client.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  IdentityFile {folder}/user\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
        )
        client.chmod(stat.S_IRUSR | stat.S_IWUSR)
        # ssh takes ~ from the password file and not from HOME: so a wrapper names the configuration.
        programs = folder / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {client} "$@"\n')
        (programs / "ssh").chmod(0o755)
        self.path = f"{programs}:{os.environ['PATH']}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh/known_hosts"

    def new_key(self, name: str) -> None:
        for file in (self.folder / name, self.folder / f"{name}.pub"):
            file.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.folder / name)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

    def fingerprint(self) -> str:
        argv = ["ssh-keygen", "-lf", str(self.folder / "host.pub")]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[1]

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            argv = [self.program, "-D", "-e", "-f", str(self.config)]
            self._process = subprocess.Popen(argv, stderr=log, stdin=subprocess.DEVNULL)
        for _ in range(200):
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.skip(f"sshd does not start here: {(self.folder / 'log').read_text()[-200:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
