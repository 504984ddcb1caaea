"""Device memory, streams and events: one small face, with NVIDIA's cuda-bindings and pycuda as its two implementations.

Both use the device's primary context, as torch and every CUDA runtime program do: a context of one's own, which is what
`pycuda.autoinit` makes, is another address space, and crashes at exit beside them.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edgebench.backend import EdgebenchError, MissingRuntime, Tensor, np


class Cuda(Protocol):
    """What the backend needs of CUDA. Sizes are bytes, addresses integers, times seconds; errors are EdgebenchErrors."""

    name: str

    def malloc(self, size: int) -> int: ...
    def free(self, address: int) -> None: ...
    def pinned(self, shape: Sequence[int], dtype: str) -> Tensor:
        """An array in page-locked memory, which alone can be copied while something else runs."""

    def stream(self) -> Any: ...
    def handle(self, stream: Any) -> int: ...
    def event(self) -> Any: ...
    def record(self, event: Any, stream: Any) -> None: ...
    def wait(self, stream: Any, event: Any) -> None: ...
    def synchronize(self, stream: Any) -> None: ...
    def synchronize_event(self, event: Any) -> None: ...
    def elapsed(self, first: Any, last: Any) -> float: ...
    def to_device(self, address: int, array: Tensor, stream: Any) -> None: ...
    def to_host(self, array: Tensor, address: int, stream: Any) -> None: ...
    def capture(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` puts into the stream as a CUDA graph; the call returned launches it there."""

    def memory(self) -> int:
        """Bytes of device memory that are free."""


