"""What this machine has for TensorRT: modules, driver, GPU, L4T, memory, trtexec. Looked at in a child process.

    python -m edgebench_tensorrt.machine        writes it as one line of JSON

A child, because a runtime without a driver may crash instead of refusing (the lean runtimes of 11.4 do), and because a look at
the GPU makes a CUDA context.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgebench.backend import Availability

MODULES = ("tensorrt", "tensorrt_rtx")
PARTS = ("tensorrt_bindings", "tensorrt_lean", "tensorrt_dispatch")
"""Modules that are a part of TensorRT and cannot build or run by themselves."""
CUDA = {"cuda-bindings": "cuda.bindings", "pycuda": "pycuda"}
RELEASE = Path("/etc/nv_tegra_release")
TRTEXEC = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
MAJOR, MINOR, INTEGRATED = 75, 76, 18
"""CUdevice_attribute of the driver's cuda.h."""

EXTRA = "edgebench[tensorrt]"
JETPACK = (
    "On a Jetson TensorRT comes with JetPack: sudo apt-get install python3-libnvinfer, "
    "and make the Python environment with --system-site-packages"
)
DESKTOP = (
    "On a PC pip install tensorrt works only where pip reaches NVIDIA's own package index besides the usual one; "
    "TensorRT-RTX (pip install tensorrt-rtx) comes from the usual one"
)


def look() -> dict[str, Any]:
    """Everything, by imports and calls that may fail: run it in a child process only."""
    return {
        "modules": {name: _module(name) for name in MODULES},
        "parts": [name for name in PARTS if importlib.util.find_spec(name)],
        "cuda": {name: _found(module) for name, module in CUDA.items()},
        "gpu": gpu(),
        "l4t": l4t(),
        "trtexec": trtexec(),
    }


def asked(python: str = sys.executable, timeout: float = 60.0) -> dict[str, Any]:
    """What `look` finds in a child process; {"died": reason} when that child died."""
    command = [python, "-m", "edgebench_tensorrt.machine"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=env
        )
        return dict(json.loads(done.stdout.strip().splitlines()[-1])) if not done.returncode else _died(done)
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return {"died": f"looking for TensorRT did not end: {error}"}


def judge(found: dict[str, Any]) -> Availability:
    """The answer of `probe`: the first thing that is missing, with what mends it on this kind of machine."""
    home = JETPACK if found.get("l4t") else DESKTOP
    if "died" in found:
        return Availability(ok=False, reason=found["died"], fix=f"{home}.")
    here = {name: said["version"] for name, said in found["modules"].items() if "version" in said}
    if not here:
        return Availability(ok=False, reason=_why_no_module(found), fix=f"{home}.")
    name, version = next(iter(here.items()))
    gpu = found["gpu"]
    if "error" in gpu:
        fix = "Install NVIDIA's driver for this GPU" if not found["l4t"] else "Flash the board with JetPack again"
        return Availability(
            ok=False, version=version, reason=f"{name} {version} imports, but {gpu['error']}",
            fix=f"{fix}, or run on a machine that has one.",
        )  # fmt: skip
    if not any(found["cuda"].values()):
        reason = f"{name} {version} and a GPU are here, but neither cuda-bindings nor pycuda"
        return Availability(ok=False, version=version, reason=reason, fix=f'Install it with: pip install "{EXTRA}".')
    return Availability(ok=True, version=version)


def l4t() -> str:
    """The release of Jetson's system ("R36.4.3"), "" elsewhere: engines are bound to it."""
    try:
        text = RELEASE.read_text()
    except OSError:
        return ""
    match = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    return f"R{match[1]}.{match[2]}" if match else text.split(",")[0].strip("# \n")


def trtexec() -> str:
    """The path of NVIDIA's own benchmark, "" where it is not installed. JetPack puts it where no PATH leads."""
    found = shutil.which("trtexec")
    return found or next((path for path in TRTEXEC if os.access(path, os.X_OK)), "")


def memory_available() -> int:
    """Bytes that can be had without swapping. On a Jetson the GPU's memory is this; its own figure leaves out caches."""
    text = Path("/proc/meminfo").read_text()
    match = re.search(r"MemAvailable:\s*(\d+) kB", text)
    return int(match[1]) * 1024 if match else 0


def _module(name: str) -> dict[str, str]:
    if not _found(name):
        return {}
    try:
        return {"version": str(importlib.import_module(name).__version__)}
    except Exception as error:
        return {"error": " ".join(str(error).split())[:200] or type(error).__name__}


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _why_no_module(found: dict[str, Any]) -> str:
    broken = {name: said["error"] for name, said in found["modules"].items() if said.get("error")}
    if broken:
        name, error = next(iter(broken.items()))
        return f"importing {name} failed: {error}"
    if found["parts"]:
        return f"of TensorRT only {', '.join(found['parts'])} is installed, not its libraries"
    return "TensorRT is not installed"


def _died(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    return {"died": f"looking for TensorRT ended with status {done.returncode}: {last[:200]}"}


def gpu() -> dict[str, Any]:
    """The first GPU by the driver's own interface: what it is, or {"error": what is missing}."""
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"error": "there is no NVIDIA driver here (libcuda.so.1)"}
    if code := driver.cuInit(0):
        return {"error": f"the NVIDIA driver finds no GPU that it can use (CUDA error {code})"}
    count, device = ctypes.c_int(), ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value or driver.cuDeviceGet(ctypes.byref(device), 0):
        return {"error": "the NVIDIA driver finds no GPU"}
    name, total, version = ctypes.create_string_buffer(128), ctypes.c_size_t(), ctypes.c_int()
    driver.cuDeviceGetName(name, 128, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    driver.cuDriverGetVersion(ctypes.byref(version))
    sm = f"{_attribute(driver, device, MAJOR)}{_attribute(driver, device, MINOR)}"
    return {
        "name": name.value.decode(), "sm": sm, "integrated": bool(_attribute(driver, device, INTEGRATED)),
        "memory": total.value, "driver": version.value, "count": count.value,
    }  # fmt: skip


def _attribute(driver: Any, device: Any, which: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


if __name__ == "__main__":
    # What a library prints on the way must not be in front of the JSON on its line.
    sys.stdout.write("\n" + json.dumps(look()) + "\n")
    sys.stdout.flush()
    os._exit(0)  # without the libraries' own clean-up, which may crash where there is no driver
