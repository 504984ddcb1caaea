"""NVIDIA's own packages for the tests, installed once into a folder of the user's cache: no part of any environment."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

CACHE = Path(os.environ.get("EDGEBENCH_CACHE") or Path.home() / ".cache" / "edgebench") / "test-packages"
STUB = Path(__file__).parents[1] / "data" / "tensorrt_stub" / "stub.c"
CHILD = Path(__file__).with_name("tensorrt_child.py")


def package(*requirements: str, deps: bool = False) -> Path:
    """A folder with these installed, for PYTHONPATH. Skips the test, with pip's words, where they cannot be had."""
    name = "-".join(r.replace("==", "-") for r in requirements)
    folder = CACHE / f"py{sys.version_info.major}{sys.version_info.minor}-{name}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _install(folder, requirements, deps)
    return folder


def _install(folder: Path, requirements: Sequence[str], deps: bool) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(part), "--retries", "1", "--timeout", "20"]
    command += [] if deps else ["--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        pytest.skip(f"{' '.join(requirements)} cannot be installed here: {errors[-1][:200]}")
    part.rename(folder)


def bindings(requirement: str) -> Path:
    """NVIDIA's real Python bindings, whose libraries are three stubs of ours (tests/data/tensorrt_stub)."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here to make the stub libraries with")
    folder = package(requirement)
    major = requirement.partition("==")[2].partition(".")[0]
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        made = stubs / f"lib{library}.so.{major}"
        if not made.exists():
            command = [
                compiler,
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{made.name}",
                "-o",
                f"{made}.{os.getpid()}",
                str(STUB),
            ]
            subprocess.run(command, check=True)
            os.replace(f"{made}.{os.getpid()}", made)
    return folder


def surroundings(*folders: Path, libraries: Path | None = None) -> dict[str, str]:
    """The environment of a process that sees the packages of these folders, and stub libraries."""
    root = Path(__file__).parents[2]
    paths = [*map(str, folders), str(root), str(root / "backends")]
    stubs = [
        str(p) for p in (*(folder / "stubs" for folder in folders), *([libraries] if libraries else [])) if p.exists()
    ]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LD_LIBRARY_PATH": os.pathsep.join(stubs)}


def ask(folder: Path, function: str, *arguments: Any, module: str = "") -> Any:
    """Call a function of tensorrt_child.py in a process that sees the packages of `folder`; its answer."""
    done = subprocess.run(
        [sys.executable, str(CHILD), module, function, json.dumps(arguments, default=str)],
        capture_output=True, text=True, env=surroundings(folder), timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
