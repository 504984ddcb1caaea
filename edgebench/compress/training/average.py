"""The running mean of a network's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of parameters and buffers (Polyak and Juditsky, 1992; Tarvainen and Valpola, 2017,
    arXiv:1703.01780).

    After step t the mean moves by 1 - min(decay, (1 + t) / (10 + t)): at first it follows at once, so that the random
    weights of the beginning are soon forgotten. Whole numbers (the batches that a norm has seen) are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step `step` (from 0)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    self.values[name].lerp_(value, 1 - keep)
                else:
                    self.values[name].copy_(value)

    def restore(self, values: dict[str, Tensor]) -> None:
        """Go on from an earlier mean."""
        for name, value in values.items():
            self.values[name].copy_(value)
