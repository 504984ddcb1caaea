"""ONNX Runtime on the CPU: ONNX files, float, or with quantize/dequantize pairs that it fuses to int8."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import (
    Artifact,
    Availability,
    Backend,
    EdgebenchError,
    Feeds,
    ModelError,
    OpProfile,
    Outputs,
    Session,
    TensorSpec,
    np,
    probe_import,
)

LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
DTYPES = {"float": "float32", "double": "float64"}
HEAVY_OPS = ("Conv", "Gemm", "MatMul", "Attention")
"""What the precision of a network is judged by: the operators whose name contains one of these."""

PROFILED_RUNS = 3


class OnnxRuntimeBackend(Backend):
    name = "onnxruntime"
    accepts = frozenset({"onnx"})
    precisions = {"fp32": "onnx", "int8": "onnx-u8s8"}
    options = {
        "graph_optimization": f"how far the graph is rewritten: {', '.join(LEVELS)} (default all)",
        "spinning": "true (default): idle threads spin for work, faster and hotter; false: they sleep",
    }
    module = "onnxruntime"
    extra = "edgebench[onnxruntime]"

    def probe(self) -> Availability:
        return probe_import("onnxruntime", self.extra)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        return OnnxRuntimeSession(artifact.path, options)


class OnnxRuntimeSession(Session):
    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        self._path, self._options = path, dict(options)
        self._session = _load(path, options)
        self.inputs = _specs(self._session.get_inputs())
        self.outputs = _specs(self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._fed: Feeds = {}

    def run(self, feeds: Feeds) -> Outputs:
        self._fed = feeds  # effective() repeats an inference of these shapes
        try:
            return list(self._session.run(self._names, dict(feeds)))
        except Exception as error:  # its exceptions have no common base
            raise self._misfit(feeds, error) from error

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """IOBinding: inputs stay where they are, outputs are written into the same arrays each time."""
        answers = [np.empty_like(a, order="C") for a in self.run(feeds)]  # one inference tells the shapes
        kept = [np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs]
        binding = self._session.io_binding()
        # By address, which every version takes as it is: what OrtValue makes of an array, shared or copied, has changed.
        for spec, array in zip(self.inputs, kept, strict=True):
            binding.bind_input(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in zip(self._names, answers, strict=True):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        call = self._session.run_with_iobinding

        def infer(_alive: object = kept) -> Outputs:
            call(binding)
            return answers

        return infer

    def effective(self) -> Mapping[str, Any]:
        """What a profiled inference of a second session with the same settings ran.

        It happens in a process of its own, so that the memory of this one stays that of the measured session.
        """
        found: dict[str, Any] = {
            "providers": self._session.get_providers(),
            "graph_optimization": self._options.get("graph_optimization", "all"),
            "spinning": _spinning(self._options),
            "inter_op_threads": self._session.get_session_options().inter_op_num_threads,
        }
        shapes = {s.name: [self._options["batch"], *(d or 1 for d in s.shape[1:])] for s in self.inputs}
        shapes.update({name: list(array.shape) for name, array in self._fed.items()})
        asked = json.dumps([self._path, self._options, shapes])
        code = f"import {__name__} as b, sys, json; b.tell_ran(*json.loads(sys.argv[1]))"
        done = subprocess.run(
            [sys.executable, "-c", code, asked], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            return {
                **found,
                "unknown": f"a profiled inference failed: {lines[-1] if lines else done.returncode}",
            }
        return {**found, **json.loads(done.stdout.splitlines()[-1])}

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        return [_operator(event) for event in _profiled(self._path, self._options, feeds)]

    def close(self) -> None:
        del self._session

    def _misfit(self, feeds: Feeds, error: Exception) -> ModelError:
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
        wanted = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in self.inputs)
        return ModelError(
            f"ONNX Runtime wants {wanted} and was given {given or 'nothing'}: {_words(error)}",
            "Give inputs of the model's names, types and shapes, or export it for these.",
        )


def tell_ran(path: str, options: dict[str, Any], shapes: dict[str, list[int]]) -> None:
    """Write, as one line of JSON, the threads, precision and operators that an inference on zeros used."""
    specs = _specs(_load(path, options).get_inputs())
    events = _profiled(path, options, {s.name: np.zeros(shapes[s.name], s.dtype) for s in specs})
    heavy = [_operator(e)["precision"] for e in events if any(op in e["args"]["op_name"] for op in HEAVY_OPS)]
    pool = events[0]["args"].get("thread_scheduling_stats") if events else None  # "" when there is no pool
    ran = {
        # What most of the heavy operators ran in: an int8 file that runs mostly in float is not int8.
        "precision": max(sorted(set(heavy)), key=heavy.count) if heavy else "fp32",
        "threads": 1 + len(pool["sub_threads"]) if pool else 1,
        "int8_ops": heavy.count("int8"),
        "float_ops": len(heavy) - heavy.count("int8"),
    }
    sys.stdout.write("\n" + json.dumps(ran) + "\n")


def _load(path: str, options: Mapping[str, Any], profile: str = "") -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options["threads"]
    settings.inter_op_num_threads = 1
    level = options.get("graph_optimization", "all")
    if level not in LEVELS:
        raise EdgebenchError(f"graph_optimization cannot be {level!r}.", f"Use one of {', '.join(LEVELS)}.")
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(_spinning(options))))
    if profile:
        settings.enable_profiling = True
        settings.profile_file_prefix = profile
    try:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {_words(error)}",
            "Export it again: a whole ONNX file of an opset that this version knows, its weights within.",
        ) from error


def _spinning(options: Mapping[str, Any]) -> bool:
    spinning = options.get("spinning", True)
    if not isinstance(spinning, bool):
        raise EdgebenchError(f"spinning cannot be {spinning!r}.", "Use true or false.")
    return spinning


def _specs(arguments: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=a.name, dtype=_dtype(a.type), shape=tuple(d if isinstance(d, int) else None for d in a.shape))
        for a in arguments
    )


def _dtype(text: str) -> str:
    """numpy's name for a type like tensor(float)."""
    inner = text.removeprefix("tensor(").removesuffix(")")
    return DTYPES.get(inner, inner)


def _profiled(path: str, options: Mapping[str, Any], feeds: Feeds) -> list[dict[str, Any]]:
    """The kernel events of the last of a few inferences by a session made for this, in the order they ran."""
    with tempfile.TemporaryDirectory() as folder:
        session = _load(path, options, profile=str(Path(folder) / "profile"))
        for _ in range(PROFILED_RUNS):
            session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    return list({(e["name"], e["args"]["node_index"]): e for e in kernels}.values())


def _operator(event: Mapping[str, Any]) -> OpProfile:
    args = event["args"]
    types = {kind for entry in args["input_type_shape"] for kind in entry}
    floats = "fp16" if "float16" in types else "fp32"
    return {
        "name": event["name"].removesuffix("_kernel_time"),
        "op": args["op_name"],
        "seconds": event["dur"] / 1e6,
        "device": args["provider"],
        "precision": "int8" if types & {"int8", "uint8"} else floats,
    }


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
