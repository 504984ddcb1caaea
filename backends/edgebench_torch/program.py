"""A program of torch.export as it comes from its file: read without running pickled code, its weights packed or cast."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any

from edgebench.backend import ModelError, TensorSpec

HEAVY_OPS = ("conv", "linear", "addmm", "bmm", "aten.mm.", "matmul", "attention", "lstm", "gru", "rnn")
"""What the precision of a network is judged by: the operators whose name contains one of these."""

HALVES = {"bf16": "bfloat16", "fp16": "float16"}
"""The precisions that the weights of a float program are cast to -> torch's name."""

FIX = "Export it again with torch.export.save, with this version of torch or an older one."


def load(path: str) -> Any:
    """The exported program. Raises ModelError."""
    import torch
    import torch.export

    # The operators of quantized programs that are still to be compiled.
    importlib.import_module("torch.ao.quantization.fx._decomposed")
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


def ends(program: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs."""
    signature = program.graph_signature
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = tuple(_spec(name, values[name]) for name in signature.user_inputs)
    return inputs, tuple(_spec(name, values[name]) for name in signature.user_outputs)


def _spec(name: str, value: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(name=name, dtype=str(value.dtype).removeprefix("torch."), shape=shape)


def module_of(program: Any, path: str, options: Mapping[str, Any]) -> Any:
    """The module to run, packed, cast and laid out as the options say. Raises ModelError."""
    import torch

    if options.get("device", "cpu") != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, options["device"])
    module = program.module()
    _prepack(module)
    if options["precision"] in HALVES:
        _refuse_fixed_float32(module, path, options["precision"])
        module.to(getattr(torch, HALVES[options["precision"]]))
    if options.get("channels_last", False):
        module.to(memory_format=torch.channels_last)
    return module


def counted(module: Any, precision: str) -> dict[str, Any]:
    """The precision of most of the heavy operators, and how many of them are int8 and float."""
    nodes = [n for n in module.graph.nodes if n.op == "call_function"]
    heavy = [n for n in nodes if any(op in str(n.target) for op in HEAVY_OPS) and "prepack" not in str(n.target)]
    # oneDNN's quantized operators are named q...; a layer between dequantize nodes is for a compiler to fuse.
    int8 = sum(str(n.target).startswith("onednn.q") or _between_dequantize(n) for n in heavy)
    weights = {str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.is_floating_point()}
    cast = [word for word, name in HALVES.items() if name in weights or (precision == word and not weights)]
    return {
        "precision": "int8" if int8 > len(heavy) - int8 else (cast or ["fp32"])[0],
        "int8_ops": int8,
        "float_ops": len(heavy) - int8,
    }


def _between_dequantize(node: Any) -> bool:
    return all("dequantize" in str(getattr(a, "target", "")) for a in node.args[:2]) and len(node.args) > 1


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


def _refuse_fixed_float32(module: Any, path: str, precision: str) -> None:
    import torch

    for node in module.graph.nodes:
        if torch.float32 in (*node.args, *node.kwargs.values()):
            raise ModelError(
                f"{path} cannot run in {precision}: its operator {node.name} ({node.target}) asks for float32.",
                "Ask for fp32, or export a network that does not convert to float32 itself.",
            )
