"""What the host must know to make an environment for this board's Python."""

import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

_MODULES = """\
import importlib.util, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.util.find_spec(name.split(".")[0]) is not None
    except Exception:
        found[name] = False
print("\\n" + json.dumps(found))
"""


def hello(request: "dict[str, Any]", workdir: str, _say: object) -> "dict[str, object]":
    os.makedirs(workdir, exist_ok=True)
    free = os.statvfs(workdir)
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "machine": os.uname().machine,
        "libc": list(platform.libc_ver()) if not hasattr(os, "confstr") else _libc(),
        "workdir": workdir,
        "free": free.f_bavail * free.f_frsize,
        "rsync": shutil.which("rsync") is not None,
        "emulator": emulator(),
        "modules": modules(request.get("modules") or []),
    }


def _libc() -> "list[str]":
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError):  # musl has no such name
        return list(platform.libc_ver())


def emulator() -> str:
    """ "qemu-aarch64-static" where that runs this program; "" on a real processor."""
    try:
        name = os.path.basename(os.readlink("/proc/thread-self/exe"))
    except OSError:
        return ""
    return name if name.startswith("qemu-") else ""


def modules(names: object) -> "dict[str, bool]":
    """Which modules this Python has of its own, the user's and the system's packages included: hence another process."""
    if not isinstance(names, list) or not names:
        return {}
    done = subprocess.Popen(
        [sys.executable, "-c", _MODULES] + names, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd="/"
    )
    out = done.communicate()[0].decode().strip().splitlines()
    return dict(json.loads(out[-1])) if done.returncode == 0 and out else {}
