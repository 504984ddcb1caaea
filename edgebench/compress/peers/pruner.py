"""torch-pruning as its own example calls it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class TorchPruning:
    """To compare with: torch-pruning's own example (its readme, "High-level Pruners"), which `prune` is held against.

    A GroupMagnitudeImportance of p = 2, one `pruning_ratio` of all channels, rounded to `round_to`, the classifier left alone;
    what is left of the multiply-accumulates is what comes out. Fine-tune it by a step of its own.
    """

    name: ClassVar[str] = "peer-torch-pruning"
    example: ClassVar[str] = '{ method = "peer-torch-pruning", pruning_ratio = 0.3 }'
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = True
    resizes: ClassVar[bool] = True

    pruning_ratio: float = 0.5
    round_to: int = 8

    def __post_init__(self) -> None:
        values.between(self.name, "pruning_ratio", self.pruning_ratio, 0, 1)
        values.at_least(self.name, "round_to", self.round_to, 1)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Return a smaller copy. Raises ModelError for a network that torch-pruning does not follow."""
        import torch
        import torch_pruning
        from torch import nn

        from edgebench.compress.load_model import macs, tensor

        pruned, example = copy.deepcopy(model).eval(), tensor(context.data.evaluation.inputs[:1])
        classes = len(context.data.classes)
        ignored = [m for m in pruned.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
        try:
            with quiet(), torch.enable_grad():
                torch_pruning.pruner.BasePruner(
                    pruned,
                    example,
                    importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
                    pruning_ratio=self.pruning_ratio,
                    ignored_layers=ignored,
                    round_to=self.round_to,
                ).step()
            left = macs(pruned, example) / macs(model, example)
        except Exception as error:
            raise ModelError(
                f"torch-pruning's example does not prune this network: {first_line(error)}.", "Leave this recipe out."
            ) from error
        context.report(1, 1, f"{left:.1%} of the MACs")
        context.remember(macs_left=left)
        return pruned.requires_grad_(True).eval()
