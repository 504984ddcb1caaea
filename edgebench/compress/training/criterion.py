"""What is minimised: the labels' cross-entropy, what teachers say, and whatever a method adds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(outputs (B, C), labels (B,), indices (B,) into the training split) -> scalar."""


class Criterion:
    """A loss that knows more than the outputs. `learnt` is trained along with the network."""

    learnt: nn.Module = nn.Identity()

    def see(self, inputs: Tensor, index: Tensor) -> None:
        """Told of each batch before the network runs: its inputs as they are after augmentation, and which they are."""

    def __call__(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """The loss of the batch, a scalar."""
        raise NotImplementedError


class Labels(Criterion):
    """A plain function as a criterion."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        return self.loss(outputs, labels, index)


class Sum(Criterion):
    """A criterion and a term that looks at the network itself, as a penalty of its weights does."""

    def __init__(self, criterion: Criterion, extra: Callable[[], Tensor]) -> None:
        self.criterion, self.extra, self.learnt = criterion, extra, criterion.learnt

    def see(self, inputs: Tensor, index: Tensor) -> None:
        self.criterion.see(inputs, index)

    def __call__(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        return self.criterion(outputs, labels, index) + self.extra()


def cross_entropy(outputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with label smoothing (Szegedy et al., 2016, arXiv:1512.00567), in float32."""
    return torch.nn.functional.cross_entropy(outputs.float(), labels, label_smoothing=smoothing)
