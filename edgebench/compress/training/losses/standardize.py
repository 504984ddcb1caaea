"""Logits without their scale: a preparation that any loss of logits can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-7
"""Added to the deviation, as in the paper's own code: equal logits must not divide by zero."""


def standardized(logits: Tensor) -> Tensor:
    """Each row of logits (B, C) with mean 0 and (sample) deviation 1 (Sun et al., CVPR 2024, arXiv:2403.01878)."""
    deviation = logits.std(dim=1, keepdim=True)
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + TINY)
