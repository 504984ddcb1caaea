"""The optimizer, and its learning rate as a function of the step alone, so that a resumed training needs no memory of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from edgebench.compress.training.learning import Learning

MOMENTUM = 0.9
"""Of SGD, where the plan says nothing."""


def optimizer(how: Learning, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum (without momentum: plain)."""
    wanted = [p for p in parameters if p.requires_grad]
    if how.optimizer == "adamw":
        return torch.optim.AdamW(wanted, how.lr, weight_decay=how.weight_decay)
    momentum = MOMENTUM if how.momentum is None else how.momentum
    return torch.optim.SGD(wanted, how.lr, momentum=momentum, nesterov=momentum > 0, weight_decay=how.weight_decay)


def rate(how: Learning, step: int, steps: int) -> float:
    """The learning rate of step 0 ... steps - 1: up in a line over the share `warmup`, then constant or down as a cosine."""
    rising = round(how.warmup * steps)
    if step < rising:
        return how.lr * (step + 1) / rising
    if how.schedule == "constant":
        return how.lr
    return how.lr * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2
