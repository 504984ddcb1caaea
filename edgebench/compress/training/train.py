"""Training: the network as it comes, or the repair of one that was just made smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress.context import Context
from edgebench.compress.training.learning import Learning

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Train(Learning):
    """Train on the training split: AdamW or SGD, warm-up and cosine, with mean weights, augmentation and teachers if asked.

    L = labels * CE(y, s) + the losses over the teachers; AdamW (arXiv:1711.05101), warm-up (arXiv:1706.02677), cosine
    (arXiv:1608.03983), label smoothing (arXiv:1512.00567), ema (arXiv:1703.01780).
    """

    name: ClassVar[str] = "train"
    example: ClassVar[str] = (
        '{ method = "train", epochs = 20, lr = 0.002, ema = 0.999, augment = { crop = 4, flip = true } }'
    )
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = False

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        return self.learn(model, context)


@dataclass(frozen=True, kw_only=True)
class Finetune(Train):
    """Train on for a few epochs at a lower rate, to repair what pruning has cost.

    With losses = { hinton = {} } the network before the last compressing step is its teacher ("parent"). Other options
    as those of `train`.
    """

    name: ClassVar[str] = "finetune"
    example: ClassVar[str] = '{ method = "finetune", epochs = 4, losses = { hinton = {} }, teachers = { first = {} } }'

    epochs: int = 4
    lr: float = 0.001
