"""Training on labels: the network as it comes, or the repair of one that was just made smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress import values
from edgebench.compress.context import Context

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train on the labels of the training split: AdamW (Loshchilov and Hutter, 2019) on a one-cycle schedule.

    Cross-entropy; the schedule is Smith and Topin's (2018, arXiv:1708.07120), `lr` its peak.
    """

    name: ClassVar[str] = "train"
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = False

    epochs: int = 10
    lr: float = 0.002
    batch_size: int = 64
    weight_decay: float = 0.0001
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        values.at_least(self.name, "epochs", self.epochs, 1)
        values.at_least(self.name, "batch_size", self.batch_size, 2)
        values.positive(self.name, "lr", self.lr)
        values.within(self.name, "weight_decay", self.weight_decay, 0, 1)
        values.within(self.name, "label_smoothing", self.label_smoothing, 0, 0.5)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from torch.nn import functional

        from edgebench.compress import training

        def loss(outputs: training.Tensor, labels: training.Tensor, index: training.Tensor) -> training.Tensor:
            return functional.cross_entropy(outputs, labels, label_smoothing=self.label_smoothing)

        return training.fit(
            model,
            context,
            loss,
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True, kw_only=True)
class Finetune(Train):
    """Train on for a few epochs at a lower rate, to repair what pruning has cost.

    AdamW, cross-entropy and the schedule of `train`.
    """

    name: ClassVar[str] = "finetune"

    epochs: int = 4
    lr: float = 0.001
