"""How the system's own OpenSSH is called, and what its last words mean."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgebench.devices.link import LinkLost, RemoteError
from edgebench.errors import EdgebenchError

SOCKET_ROOM = 107 - len("/") - 40 - len(".0123456789abcdef")
"""A socket's path holds 107 bytes: what the hash of a connection and ssh's own suffix leave for the folder."""

# ServerAlive: a dead link is noticed in 10 to 15 s, where the default is to hang; ControlMaster: one login.
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "2",
    "ControlMaster": "auto",
    "ControlPersist": "60",
}


def reach(address: str, device: str) -> tuple[str, list[str]]:
    """The host as ssh names it, and the options, from [user@]host[:port]. Raises EdgebenchError for what is no address."""
    host, port = _parts(address)
    if not host or address.startswith("-") or not 0 < int(port or 22) < 65_536:
        user, _, name = address.rpartition("@")
        bare = re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?", name)
        example = f"{user or 'user'}@[{name}]" if bare else "user@host"
        raise EdgebenchError(
            f'"{address}", the address of device "{device}", is not an SSH address.',
            f'Write it as "{example}" or "{example}:port".',
        )
    given = {**OPTIONS, "ControlPath": f"{control_folder()}/%C"}
    options = [part for key, value in given.items() for part in ("-o", f"{key}={value}")]
    return host, [*options, *(["-p", port] if port else [])]


def _parts(address: str) -> tuple[str, str]:
    """[user@]host and port ("" for ssh's own) of an address; ("", "") for what is none."""
    match = re.fullmatch(r"(?P<host>(?:[^@\s]+@)?(?:\[[^\]\s]+\]|[^:\s]+))(?::(?P<port>\d+))?", address)
    return (re.sub(r"[\[\]]", "", match["host"]), match["port"] or "") if match else ("", "")


def by_hand(address: str, program: str = "ssh") -> str:
    """What a person types to reach an address: `ssh -p 2222 me@board`."""
    host, port = _parts(address)
    return f"{program} -p {port} {host}" if port else f"{program} {host or address}"


def _known_as(address: str) -> str:
    """What an address is called in known_hosts: `[board]:2222`, or the host alone at ssh's own port."""
    host, port = _parts(address)
    name = host.rpartition("@")[2]
    return f"[{name}]:{port}" if port not in ("", "22") else name


def is_missing(python: str, code: int | None, said: str) -> bool:
    """Whether a shell's 127 is about the Python that was to follow the setup lines, and not about one of these."""
    last = said.splitlines()[-1] if said else ""
    return code == 127 and (not last or python in last or "exec" in last)


def control_folder() -> Path:
    """Where ssh keeps the sockets of its shared connections: a short path, and ours alone."""
    bases = (os.environ.get("XDG_RUNTIME_DIR") or "/tmp", tempfile.gettempdir(), "/tmp")
    folders = [Path(base) / f"edgebench-ssh-{os.getuid()}" for base in bases]
    folder = next((f for f in folders if len(str(f)) <= SOCKET_ROOM), folders[-1])
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise RemoteError(f"{folder} is not a folder of yours alone.", "Remove it, then run the same command again.")
    return folder


def ended(
    address: str, python: str, code: int | None, said: str, *, reached: bool, setup: Sequence[str] = ()
) -> RemoteError:
    """Why a command over ssh, after the profile's `setup` lines, ended without an answer: from its exit status and stderr."""
    if refusal := refused(address, said):
        return refusal
    last = said.splitlines()[-1].strip().rstrip(".") if said else f"exit status {code}"
    if code == 255:  # ssh's own; every other status is that of the program over there
        return unreachable(address, last, said)
    if is_missing(python, code, said):
        return RemoteError(
            f"There is no {python} on {address}.", 'Name one in the profile: python = "/path/to/venv/bin/python".'
        )
    if code == 127:
        return RemoteError(*setup_failed(address, last))
    if reached and not said:
        return unreachable(address, "the runner ended without a word")
    if setup and not said:  # a line that ends the shell says nothing, and is not known from the others
        last += ", after its setup lines " + " and ".join(f'"{line}"' for line in setup)
    return RemoteError(f"{address} refused: {last}.", "Check the device's profile and its setup lines.")


def setup_failed(address: str, last: str) -> tuple[str, str]:
    """The problem and the fix where a command of the profile's `setup` is not there."""
    return f"A setup line fails on {address}: {last}.", "Mend the setup lines of the device's profile."


def refused(address: str, said: str) -> RemoteError | None:
    """What no second try will mend: keys and logins."""
    if "HOST IDENTIFICATION HAS CHANGED" in said:
        told = re.search(r"ssh-keygen -f \S+ -R \S+", said)
        forget = told[0] if told else f'ssh-keygen -R "{_known_as(address)}"'
        return RemoteError(
            f"The host key of {address} has changed: it is another machine or installed anew, or someone is in between.",
            f"Only if you know why, forget the old key and confirm the new one: {forget} && {by_hand(address)}",
        )
    if "Host key verification failed" in said:
        return RemoteError(
            f"The host key of {address} is not known here (Host key verification failed).",
            f"Compare its fingerprint and accept it once by hand: {by_hand(address)}",
        )
    if "Permission denied" in said and "publickey" in said:
        return RemoteError(
            f"{address} refuses the login: {said.splitlines()[-1].strip().rstrip('.')}.",
            f"Give it your public key: {by_hand(address, 'ssh-copy-id')}",
        )
    return None


WAYS = (
    (
        r"[Cc]ould not resolve|[Nn]ame or service not known|name resolution",
        "No name service knows that name, and ~/.ssh/config has no such Host: check its spelling, or write the IP address.",
    ),
    (
        r"Connection refused",
        "It is on, but no SSH server listens there: start sshd on it, or write its port in the address, as in user@host:2222.",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "Check the user's name, and give it your public key: {key}",
    ),
    (
        r"no answer within|banner exchange|the runner ended",
        "It may be busy with something else, or short of memory: try again later.",
    ),
    (
        r"timed out|Timeout|[Nn]o route|[Nn]etwork is (unreachable|down)|Host is down|Broken pipe|Connection (closed|reset)",
        "Check that it is switched on and in a network that reaches here, then try again.",
    ),
)
"""What the last words of ssh are about, and what to do then. The first that fits: a time-out of the banner is one of both."""


def unreachable(address: str, why: str, said: str = "") -> LinkLost:
    """`why` is the last of what ssh `said`; where it went by way of another host, an earlier line says more."""
    other = 'Make "{hand}" work by hand, so that it asks for no host key and no password.'
    fix = next((fix for pattern, fix in WAYS if re.search(pattern, f"{said}\n{why}")), other)
    filled = fix.format(key=by_hand(address, "ssh-copy-id"), hand=by_hand(address))
    return LinkLost(f"{address} cannot be reached: {why}.", filled)
