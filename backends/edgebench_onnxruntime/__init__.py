"""ONNX Runtime: ONNX files, float, or with quantize/dequantize pairs that it fuses to int8; on the CPU or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench.backend import (
    FALLBACK,
    Artifact,
    Availability,
    Backend,
    EdgebenchError,
    Feeds,
    ModelError,
    OpProfile,
    Options,
    Outputs,
    Session,
    check_fallback,
    cpu_key,
    kept,
    np,
    probe_import,
    processor,
    saturates,
)
from edgebench_onnxruntime.placement import operator, profiled, ran, specs
from edgebench_onnxruntime.settings import LEVELS, PROVIDERS, flag, level, load, provider, provider_options, words

ACTIVATIONS = ("u8", "s8")
"""Unsigned activations are what its x86 kernels fuse (signed ones ran slower than float there), ARM's take both."""
WEIGHTS = (8, 7)
"""Bits: see `saturates`."""
INT8 = {("u8", 8): "onnx-u8s8", ("u8", 7): "onnx-u8s7", ("s8", 8): "onnx-s8s8"}


class OnnxRuntimeBackend(Backend):
    name = "onnxruntime"
    accepts = frozenset({"onnx"})
    endings = {".onnx": "onnx"}
    precisions = {"fp32": "onnx", "int8": "onnx-u8s8"}
    refused = {"fp16": "its CPU kernels cast fp16 to fp32 and back, which is slower than fp32"}
    options = {
        "graph_optimization": f"how far the graph is rewritten: {', '.join(LEVELS)} (default all)",
        "optimized_cache": "true: the rewritten graph is kept, to load sooner; false (default): rewritten on each load",
        "spinning": "true (default): idle threads spin for work, faster and hotter; false: they sleep",
        "provider": f"what runs the operators: {', '.join(PROVIDERS)} (default cpu)",
        "provider_options": "a table of the provider's own options (default none)",
        "activations": "of int8: u8 (default on x86) or s8 (default on ARM)",
        "weight_bits": "of int8: 8, or 7 (default on an x86 without VNNI, whose kernels overflow with 8)",
        **FALLBACK,
    }
    module = "onnxruntime"
    extra = "edgebench[onnxruntime]"
    distributions = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn")

    def lowering(self, precision: str, options: Mapping[str, Any]) -> str | None:
        return INT8[_int8(options)] if precision == "int8" else self.precisions.get(precision)

    def probe(self) -> Availability:
        return probe_import("onnxruntime", self.extra)

    def builds(self, options: Mapping[str, Any]) -> bool:
        return flag(options, "optimized_cache", False)

    def build(self, artifact: Artifact, options: Mapping[str, Any], out: Path) -> Artifact:
        """The graph as this machine's session rewrites it, kept by all that it depends on."""
        import onnxruntime

        if not self.builds(options):
            return artifact
        chosen = {k: options.get(k) for k in ("graph_optimization", "provider", "provider_options")}
        key = {"file": artifact.sha256, "version": onnxruntime.__version__, "cpu": cpu_key(), **chosen}
        made = kept("model.onnx", key, lambda path: load(artifact.path, options, optimized=str(path)) and None)
        facts = Options({**artifact.facts, "rewritten": True})
        return replace(artifact, path=str(made), size=made.stat().st_size, parent=artifact.sha256, facts=facts)

    def check(self, options: Mapping[str, Any]) -> None:
        for name in ("optimized_cache", "spinning"):
            flag(options, name, False)
        level(options)
        provider(options)
        provider_options(options)
        _check_int8(options)
        check_fallback("ONNX Runtime", 0.0, options)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        self.check(options)
        return OnnxRuntimeSession(artifact, options)


