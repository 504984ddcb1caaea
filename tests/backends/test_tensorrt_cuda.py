"""The two implementations of the memory and stream shim. Without a GPU: cuda-bindings by its real package, whose functions are
there and answer with an error; pycuda, which does not import without a driver, by a stand-in that notes calls (a LOGIC TEST)."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_packages as packages
from edgebench_tensorrt import cuda, machine

from edgebench.backend import EdgebenchError, MissingRuntime

FACE = {name for name in vars(cuda.Cuda) if not name.startswith("_")} - {"name"}


@pytest.mark.parametrize("kind", [cuda.CudaBindings, cuda.PyCuda])
def test_both_have_the_whole_face(kind: type) -> None:
    for name in FACE:
        wanted = list(inspect.signature(getattr(cuda.Cuda, name)).parameters)
        assert list(inspect.signature(getattr(kind, name)).parameters) == wanted, name


@pytest.fixture(scope="module")
def bindings() -> Path:
    return packages.package("cuda-bindings==12.9.10", deps=True)


def asked(folder: Path, code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=packages.surroundings(folder)
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_real_cuda_bindings_have_every_function_that_is_called(bindings: Path) -> None:
    tree = ast.parse(inspect.getsource(cuda.CudaBindings))
    called = {
        n.args[0].value
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "_do"
        if isinstance(n.args[0], ast.Constant)
    }
    assert {"cudaMalloc", "cudaGraphLaunch"} <= called
    code = (
        "import json; import cuda.bindings.runtime as rt\n"
        f"print(json.dumps([n for n in {sorted(called)!r} if not callable(getattr(rt, n, None))]"
        " + [n for n in ('HostToDevice', 'DeviceToHost') if not hasattr(rt.cudaMemcpyKind, 'cudaMemcpy' + n)]"
        " + [n for n in ('cudaHostAllocDefault', 'cudaStreamNonBlocking') if not hasattr(rt, n)]"
        " + [m for m in [rt.cudaStreamCaptureMode] if not hasattr(m, 'cudaStreamCaptureModeThreadLocal')]))"
    )
    assert asked(bindings, code) == []


@pytest.mark.skipif("error" not in machine.gpu(), reason="there is a GPU here")
def test_without_a_driver_the_error_is_cudas_own(bindings: Path) -> None:
    code = (
        "import json; from edgebench_tensorrt import cuda\nfrom edgebench.backend import EdgebenchError\n"
        "try: cuda.shim('cuda-bindings')\nexcept EdgebenchError as e: print(json.dumps([e.problem, e.fix]))"
    )
    assert asked(bindings, code) == [
        "cuda-bindings: cudaSetDevice failed: cudaErrorInsufficientDriver, error 35.",
        "Look at the GPU and its driver: edgebench doctor.",
    ]


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A pycuda that notes what is called. Its names are those of pycuda 2026.1."""
    calls: list[Any] = []

    class Error(Exception):
        pass

    class Stream:
        handle = 42

        def synchronize(self) -> None:
            calls.append("synchronize")

        def wait_for_event(self, event: Any) -> None:
            calls.append("wait")

    class Event:
        def record(self, stream: Stream) -> None:
            calls.append("record")

        def synchronize(self) -> None:
            calls.append("synchronize event")

        def time_since(self, first: Event) -> float:
            return 1.5

    class Allocation:
        def __init__(self, size: int) -> None:
            if size > 1 << 40:
                raise Error("cuMemAlloc failed: out of memory")
            self.size = size

        def __int__(self) -> int:
            return 4096

        def free(self) -> None:
            calls.append(f"free {self.size}")

    driver = types.ModuleType("pycuda.driver")
    vars(driver).update(
        Error=Error, Stream=Stream, Event=Event, mem_alloc=Allocation, mem_get_info=lambda: (7, 9),
        pagelocked_empty=lambda shape, dtype: np.empty(shape, dtype),
        memcpy_htod_async=lambda to, array, stream: calls.append(("htod", to, array.nbytes)),
        memcpy_dtoh_async=lambda array, address, stream: calls.append(("dtoh", address, array.nbytes)),
    )  # fmt: skip

    def module(name: str) -> Any:
        if name == "pycuda.driver":
            return driver
        calls.append(name)
        return types.ModuleType(name)

    monkeypatch.setattr(importlib, "import_module", module)
    return calls


def test_pycuda_shares_the_primary_context(pycuda: list[Any]) -> None:
    device = cuda.PyCuda()
    assert pycuda == ["pycuda.autoprimaryctx"]  # never autoinit, which makes another one
    address, stream, event = device.malloc(0), device.stream(), device.event()
    array = device.pinned((2, 3), "float32")
    device.to_device(address, array, stream)
    device.record(event, stream)
    device.wait(stream, event)
    device.to_host(array, address, stream)
    device.synchronize_event(event)
    device.synchronize(stream)
    device.free(address)
    assert pycuda[1:] == [
        ("htod", 4096, 24), "record", "wait", ("dtoh", 4096, 24), "synchronize event", "synchronize", "free 1",
    ]  # fmt: skip
    assert (device.handle(stream), device.memory(), device.elapsed(event, event)) == (42, 7, 1.5e-3)
    with pytest.raises(EdgebenchError, match=r"pycuda has no CUDA graphs\. Ask for cuda = \"cuda-bindings\""):
        device.capture(stream, lambda: None)
    with pytest.raises(EdgebenchError, match=r"out of memory\. Use a smaller batch"):
        device.malloc(1 << 41)


def test_a_pycuda_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(EdgebenchError, match=r"pycuda: importing it failed: libcuda\.so\.1"):
        cuda.PyCuda()


def test_the_first_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "SHIMS", {"none": ("no_such_module", lambda: 1), "second": ("json", lambda: 2)})
    assert cuda.shim() == cuda.shim("second") == 2  # type: ignore[comparison-overlap]
    with pytest.raises(MissingRuntime, match="none is not installed"):
        cuda.shim("none")
    monkeypatch.setattr(cuda, "SHIMS", {"none": ("no_such_module", lambda: 1)})
    with pytest.raises(MissingRuntime, match=r"Neither cuda-bindings nor pycuda is installed\. Install it with"):
        cuda.shim()
