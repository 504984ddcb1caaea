"""Training that makes channels easy to remove: a penalty on whole channels, before a prune step takes the small ones out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.compress.training.learning import Learning
from edgebench.errors import ModelError, PlanError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Sparsify(Learning):
    """Train with L = CE + alpha * sum of f(theta) over channels, so that whole channels come near to zero.

    `penalty`: group_lasso, f = sqrt(n) * norm of the n weights that a channel takes with it (Yuan and Lin, 2006; Wen et al.,
    2016, arXiv:1608.03665; over coupled layers as Fang et al., 2023, arXiv:2301.12900); bn_scale, f = |gamma| of its batch norm
    (Liu et al., 2017, arXiv:1708.06519); growing, the squared norm of the `share` of channels that are the least at the start,
    times a factor that rises from 0 to 1 (Wang et al., 2021, arXiv:2012.09243). All else as `train`.
    """

    name: ClassVar[str] = "sparsify"
    example: ClassVar[str] = '{ method = "sparsify", penalty = "bn_scale", epochs = 5 }'
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = False

    epochs: int = 5
    lr: float = 0.001
    alpha: float = 0.0001
    penalty: Literal["group_lasso", "bn_scale", "growing"] = "group_lasso"
    share: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        values.positive(self.name, "alpha", self.alpha)
        if self.share is not None:
            values.between(self.name, "share", self.share, 0, 1)
            if self.penalty != "growing":
                raise PlanError(
                    f'The option share of "{self.name}" is for the penalty growing, not for {self.penalty}.',
                    'Leave it out, or add penalty = "growing".',
                )

    def suits(self, model: nn.Module) -> None:
        """Raise ModelError for a network that has nothing which this penalty is of."""
        from edgebench.compress.pruning.importance import has_batch_norm

        if self.penalty == "bn_scale" and not has_batch_norm(model.modules()):
            raise ModelError(
                'The penalty "bn_scale" is of the scales of batch norms, and this network has none.',
                'Take penalty = "group_lasso".',
            )

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Train in place. Raises ModelError for a network without anything that the penalty is of."""
        from edgebench.compress.pruning import penalties

        with penalties.of(model, self, context) as penalty:
            trained = self.learn(model, context, extra=penalty)
            context.remember(**penalty.found())
        return trained
