"""torch: programs saved by torch.export, eager (the reference for parity) or compiled; on the CPU or a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebench.backend import (
    Artifact,
    Availability,
    Backend,
    EdgebenchError,
    Feeds,
    MissingRuntime,
    ModelError,
    OpProfile,
    Options,
    Outputs,
    Session,
    TensorSpec,
    cpu_key,
    kept,
    np,
    probe_import,
    saturates,
)
from edgebench_torch import compilers
from edgebench_torch.program import FIX, HALVES, counted, ends, load, module_of

DEVICES = ("cpu", "cuda")


class TorchBackend(Backend):
    name = "torch"
    accepts = frozenset({"pt2"})
    endings = {".pt2": "pt2"}
    precisions = {"fp32": "pt2", "bf16": "pt2", "int8": "pt2-int8-x86"}
    refused = {"fp16": 'it is for GPUs: ask for it with device = "cuda"'}
    options = {
        "mode": "eager (default), compile (torch.compile, at the first inference), or aot (AOTInductor, ahead of time)",
        "channels_last": "true: weights and pictures in channels-last order; false (default): as the program has them",
        "device": "cpu (default) or cuda",
    }
    module = "torch.export.pt2_archive"  # what reads the files: most of the import, and the rest of torch with it
    fork_safe = True
    extra = "edgebench[torch]"
    distributions = ("torch", "torchao")

    def lowering(self, precision: str, options: Mapping[str, Any]) -> str | None:
        mode, _, device = _checked(options)
        if device != "cpu":
            return "pt2" if precision in ("fp32", *HALVES) else None
        if precision != "int8":
            return self.precisions.get(precision)
        made = self.precisions["int8"] if mode == "eager" else "pt2-int8-qdq"  # compilers fuse the layers themselves
        return f"{made}-s7" if saturates(options) else made

    def probe(self) -> Availability:
        return probe_import("torch", self.extra)

    def builds(self, options: Mapping[str, Any]) -> bool:
        return _checked(options)[0] == "aot"

    def build(self, artifact: Artifact, options: Mapping[str, Any], out: Path) -> Artifact:
        """The package of AOTInductor for this machine, batch and number of threads, kept by all that it depends on."""
        import torch

        if not self.builds(options):
            return artifact
        _ready(options)
        program = load(artifact.path)
        inputs, outputs = ends(program)
        inputs, outputs = (_of_batch(specs, options["batch"]) for specs in (inputs, outputs))
        module = module_of(program, artifact.path, options)
        facts = counted(module, options["precision"])
        asked = {k: options.get(k) for k in ("channels_last", "device", "threads", "batch", "precision")}
        key = {"file": artifact.sha256, "version": torch.__version__, "cpu": cpu_key(), **asked}

        def make(path: Path) -> None:
            zeros = [np.zeros([d or options["batch"] for d in s.shape], s.dtype) for s in inputs]
            compilers.ahead_of_time(module, _placed([torch.from_numpy(a) for a in zeros], options), path)

        made = kept("model.pt2", key, make)
        ended = {"inputs": [vars(s) for s in inputs], "outputs": [vars(s) for s in outputs]}
        known = Options({**artifact.facts, "aot": {**facts, **ended}})
        return replace(artifact, path=str(made), size=made.stat().st_size, parent=artifact.sha256, facts=known)

    def check(self, options: Mapping[str, Any]) -> None:
        _checked(options)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        _ready(options)
        if self.builds(options) and "aot" not in artifact.facts:
            artifact = self.build(artifact, options, Path())
        return TorchSession(artifact, options)


class TorchSession(Session):
    """bf16 and fp16 cast weights, inputs and outputs of the fp32 program, so that its interface stays float32."""

    def __init__(self, artifact: Artifact, options: Mapping[str, Any]) -> None:
        import torch

        self._torch, self._options = torch, dict(options)
        self._mode, self._channels_last, self._device = _checked(options)
        self._cast = getattr(torch, HALVES[options["precision"]]) if options["precision"] in HALVES else None
        if self._mode == "aot":
            known = artifact.facts["aot"]
            self.inputs, self.outputs = (tuple(map(_spec, known[k])) for k in ("inputs", "outputs"))
            self._found = {k: known[k] for k in ("precision", "int8_ops", "float_ops")}
            self._call = compilers.load_package(artifact.path)
            return
        program = load(artifact.path)
        self.inputs, self.outputs = ends(program)
        self._module = module_of(program, artifact.path, options)
        self._found = counted(self._module, options["precision"])
        self._call = compilers.just_in_time(self._module) if self._mode == "compile" else self._module

    def run(self, feeds: Feeds) -> Outputs:
        return self._infer(self._tensors(feeds))

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        tensors = self._tensors(feeds)
        return lambda: self._infer(tensors)

    def effective(self) -> Mapping[str, Any]:
        torch = self._torch
        return {
            **self._found,
            "threads": torch.get_num_threads(),
            "inter_op_threads": torch.get_num_interop_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "onednn": bool(torch.backends.mkldnn.is_available()),
            "mode": self._mode,
            "channels_last": self._channels_last,
            "device": torch.cuda.get_device_name() if self._device == "cuda" else "cpu",
        }

    def profile(self, feeds: Feeds) -> Sequence[OpProfile]:
        """Each operator's own time, by torch's profiler; one inference before it warms up."""
        from torch.profiler import ProfilerActivity, profile

        tensors = self._tensors(feeds)
        self._infer(tensors)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            self._infer(tensors)
        return [
            {
                "name": f"{event.name}/{i}",
                "op": event.name,
                "seconds": event.self_cpu_time_total / 1e6,
                "device": "CPU",
            }
            for i, event in enumerate(profiler.events())
        ]

    def close(self) -> None:
        del self._call
        with contextlib.suppress(AttributeError):
            del self._module

    def _infer(self, tensors: Sequence[Any]) -> Outputs:
        torch = self._torch
        with torch.inference_mode():
            if self._cast:
                tensors = [t.to(self._cast) if t.is_floating_point() else t for t in tensors]
            if self._channels_last or self._device != "cpu":
                tensors = _placed(tensors, self._options)
            try:
                found = self._call(*tensors)
            except (RuntimeError, AssertionError) as error:  # a guard of the program, or an operator
                words = " ".join(str(error).split())[:300]
                raise ModelError(f"torch cannot run the program on these inputs: {words}", FIX) from error
            flat = [found] if isinstance(found, torch.Tensor) else torch.utils._pytree.tree_leaves(found)
            return [(t.float() if t.dtype == self._cast else t).cpu().numpy() for t in flat]

    def _tensors(self, feeds: Feeds) -> list[Any]:
        for spec in self.inputs:
            array = feeds.get(spec.name)
            given = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            if array is None or not spec.takes(array):
                raise ModelError(
                    f"Input {spec.name!r} must be {spec.dtype}{list(spec.shape)} and is {given}.",
                    "Give inputs of the program's types and shapes, or export it for these.",
                )
        # Shared with numpy; torch asks that it could write there, although no inference does.
        return [self._torch.from_numpy(np.require(feeds[s.name], requirements=["C", "W"])) for s in self.inputs]


def _checked(options: Mapping[str, Any]) -> tuple[str, bool, str]:
    """Mode, channels-last, device. Raises EdgebenchError for a value that means nothing."""
    mode, last, device = (
        options.get(k, d) for k, d in (("mode", "eager"), ("channels_last", False), ("device", "cpu"))
    )
    if not isinstance(mode, str) or mode not in compilers.MODES:
        raise EdgebenchError(f"mode cannot be {mode!r}.", f"Use one of {', '.join(compilers.MODES)}.")
    if not isinstance(last, bool):
        raise EdgebenchError(f"channels_last cannot be {last!r}.", "Use true or false.")
    if not isinstance(device, str) or device not in DEVICES:
        raise EdgebenchError(f"device cannot be {device!r}.", f"Use one of {', '.join(DEVICES)}.")
    return str(mode), last, str(device)


def _ready(options: Mapping[str, Any]) -> None:
    """Set the threads; raise MissingRuntime for a compiler or a GPU that is not there."""
    import torch

    mode, _, device = _checked(options)
    if mode != "eager":
        compilers.check_compiler(mode)
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingRuntime(
            f"torch {torch.__version__} finds no CUDA GPU here.",
            'Install a driver and a torch that is built for CUDA, or use device = "cpu".',
        )
    torch.set_num_threads(options["threads"])
    if torch.get_num_interop_threads() != 1:  # torch allows this once in a process
        torch.set_num_interop_threads(1)


def _placed(tensors: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """The tensors on the device and in the order of axes that the options ask for."""
    import torch

    last = options.get("channels_last", False)
    placed = [t.to(options.get("device", "cpu")) for t in tensors]
    return [t.contiguous(memory_format=torch.channels_last) if last and t.ndim == 4 else t for t in placed]


def _of_batch(specs: Sequence[TensorSpec], batch: int) -> tuple[TensorSpec, ...]:
    """With a free first axis set to the batch: a compiled package is for one."""
    return tuple(replace(s, shape=(batch, *s.shape[1:])) if s.shape[:1] == (None,) else s for s in specs)


def _spec(known: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(name=known["name"], dtype=known["dtype"], shape=tuple(known["shape"]))