class CudaBindings:
    """NVIDIA's own bindings of the CUDA runtime. Raises EdgebenchError where there is no driver or GPU."""

    name = "cuda-bindings"

    def __init__(self) -> None:
        # cuda-python before 12.8 has the same functions as cuda.cudart.
        module = "cuda.bindings.runtime" if importlib.util.find_spec("cuda.bindings") else "cuda.cudart"
        self.rt = importlib.import_module(module)
        self.kinds = self.rt.cudaMemcpyKind
        self._do("cudaSetDevice", 0)
        self._do("cudaFree", 0)  # makes the primary context now, and not in the middle of something

    def _do(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime; every one returns its status first."""
        status, *values = getattr(self.rt, name)(*arguments)
        if int(status):
            raise _failed(self.name, name, f"{status.name}, error {int(status)}")
        return values[0] if len(values) == 1 else values

    def malloc(self, size: int) -> int:
        return int(self._do("cudaMalloc", max(size, 1)))

    def free(self, address: int) -> None:
        self._do("cudaFree", address)

    def pinned(self, shape: Sequence[int], dtype: str) -> Tensor:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        address = int(self._do("cudaHostAlloc", max(size, 1), self.rt.cudaHostAllocDefault))
        memory: Any = (ctypes.c_byte * size).from_address(address)
        array: Tensor = np.frombuffer(memory, dtype=np.dtype(dtype)).reshape(shape)
        return array

    def stream(self) -> Any:
        return self._do("cudaStreamCreateWithFlags", self.rt.cudaStreamNonBlocking)

    def handle(self, stream: Any) -> int:
        return int(stream)

    def event(self) -> Any:
        return self._do("cudaEventCreate")

    def record(self, event: Any, stream: Any) -> None:
        self._do("cudaEventRecord", event, stream)

    def wait(self, stream: Any, event: Any) -> None:
        self._do("cudaStreamWaitEvent", stream, event, 0)

    def synchronize(self, stream: Any) -> None:
        self._do("cudaStreamSynchronize", stream)

    def synchronize_event(self, event: Any) -> None:
        self._do("cudaEventSynchronize", event)

    def elapsed(self, first: Any, last: Any) -> float:
        return float(self._do("cudaEventElapsedTime", first, last)) / 1e3

    def to_device(self, address: int, array: Tensor, stream: Any) -> None:
        kind = self.kinds.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def to_host(self, array: Tensor, address: int, stream: Any) -> None:
        kind = self.kinds.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        self._do("cudaStreamBeginCapture", stream, self.rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        finally:
            graph = self._do("cudaStreamEndCapture", stream)  # also after an error, or the stream stays captured
        launched = self._do("cudaGraphInstantiate", graph, 0)
        return lambda: self._do("cudaGraphLaunch", launched, stream)

    def memory(self) -> int:
        return int(self._do("cudaMemGetInfo")[0])


class PyCuda:
    """pycuda, through the primary context. It has no CUDA graphs."""

    name = "pycuda"

    def __init__(self) -> None:
        try:
            importlib.import_module("pycuda.autoprimaryctx")
            self.driver = importlib.import_module("pycuda.driver")
        except Exception as error:  # its own error classes live in the module that may not import
            raise _failed(self.name, "importing it", str(error).strip() or type(error).__name__) from error
        self.kept: dict[int, Any] = {}  # an allocation is freed when pycuda's object dies

    def malloc(self, size: int) -> int:
        try:
            made = self.driver.mem_alloc(max(size, 1))
        except self.driver.Error as error:
            raise _failed(self.name, "mem_alloc", str(error)) from error
        self.kept[int(made)] = made
        return int(made)

    def free(self, address: int) -> None:
        self.kept.pop(address).free()

    def pinned(self, shape: Sequence[int], dtype: str) -> Tensor:
        made: Tensor = self.driver.pagelocked_empty(tuple(shape), np.dtype(dtype))
        return made

    def stream(self) -> Any:
        return self.driver.Stream()

    def handle(self, stream: Any) -> int:
        return int(stream.handle)

    def event(self) -> Any:
        return self.driver.Event()

    def record(self, event: Any, stream: Any) -> None:
        event.record(stream)

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait_for_event(event)

    def synchronize(self, stream: Any) -> None:
        stream.synchronize()

    def synchronize_event(self, event: Any) -> None:
        event.synchronize()

    def elapsed(self, first: Any, last: Any) -> float:
        return float(last.time_since(first)) / 1e3

    def to_device(self, address: int, array: Tensor, stream: Any) -> None:
        self.driver.memcpy_htod_async(address, array, stream)

    def to_host(self, array: Tensor, address: int, stream: Any) -> None:
        self.driver.memcpy_dtoh_async(array, address, stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        raise EdgebenchError("pycuda has no CUDA graphs.", 'Ask for cuda = "cuda-bindings", or leave cuda_graph out.')

    def memory(self) -> int:
        return int(self.driver.mem_get_info()[0])


SHIMS: dict[str, tuple[str, Callable[[], Cuda]]] = {
    "cuda-bindings": ("cuda", CudaBindings),
    "pycuda": ("pycuda", PyCuda),
}
"""By the name in the record: the module, and what makes it. In the order in which they are tried."""


def shim(name: str = "") -> Cuda:
    """The implementation of this name, or the first that is installed. Raises MissingRuntime or EdgebenchError."""
    if name and name not in SHIMS:
        raise EdgebenchError(f"cuda cannot be {name!r}.", f"Use one of {', '.join(SHIMS)}.")
    for known, (module, make) in SHIMS.items():
        if name in ("", known) and importlib.util.find_spec(module):
            return make()
    extra = "edgebench[pycuda]" if name == "pycuda" else "edgebench[tensorrt]"
    raise MissingRuntime(
        f"{name} is not installed." if name else "Neither cuda-bindings nor pycuda is installed.",
        f'Install it with: pip install "{extra}".',
    )


def _failed(shim_name: str, what: str, words: str) -> EdgebenchError:
    memory = "MemoryAllocation" in words or "out of memory" in words.lower()
    return EdgebenchError(
        f"{shim_name}: {what} failed: {words.rstrip('.')}.",
        "Use a smaller batch or free the GPU's memory."
        if memory
        else "Look at the GPU and its driver: edgebench doctor.",
    )
