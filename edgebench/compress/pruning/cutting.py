"""One cut: channels and heads taken out of a copy of the network, the least important first."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgebench.compress.pruning import heads, importance
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError

if TYPE_CHECKING:
    from edgebench.compress.context import Context
    from edgebench.compress.pruning.prune import Prune


def prunable(module: nn.Module) -> bool:
    return isinstance(module, importance.LAYERS)


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """What all cuts of one search share: the network, what must stay, and the gradients where the importance needs them."""

    model: nn.Module
    example: Tensor
    asked: Prune
    seed: int
    kept: Sequence[str]
    """Layers whose outputs stay, those of attention modules among them."""
    attentions: Sequence[heads.Attention] = ()
    grads: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, example: Tensor, asked: Prune, context: Context, kept: Sequence[str]) -> Cutter:
        """Raises ModelError and DataError for a network or data that this importance cannot rank."""
        if asked.importance == "bn" and not importance.has_batch_norm(model.modules()):
            raise ModelError(
                'The importance "bn" ranks channels by the scales of batch norms, and this network has none.',
                'Take another importance, "l2" say.',
            )
        found = [] if not asked.heads else [a for a in heads.prunable(model, example) if a.output not in kept]
        return cls(
            model=model,
            example=example,
            asked=asked,
            seed=context.seed,
            kept=[*kept, *heads.fixed(model)],
            attentions=found,
            grads=importance.gradients(model, context) if asked.importance == "taylor" else {},
        )

    def cut(self, ratio: float, ratios: Mapping[str, float], round_to: int, local: bool) -> nn.Module:
        """A copy with that share of the channels of each group removed (`ratios`: its own for a layer), and of the heads.

        Channels are compared within their layer (`local`), or over the network.
        """
        copied = copy.deepcopy(self.model).eval()
        grads = importance.of_layers(copied, self.grads)
        for attention in self.attentions:
            # The last head of a module stays, and half a head is none.
            count = min(attention.heads - 1, int(ratio * attention.heads))
            gone = heads.weakest(copied, attention, self.asked.importance, count, grads)
            if gone:
                heads.remove(copied, attention, gone)
        named = dict(copied.named_modules())
        with quiet(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(self.seed)
            try:
                self._prune(copied, named, grads, ratio, ratios, round_to, local)
            except Exception as error:
                raise ModelError(
                    f"The network's channels cannot be followed for pruning: {first_line(error)}.",
                    "Name the layer where this happens in keep, or leave the prune step out.",
                ) from error
        return copied.requires_grad_(True).eval()

    def _prune(
        self,
        copied: nn.Module,
        named: Mapping[str, nn.Module],
        grads: Mapping[nn.Module, Tensor],
        ratio: float,
        ratios: Mapping[str, float],
        round_to: int,
        local: bool,
    ) -> None:
        import torch_pruning

        scores: Any = importance.Scores(kind=self.asked.importance, grads=grads)
        torch_pruning.pruner.BasePruner(
            copied,
            self.example,
            importance=scores,
            global_pruning=not local,
            pruning_ratio=ratio,
            pruning_ratio_dict={named[name]: own for name, own in ratios.items() if name not in self.kept},
            ignored_layers=[named[name] for name in self.kept],
            round_to=round_to if round_to != 1 else None,
            # Its defaults are dictionaries that all calls share.
            in_channel_groups={},
            out_channel_groups={},
        ).step()
