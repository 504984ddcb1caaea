"""Structured pruning: whole channels go, and with them their share of every layer that they feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgebench.compress import values
from edgebench.compress.context import Context

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Remove the least important channels until `macs` of the multiply-accumulates are left, within 2 %.

    Coupled channels go together, by dependency graph (Fang et al., 2023, arXiv:2301.12900). Importance: L1 or L2 norm of
    the filters (Li et al., 2017, arXiv:1608.08710), LAMP (Lee et al., 2021, arXiv:2010.07611), or random as a baseline.
    `ranking` compares channels within their layer (local) or over the whole network (global). Channel counts stay multiples
    of `round_to`, if not given the greatest of 8, 4, 2 and 1 that hits the budget: vector units waste what is over.
    `keep` names layers whose outputs stay, with commas between them.
    """

    name: ClassVar[str] = "prune"
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = True

    macs: float
    importance: Literal["l1", "l2", "lamp", "random"] = "l2"
    ranking: Literal["local", "global"] = "local"
    round_to: int | None = None
    keep: str = ""

    def __post_init__(self) -> None:
        values.between(self.name, "macs", self.macs, 0, 1)
        if self.round_to is not None:
            values.at_least(self.name, "round_to", self.round_to, 1)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Return a smaller copy. Raises ModelError when the budget cannot be hit, naming the nearest that can."""
        from edgebench.compress import pruning

        pruned, left = pruning.to_budget(model, self, context)
        context.remember(macs_left=left)
        return pruned
