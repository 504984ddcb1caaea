"""LiteRT (TensorFlow Lite) on the CPU: .tflite files, float or quantized, through the XNNPACK delegate.

The Interpreter is used rather than the newer CompiledModel, whose call costs three times as much while the kernels
are the same. It copies inputs and outputs, as it does for every application in Python.

An fp16 file holds its weights in fp16; XNNPACK computes with them in fp32 unless it is told otherwise, which a Python
application cannot do: the file is half the size, and no faster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgebench.backend import (
    FALLBACK,
    Artifact,
    Availability,
    Backend,
    EdgebenchError,
    Feeds,
    ModelError,
    Outputs,
    Session,
    Tensor,
    check_fallback,
    np,
    probe_import,
)
from edgebench_litert.ends import End, layout_hint, names
from edgebench_litert.graph import placement

RESOLVERS = {"xnnpack": "AUTO", "none": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


class LiteRtBackend(Backend):
    name = "litert"
    accepts = frozenset({"tflite"})
    endings = {".tflite": "tflite"}
    precisions = {"fp32": "tflite", "fp16": "tflite-fp16", "int8": "tflite-int8"}
    options = {
        "delegate": "xnnpack (default): its kernels for the operators that it has; none: LiteRT's own",
        **FALLBACK,
    }
    module = "ai_edge_litert.interpreter"
    fork_safe = True
    extra = "edgebench[litert]"
    distributions = ("ai-edge-litert", "litert-torch", "litert-converter", "ai-edge-quantizer")

    def probe(self) -> Availability:
        return probe_import("ai_edge_litert", self.extra, before="import ai_edge_litert.interpreter")

    def check(self, options: Mapping[str, Any]) -> None:
        check_fallback("XNNPACK", 0.0, options)
        delegate = options.get("delegate", "xnnpack")
        if not isinstance(delegate, str) or delegate not in RESOLVERS:
            raise EdgebenchError(f"delegate cannot be {delegate!r}.", f"Use one of {', '.join(RESOLVERS)}.")

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        self.check(options)
        return LiteRtSession(artifact.path, options)


class LiteRtSession(Session):
    """No profile: the package's Interpreter tells the operators, but not how long each takes."""

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        self._path, self._options = path, dict(options)
        before = _threads()
        self._interpreter = _load(path, options)
        self._resize([_batched(d, options["batch"], path) for d in self._interpreter.get_input_details()])
        self._started = _threads() - before
        called = names(self._interpreter)
        self._in = [End(d, called[d["index"]]) for d in self._interpreter.get_input_details()]
        self._out = [End(d, called[d["index"]]) for d in self._interpreter.get_output_details()]
        self.inputs = tuple(end.spec for end in self._in)
        self.outputs = tuple(end.spec for end in self._out)

    def run(self, feeds: Feeds) -> Outputs:
        return self.bind(feeds)()

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """All is looked up and checked here: set_tensor, invoke and get_tensor are left."""
        arrays = self._arrays(feeds)
        put, infer, get = self._interpreter.set_tensor, self._interpreter.invoke, self._interpreter.get_tensor
        fed = [(end.index, array) for end, array in zip(self._in, arrays, strict=True)]
        answers = [end.index for end in self._out]

        def call() -> Outputs:
            for index, array in fed:
                put(index, array)
            infer()
            return [get(index) for index in answers]

        return call

    def effective(self) -> Mapping[str, Any]:
        """What the operators and their tensors say, after the delegate took its part.

        Raises ModelError where more than `max_fallback` of the operators are left to LiteRT's own kernels against the will.
        """
        found = placement(self._interpreter._get_ops_details())
        scaled = {s.name: f"{s.dtype}, {s.scaled}" for s in (*self.inputs, *self.outputs) if s.scaled}
        delegated = bool(found["delegated_ops"])
        asked = self._options.get("delegate", "xnnpack") == "xnnpack"
        share = 1 - found["delegated_ops"] / found["ops"] if asked and found["ops"] else 0.0
        return {
            **found,
            "fallback_share": share,
            "max_fallback": check_fallback("XNNPACK", share, self._options),
            "delegate": "xnnpack" if delegated else "none",
            # The delegate starts its threads while tensors are allocated. LiteRT's own kernels start them when they
            # first need them, so what was set is all that can be told.
            "threads": 1 + self._started if delegated and _sees_threads() else self._options["threads"],
            **({"integer_ends": scaled} if scaled else {}),
        }

    def close(self) -> None:
        del self._interpreter

    def _arrays(self, feeds: Feeds) -> list[Tensor]:
        """The array of each input. Raises ModelError for one that is missing or does not fit."""
        if any(end.spec.name not in feeds or not end.spec.takes(feeds[end.spec.name]) for end in self._in):
            raise self._misfit(feeds)
        arrays = [np.ascontiguousarray(feeds[end.spec.name]) for end in self._in]
        if any(end.shape != array.shape for end, array in zip(self._in, arrays, strict=True)):
            self._resize([array.shape for array in arrays])  # along a free axis that is not the batch
            for end, array in zip(self._in, arrays, strict=True):
                end.shape = array.shape
        return arrays

    def _resize(self, shapes: Sequence[Sequence[int]]) -> None:
        """Set the shapes of the inputs and lay out the memory. Raises ModelError."""
        resized = False
        try:
            for detail, shape in zip(self._interpreter.get_input_details(), shapes, strict=True):
                if detail["shape"].tolist() != list(shape):
                    self._interpreter.resize_tensor_input(detail["index"], list(shape))
                    resized = True
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            if resized:
                self._check_as_made()
                raise _cannot_resize(self._path, shapes, error) from error
            raise _cannot_load(self._path, error) from error

    def _check_as_made(self) -> None:
        """Raise ModelError if the file is refused in the shapes of its own, too: then these are not to blame."""
        try:
            _load(self._path, self._options).allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise _cannot_load(self._path, error) from error

    def _misfit(self, feeds: Feeds) -> ModelError:
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
        wanted = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in self.inputs)
        hints = [layout_hint(s.shape, feeds[s.name].shape) for s in self.inputs if s.name in feeds]
        hint = next((h for h in hints if h), "")
        return ModelError(
            f"LiteRT wants {wanted} and was given {given or 'nothing'}{': ' if hint else ''}{hint}.",
            "Transpose the array." if hint else "Give inputs of the model's names, types and shapes.",
        )


