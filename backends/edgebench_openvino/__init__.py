"""OpenVINO on the CPU: ONNX files and its own IR, in f32, bf16, or int8 where the file is quantized.

Three of its defaults would spoil a comparison and are always set: on CPUs that can, an fp32 network runs in
bf16; threads are pinned, two processes to one core; a free batch axis puts compiling off until the first run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgebench.backend import (
    Artifact,
    Availability,
    Backend,
    Feeds,
    ModelError,
    OpProfile,
    Outputs,
    Session,
    TensorSpec,
    np,
    probe_import,
)

# Importing openvino reports usage to its maker, from a forked process that may stay behind. Nothing may run beside a
# measurement, and nothing calls home: without this package OpenVINO uses a stub of its own.
NO_TELEMETRY = "import sys; sys.modules['openvino_telemetry'] = None"
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
"""What the operators that are not int8 run in, for each precision that can be asked for."""

PRECISIONS = {
    "f32": "fp32",
    "float32": "fp32",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "f16": "fp16",
    "float16": "fp16",
}
PRECISIONS |= {"i8": "int8", "u8": "int8"}
HEAVY_OPS = ("Conv", "FullyConnected", "MatMul", "Attention", "MHA")
"""What the precision of a network is judged by: the layers whose type contains one of these."""

REPORTED = {
    "threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "performance_hint": "PERFORMANCE_HINT",
    "execution_mode": "EXECUTION_MODE_HINT",
    "cpu_pinning": "ENABLE_CPU_PINNING",
    "hyper_threading": "ENABLE_HYPER_THREADING",
    "denormals_flushed": "CPU_DENORMALS_OPTIMIZATION",
    "devices": "EXECUTION_DEVICES",
}
PROFILED_RUNS = 3


class OpenVinoBackend(Backend):
    name = "openvino"
    accepts = frozenset({"onnx", "openvino-ir"})
    precisions = {"fp32": "onnx", "bf16": "onnx", "int8": "onnx-u8s8"}
    module = "openvino"
    extra = "edgebench[openvino]"

    def probe(self) -> Availability:
        return probe_import("openvino", self.extra, before=NO_TELEMETRY)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        return OpenVinoSession(artifact.path, options)


class OpenVinoSession(Session):
    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        self._path, self._options = path, dict(options)
        self._compiled = _compile(path, options)
        self._request = self._compiled.create_infer_request()
        self.inputs = tuple(_spec(port) for port in self._compiled.inputs)
        self.outputs = tuple(_spec(port) for port in self._compiled.outputs)

    def run(self, feeds: Feeds) -> Outputs:
        self._feed(self._request, feeds)
        self._request.infer()
        return [self._request.get_output_tensor(i).data.copy() for i in range(len(self.outputs))]

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """A request of its own, whose input tensors are these arrays: only infer() is left to call."""
        request = self._compiled.create_infer_request()
        kept = self._feed(request, feeds)
        indices = range(len(self.outputs))

        def infer(_alive: object = kept) -> Outputs:
            request.infer()
            return [request.get_output_tensor(i).data for i in indices]

        return infer

    def effective(self) -> Mapping[str, Any]:
        """Properties as read back, and the precision in which most of the heavy layers really run."""
        heavy = []
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            if any(op in info["layerType"].astype(str) for op in HEAVY_OPS):
                heavy.append(_precision(info["runtimePrecision"].astype(str)))
        hint = _precision(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        found = {name: _plain(self._compiled.get_property(key)) for name, key in REPORTED.items()}
        return {
            **found,
            "precision": max(sorted(set(heavy)), key=heavy.count) if heavy else hint,
            "precision_hint": hint,
            "int8_ops": heavy.count("int8"),
            "float_ops": len(heavy) - heavy.count("int8"),
        }

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        """By performance counters, in a network compiled for this: counting costs time."""
        request = _compile(self._path, self._options, PERF_COUNT=True).create_infer_request()
        self._feed(request, feeds)
        for _ in range(PROFILED_RUNS):
            request.infer()
        return [
            {
                "name": op.node_name,
                "op": op.node_type,
                "seconds": op.real_time.total_seconds(),
                "device": f"CPU {op.exec_type}",
                "precision": _precision(op.exec_type.rpartition("_")[2]),
            }
            for op in request.get_profiling_info()
            if op.status == op.Status.EXECUTED
        ]

    def close(self) -> None:
        del self._request, self._compiled

    def _feed(self, request: Any, feeds: Feeds) -> list[Any]:
        """Set the inputs; the answer must live as long as they are used: a shared tensor does not own its memory."""
        from openvino import Tensor

        kept = []
        try:
            for i, spec in enumerate(self.inputs):
                # A tensor that shares memory must be able to write there, although no inference does.
                array = np.require(feeds[spec.name], requirements=["C", "W"])
                request.set_input_tensor(i, Tensor(array, shared_memory=True))
                kept.append(array)
        except (KeyError, RuntimeError) as error:
            given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
            wanted = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in self.inputs)
            raise ModelError(
                f"OpenVINO wants {wanted} and was given {given or 'nothing'}: {_words(error)}",
                "Give inputs of the model's names, types and shapes, or export it for these.",
            ) from error
        return kept


def _compile(path: str, options: Mapping[str, Any], **more: Any) -> Any:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": options["threads"],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[options["precision"]],
        "ENABLE_CPU_PINNING": False,
        **more,
    }
    core = openvino.Core()
    try:
        model = core.read_model(path)
        shapes = {port: _batched(port.get_partial_shape(), options["batch"]) for port in model.inputs}
        model.reshape(shapes)
        return core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO {openvino.__version__} cannot load {path}: {_words(error)}",
            "Export the model again: a whole file of operators that this version knows, its weights with it.",
        ) from error


def _batched(shape: Any, batch: int) -> Any:
    """The shape of an input with its free first axis, if it has one, set to the batch."""
    if shape.rank.is_static and len(shape) and shape[0].is_dynamic:
        shape[0] = batch
    return shape


def _spec(port: Any) -> TensorSpec:
    """An input is named by its node, as in the file; an output's node is a sink, so its tensor names it."""
    node = port.get_node()
    by_node = node.get_type_name() == "Parameter" or not port.get_names()
    name = node.get_friendly_name() if by_node else port.get_any_name()
    shape = tuple(None if d.is_dynamic else d.get_length() for d in port.get_partial_shape())
    return TensorSpec(name=name, dtype=np.dtype(port.get_element_type().to_dtype()).name, shape=shape)


def _precision(text: str) -> str:
    return PRECISIONS.get(text.lower(), text.lower())


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, list)) else str(value)


def _words(error: Exception) -> str:
    """What the runtime said, without the places in its source where it was passed on."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("Exception from"))[:300]
