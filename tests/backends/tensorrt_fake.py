"""A device and a TensorRT that are not there, for LOGIC TESTS of the backend: nothing here says how a GPU behaves.

Device memory is host memory; streams keep a clock of their own on which each piece of work takes a made-up time, so that
what waits for what can be seen. "Engines" are ONNX files that onnxruntime answers for, at once.
"""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
from edgebench_tensorrt import TensorRtBackend, cuda, machine

from edgebench.schema import Availability

COPY, COMPUTE = 0.25e-3, 1e-3
"""Seconds that a copy and an inference take on the made-up clock."""


class FakeCuda:
    """The face of cuda.py on host memory. `log`, if noting, keeps every call that a stream sees."""

    name = "fake"

    def __init__(self, *, noting: bool = False) -> None:
        self.memory_of: dict[int, Any] = {}
        self.noting = noting
        self.log: list[tuple[Any, ...]] = []
        self.ready: list[float] = []
        self.host = 0.0
        """When the host is: work that it hands out later cannot start earlier."""

    def _note(self, what: tuple[Any, ...]) -> None:
        if self.noting:
            self.log.append(what)

    def malloc(self, size: int) -> int:
        made = ctypes.create_string_buffer(max(size, 1))
        self.memory_of[ctypes.addressof(made)] = made
        return ctypes.addressof(made)

    def free(self, address: int) -> None:
        del self.memory_of[address]

    def pinned(self, shape: Sequence[int], dtype: str) -> Any:
        return np.zeros(tuple(shape), dtype)

    def stream(self) -> int:
        self.ready.append(0.0)
        return len(self.ready) - 1

    def handle(self, stream: int) -> int:
        return stream

    def event(self) -> list[float]:
        return [0.0]

    def record(self, event: list[float], stream: int) -> None:
        event[0] = self.ready[stream] = max(self.ready[stream], self.host)
        self._note(("record", stream))

    def wait(self, stream: int, event: list[float]) -> None:
        self.ready[stream] = max(self.ready[stream], event[0])
        self._note(("wait", stream))

    def synchronize(self, stream: int) -> None:
        self.host = max(self.host, self.ready[stream])
        self._note(("synchronize", stream))

    def synchronize_event(self, event: list[float]) -> None:
        self.host = max(self.host, event[0])
        self._note(("synchronize_event", event[0]))

    def elapsed(self, first: list[float], last: list[float]) -> float:
        return last[0] - first[0]

    def work(self, stream: int, what: str, seconds: float) -> None:
        self.ready[stream] = max(self.ready[stream], self.host) + seconds
        self._note((what, stream))

    def to_device(self, address: int, array: Any, stream: int) -> None:
        assert array.nbytes <= len(self.memory_of[address])
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
        self.work(stream, "h2d", COPY)

    def to_host(self, array: Any, address: int, stream: int) -> None:
        assert array.nbytes <= len(self.memory_of[address])
        ctypes.memmove(array.ctypes.data, address, array.nbytes)
        self.work(stream, "d2h", COPY)

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def memory(self) -> int:
        return 8 << 30


class Flags(IntEnum):
    TF32 = 0
    GPU_FALLBACK = 1


class CreationFlags(IntEnum):
    STRONGLY_TYPED = 1


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4


class DeviceType(IntEnum):
    GPU = 0
    DLA = 1


class Mode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Any, msg: str) -> None: ...


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None: ...


class Tensor:
    def __init__(self, name: str, shape: list[int]) -> None:
        self.name, self.shape = name, shape


class Layer:
    def __init__(self, name: str) -> None:
        self.name = name


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.content, self.graph = b"", None

    @property
    def num_inputs(self) -> int:
        return len(self.session.get_inputs())

    def get_input(self, i: int) -> Tensor:
        made = self.session.get_inputs()[i]
        return Tensor(made.name, [d if isinstance(d, int) else -1 for d in made.shape])

    num_layers = 3

    @property
    def num_outputs(self) -> int:
        return len(self.session.get_outputs())

    def get_layer(self, i: int) -> Layer:
        return Layer(f"layer{i}")

    def load(self, content: bytes) -> None:
        self.content, self.session = content, opened(content)


def opened(content: bytes) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])


class ParserError:
    def __init__(self, text: str) -> None:
        self.text = text

    def code(self) -> str:
        return "ErrorCode.MODEL_DESERIALIZE_FAILED"

    def desc(self) -> str:
        return self.text

    def func(self) -> str:
        return "parse"

    def node(self) -> int:
        return -1


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self.network, self.errors = network, []  # type: ignore[var-annotated]

    def parse(self, content: bytes, path: str = "") -> bool:
        try:
            self.network.load(content)
        except Exception as error:
            self.errors.append(ParserError(str(error)))
        return not self.errors

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, i: int) -> ParserError:
        found: ParserError = self.errors[i]
        return found


class ITimingCache:
    def serialize(self) -> bytes:
        return b"timings"


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        self.shapes[name] = (tuple(least), tuple(best), tuple(most))


