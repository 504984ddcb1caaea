"""Where training runs: the CPU, or a GPU when there is one, there in mixed precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

from edgebench.errors import PlanError

ROOM = 8 << 30
"""Bytes of samples up to which the whole training split is put on the GPU."""


def device_for(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of a training. Raises PlanError for a GPU that is not there."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise PlanError(
            "A step asks for device cuda, but torch sees no GPU here.", 'Leave device out, or set it to "cpu".'
        )
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a GPU, only convolutions that give the same bits each time; a CPU does so by itself."""
    if device.type == "cpu":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
        yield


def precision(device: torch.device, mixed: bool) -> str:
    """What the forward pass is computed in: bfloat16 where that was wanted and a GPU has it, else float32."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if mixed and able else "float32"


def autocast(device: torch.device, mixed: bool) -> torch.autocast:
    """Mixed precision (Micikevicius et al., 2018, arXiv:1710.03740), or none; bfloat16's range needs no loss scaling."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device, mixed) == "bfloat16")
