"""Why a step did not pay: what the records of two rows say of how each was really run. Pure; a reason is a clause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgebench.backend import saturates
from edgebench.report.text import count, significant, time
from edgebench.schema import Result

ARM_INT8 = {"asimddp", "i8mm"}
QUANTIZING = ("quantizelinear", "dequantizelinear", "quantize", "dequantize", "fakequantize")
"""Operators that only change the precision: between fused layers there are none."""
MUCH = 0.1
MEMORY_RATE, FEW_MACS = 3e9, 8.0
"""Weights read faster than this (bytes/s) for fewer multiply-accumulates a byte than this: memory is what is waited for."""
SHORT = 50e-6
NONE_FOUND = "no reason was found; --metric profile shows the layers"


def reasons(own: Result, base: Result) -> tuple[str, ...]:
    """The reasons that are on record for a row that is no faster than another, the most telling first; never none."""
    found = (
        *_fell_back(own, base),
        *_in_float(own),
        *_int8(own),
        *_against(base),
        *_of_its_kind(own),
        *_bounds(own, base),
    )
    return found or (NONE_FOUND,)


def coverage(result: Result) -> tuple[int, int] | None:
    """How many of the convolutions, matrix products and recurrent layers ran in int8, of how many; None: not known."""
    int8, floats = result.effective.get("int8_ops"), result.effective.get("float_ops")
    if not isinstance(int8, int) or not isinstance(floats, int) or int8 + floats == 0:
        return None
    return int8, int8 + floats


def _fell_back(own: Result, base: Result) -> Iterator[str]:
    """Layers that the asked accelerator or delegate did not take."""
    share = own.effective.get("fallback_share")
    if isinstance(share, (int, float)) and share > 0:
        yield f"{share:.0%} of its operators fell back to another place than was asked for"
    taken, before = own.effective.get("delegated_ops"), base.effective.get("delegated_ops")
    if isinstance(taken, int) and isinstance(before, int) and before and not taken:
        yield "the delegate took none of its layers, and took the other's"
    left = own.effective.get("not_delegated")
    if isinstance(left, (list, tuple)) and left and taken:
        yield f"the delegate left {', '.join(str(op) for op in left[:3])} to slower kernels"


def _in_float(own: Result) -> Iterator[str]:
    asked, ran = own.cell.precision, str(own.effective.get("precision") or "")
    if asked != ran and asked == "int8" and ran:
        yield f"most of it ran in {ran}, not in int8"
    elif asked != ran and asked in ("fp16", "bf16") and ran == "fp32":
        yield f"it ran in fp32, not in {asked}"


def _int8(own: Result) -> Iterator[str]:
    if own.cell.precision != "int8":
        return
    covered = coverage(own)
    if covered and covered[0] < covered[1]:
        missing = covered[1] - covered[0]
        yield f"QDQ not fused: {missing} of {count(covered[1], 'heavy layer')} stayed in float"
    converting = _converting(own.effective.get("layers"))
    if converting >= MUCH:
        yield f"{converting:.0%} of the time goes into changing between int8 and float"
    flags, machine = set(own.environment.get("flags") or ()), str(own.environment.get("machine") or "")
    if flags and saturates({"cpu": own.environment}):
        yield "this processor has no VNNI, so int8 products gain little over float ones"
    if flags and machine in ("aarch64", "arm64", "armv8l") and not flags & ARM_INT8:
        yield "this processor has no int8 dot products"


def _converting(layers: Any) -> float:
    """Of a profile, the share of time of operators that only change the precision."""
    if not isinstance(layers, (list, tuple)):
        return 0.0
    known = [layer for layer in layers if isinstance(layer, Mapping) and isinstance(layer.get("seconds"), (int, float))]
    total = sum(layer["seconds"] for layer in known)
    own = sum(layer["seconds"] for layer in known if str(layer.get("op", "")).lower() in QUANTIZING)
    return own / total if total > 0 else 0.0


def _against(base: Result) -> Iterator[str]:
    if base.cell.precision == "fp32" and base.effective.get("precision") == "bf16":
        yield "what it is compared with ran in bf16, not in fp32"


def _of_its_kind(own: Result) -> Iterator[str]:
    facts = own.artifact.facts if own.artifact else {}
    if facts.get("mask") == "unstructured":
        yield "zeros within layers save download size, and no runtime here skips them"
    if facts.get("mask") == "2:4":
        yield "2:4 zeros are skipped by TensorRT on GPUs since Ampere only"


def _bounds(own: Result, base: Result) -> Iterator[str]:
    """What does not shrink with the work: reading the weights, and the call itself."""
    latency = own.get("latency")
    if latency is None or not latency.value or own.artifact is None:
        return
    macs, size = own.artifact.facts.get("macs"), own.artifact.size
    if isinstance(macs, (int, float)) and size > 0:
        rate, work = size / latency.value, macs * own.cell.batch / size
        if rate > MEMORY_RATE and work < FEW_MACS:
            yield (
                f"memory-bound: {significant(rate / 1e9)} GB/s of weights for {significant(work)} multiply-accumulates a byte"
            )
    if latency.value < SHORT:
        yield f"at {time(latency.value)} a call, calling the runtime weighs more than the layers"
