"""OpenVINO: ONNX files and its own IR, in f32, bf16, or int8 where the file is quantized; on the CPU, a GPU or an NPU.

Three of its defaults would spoil a comparison and are always set: on CPUs that can, an fp32 network runs in
bf16; threads are pinned, two processes to one core; a free batch axis puts compiling off until the first run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench.backend import (
    Artifact,
    Availability,
    Backend,
    Feeds,
    ModelError,
    OpProfile,
    Options,
    Outputs,
    Session,
    Tensor,
    TensorSpec,
    cpu_key,
    kept,
    np,
    probe_import,
    saturates,
)
from edgebench_openvino.jobs import Jobs
from edgebench_openvino.settings import (
    DEVICES,
    NARROW,
    QUANTIZERS,
    choice,
    compiled,
    count,
    declared,
    flag,
    precision,
    properties,
    told,
    words,
)

# Importing openvino reports usage to its maker, from a forked process that may stay behind. Nothing may run beside a
# measurement, and nothing calls home: without this package OpenVINO uses a stub of its own.
NO_TELEMETRY = "import sys; sys.modules['openvino_telemetry'] = None"
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

HEAVY_OPS = ("Conv", "FullyConnected", "MatMul", "Attention", "MHA", "LSTM", "GRU", "RNN")
"""What the precision of a network is judged by: the layers whose type contains one of these."""

ARITHMETIC = ("fp32", "tf32", "fp16", "bf16", "int8")
PLUMBING = ("Input", "Output", "Const", "Convert", "Reorder")

PROFILED_RUNS = 3


class OpenVinoBackend(Backend):
    name = "openvino"
    accepts = frozenset({"onnx", "openvino-ir"})
    endings = {".onnx": "onnx", ".xml": "openvino-ir"}
    precisions = {"fp32": "onnx", "bf16": "onnx", "int8": "onnx-u8s8"}
    refused = {"fp16": "its CPU plugin stores fp16 and computes in fp32"}
    options = {
        "device": f"{', '.join(DEVICES)} (default CPU)",
        "performance_hint": "latency (default), or throughput: several streams",
        "streams": "inferences that run at once (default 1; with the hint throughput as many as threads)",
        "jobs": "each sample of a batch as a job of its queue, so many in flight (default 0: the batch as one inference)",
        "quantizer": "of int8: onnxruntime (default: nearer to the float network), or nncf (quicker for transformers)",
        "model_cache": "true: the compiled network is kept, to load sooner; false (default): compiled on each load",
    }
    module = "openvino"
    fork_safe = True
    extra = "edgebench[openvino]"
    distributions = ("openvino", "nncf")

    def lowering(self, precision: str, options: Mapping[str, Any]) -> str | None:
        quantizer = choice(options, "quantizer", QUANTIZERS, "onnxruntime")
        if precision != "int8":
            return self.precisions.get(precision)
        narrow = quantizer == "onnxruntime" and options.get("device", "CPU") in ("CPU", "AUTO") and saturates(options)
        return NARROW if narrow else QUANTIZERS[quantizer]

    def probe(self) -> Availability:
        return probe_import("openvino", self.extra, before=NO_TELEMETRY)

    def builds(self, options: Mapping[str, Any]) -> bool:
        return flag(options, "model_cache")

    def build(self, artifact: Artifact, options: Mapping[str, Any], out: Path) -> Artifact:
        """Compile once into OpenVINO's own cache, in a folder for this file, version, machine and settings."""
        import openvino

        if not self.builds(options):
            return artifact
        batch = 1 if count(options, "jobs", 0) else options["batch"]
        key = {"file": artifact.sha256, "version": openvino.__version__, "cpu": cpu_key(), "batch": batch}

        def make(path: Path) -> None:
            compiled(artifact.path, options, batch, CACHE_DIR=str(path.parent))
            path.write_text(f"{openvino.__version__}\n")

        made = kept("version.txt", {**key, "settings": properties(options)}, make)
        return replace(artifact, facts=Options({**artifact.facts, "cache_dir": str(made.parent)}))

    def check(self, options: Mapping[str, Any]) -> None:
        flag(options, "model_cache")
        choice(options, "quantizer", QUANTIZERS, "onnxruntime")
        count(options, "jobs", 0)
        properties({"threads": 1, "precision": "fp32", **options})

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        self.check(options)
        return OpenVinoSession(artifact, options)


