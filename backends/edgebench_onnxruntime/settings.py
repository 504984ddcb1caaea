"""How a session is made: threads, how far the graph is rewritten, and the execution provider with the proof that it is there."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from edgebench.backend import EdgebenchError, MissingRuntime, ModelError, named_nodes

LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}

PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "xnnpack": ("XnnpackExecutionProvider", ""),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime" if sys.platform == "darwin" else ""),
    "qnn": ("QNNExecutionProvider", "onnxruntime-qnn"),
    "acl": ("ACLExecutionProvider", ""),
}
"""Our word for each provider -> its own name, and the package that has it; "" where it takes a build of one's own."""


UNKNOWN_OP = re.compile(
    r"(?:\w+:)?(\w+)\(-?\d+\) is not a registered|an implementation for (\w+)\(|No Op registered for (\w+)"
)
"""How it says that an operator is unknown, or has no kernel."""


def load(path: str, options: Mapping[str, Any], *, profile: str = "", optimized: str = "") -> Any:
    """A session with these options. Raises MissingRuntime for a provider that is not there, ModelError for the file.

    `profile` is the prefix of a file for the operators' times, `optimized` where the rewritten graph is written.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options["threads"]
    settings.inter_op_num_threads = 1
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level(options)])
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(flag(options, "spinning", True))))
    if profile:
        settings.enable_profiling = True
        settings.profile_file_prefix = profile
    if optimized:
        settings.optimized_model_filepath = optimized
        settings.log_severity_level = (
            3  # else it warns that the file is for this machine only, which is why it is made here
        )
    name = wanted(options)
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=_chosen(name, options))
    except Exception as error:  # its exceptions have no common base
        raise _refusal(path, name, error) from error
    if session.get_providers()[0] != name:
        raise MissingRuntime(
            f"ONNX Runtime was asked for {name} and fell back to {session.get_providers()[0]} without an error.",
            "Install what this provider needs (its log says what it missed), or ask for another one.",
        )
    session.disable_fallback()  # or a failing inference would be repeated by another provider
    return session


def wanted(options: Mapping[str, Any]) -> str:
    """The execution provider that is asked for, once it is known to be in this build. Raises EdgebenchError."""
    import onnxruntime

    name, package = PROVIDERS[provider(options)]
    if name not in onnxruntime.get_available_providers():
        own = "Use a Mac." if name.startswith("CoreML") else "Build ONNX Runtime with it, and install that."
        fix = f"Install it with: pip install {package}" if package else own
        raise MissingRuntime(f"This build of ONNX Runtime {onnxruntime.__version__} has no {name}.", fix)
    return name


def provider(options: Mapping[str, Any]) -> str:
    asked = options.get("provider", "cpu")
    if not isinstance(asked, str) or asked not in PROVIDERS:
        raise EdgebenchError(f"provider cannot be {asked!r}.", f"Use one of {', '.join(PROVIDERS)}.")
    return asked


def provider_options(options: Mapping[str, Any]) -> dict[str, str]:
    settings = options.get("provider_options", {})
    if not isinstance(settings, Mapping):
        raise EdgebenchError(f"provider_options cannot be {settings!r}.", "Give a table of the provider's own options.")
    return {str(k): str(v) for k, v in settings.items()}


def _chosen(name: str, options: Mapping[str, Any]) -> list[Any]:
    chosen = [(name, provider_options(options))]
    return chosen if name == PROVIDERS["cpu"][0] else [*chosen, PROVIDERS["cpu"][0]]


def _refusal(path: str, name: str, error: Exception) -> ModelError:
    import onnxruntime

    by = "" if name == PROVIDERS["cpu"][0] else f" by {name}"
    problem = f"ONNX Runtime {onnxruntime.__version__} cannot load {path}{by}: {words(error)}"
    unknown = UNKNOWN_OP.search(str(error))
    if not unknown:
        return ModelError(
            problem, "Export it again: a whole ONNX file of an opset that this version knows, its weights within."
        )
    where = named_nodes(path, {found for found in unknown.groups() if found})
    return ModelError(
        f"{problem} In the file: {where}." if where else problem,
        "Write the network in operators that it has, or take a runtime that has this one.",
    )


def level(options: Mapping[str, Any]) -> str:
    asked = options.get("graph_optimization", "all")
    if not isinstance(asked, str) or asked not in LEVELS:
        raise EdgebenchError(f"graph_optimization cannot be {asked!r}.", f"Use one of {', '.join(LEVELS)}.")
    return str(asked)


def flag(options: Mapping[str, Any], name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise EdgebenchError(f"{name} cannot be {value!r}.", "Use true or false.")
    return value


def words(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(". ") + "."
