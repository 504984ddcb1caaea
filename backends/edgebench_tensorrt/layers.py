"""What an engine runs, from the inspector's JSON: each layer with its kind, precision and place; old and new key styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAVY = ("conv", "gemm", "matrixmultiply", "matmul", "deconv", "mha", "attention", "fullyconnected")
"""What the precision of a network is judged by: layers whose kind, tactic or origin names one of these."""
MOVES = ("reformat", "shuffle", "cast", "copy")
"""Layers that compute nothing: many of them are why int8 may not pay."""
TYPES = {
    "int8": "int8", "fp8": "fp8", "float8": "fp8", "e4m3": "fp8", "int4": "int4", "fp4": "fp4",
    "half": "fp16", "fp16": "fp16", "float16": "fp16", "bf16": "bf16", "bfloat16": "bf16",
    "fp32": "fp32", "float32": "fp32", "float": "fp32",
}  # fmt: skip
RANK = ("fp4", "int4", "int8", "fp8", "fp16", "bf16", "fp32")
"""A layer's precision is the lowest of its inputs': TensorRT's int8 kernels may write floats, and float ones read none."""


def read(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """name, op, precision ("" where no tensor has a float or quantized type), device of each layer, in order.

    Without detailed verbosity at build time TensorRT lists names only: their other fields are "".
    """
    return [_layer(layer) for layer in report.get("Layers", ())]


def summary(layers: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Counts for the record: heavy layers by precision, layers that only move data, and the share on the DLA."""
    heavy = [layer["precision"] for layer in layers if layer["heavy"] and layer["precision"]]
    placed = [layer for layer in layers if layer["device"]]
    found: dict[str, Any] = {
        "engine_layers": len(layers),
        "int8_ops": heavy.count("int8"),
        "float_ops": len(heavy) - heavy.count("int8"),
        "moving_layers": sum(bool(layer["moves"]) for layer in layers),
        "dla_share_found": sum(layer["device"] == "dla" for layer in placed) / len(placed) if placed else 0.0,
    }
    if heavy:
        found["precision"] = max(sorted(set(heavy)), key=heavy.count)
    return found


def _layer(layer: Any) -> dict[str, str]:
    if not isinstance(layer, Mapping):
        return {"name": str(layer), "op": "", "precision": "", "device": "", "heavy": "", "moves": ""}
    kind = str(layer.get("LayerType", ""))
    traces = f"{kind} {layer.get('TacticName', '')} {layer.get('Metadata', '')}".lower()
    types = [t for t in map(_type, layer.get("Inputs", ())) if t]
    moves = any(word in kind.lower() for word in MOVES)
    return {
        "name": str(layer.get("Name", "")),
        "op": str(layer.get("ParameterType") or kind),
        "precision": min(types, key=RANK.index) if types else "",
        "device": "dla" if "dla" in kind.lower() else "gpu",
        "heavy": "yes" if not moves and any(word in traces for word in HEAVY) else "",
        "moves": "yes" if moves else "",
    }


def _type(tensor: Any) -> str:
    """The precision in "Format/Datatype": "Row major linear FP16 format" (to 10) or "Datatype": "Half" (11); "" for others."""
    if not isinstance(tensor, Mapping):
        return ""
    said = next((str(tensor[k]) for k in ("Datatype", "DataType", "Format/Datatype", "Format") if tensor.get(k)), "")
    words = said.replace(",", " ").lower().split()
    return next((TYPES[word] for word in words if word in TYPES), "")
