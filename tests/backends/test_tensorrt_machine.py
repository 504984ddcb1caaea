"""Every state of a machine, from nothing installed to all of it there, and what `probe` says of each."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorrt_packages as packages
from edgebench_tensorrt import TensorRtBackend, machine

from edgebench.backend import Availability

DRIVER = packages.STUB.with_name("driver.c")
needs_none = pytest.mark.skipif(
    any(importlib.util.find_spec(name) for name in machine.MODULES), reason="TensorRT is installed here"
)


def no_driver_here() -> bool:
    return "error" in machine.gpu()


needs_no_driver = pytest.mark.skipif(not no_driver_here(), reason="there is a GPU here")


def looked(*folders: Path, libraries: Path | None = None) -> dict[str, Any]:
    """What the child process of `probe` finds with these packages and libraries."""
    done = subprocess.run(
        [sys.executable, "-m", "edgebench_tensorrt.machine"],
        capture_output=True, text=True, env=packages.surroundings(*folders, libraries=libraries),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def driver(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a stub libcuda whose cuInit answers this."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here to make a stub driver with")

    def make(status: int) -> Path:
        folder = tmp_path / f"driver{status}"
        folder.mkdir()
        command = [compiler, "-shared", "-fPIC", f"-DSTATUS={status}", "-o", str(folder / "libcuda.so.1"), str(DRIVER)]
        subprocess.run(command, check=True)
        return folder

    return make


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Empty packages called tensorrt and cuda: enough to be found."""
    (tmp_path / "site" / "cuda" / "bindings").mkdir(parents=True)
    (tmp_path / "site" / "cuda" / "bindings" / "__init__.py").touch()
    (tmp_path / "site" / "tensorrt.py").write_text('__version__ = "10.3.0"\n')
    return tmp_path / "site"


@needs_none
def test_nothing_installed() -> None:
    found = TensorRtBackend().probe()
    assert not found.ok
    assert found.reason == "TensorRT is not installed"
    assert "pip install tensorrt-rtx" in found.fix
    assert found.fix.count(". ") == 0
    assert found.fix.endswith(".")


@needs_none
def test_on_a_jetson_it_comes_with_jetpack() -> None:
    found = machine.judge({**looked(), "l4t": "R36.4.3"})
    assert "JetPack: sudo apt-get install python3-libnvinfer" in found.fix
    assert "--system-site-packages" in found.fix


@needs_none
def test_bindings_without_libraries(tmp_path: Path) -> None:
    folder = packages.package("tensorrt-cu12-bindings==10.3.0")
    shutil.copytree(folder / "tensorrt_bindings", tmp_path / "tensorrt_bindings")  # away from our stubs
    found = machine.judge(looked(tmp_path))
    assert found.reason == "of TensorRT only tensorrt_bindings is installed, not its libraries"
    (tmp_path / "tensorrt.py").write_text("from tensorrt_bindings import *\n")  # as NVIDIA's package of that name does
    found = machine.judge(looked(tmp_path))
    assert not found.ok
    assert found.reason.startswith("importing tensorrt failed: libnv")
    assert "cannot open shared object file" in found.reason


@needs_no_driver
def test_libraries_without_a_driver() -> None:
    found = machine.judge(looked(packages.package("tensorrt-rtx==1.7.1.116", deps=True)))
    assert (found.ok, found.version) == (False, "1.7.1.116")
    assert found.reason == "tensorrt_rtx 1.7.1.116 imports, but there is no NVIDIA driver here (libcuda.so.1)"
    assert found.fix == "Install NVIDIA's driver for this GPU, or run on a machine that has one."


def test_a_driver_without_a_gpu(modules: Path, driver: Callable[[int], Path]) -> None:
    found = machine.judge(looked(modules, libraries=driver(100)))
    assert found.reason == (
        "tensorrt 10.3.0 imports, but the NVIDIA driver finds no GPU that it can use (CUDA error 100)"
    )


def test_a_gpu_without_anything_that_moves_memory(modules: Path, driver: Callable[[int], Path]) -> None:
    shutil.rmtree(modules / "cuda")
    found = machine.judge(looked(modules, libraries=driver(0)))
    if found.ok:
        pytest.skip("cuda-bindings or pycuda is installed here")
    assert found.reason == "tensorrt 10.3.0 and a GPU are here, but neither cuda-bindings nor pycuda"
    assert found.fix == 'Install it with: pip install "edgebench[tensorrt]".'


def test_everything_there(modules: Path, driver: Callable[[int], Path]) -> None:
    said = looked(modules, libraries=driver(0))
    assert said["gpu"] == {
        "name": "Orin", "sm": "87", "integrated": True, "memory": 8 << 30, "driver": 12060, "count": 1,
    }  # fmt: skip
    assert machine.judge(said) == Availability(ok=True, version="10.3.0")


def test_a_module_that_crashes_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text(
        "import os, sys\nsys.stderr.write('oh no\\n')\nsys.stderr.flush()\nos.abort()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = TensorRtBackend().probe()
    assert not found.ok
    assert found.reason == "looking for TensorRT ended with status -6: oh no"
    assert found.fix


def test_what_a_module_prints_does_not_hide_the_answer(tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text("print('welcome', end='')\n__version__ = '10'\n")
    assert looked(tmp_path)["modules"]["tensorrt"] == {"version": "10"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n", "R36.4.3"),
        ("# R35 (release), REVISION: 5.0, GCID: 35550185, BOARD: t186ref, EABI: aarch64\n", "R35.5.0"),
    ],
)
def test_the_release_of_a_jetson(text: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "release").write_text(text)
    monkeypatch.setattr(machine, "RELEASE", tmp_path / "release")
    assert machine.l4t() == wanted
    monkeypatch.setattr(machine, "RELEASE", tmp_path / "nothing")
    assert machine.l4t() == ""


def test_memory_that_is_available_is_more_than_none() -> None:
    assert 1 << 20 < machine.memory_available() < 1 << 50
