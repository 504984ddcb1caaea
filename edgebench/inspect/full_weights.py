"""Weights that an x86 without VNNI overflows with: signed ones of 8 bits, beside unsigned activations (vpmaddubsw)."""

from __future__ import annotations

import mmap
from importlib.util import find_spec
from pathlib import Path

from edgebench.inspect.qdq import Facts

NARROW = 64
"""The greatest weight of 7 bits: two of its products with a u8 fit in 16 bits, as vpmaddubsw adds them."""
DYNAMIC = frozenset(
    {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
)
"""The operators that quantize activations at each inference."""
INTEGER = (b"QuantizeLinear", b"Integer", b"QLinear")
"""What the name of some operator of every int8 ONNX file holds."""


def of(facts: Facts) -> list[str]:
    """The names of those weights."""
    unsigned = facts.ops & DYNAMIC or any(p.dtype == "uint8" for p in facts.activations)
    if not unsigned:
        return []
    return [name for name in facts.int8_weights if abs(facts.value(name).astype(int)).max(initial=0) > NARROW]


def of_file(path: Path) -> int:
    """How many an ONNX file has. 0 also where this cannot be told: without the package onnx, or in a damaged file."""
    if not _is_integer(path) or find_spec("onnx") is None:
        return 0
    from edgebench.errors import ModelError
    from edgebench.inspect import onnx_file

    try:
        return len(of(Facts(onnx_file.load(path), {})))
    except ModelError:  # whoever opens it says what is wrong with it
        return 0


def _is_integer(path: Path) -> bool:
    """Whether the file may be one of int8: a look at its bytes, which costs a float file next to nothing."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(word) >= 0 for word in INTEGER)
