"""TensorRT 8.5 to 11 and TensorRT-RTX behind one face. Every difference between them is here.

It is decided by what the module has, never by its version number: distributors backport, and the RTX product counts otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from edgebench.backend import EdgebenchError

MODULES = ("tensorrt", "tensorrt_rtx")
"""The import names, in the order in which they are tried."""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "Builder": ("build_serialized_network", "create_builder_config", "create_network", "create_optimization_profile",
                "num_DLA_cores"),
    "IBuilderConfig": ("DLA_core", "add_optimization_profile", "can_run_on_DLA", "clear_flag", "create_timing_cache",
                       "default_device_type", "get_timing_cache", "profiling_verbosity", "set_flag",
                       "set_memory_pool_limit", "set_timing_cache"),
    "INetworkDefinition": ("get_input", "get_layer", "num_inputs", "num_layers", "num_outputs"),
    "IOptimizationProfile": ("set_shape",),
    "OnnxParser": ("get_error", "num_errors", "parse"),
    "ParserError": ("code", "desc", "func", "node"),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": ("create_engine_inspector", "create_execution_context", "get_tensor_dtype", "get_tensor_mode",
                    "get_tensor_name", "get_tensor_profile_shape", "get_tensor_shape", "num_io_tensors"),
    "IExecutionContext": ("execute_async_v3", "get_tensor_shape", "profiler", "set_input_shape", "set_tensor_address"),
    "EngineInspector": ("execution_context", "get_engine_information"),
    "ITimingCache": ("serialize",),
    "ILogger": ("ERROR", "INFO", "VERBOSE", "WARNING", "log"),
    "IProfiler": ("report_layer_time",),
    "BuilderFlag": ("GPU_FALLBACK", "TF32"),
    "DataType": ("BOOL", "FLOAT", "HALF", "INT32", "INT8"),
    "DeviceType": ("DLA", "GPU"),
    "LayerInformationFormat": ("JSON",),
    "MemoryPoolType": ("WORKSPACE",),
    "ProfilingVerbosity": ("DETAILED",),
    "TensorIOMode": ("INPUT", "OUTPUT"),
}  # fmt: skip
"""What every version from 8.5 on has, and all that the backend uses without asking."""

OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH", "STRONGLY_TYPED"),
    "BuilderFlag": ("FP16", "INT8"),
    "IBuilderConfig": ("builder_optimization_level", "num_compute_capabilities", "set_compute_capability"),
    "ICudaEngine": ("device_memory_size", "device_memory_size_v2", "get_engine_stat"),
    "ParserError": ("node_name", "node_operator"),
    "Runtime": ("get_engine_validity",),
    "EngineStat": ("TOTAL_WEIGHTS_SIZE",),
    "DataType": ("BF16", "FP8", "INT64", "UINT8"),
}
"""What some have: used only after `has`."""

DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "BOOL": "bool", "UINT8": "uint8",
    "INT64": "int64",
}  # fmt: skip
"""Ours, because `trt.nptype` fails on numpy 1.24 to 1.26 in TensorRT 8.5, and knows no bf16."""


class Line(NamedTuple):
    """One line that TensorRT logged."""

    level: str
    text: str


class TrtApi:
    """One TensorRT module. Raises EdgebenchError when it is too old for the tensor interface (before 8.5)."""

    def __init__(self, module: Any) -> None:
        self.trt = module
        self.version = str(module.__version__)
        missing = [f"{kind}.{name}" for kind, names in REQUIRED.items() for name in names if not self.has(kind, name)]
        if missing:
            raise EdgebenchError(
                f"{module.__name__} {self.version} has no {missing[0]}, which TensorRT has from 8.5 on.",
                "Update TensorRT (JetPack 5.1 or newer on a Jetson), or use its trtexec.",
            )

    @property
    def product(self) -> str:
        """Plans of one product are not read by the other."""
        return "TensorRT-RTX" if self.has("IBuilderConfig", "set_compute_capability") else "TensorRT"

    def has(self, kind: str, name: str) -> bool:
        return hasattr(getattr(self.trt, kind, None), name)

    @property
    def typed(self) -> bool:
        """Whether it can be held to the types in the graph; without, they are a wish and flags decide."""
        return self.has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")

    @property
    def differences(self) -> dict[str, bool]:
        """Every optional name with whether it is here: what a report of a machine shows."""
        return {f"{kind}.{name}": self.has(kind, name) for kind, names in OPTIONAL.items() for name in names}

    def network_flags(self) -> int:
        """Explicit batch where it still has to be asked for (8.x), strong typing where there is any (10.x and newer)."""
        kind = getattr(self.trt, "NetworkDefinitionCreationFlag", None)
        flags = 0
        for name in OPTIONAL["NetworkDefinitionCreationFlag"]:
            if hasattr(kind, name):
                flags |= 1 << int(getattr(kind, name))
        return flags

    def set_precision(self, config: Any, precision: str) -> list[str]:
        """Set what flags the version needs besides the typed graph; returns their names.

        fp32 is float32: TF32, which is on by default, is off. Without strong typing int8 needs FP16 too, or the rest runs fp32.
        """
        flags = self.trt.BuilderFlag
        config.clear_flag(flags.TF32)
        wanted = {"fp16": ["FP16"], "int8": ["INT8", "FP16"]}.get(precision, [])
        names = [] if self.typed else wanted
        for name in names:
            config.set_flag(getattr(flags, name))
        return names

    def set_level(self, config: Any, level: int) -> None:
        if not self.has("IBuilderConfig", "builder_optimization_level"):
            raise EdgebenchError(
                f"TensorRT {self.version} has no optimization levels, and {level} was asked for.",
                "Leave optimization_level out.",
            )
        config.builder_optimization_level = level

    def set_target(self, config: Any, capability: str) -> None:
        """Build for a GPU that is not here, by its compute capability ("86"). Raises EdgebenchError where none can be named."""
        kind = getattr(self.trt, "ComputeCapability", None)
        known = [n.removeprefix("SM") for n in dir(kind) if n.startswith("SM")]
        if not self.has("IBuilderConfig", "set_compute_capability") or capability not in known:
            raise EdgebenchError(
                f"{self.product} {self.version} cannot build for compute capability {capability}.",
                f"Use one of {', '.join(known)}." if known else "Build on the GPU itself: leave the option out.",
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(kind, f"SM{capability}"), 0)

    def parser_errors(self, parser: Any, nodes: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
        """(node, operator, TensorRT's words) of each complaint; `nodes` are name and operator of the ONNX graph in order."""
        found = []
        for i in range(parser.num_errors):
            error = parser.get_error(i)
            if self.has("ParserError", "node_operator"):
                name, kind = error.node_name(), error.node_operator()
            else:
                index = error.node()
                name, kind = nodes[index] if 0 <= index < len(nodes) else ("", "")
            code = str(error.code()).rpartition(".")[2]
            found.append(
                (str(name), str(kind), f"{' '.join(str(error.desc()).split()).rstrip('.')} ({error.func()}, {code})")
            )
        return found

    def activation_bytes(self, engine: Any) -> int:
        """What one execution context takes of device memory, weights aside."""
        return int(
            engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size
        )

    def weights_bytes(self, engine: Any) -> int | None:
        if not self.has("ICudaEngine", "get_engine_stat") or not self.has("EngineStat", "TOTAL_WEIGHTS_SIZE"):
            return None
        return int(engine.get_engine_stat(self.trt.EngineStat.TOTAL_WEIGHTS_SIZE))

    def dtype(self, kind: Any) -> str:
        """numpy's name of a tensor type. Raises EdgebenchError for one that numpy lacks (bf16, fp8)."""
        for name, dtype in DTYPES.items():
            if getattr(self.trt.DataType, name, None) == kind:
                return dtype
        raise EdgebenchError(
            f"An input or output of the engine is {kind}, which numpy has not.",
            "Export it with float32 in- and outputs.",
        )

    def validity(self, runtime: Any, plan: bytes) -> str:
        """What the runtime says of a plan before it is loaded ("INVALID 32"); "" where it cannot be asked."""
        if not self.has("Runtime", "get_engine_validity"):
            return ""
        said, why = runtime.get_engine_validity(plan)
        members = self.trt.EngineInvalidityDiagnostics.__members__.items()
        reasons = [name for name, value in members if int(why) & int(value)]
        return " ".join([str(said).rpartition(".")[2], *reasons])

    @contextmanager
    def listening(self) -> Iterator[list[Line]]:
        """The lines that TensorRT logs meanwhile, verbose ones aside except those that tell of skipped tactics."""
        log = _logger(self.trt)
        before, log.lines = log.lines, []
        try:
            yield log.lines
        finally:
            log.lines = before

    @property
    def logger(self) -> Any:
        return _logger(self.trt)

    @property
    def runtime(self) -> Any:
        """The one runtime of a process: engines must not outlive theirs. Raises TypeError where there is no driver."""
        return _runtime(self.trt)

    def profiler(self, took: list[tuple[str, float]]) -> Any:
        """An IProfiler that appends (layer, seconds) to `took`."""

        class Profiler(self.trt.IProfiler):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                took.append((layer_name, ms / 1e3))

        return Profiler()


@cache
def _logger(module: Any) -> Any:
    """The one logger of a process: TensorRT keeps the first that it is given and ignores every later one."""
    levels = {getattr(module.ILogger, name): name.lower() for name in ("VERBOSE", "INFO", "WARNING", "ERROR")}

    class Tap(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[Line] = []

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity, "error")  # INTERNAL_ERROR too
            if level != "verbose" or "Skipping tactic" in msg:
                self.lines.append(Line(level, " ".join(str(msg).split())))

    return Tap()


@cache
def _runtime(module: Any) -> Any:
    return module.Runtime(_logger(module))


def complaint(lines: list[Line]) -> str:
    """The last errors among logged lines, as one text; "" when there were none."""
    errors = list(dict.fromkeys(line.text for line in lines if line.level == "error"))
    return "; ".join(errors[-2:])[:400]