class OnnxRuntimeSession(Session):
    def __init__(self, artifact: Artifact, options: Mapping[str, Any]) -> None:
        self._path, self._asked, self._facts = artifact.path, options, artifact.facts
        self._rewritten = bool(self._facts.get("rewritten"))
        self._level = level(options)
        # What was rewritten once is not rewritten again.
        self._options = {**options, **({"graph_optimization": "disabled"} if self._rewritten else {})}
        self._session = load(self._path, self._options)
        self.inputs = specs(self._session.get_inputs())
        self.outputs = specs(self._session.get_outputs())
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
        kept_in = [np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs]
        binding = self._session.io_binding()
        # By address, which every version takes as it is: what OrtValue makes of an array, shared or copied, has changed.
        for spec, array in zip(self.inputs, kept_in, strict=True):
            binding.bind_input(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in zip(self._names, answers, strict=True):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        call = self._session.run_with_iobinding

        def infer(_alive: object = kept_in) -> Outputs:
            call(binding)
            return answers

        return infer

    def effective(self) -> Mapping[str, Any]:
        """The settings, and what a profiled inference of a second session with the same ones ran.

        Raises ModelError where more than `max_fallback` of the operators ran elsewhere than asked for.
        """
        shapes = {s.name: [self._options["batch"], *(d or 1 for d in s.shape[1:])] for s in self.inputs}
        shapes.update({name: list(array.shape) for name, array in self._fed.items()})
        found = ran(self._path, self._options, shapes)
        most = check_fallback("ONNX Runtime", float(found.get("fallback_share", 0.0)), self._options)
        return {
            "provider": self._asked.get("provider", "cpu"),
            "provider_options": dict(self._asked.get("provider_options", {})),
            "providers": self._session.get_providers(),
            "graph_optimization": self._level,
            "optimized_cache": self._rewritten,
            "spinning": flag(self._asked, "spinning", True),
            "max_fallback": most,
            "weight_bits": self._facts.get("weight_bits", "as in the file"),
            "inter_op_threads": self._session.get_session_options().inter_op_num_threads,
            **found,
        }

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        return [operator(event) for event in profiled(self._path, self._options, feeds)]

    def close(self) -> None:
        del self._session

    def _misfit(self, feeds: Feeds, error: Exception) -> ModelError:
        if all(s.name in feeds and s.takes(feeds[s.name]) for s in self.inputs):
            return ModelError(
                f"ONNX Runtime failed on inputs of the model's names, types and shapes: {words(error)}",
                "Look at their values (an index beyond its table?) and at how their free axes go together.",
            )
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
        wanted = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in self.inputs)
        return ModelError(
            f"ONNX Runtime wants {wanted} and was given {given or 'nothing'}: {words(error)}",
            "Give inputs of the model's names, types and shapes, or export it for these.",
        )


def _check_int8(options: Mapping[str, Any]) -> None:
    """Raise EdgebenchError for a value that means nothing. Asks the machine nothing: it is part of a session's load time."""
    activations, bits = options.get("activations", "u8"), options.get("weight_bits", 8)
    if activations not in ACTIVATIONS:
        raise EdgebenchError(f"activations cannot be {activations!r}.", f"Use one of {', '.join(ACTIVATIONS)}.")
    if bits not in WEIGHTS or isinstance(bits, bool):
        raise EdgebenchError(f"weight_bits cannot be {bits!r}.", "Use 8 or 7.")


def _int8(options: Mapping[str, Any]) -> tuple[str, int]:
    """The type of the activations and the bits of the weights: as asked for, else what the processor wants."""
    _check_int8(options)
    on_arm = str(processor(options)["machine"]).lower() in ("aarch64", "arm64")
    activations = options.get("activations", "s8" if on_arm else "u8")
    own = options.get("provider", "cpu") == "cpu" and activations == "u8"
    bits = options.get("weight_bits", 7 if own and saturates(options) else 8)
    if (activations, bits) not in INT8:
        raise EdgebenchError("Weights of 7 bits are for u8 activations.", "Leave one of the two options out.")
    return str(activations), int(bits)
