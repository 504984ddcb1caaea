"""One cut: channels and heads taken out of a copy of the network, the least important first."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgebench.compress import values
from edgebench.compress.pruning import heads, importance, ties
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError

if TYPE_CHECKING:
    from edgebench.compress.context import Context
    from edgebench.compress.pruning.prune import Prune


def prunable(module: nn.Module) -> bool:
    return isinstance(module, importance.LAYERS)


def outputs(layer: nn.Module) -> int:
    """How many channels a convolution or linear layer makes."""
    made: int = getattr(layer, "out_channels", 0) or getattr(layer, "out_features", 0)
    return made


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters(recurse=False)]


def _listed(names: Sequence[str]) -> str:
    return "the layer " + names[0] if len(names) == 1 else "the layers " + ", ".join(names)


class Uncuttable(ModelError):
    """The network does not run with fewer channels in some of its layers, which it names."""

    def __init__(self, problem: str, fix: str, layers: Sequence[str]) -> None:
        super().__init__(problem, fix)
        self.layers = tuple(layers)


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
        asked.suits(model)
        shared = ties.tied(model)
        found = [] if not asked.heads else heads.prunable(model, example)
        made = cls(
            model=model,
            example=example,
            asked=asked,
            seed=context.seed,
            kept=[*kept, *heads.fixed(model), *(n for n in shared if prunable(model.get_submodule(n)))],
            attentions=[a for a in found if a.output not in kept and not {*a.layers} & {*shared}],
            grads=importance.gradients(model, context) if asked.importance == "taylor" else {},
        )
        return replace(made, kept=[*made.kept, *made._feeding(shared)]) if shared else made

    def without(self, layers: Sequence[str]) -> Cutter:
        """The same, with these layers left whole as well."""
        return replace(self, kept=[*self.kept, *layers])

    @property
    def free(self) -> list[str]:
        """The layers that may lose channels."""
        return [n for n, m in self.model.named_modules() if prunable(m) and n not in self.kept]

    def _feeding(self, shared: Sequence[str]) -> list[str]:
        """The layers whose channels are read through tied weights: these would no longer fit each other."""
        before = {name: shapes(self.model.get_submodule(name)) for name in shared}
        found = []
        for name in self.free:
            try:
                cut = self._one(name, 0.0, 1)
            except Exception:  # it cannot be followed, which the search says if it comes to that
                continue
            if any(shapes(cut.get_submodule(n)) != size for n, size in before.items()):
                found.append(name)
        return found

    def cut(self, ratio: float, ratios: Mapping[str, float], round_to: int, local: bool) -> nn.Module:
        """A copy with that share of the channels of each group removed (`ratios`: its own for a layer), and of the heads.

        Channels are compared within their layer (`local`), or over the network. Raises ModelError where the network cannot
        be followed or does not run afterwards: Uncuttable where that is for some of its layers.
        """
        try:
            made = self._cut(ratio, ratios, round_to, local)
        except Exception as error:
            raise self._cannot(error, "channels cannot be followed for pruning", ratio, ratios, round_to) from error
        try:
            with torch.no_grad():
                made(self.example.clone())
        except Exception as error:
            raise self._cannot(error, "forward no longer runs with fewer channels", ratio, ratios, round_to) from error
        return made

    def _cut(self, ratio: float, ratios: Mapping[str, float], round_to: int, local: bool, only: str = "") -> nn.Module:
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
            scores = importance.Scores(kind=self.asked.importance, grads=grads, only=named[only] if only else None)
            self._prune(copied, named, scores, ratio, ratios, round_to, local)
        return copied.requires_grad_(True).eval()

    def _cannot(
        self, error: Exception, what: str, ratio: float, ratios: Mapping[str, float], round_to: int
    ) -> ModelError:
        """What to say of a cut that failed, with the names of the layers that cannot be cut even alone."""
        alone = [n for n in self.free if not self._works_alone(n, ratios.get(n, ratio), round_to)]
        if not alone:
            return ModelError(
                f"The network's {what}: {first_line(error)}.",
                "Name the layers whose number of channels its code counts on in keep, or leave the prune step out.",
            )
        keep = ", ".join(dict.fromkeys([*values.names(self.asked.keep), *alone]))
        fix = f'Leave {"it" if len(alone) == 1 else "them"} whole with keep = "{keep}", or leave the prune step out.'
        if made := [n for n in alone if parametrize.is_parametrized(self.model.get_submodule(n))]:
            fix = (
                f"The weight of {made[0]} is made of others at each call (weight norm, say), which cannot be cut: take that off"
                " with torch.nn.utils.parametrize.remove_parametrizations. " + fix
            )
        return Uncuttable(f"The network's {what}, and the reason is {_listed(alone)}: {first_line(error)}.", fix, alone)

    def _one(self, name: str, ratio: float, round_to: int) -> nn.Module:
        """A copy in which that layer, and what is coupled with it, alone has lost this share, one step at least."""
        width = outputs(self.model.get_submodule(name))
        step = math.gcd(round_to, width)  # a width that is no multiple of round_to would else stay as it is
        return self._cut(0.0, {name: min(0.99, max(ratio, step / width))}, step, True, only=name)

    def _works_alone(self, name: str, ratio: float, round_to: int) -> bool:
        """Whether the network runs after a cut of this layer, and what is coupled with it, alone."""
        try:
            made = self._one(name, ratio, round_to)
            with torch.no_grad():
                made(self.example.clone())
        except Exception:  # whatever the user's forward says, and what the dependency graph does not know
            return False
        return True

    def _prune(
        self,
        copied: nn.Module,
        named: Mapping[str, nn.Module],
        scores: Any,
        ratio: float,
        ratios: Mapping[str, float],
        round_to: int,
        local: bool,
    ) -> None:
        import torch_pruning

        torch_pruning.pruner.BasePruner(
            copied,
            self.example.clone(),
            importance=scores,
            global_pruning=not local,
            pruning_ratio=ratio,
            pruning_ratio_dict={named[name]: own for name, own in ratios.items() if name not in self.kept},
            ignored_layers=[named[name] for name in self.kept],
            root_module_types=list(importance.LAYERS),  # by itself it would cut an LSTM too, which it cannot follow
            round_to=round_to if round_to != 1 else None,
            # Its defaults are dictionaries that all calls share.
            in_channel_groups={},
            out_channel_groups={},
        ).step()
