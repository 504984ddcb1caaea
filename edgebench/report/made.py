"""What a reader should know of how a file was made, beside what was asked: from the facts that are kept with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebench.backend import saturates

ADD_IN_16_BITS = ("onnxruntime", "openvino")
"""The runtimes whose int8 kernels do so on an x86 without VNNI."""


def notes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence or two each."""
    return (*pruned(facts), *narrowed(facts))


def pruned(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Of layers that a step was free to take channels from, and could not."""
    found: list[str] = []
    for step in facts.get("steps", ()):
        if whole := step.get("kept_whole"):
            found.append(f"Pruning left {_listed(whole)} whole: the code of the network counts on the width.")
        if strange := step.get("not_followed"):
            found.append(
                f"The penalty of sparsify is not of {_listed(strange)}: where those channels go cannot be followed."
            )
        if heads := step.get("heads_kept"):
            found.append(f"Pruning left the heads of {_listed(heads)}: those of torch.nn.MultiheadAttention cannot go.")
    return tuple(dict.fromkeys(found))


def narrowed(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Of weights that have fewer bits than the recipe says."""
    bits, asked = facts.get("weight_bits"), facts.get("weight_bits_asked")
    if asked is None:
        return ()
    return (
        f"Its weights have {bits} bits where the recipe has {asked}: more overflow on an x86 without VNNI. "
        f"weight_bits = {bits} in a qat step learns for them.",
    )


def overflowing(facts: Mapping[str, Any], runtime: str, machine: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a ready file whose weights are too wide for the processor that it was measured on; `machine` is a row's environment."""
    full = facts.get("full_weights")
    if not full or runtime not in ADD_IN_16_BITS or not machine.get("flags") or not saturates({"cpu": machine}):
        return ()
    return (
        f"{full} of its int8 weights fill 8 bits, with which kernels overflow on this processor, which has no VNNI: its answers "
        "may be wrong. Make the file with weight_bits = 7.",
    )


def _listed(names: Any, most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + rest
