"""What the host must know to make an environment for this board's Python."""

import importlib
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


def hello(request: "dict[str, Any]", workdir: str, say: object) -> "dict[str, object]":
    os.makedirs(workdir, exist_ok=True)
    searching = search(request.get("modules") or [])
    answer = described(workdir)
    if "trees" in request:  # what the host would ask next; most often it all lies here
        answer["stock"] = importlib.import_module("runner.stock").ask(request, workdir, say)
    answer["modules"] = found_by(searching)
    return answer


def described(workdir: str) -> "dict[str, object]":
    free = os.statvfs(workdir)
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "machine": os.uname().machine,
        "flags": flags(),
        "libc": list(platform.libc_ver()) if not hasattr(os, "confstr") else _libc(),
        "workdir": workdir,
        "free": free.f_bavail * free.f_frsize,
        "rsync": shutil.which("rsync") is not None,
        "emulator": emulator(),
    }


def flags() -> "list[str]":
    """The instruction sets of the first core."""
    try:
        with open("/proc/cpuinfo", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return line.partition(":")[2].split()
    except OSError:
        pass
    return []


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


def search(names: "list[str]") -> "subprocess.Popen[bytes] | None":
    """Begin to look which modules this Python has of its own, with the user's and the system's: hence another process."""
    if not names:
        return None
    argv = [sys.executable, "-c", _MODULES] + names
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd="/")


def found_by(searching: "subprocess.Popen[bytes] | None") -> "dict[str, bool]":
    if searching is None:
        return {}
    out = searching.communicate()[0].decode().strip().splitlines()
    return dict(json.loads(out[-1])) if searching.returncode == 0 and out else {}
