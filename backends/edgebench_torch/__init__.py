"""torch in eager mode on the CPU: programs saved by torch.export, the reference for parity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
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

HEAVY_OPS = ("conv", "linear", "addmm", "matmul", "attention")
"""What the precision of a network is judged by: the operators whose name contains one of these."""

FIX = "Export it again with torch.export.save, with this version of torch or an older one."


class TorchBackend(Backend):
    name = "torch"
    accepts = frozenset({"pt2"})
    precisions = {"fp32": "pt2", "bf16": "pt2", "int8": "pt2-int8-x86"}
    module = "torch.export.pt2_archive"  # what reads the files: most of the import, and the rest of torch with it
    fork_safe = True
    extra = "edgebench[torch]"

    def probe(self) -> Availability:
        return probe_import("torch", self.extra)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        return TorchSession(artifact.path, options)


class TorchSession(Session):
    """bf16 casts weights, inputs and outputs of the fp32 program, so that its interface stays float32."""

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        import torch

        torch.set_num_threads(options["threads"])
        if torch.get_num_interop_threads() != 1:  # torch allows this once in a process
            torch.set_num_interop_threads(1)
        program = _load(path)
        signature = program.graph_signature
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        self.inputs = tuple(_spec(name, values[name]) for name in signature.user_inputs)
        self.outputs = tuple(_spec(name, values[name]) for name in signature.user_outputs)
        self._torch = torch
        self._module = program.module()
        _prepack(self._module)
        self._cast = options["precision"] == "bf16"
        if self._cast:
            _refuse_fixed_float32(self._module, path)
            self._module.to(torch.bfloat16)

    def run(self, feeds: Feeds) -> Outputs:
        return self._infer(self._tensors(feeds))

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        tensors = self._tensors(feeds)
        return lambda: self._infer(tensors)

    def effective(self) -> Mapping[str, Any]:
        torch = self._torch
        targets = [str(n.target) for n in self._module.graph.nodes if n.op == "call_function"]
        heavy = [t for t in targets if any(op in t for op in HEAVY_OPS) and "prepack" not in t]
        # oneDNN's quantized operators are named q...; quantize and dequantize around a float one stay float.
        int8 = sum(t.startswith("onednn.q") for t in heavy)
        weights = {str(p.dtype).removeprefix("torch.") for p in self._module.parameters() if p.is_floating_point()}
        floats = "bf16" if "bfloat16" in weights or (self._cast and not weights) else "fp32"
        return {
            "precision": "int8" if int8 > len(heavy) - int8 else floats,
            "threads": torch.get_num_threads(),
            "inter_op_threads": torch.get_num_interop_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "onednn": bool(torch.backends.mkldnn.is_available()),
            "mode": "eager",
            "int8_ops": int8,
            "float_ops": len(heavy) - int8,
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
        del self._module

    def _infer(self, tensors: Sequence[Any]) -> Outputs:
        torch = self._torch
        with torch.inference_mode():
            if self._cast:
                tensors = [t.to(torch.bfloat16) if t.is_floating_point() else t for t in tensors]
            try:
                found = self._module(*tensors)
            except (RuntimeError, AssertionError) as error:  # a guard of the program, or an operator
                words = " ".join(str(error).split())[:300]
                raise ModelError(f"torch cannot run the program on these inputs: {words}", FIX) from error
            flat = [found] if isinstance(found, torch.Tensor) else torch.utils._pytree.tree_leaves(found)
            return [(t.float() if t.dtype == torch.bfloat16 else t).numpy() for t in flat]

    def _tensors(self, feeds: Feeds) -> list[Any]:
        for spec in self.inputs:
            array = feeds.get(spec.name)
            given = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            if array is None or array.dtype != spec.dtype or not _of_shape(array.shape, spec.shape):
                raise ModelError(
                    f"Input {spec.name!r} must be {spec.dtype}{list(spec.shape)} and is {given}.",
                    "Give inputs of the program's types and shapes, or export it for these.",
                )
        # Shared with numpy; torch asks that it could write there, although no inference does.
        return [self._torch.from_numpy(np.require(feeds[s.name], requirements=["C", "W"])) for s in self.inputs]


def _load(path: str) -> Any:
    import torch
    import torch.export

    try:
        with _no_pickled_code():
            return torch.export.load(path)
    except Exception as error:  # a zip, JSON, schema or operator that is wrong: no common base
        words = " ".join(str(error.__cause__ or error).split())[:300]
        raise ModelError(f"torch {torch.__version__} cannot load {path}: {words}", FIX) from error


@contextmanager
def _no_pickled_code() -> Iterator[None]:
    """Let torch unpickle tensors only. torch.export.load would else run what a file's pickles ask for."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _prepack(module: Any) -> None:
    """Pack oneDNN's weights now, once: a packed weight cannot be saved, so programs carry the packing."""
    graph = module.graph
    for node in [n for n in graph.nodes if n.op == "call_function" and "prepack" in str(n.target)]:
        name = f"packed_{node.name}"
        module.register_buffer(name, _value(module, node), persistent=False)
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.get_attr(name))
    graph.eliminate_dead_code()
    module.recompile()


def _value(module: Any, node: Any) -> Any:
    """What a node that depends on weights only stands for; other arguments are values already."""
    if not hasattr(node, "op"):
        return node
    if node.op == "get_attr":
        return reduce(getattr, node.target.split("."), module)
    return node.target(*[_value(module, a) for a in node.args], **node.kwargs)


def _refuse_fixed_float32(module: Any, path: str) -> None:
    import torch

    for node in module.graph.nodes:
        if torch.float32 in (*node.args, *node.kwargs.values()):
            raise ModelError(
                f"{path} cannot run in bf16: its operator {node.name} ({node.target}) asks for float32.",
                "Ask for fp32, or export a network that does not convert to float32 itself.",
            )


def _spec(name: str, value: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(name=name, dtype=str(value.dtype).removeprefix("torch."), shape=shape)


def _of_shape(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(w in (None, f) for f, w in zip(found, wanted, strict=True))
