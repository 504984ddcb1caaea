"""What ran, where and in which precision: by the events of a profiled inference."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import Feeds, ModelError, OpProfile, TensorSpec, np
from edgebench_onnxruntime.settings import load, wanted

DTYPES = {"float": "float32", "double": "float64"}
HEAVY_OPS = ("Conv", "Gemm", "MatMul", "Attention", "LSTM", "GRU", "RNN")
"""What the precision of a network is judged by: the operators whose name contains one of these."""

PROFILED_RUNS = 3


def ran(path: str, options: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Threads, precision and place of an inference on zeros, in a process of its own: this one's memory is being measured."""
    asked = json.dumps([path, dict(options), dict(shapes)])
    code = f"import {__name__} as p, sys, json; p.tell_ran(*json.loads(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, asked], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        if options.get("provider", "cpu") != "cpu":
            raise ModelError(
                f"{options['provider']} is there, but an inference with it failed: {last[:300]}.",
                "Ask for another provider, or mend what this one needs.",
            )
        return {"unknown": f"a profiled inference failed: {last}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def tell_ran(path: str, options: dict[str, Any], shapes: dict[str, list[int]]) -> None:
    """Write, as one line of JSON, the threads, precision and operators that an inference on zeros used."""
    inputs = specs(load(path, options).get_inputs())
    events = profiled(path, options, {s.name: np.zeros(shapes[s.name], s.dtype) for s in inputs})
    judged = [e for e in events if any(op in e["args"]["op_name"] for op in HEAVY_OPS)]
    heavy = [operator(e)["precision"] for e in judged]
    taken = [next(iter(e["args"]["input_type_shape"][0]), "") for e in judged if e["args"]["input_type_shape"]]
    pool = events[0]["args"].get("thread_scheduling_stats") if events else None  # "" when there is no pool
    places = [e["args"]["provider"] for e in events]
    name = wanted(options)
    # What most of the heavy operators ran in: an int8 file that runs mostly in float is not int8.
    ran_in = max(sorted(set(heavy)), key=heavy.count) if heavy else options["precision"]
    made = declared(path, inputs) if ran_in in ("fp32", "fp16") else ran_in
    told = {
        "precision": "fp16" if made == "fp16" else ran_in,
        # Its CPU kernels have no fp16: such a file is computed in fp32, and each value is cast on the way.
        **({"file_precision": made, "computed_in": ran_in} if made == "fp16" else {}),
        "threads": 1 + len(pool["sub_threads"]) if pool else 1,
        "int8_ops": heavy.count("int8"),
        "float_ops": len(heavy) - heavy.count("int8"),
        # Of what the heavy operators take, not of what they were meant to.
        "activations": "u8" if "uint8" in taken else "s8" if "int8" in taken else "float",
        "placement": {place: places.count(place) for place in sorted(set(places))},
        "fallback_share": 1 - places.count(name) / len(places) if places else 0.0,
    }
    sys.stdout.write("\n" + json.dumps(told) + "\n")


def declared(path: str, inputs: Sequence[TensorSpec]) -> str:
    """fp16 where most of the float weights are, and without weights (or the package that reads them) the inputs; else fp32."""
    kinds: dict[str, int] = {}
    with contextlib.suppress(ImportError):
        import onnx

        named = {onnx.TensorProto.FLOAT16: "fp16", onnx.TensorProto.FLOAT: "fp32"}
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            if tensor.data_type in named:
                kind = named[tensor.data_type]
                kinds[kind] = kinds.get(kind, 0) + math.prod(tensor.dims)
    if not kinds:
        kinds = {"fp16": sum(s.dtype == "float16" for s in inputs), "fp32": sum(s.dtype == "float32" for s in inputs)}
    return "fp16" if kinds.get("fp16", 0) > kinds.get("fp32", 0) else "fp32"


def profiled(path: str, options: Mapping[str, Any], feeds: Feeds) -> list[dict[str, Any]]:
    """The kernel events of the last of a few inferences by a session made for this, in the order they ran."""
    with tempfile.TemporaryDirectory() as folder:
        session = load(path, options, profile=str(Path(folder) / "profile"))
        for _ in range(PROFILED_RUNS):
            session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    return list({(e["name"], e["args"]["node_index"]): e for e in kernels}.values())


def operator(event: Mapping[str, Any]) -> OpProfile:
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


def specs(arguments: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=a.name, dtype=_dtype(a.type), shape=tuple(d if isinstance(d, int) else None for d in a.shape))
        for a in arguments
    )


def _dtype(text: str) -> str:
    """numpy's name for a type like tensor(float)."""
    inner = text.removeprefix("tensor(").removesuffix(")")
    return DTYPES.get(inner, inner)
