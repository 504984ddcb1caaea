"""Outputs of layers brought into one form, so that a loss need not know which kind of layer they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def as_maps(output: Tensor) -> Tensor:
    """Anything a layer gives out as (B, C, H, W): pictures as they are, tokens (B, T, C) as (B, C, T, 1), vectors as 1x1."""
    if output.ndim == 3:
        return output.transpose(1, 2).unsqueeze(-1)
    if output.ndim == 4:
        return output
    return output.reshape(len(output), -1, 1, 1)


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps (B, C, H, W) at the smaller of the two resolutions, the larger one averaged down to it."""
    from torch.nn import functional

    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return (
        functional.adaptive_avg_pool2d(student, (height, width)),
        functional.adaptive_avg_pool2d(teacher, (height, width)),
    )
