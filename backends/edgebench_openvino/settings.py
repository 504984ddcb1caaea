"""How a network is compiled: device, hints, precision, threads and streams, as OpenVINO's properties."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench.backend import EdgebenchError, MissingRuntime, ModelError, named_nodes

DEVICES = ("CPU", "GPU", "NPU", "AUTO")
HINTS = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
PRECISION_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
"""What the operators that are not int8 run in, for each precision that can be asked for."""

QUANTIZERS = {"onnxruntime": "onnx-u8s8", "nncf": "onnx-nncf"}
NARROW = "onnx-u8s7"
"""onnxruntime's for a CPU without VNNI, on which OpenVINO's kernels overflow with weights of 8 bits. NNCF sees to that itself."""

PRECISIONS = {"f32": "fp32", "float32": "fp32", "bf16": "bf16", "bfloat16": "bf16", "f16": "fp16", "float16": "fp16"}
PRECISIONS |= {"i8": "int8", "u8": "int8"}

UNKNOWN_OPS = "No conversion rule found for operations: "

REPORTED = {
    "threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "performance_hint": "PERFORMANCE_HINT",
    "execution_mode": "EXECUTION_MODE_HINT",
    "cpu_pinning": "ENABLE_CPU_PINNING",
    "hyper_threading": "ENABLE_HYPER_THREADING",
    "denormals_flushed": "CPU_DENORMALS_OPTIMIZATION",
    "devices": "EXECUTION_DEVICES",
    "model_cache": "LOADED_FROM_CACHE",
}


def choice(options: Mapping[str, Any], name: str, known: Mapping[str, Any] | tuple[str, ...], default: str) -> str:
    value = options.get(name, default)
    if not isinstance(value, str) or value not in known:
        raise EdgebenchError(f"{name} cannot be {value!r}.", f"Use one of {', '.join(known)}.")
    return str(value)


def count(options: Mapping[str, Any], name: str, default: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise EdgebenchError(f"{name} cannot be {value!r}.", "Give a whole number from 0 up.")
    return value


def flag(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise EdgebenchError(f"{name} cannot be {value!r}.", "Use true or false.")
    return value


def properties(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The device, and what to compile with. Raises EdgebenchError for a value that means nothing."""
    device = choice(options, "device", DEVICES, "CPU")
    hint = choice(options, "performance_hint", HINTS, "latency")
    general = {"PERFORMANCE_HINT": HINTS[hint], "INFERENCE_PRECISION_HINT": PRECISION_HINTS[options["precision"]]}
    # By default one stream for one request at a time; for throughput as many as threads, each of one thread.
    streams = count(options, "streams", 1 if hint == "latency" else options["threads"])
    of_cpu = {"INFERENCE_NUM_THREADS": options["threads"], "NUM_STREAMS": streams, "ENABLE_CPU_PINNING": False}
    if device == "CPU":
        return device, {**general, **of_cpu}
    if device == "AUTO":
        return device, {**general, "DEVICE_PROPERTIES": {"CPU": {**general, **of_cpu}}}
    return device, {**general, "NUM_STREAMS": streams} if device == "GPU" else general


def compiled(path: str, options: Mapping[str, Any], batch: int, **more: Any) -> Any:
    """The network, its free batch axis set, compiled. Raises MissingRuntime for a device that is not there, or ModelError."""
    import openvino

    device, settings = properties(options)
    core = openvino.Core()
    present = core.available_devices
    if device != "AUTO" and not any(found.split(".")[0] == device for found in present):
        raise MissingRuntime(
            f"OpenVINO {openvino.__version__} finds no {device} here, only {', '.join(present) or 'nothing'}.",
            f"Install the driver of the {device}, or ask for another device.",
        )
    try:
        model = read(core, path)
        model.reshape({port: _batched(port.get_partial_shape(), batch) for port in model.inputs})
        return core.compile_model(model, device, {**settings, **more})
    except RuntimeError as error:
        raise _refusal(path, error) from error


def _refusal(path: str, error: Exception) -> ModelError:
    import openvino

    problem = f"OpenVINO {openvino.__version__} cannot load {path}: {words(error)}"
    unknown = str(error).partition(UNKNOWN_OPS)[2].split("\n")[0]
    if not unknown:
        return ModelError(problem, _remedy(error))
    # As it writes them: domain.Type, or Type-opset for ONNX's own.
    types = {name.strip().rpartition(".")[2].partition("-")[0] for name in unknown.split(",")}
    where = named_nodes(path, types) if Path(path).suffix == ".onnx" else ""
    return ModelError(
        f"{problem} In the file: {where}." if where else problem,
        "Write the network in operators that it has, or take a runtime that has these.",
    )


def read(core: Any, path: str) -> Any:
    """The network of an ONNX file, an .xml with its .bin beside it, or a zip of both. Raises RuntimeError."""
    if not zipfile.is_zipfile(path):
        return core.read_model(path)
    with zipfile.ZipFile(path) as archive:
        found = {Path(name).suffix: name for name in archive.namelist()}
        if set(found) != {".xml", ".bin"}:
            raise RuntimeError(f"the archive holds {', '.join(found.values()) or 'nothing'}, not one .xml and one .bin")
        return core.read_model(archive.read(found[".xml"]), archive.read(found[".bin"]))


def _remedy(error: Exception) -> str:
    if "bad_alloc" in str(error):
        return "Free memory, or take a smaller input or batch: the network needs more memory than there is."
    return "Export the model again: a whole file of operators that this version knows, its weights with it."


def declared(path: str) -> str:
    """The float precision that the file's own operators compute in, most of them; fp32 where it has none.

    Weights that are stored in fp16 and computed in fp32, as OpenVINO's own files have them, are fp32.
    """
    import openvino

    found = [
        precision(out.get_element_type().get_type_name())
        for op in read(openvino.Core(), path).get_ops()
        if op.get_type_name() not in ("Constant", "Convert", "Parameter", "Result")
        for out in op.outputs()
        if out.get_element_type().is_real()
    ]
    return max(sorted(set(found)), key=found.count) if found else "fp32"


def _batched(shape: Any, batch: int) -> Any:
    """The shape of an input with its free first axis, if it has one, set to the batch."""
    if shape.rank.is_static and len(shape) and shape[0].is_dynamic:
        shape[0] = batch
    return shape


def told(network: Any) -> dict[str, Any]:
    """The properties as read back; a device leaves out those that it does not have."""
    found = {}
    for name, key in REPORTED.items():
        with contextlib.suppress(RuntimeError):
            found[name] = _plain(network.get_property(key))
    with contextlib.suppress(RuntimeError):
        found["precision_hint"] = precision(network.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    return found


def precision(text: str) -> str:
    return PRECISIONS.get(text.lower(), text.lower())


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, list)) else str(value)


def words(error: Exception) -> str:
    """What the runtime said, without the places in its source where it was passed on."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(
        line for line in lines if line and not line.startswith(("Exception from", "Check 'false' failed at"))
    )
    return said[:300].rstrip(". ") + "."
