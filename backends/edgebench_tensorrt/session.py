"""One engine, loaded: buffers on the device, page-locked ones on the host, and one stream that all runs through."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from edgebench.backend import EdgebenchError, Feeds, ModelError, OpProfile, Outputs, Session, Tensor, TensorSpec, np
from edgebench_tensorrt import layers, timing
from edgebench_tensorrt.api import TrtApi, complaint
from edgebench_tensorrt.asked import Asked
from edgebench_tensorrt.cuda import Cuda

TIMED = 0.5
"""Seconds of the device's time for each definition of latency; trtexec's own default is 3."""


class Buffers:
    """Page-locked arrays and device memory for every input and output of one shape."""

    def __init__(
        self, cuda: Cuda, inputs: Mapping[str, Tensor], outputs: Mapping[str, tuple[Sequence[int], str]]
    ) -> None:
        self.cuda = cuda
        self.inputs = {name: cuda.pinned(a.shape, a.dtype.name) for name, a in inputs.items()}
        self.outputs = {name: cuda.pinned(shape, dtype) for name, (shape, dtype) in outputs.items()}
        both = {**self.inputs, **self.outputs}
        self.addresses = {name: cuda.malloc(array.nbytes) for name, array in both.items()}

    def fill(self, feeds: Mapping[str, Tensor]) -> None:
        for name, array in self.inputs.items():
            np.copyto(array, feeds[name])

    def copy_in(self, stream: Any) -> None:
        for name, array in self.inputs.items():
            self.cuda.to_device(self.addresses[name], array, stream)

    def copy_out(self, stream: Any) -> None:
        for name, array in self.outputs.items():
            self.cuda.to_host(array, self.addresses[name], stream)

    def free(self) -> None:
        for address in self.addresses.values():
            self.cuda.free(address)
        self.addresses = {}


class TrtSession(Session):
    """`facts` are the sidecar's; they are told again by `effective`, beside what the engine itself says."""

    def __init__(self, api: TrtApi, engine: Any, cuda: Cuda, asked: Asked, facts: Mapping[str, Any]) -> None:
        self._api, self._engine, self._cuda, self._asked, self._facts = api, engine, cuda, asked, dict(facts)
        with api.listening() as lines:
            self._context = engine.create_execution_context()
        if self._context is None:
            raise EdgebenchError(
                f"{api.product} cannot set this engine up: {complaint(lines) or 'no further word'}.",
                "Free the GPU's memory, or build the engine for a smaller batch.",
            )
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        mode = api.trt.TensorIOMode.INPUT
        self.inputs = tuple(self._spec(n) for n in names if engine.get_tensor_mode(n) == mode)
        self.outputs = tuple(self._spec(n) for n in names if engine.get_tensor_mode(n) != mode)
        self._stream = cuda.stream()
        self._buffers: list[Buffers] = []
        self._own: Buffers | None = None

    def run(self, feeds: Feeds) -> Outputs:
        given = self._checked(feeds)
        if self._own is None or any(self._own.inputs[n].shape != a.shape for n, a in given.items()):
            if self._own is not None:
                self._buffers.remove(self._own)
                self._own.free()
            self._own = self._made(given)
        self._own.fill(given)
        self._infer(self._own)
        return [self._own.outputs[spec.name].copy() for spec in self.outputs]

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """Inputs wait in page-locked memory. A call copies them in, infers, copies out and waits: the application's latency."""
        given = self._checked(feeds)
        buffers = self._made(given)
        buffers.fill(given)
        answers = [buffers.outputs[spec.name] for spec in self.outputs]
        launch: Callable[[], None] = lambda: self._enqueue(buffers, self._stream)  # noqa: E731
        if self._asked.cuda_graph:
            self._infer(buffers)  # once plainly: TensorRT finishes its own set-up in the first inference of a shape
            launch = self._cuda.capture(self._stream, launch)
        stream, wait = self._stream, self._cuda.synchronize

        def infer() -> Outputs:
            launch()
            wait(stream)
            return answers

        return infer

    def effective(self) -> Mapping[str, Any]:
        report = layers.summary(self._layers())
        told = {k: v for k, v in self._facts.items() if k not in ("asked", "warnings", "shapes", "flags")}
        found = {
            **{k: v for k, v in vars(self._asked).items() if k not in ("precision", "batch", "cuda", "product")},
            **told,
            "product": self._api.product,
            "version": self._api.version,
            "threads": 1,
            "cuda": self._cuda.name,
            "max_batch": max((self._range(s)[1][0] for s in self.inputs if s.shape), default=1),
            "activation_bytes": self._api.activation_bytes(self._engine),
            **report,
        }
        weights = self._api.weights_bytes(self._engine)
        return {"precision": self._asked.precision, **found, **({} if weights is None else {"weights_bytes": weights})}

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        """In an execution context of its own, so that the measured one is never slowed down by the profiler."""
        given, known = self._checked(feeds), {layer["name"]: layer for layer in self._layers()}
        took: list[tuple[str, float]] = []
        context = self._engine.create_execution_context()
        context.profiler = profiler = self._api.profiler(took)
        buffers = self._made(given)
        buffers.fill(given)
        for _ in range(2):  # the first of a context includes its set-up
            took.clear()
            self._enqueue(buffers, self._stream, context)
            self._cuda.synchronize(self._stream)
        self._buffers.remove(buffers)
        buffers.free()
        del context, profiler
        return [{"name": n, "seconds": s, "op": n, **_place(known.get(n, {}))} for n, s in took]

    def device_times(self, feeds: Feeds, seconds: float = TIMED) -> Mapping[str, timing.Times]:
        """By definition: "gpu_compute", "trtexec10" and "trtexec11" (see timing.py), of `seconds` of the device's time each."""
        given = self._checked(feeds)
        slots = []
        for _ in range(2):
            buffers = self._made(given)
            buffers.fill(given)
            slots.append(self._slot(buffers))
        self._infer(self._buffers[-1])
        return {
            name: timing.measure(self._cuda, slots, definition, seconds=seconds)
            for name, definition in timing.DEFINITIONS.items()
        }

    def close(self) -> None:
        """Wait, then free: TensorRT's objects before the memory that they point to."""
        with suppress(EdgebenchError):
            self._cuda.synchronize(self._stream)
        del self._context
        del self._engine
        for buffers in self._buffers:
            buffers.free()

    def _spec(self, name: str) -> TensorSpec:
        shape = tuple(None if d < 0 else int(d) for d in self._engine.get_tensor_shape(name))
        return TensorSpec(name=name, dtype=self._api.dtype(self._engine.get_tensor_dtype(name)), shape=shape)

    def _checked(self, feeds: Feeds) -> dict[str, Tensor]:
        """The inputs, contiguous. Raises ModelError for what does not fit the engine or its range of shapes."""
        given = {}
        for spec in self.inputs:
            array = feeds.get(spec.name)
            if array is None:
                raise ModelError(
                    f"The input {spec.name!r} was not given.", "Give an array for each input of the network."
                )
            least, most = self._range(spec)
            sizes = array.shape
            fits = len(sizes) == len(least) and all(a <= n <= b for a, n, b in zip(least, sizes, most, strict=True))
            if array.dtype != spec.dtype or not fits:
                ranged = "" if least == most else f" to {most}"
                raise ModelError(
                    f"Input {spec.name!r} must be {spec.dtype}{least}{ranged}, and is {array.dtype}{list(sizes)}.",
                    "Give inputs of the engine's types and shapes, or build it with a greater max_batch.",
                )
            given[spec.name] = np.ascontiguousarray(array)
        return given

    def _range(self, spec: TensorSpec) -> tuple[list[int], list[int]]:
        """The least and the greatest shape that the engine was built for."""
        if None not in spec.shape:
            return [d or 0 for d in spec.shape], [d or 0 for d in spec.shape]
        least, _, most = self._engine.get_tensor_profile_shape(spec.name, 0)
        return [int(d) for d in least], [int(d) for d in most]

    def _made(self, given: Mapping[str, Tensor]) -> Buffers:
        for name, array in given.items():
            self._context.set_input_shape(name, array.shape)
        shapes = {}
        for spec in self.outputs:
            shape = [int(d) for d in self._context.get_tensor_shape(spec.name)]
            if any(d < 0 for d in shape):
                raise ModelError(
                    f"The size of output {spec.name!r} depends on the data, not on the inputs' shapes alone.",
                    "Cut such operators (NonZero, NonMaxSuppression) off the end of the network.",
                )
            shapes[spec.name] = (shape, spec.dtype)
        made = Buffers(self._cuda, given, shapes)
        self._buffers.append(made)
        return made

    def _start(self, buffers: Buffers, stream: Any, context: Any = None) -> None:
        """Put one inference into the stream, without copies."""
        context = context or self._context
        for name, array in buffers.inputs.items():
            context.set_input_shape(name, array.shape)
        for name, address in buffers.addresses.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(self._cuda.handle(stream)):
            raise EdgebenchError(
                f"{self._api.product} could not start an inference: {complaint(self._api.logger.lines) or 'no further word'}.",
                "Look at the GPU's memory and driver: edgebench doctor.",
            )

    def _enqueue(self, buffers: Buffers, stream: Any, context: Any = None) -> None:
        buffers.copy_in(stream)
        self._start(buffers, stream, context)
        buffers.copy_out(stream)

    def _infer(self, buffers: Buffers) -> None:
        self._enqueue(buffers, self._stream)
        self._cuda.synchronize(self._stream)

    def _slot(self, buffers: Buffers) -> timing.Slot:
        return timing.Slot(
            copy_in=buffers.copy_in,
            start=lambda stream: self._start(buffers, stream),
            copy_out=buffers.copy_out,
            capture=lambda stream: self._cuda.capture(stream, lambda: self._start(buffers, stream)),
        )

    def _layers(self) -> list[dict[str, str]]:
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        text = inspector.get_engine_information(self._api.trt.LayerInformationFormat.JSON)
        try:
            return layers.read(json.loads(text))
        except ValueError:  # an engine built without detail answers with plain text
            return []


def _place(layer: Mapping[str, str]) -> dict[str, str]:
    return {k: layer[k] for k in ("op", "precision", "device") if layer.get(k)}