class OpenVinoSession(Session):
    def __init__(self, artifact: Artifact, options: Mapping[str, Any]) -> None:
        self._path, self._options, self._facts = artifact.path, dict(options), artifact.facts
        in_flight = count(options, "jobs", 0)
        self._batch = 1 if in_flight else options["batch"]
        cache = {"CACHE_DIR": self._facts["cache_dir"]} if "cache_dir" in self._facts else {}
        self._compiled = compiled(self._path, options, self._batch, **cache)
        self._jobs = Jobs(self._compiled, in_flight) if in_flight else None
        self._request = self._compiled.create_infer_request()
        self.inputs = tuple(self._spec(port) for port in self._compiled.inputs)
        self.outputs = tuple(self._spec(port) for port in self._compiled.outputs)

    def run(self, feeds: Feeds) -> Outputs:
        if self._jobs:
            return self._jobs.run(self._arrays(feeds))
        self._feed(self._request, self._arrays(feeds))
        self._request.infer()
        return [self._request.get_output_tensor(i).data.copy() for i in range(len(self.outputs))]

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """A request of its own, whose input tensors are these arrays: only infer() is left to call."""
        arrays, jobs = self._arrays(feeds), self._jobs
        if jobs:
            return lambda: jobs.run(arrays)
        request = self._compiled.create_infer_request()
        self._feed(request, arrays)
        indices = range(len(self.outputs))

        def infer(_alive: object = arrays) -> Outputs:
            request.infer()
            return [request.get_output_tensor(i).data for i in indices]

        return infer

    def effective(self) -> Mapping[str, Any]:
        """Properties as read back, and the precision in which most of the heavy layers really run."""
        layers = [
            (info["layerType"].astype(str), precision(info["runtimePrecision"].astype(str)))
            for node in self._compiled.get_runtime_model().get_ordered_ops()
            for info in (node.get_rt_info(),)
        ]
        # A MatMul of integers has no precision to judge.
        heavy = [ran for kind, ran in layers if ran in ARITHMETIC and _heavy(kind)]
        found = told(self._compiled)
        hint = found.get("precision_hint", self._options["precision"])
        ran = max(sorted(set(heavy)), key=heavy.count) if heavy else hint
        # The file's own precision is said where the CPU only computes it in fp32.
        made = declared(self._path) if ran == "fp32" else ran
        others = [lane for kind, lane in layers if lane in ARITHMETIC and kind not in PLUMBING]
        computed = ran if heavy else max(sorted(set(others)), key=others.count, default=ran)
        of_file = {"file_precision": made, "computed_in": computed} if made == "fp16" else {}
        return {
            "streams": 1,  # where a device does not tell, as AUTO
            "model_cache": False,
            **found,
            "device": self._options.get("device", "CPU"),
            "jobs": self._options.get("jobs", 0),
            "quantizer": self._facts.get("quantizer", "as the file has it"),
            "precision": made if of_file else ran,
            **of_file,
            "int8_ops": heavy.count("int8"),
            "float_ops": len(heavy) - heavy.count("int8"),
        }

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        """By performance counters, in a network compiled for this: counting costs time."""
        network = compiled(self._path, self._options, self._batch, PERF_COUNT=True)
        request, device = network.create_infer_request(), self._options.get("device", "CPU")
        arrays = [array[: self._batch] for array in self._arrays(feeds)]
        self._feed(request, arrays)
        for _ in range(PROFILED_RUNS):
            request.infer()
        return [
            {
                "name": op.node_name,
                "op": op.node_type,
                "seconds": op.real_time.total_seconds(),
                "device": f"{device} {op.exec_type}",
                "precision": precision(op.exec_type.rpartition("_")[2]),
            }
            for op in request.get_profiling_info()
            if op.status == op.Status.EXECUTED
        ]

    def close(self) -> None:
        del self._request, self._jobs, self._compiled

    def _arrays(self, feeds: Feeds) -> list[Tensor]:
        """Each input as the runtime may hold it. Raises ModelError for one that is missing or does not fit."""
        for spec in self.inputs:
            array = feeds.get(spec.name)
            if array is None or not spec.takes(array):
                raise self._misfit(feeds)
        # A tensor that shares memory must be able to write there, although no inference does.
        return [np.require(feeds[spec.name], requirements=["C", "W"]) for spec in self.inputs]

    def _feed(self, request: Any, arrays: Sequence[Tensor]) -> None:
        """Set the inputs; the arrays must live as long as they are used: a shared tensor does not own its memory."""
        from openvino import Tensor as Shared

        try:
            for i, array in enumerate(arrays):
                request.set_input_tensor(i, Shared(array, shared_memory=True))
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO does not take these inputs: {words(error)}", "Give inputs of the model's types and shapes."
            ) from error

    def _misfit(self, feeds: Feeds) -> ModelError:
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
        wanted = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in self.inputs)
        return ModelError(
            f"OpenVINO wants {wanted} and was given {given or 'nothing'}.",
            "Give inputs of the model's names, types and shapes, or export it for these.",
        )

    def _spec(self, port: Any) -> TensorSpec:
        """An input is named by its node, as in the file; an output's node is a sink, so its tensor names it."""
        node = port.get_node()
        by_node = node.get_type_name() == "Parameter" or not port.get_names()
        name = node.get_friendly_name() if by_node else port.get_any_name()
        shape = tuple(None if d.is_dynamic else d.get_length() for d in port.get_partial_shape())
        if self._jobs and shape:  # the samples of any batch, one by one
            shape = (None, *shape[1:])
        return TensorSpec(name=name, dtype=np.dtype(port.get_element_type().to_dtype()).name, shape=shape)


def _heavy(kind: str) -> bool:
    return kind != "Convert" and any(op in kind for op in HEAVY_OPS)
