"""A board's host key: how it is met for the first time, shown, and remembered when the user says that it is right.

Nothing is trusted here. A first meeting writes the key into a file of its own; only a confirmed one is copied into the
user's known_hosts, and all later connections are checked against that. Source: ssh_config(5), ssh-keygen(1).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgebench.errors import EdgebenchError

DEFAULT_FILE = "~/.ssh/known_hosts"


def first_meeting(command: Sequence[str], new: Path, configured: Mapping[str, str]) -> list[str]:
    """An ssh command that may meet a host for the first time: an unknown key goes into `new`, a changed one is refused.

    The first of several settings wins with ssh, so these stand before the command's own. Nothing of this host is lent
    to a machine that is not confirmed yet: no agent, no forwarding, no password.
    """
    files = " ".join(f'"{name}"' for name in (str(new), *known_files(configured)))
    options = {
        "UserKnownHostsFile": files,
        "StrictHostKeyChecking": "accept-new",
        "UpdateHostKeys": "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
    }
    return [command[0], *(part for key, value in options.items() for part in ("-o", f"{key}={value}")), *command[1:]]


def met_without_login(meeting: Sequence[str]) -> str:
    """Go as far as the host key and no further: no key of the user is offered, no program begun. What ssh said of it."""
    none = ("-o", "PreferredAuthentications=none", "-o", "PubkeyAuthentication=no", "-N")
    try:
        done = subprocess.run(
            [meeting[0], *none, *meeting[1:-1]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
    except subprocess.TimeoutExpired:
        return "no answer within 30 s"
    return done.stderr.strip()


def configuration(command: Sequence[str]) -> dict[str, str]:
    """What ~/.ssh/config and the command make of the host, by keyword in small letters (ssh -G: no connection)."""
    try:
        done = subprocess.run(
            [command[0], "-G", *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10
        )
    except FileNotFoundError:
        raise EdgebenchError("There is no ssh on this machine.", "Install the OpenSSH client.") from None
    except subprocess.TimeoutExpired:
        return {}
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def known_files(configured: Mapping[str, str]) -> list[str]:
    """The user's files of known host keys, as ssh is configured."""
    return [name for name in configured.get("userknownhostsfile", DEFAULT_FILE).split() if name != "none"]


def fingerprints(known: Path, host: str = "") -> tuple[str, ...]:
    """ "SHA256:... (ED25519)" of each key in a known_hosts file, or of those of one host there."""
    found = ["-F", host] if host else []
    try:
        done = subprocess.run(
            ["ssh-keygen", "-l", *found, "-f", str(known)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    out = []
    for line in done.stdout.splitlines():
        digest, kind = re.search(r"SHA256:\S+", line), re.search(r"\((\S+)\)$|^\S+ (\S+) SHA256", line)
        if digest:
            out.append(f"{digest[0]} ({(kind[1] or kind[2]) if kind else 'key'})")
    return tuple(dict.fromkeys(out))


def known_fingerprints(configured: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the host in the user's own files: by its alias, or by its name and port."""
    host, port = configured.get("hostname", ""), configured.get("port", "22")
    name = configured.get("hostkeyalias") or (host if port == "22" else f"[{host}]:{port}")
    paths = [Path(file).expanduser() for file in known_files(configured)]
    return tuple(dict.fromkeys(f for path in paths if path.is_file() for f in fingerprints(path, name)))


def changed(said: str, address: str) -> EdgebenchError | None:
    """The error for a host key that is not the one that was known; None if ssh said nothing of the kind."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" not in said:
        return None
    now = re.search(r"SHA256:[A-Za-z0-9+/]+", said)
    old = re.search(r"Offending \S+ key in (\S+?):(\d+)", said)
    where = f", and {old[1]} line {old[2]} holds another" if old else ""
    remedy = re.search(r"ssh-keygen -f \S+ -R \S+", said)
    return EdgebenchError(
        f"The host key of {address} has changed: it is {now[0] if now else 'a new one'} now{where}.",
        "If the board was set up anew, forget the old key"
        + (f" ({remedy[0]})" if remedy else "")
        + " and add the board again; if it was not, do not connect.",
    )


def remember(new: Path, configured: Mapping[str, str]) -> Path:
    """Add the keys of `new` to the user's first file of known hosts; that file. Raises EdgebenchError."""
    target = Path((known_files(configured) or [DEFAULT_FILE])[0]).expanduser()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = target.read_text() if target.exists() else ""
        with target.open("a") as file:
            file.write("\n" * bool(old and not old.endswith("\n")) + new.read_text())
        target.chmod(0o600)
    except OSError as error:
        raise EdgebenchError(
            f"The host key cannot be written into {target}: {error.strerror}.", "Make that file writable."
        ) from error
    return target