class IBuilderConfig:
    """Remembers what it was set to."""

    DLA_core = -1
    default_device_type = DeviceType.GPU
    profiling_verbosity = None
    refused: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self.flags: set[Any] = {Flags.TF32}
        self.pools: dict[Any, int] = {}
        self.profile = IOptimizationProfile()
        self.cache: Any = None

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.pools[pool] = size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profile = profile
        return 0

    def create_timing_cache(self, content: bytes) -> ITimingCache:
        return ITimingCache()

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache

    def can_run_on_DLA(self, layer: Layer) -> bool:  # noqa: N802
        return layer.name not in self.refused


class Builder:
    num_DLA_cores = 2  # noqa: N815
    made: ClassVar[list[IBuilderConfig]] = []

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        self.made.append(IBuilderConfig())
        return self.made[-1]

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes:
        import json

        head = json.dumps(config.profile.shapes).encode()
        return b"plan" + len(head).to_bytes(4, "big") + head + network.content


class Runtime:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        import json

        if content[:4] != b"plan":
            self.logger.log(Severity.ERROR, "Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed")
            return None
        size = int.from_bytes(content[4:8], "big")
        try:
            return ICudaEngine(content[8 + size :], json.loads(content[8 : 8 + size]))
        except Exception as error:
            self.logger.log(Severity.ERROR, f"malformed: {error}")
            return None


class ICudaEngine:
    device_memory_size = 4096

    def __init__(self, content: bytes, shapes: dict[str, Any]) -> None:
        self.session, self.shapes = opened(content), shapes
        self.ins, self.outs = self.session.get_inputs(), self.session.get_outputs()

    @property
    def num_io_tensors(self) -> int:
        return len(self.ins) + len(self.outs)

    def get_tensor_name(self, i: int) -> str:
        return str([*self.ins, *self.outs][i].name)

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name in {a.name for a in self.ins} else Mode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        found = next(a for a in [*self.ins, *self.outs] if a.name == name)
        return tuple(d if isinstance(d, int) else -1 for d in found.shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.shapes[name]

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector()


class EngineInspector:
    execution_context = None

    def get_engine_information(self, form: Any) -> str:
        return (
            '{"Layers": [{"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [{"Name": "input", '
            '"Format/Datatype": "Row major linear FP32"}], "Outputs": []}], "Bindings": ["input"]}'
        )


class IExecutionContext:
    profiler: Any = None

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}  # type: ignore[var-annotated]

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self.shapes.values()))[0]
        return tuple(batch if d < 0 else d for d in self.engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {a.name: self._array(a.name, self.shapes[a.name]).copy() for a in self.engine.ins}
        for out, answer in zip(self.engine.outs, self.engine.session.run(None, feeds), strict=True):
            self._array(out.name, answer.shape)[...] = answer
        DEVICE.work(stream, "compute", COMPUTE)
        if self.profiler is not None:
            self.profiler.report_layer_time("conv", COMPUTE * 1e3)
        return True

    def _array(self, name: str, shape: Any) -> Any:
        size = int(np.prod(shape)) * 4
        memory: Any = (ctypes.c_byte * size).from_address(self.addresses[name])
        return np.frombuffer(memory, np.float32).reshape(shape)


def module() -> types.ModuleType:
    """The names of REQUIRED, as a module called tensorrt."""
    made = types.ModuleType("tensorrt")
    mine = globals()
    for name in (
        "Builder", "IBuilderConfig", "INetworkDefinition", "IOptimizationProfile", "OnnxParser", "ParserError", "Runtime",
        "ICudaEngine", "IExecutionContext", "EngineInspector", "ITimingCache", "ILogger", "IProfiler", "DataType",
        "DeviceType",
    ):  # fmt: skip
        setattr(made, name, mine[name])
    values = {
        "BuilderFlag": Flags, "NetworkDefinitionCreationFlag": CreationFlags, "TensorIOMode": Mode,
        "MemoryPoolType": IntEnum("Pool", ["WORKSPACE"]), "ProfilingVerbosity": IntEnum("Verbosity", ["DETAILED"]),
        "LayerInformationFormat": IntEnum("Format", ["JSON"]), "__version__": "0.fake", "__spec__": object(),
    }  # fmt: skip
    for name, value in values.items():
        setattr(made, name, value)
    return made


DEVICE = FakeCuda()


class LogicBackend(TensorRtBackend):
    """The backend as it is, between the fake TensorRT and the fake device."""

    def probe(self) -> Availability:
        return Availability(ok=True, version="0.fake")

    def open(self, artifact: Any, options: Any) -> Any:
        install()
        return super().open(artifact, options)


def install() -> None:
    sys.modules.setdefault("tensorrt", module())
    cuda.SHIMS["fake"] = ("numpy", lambda: DEVICE)
    cuda.SHIMS.pop("cuda-bindings", None)
    cuda.SHIMS.pop("pycuda", None)
    machine.gpu = lambda: {"name": "none", "sm": "00", "integrated": True}