def _load(path: str, options: Mapping[str, Any]) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType[RESOLVERS[options.get("delegate", "xnnpack")]]
    try:
        return Interpreter(path, num_threads=options["threads"], experimental_op_resolver_type=resolver)
    except (RuntimeError, ValueError) as error:
        raise _cannot_load(path, error) from error


def _batched(detail: Mapping[str, Any], batch: int, path: str) -> list[int]:
    """The shape of an input with its free first axis set to the batch.

    LiteRT would resize an axis of 1 that is not free, too, and may then answer wrongly without a word: a converter
    leaves out what does nothing for a batch of one.
    """
    shape = [int(size) for size in detail["shape"]]
    if shape and int(detail["shape_signature"][0]) == -1:
        return [batch, *shape[1:]]
    if shape[:1] == [1] and batch != 1:
        raise ModelError(
            f"{path} was made for a batch of 1, not {batch}.",
            "Ask for batch = 1, or make the file with a batch axis that is free.",
        )
    return shape


def _cannot_load(path: str, error: Exception) -> ModelError:
    words = _words(error)
    custom = words.partition("custom op: ")[2].partition(".")[0]
    if custom:
        return ModelError(
            f"{path} has the custom operator {custom}, which LiteRT does not have.",
            "Make the file of built-in operators only: a custom one belongs to the application that brings its kernel.",
        )
    return ModelError(
        f"LiteRT cannot load {path}: {words}.",
        "Make it again: a whole .tflite file of operators that this version knows.",
    )


def _cannot_resize(path: str, shapes: Sequence[Sequence[int]], why: object) -> ModelError:
    asked = ", ".join(str(list(map(int, shape))) for shape in shapes)
    return ModelError(
        f"{path} cannot take inputs of shape {asked}: {_words(why)}.",
        "Ask for the batch that the file was made for, or make it for this one.",
    )


def _words(error: object) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def _sees_threads() -> bool:
    return os.path.isdir("/proc/self/task")


def _threads() -> int:
    return len(os.listdir("/proc/self/task")) if _sees_threads() else 0
