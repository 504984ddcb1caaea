"""Where training runs, and in what: the CPU, or a GPU when there is one; in float32, or in mixed precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

from edgebench.errors import PlanError

ROOM = 8 << 30
"""Bytes of samples up to which the whole training split is put on the GPU."""
Mixed = Literal["gpu", "always", "never"]


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


def layout(device: torch.device) -> torch.memory_format:
    """How pictures and weights lie in memory: channels last, 1.2 to 1.6 times as fast, where that is right.

    On a CPU with AVX2 and no AVX-512 it is not: oneDNN's jit_1x1:avx2 kernel gives wrong gradients of a strided 1 x 1
    convolution with few input channels laid out so, and writes beyond its memory (torch 2.13.0, oneDNN 3).
    """
    right = device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.channels_last if right else torch.contiguous_format


def precision(device: torch.device, mixed: Mixed) -> str:
    """What the forward pass is computed in: bfloat16 where that was wanted and the device has it, else float32."""
    if device.type == "cuda":
        able = mixed != "never" and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = mixed == "always" and _cpu_has_bfloat16()
    return "bfloat16" if able else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16; where it does not, torch emulates it, many times slower."""
    asked = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(ask() for ask in asked if ask)


def autocast(device: torch.device, mixed: Mixed) -> torch.autocast:
    """Mixed precision (Micikevicius et al., 2018, arXiv:1710.03740), or none; bfloat16's range needs no loss scaling."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device, mixed) == "bfloat16")
