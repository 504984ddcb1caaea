"""The search for the pruning ratio that hits a budget; torch-pruning's dependency graph does the cutting.

Its ratio is of channels, and it rounds down, so that asking for a half of the channels leaves about a quarter of the
multiply-accumulates: the ratio is therefore found by bisection on what is left.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgebench.compress.load_model import answer, macs, tensor
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from edgebench.compress.context import Context
    from edgebench.compress.prune import Prune

TOLERANCE = 0.02
"""Of the budget: 50 % of the MACs may come out as 49 % to 51 %."""
ROUNDINGS = (8, 4, 2, 1)
TRIALS = 14
NUDGED = 32
"""Layers whose width is tried one by one, when nothing coarser hits the budget."""


def to_budget(model: nn.Module, asked: Prune, context: Context) -> tuple[nn.Module, float]:
    """A pruned copy of the network and the fraction of its MACs that is left. Raises ModelError."""
    example = tensor(context.data.evaluation.inputs[:1])
    kept = _kept(model, example, asked.keep)
    nearest: _Search | None = None
    for round_to in (asked.round_to,) if asked.round_to else ROUNDINGS:
        search = _Search(model, example, kept, replace(asked, round_to=round_to), context)
        search.run()
        if nearest is None or search.distance < nearest.distance:
            nearest = search
        if search.hit(TOLERANCE):
            break
    assert nearest is not None
    assert nearest.best is not None
    if not nearest.hit(TOLERANCE):
        raise ModelError(
            f"Pruning cannot leave {asked.macs:.1%} of the MACs of this network; the nearest it reaches is {nearest.left:.1%}.",
            _advice(nearest.left, asked),
        )
    context.report(1, 1, f"{nearest.left:.1%} of the MACs")
    return _checked(model, nearest.best, example), nearest.left


def _advice(left: float, asked: Prune) -> str:
    finer = " or lower round_to" if (asked.round_to or 1) > 1 else ""
    if left > 0.995:
        return f"Ask for a smaller macs{finer}: this network has too few channels for so small a cut."
    return f"Ask for macs = {left:.3f}{',' + finer if finer else ''}."


class _Search:
    """Tries prunings and keeps the one whose MACs came nearest to the budget."""

    def __init__(self, model: nn.Module, example: Tensor, kept: Sequence[str], asked: Prune, context: Context) -> None:
        self.model, self.example, self.kept, self.asked, self.context = model, example, kept, asked, context
        self.whole = macs(model, example)
        self.names = [n for n, m in model.named_modules() if _prunable(m) and n not in self.kept]
        self.best: nn.Module | None = None
        self.ratios: dict[str, float] = {}
        self.left = float("inf")
        self.trials = 0

    @property
    def distance(self) -> float:
        return abs(self.left - self.asked.macs)

    def hit(self, tolerance: float) -> bool:
        return self.distance <= tolerance * self.asked.macs

    def run(self) -> None:
        low, high = self.ratio()
        if not self.hit(TOLERANCE) and self.asked.ranking == "local":
            self.mixture(low, high)
            self.nudge(low)

    def ratio(self) -> tuple[float, float]:
        """Bisect one ratio for all layers; returns the last ratio that left too much and the first too little."""
        low, high = 0.0, 1.0
        for _ in range(TRIALS):
            if self.hit(TOLERANCE / 20):
                break
            middle = (low + high) / 2
            low, high = (middle, high) if self._try(middle, {}) > self.asked.macs else (low, middle)
        return low, high

    def mixture(self, low: float, high: float) -> None:
        """Bisect how many layers take the higher of two neighbouring ratios.

        Where all widths are multiples of one number, every layer loses its next channel at the same ratio, and
        the MACs fall in large steps: this fills them.
        """
        few, many = 0, len(self.names)
        while many - few > 1 and not self.hit(TOLERANCE / 20):
            count = (few + many) // 2
            left = self._try(low, dict.fromkeys(self.names[:count], high))
            few, many = (count, many) if left > self.asked.macs else (few, count)

    def nudge(self, low: float) -> None:
        """From the best so far, let one layer at a time lose or keep one channel more."""
        named = dict(self.model.named_modules())
        around = dict(self.ratios)
        for name in self.names[:NUDGED]:
            step = (self.asked.round_to or 1) / named[name].weight.shape[0]
            for ratio in (around.get(name, low) + step, around.get(name, low) - step):
                if self.hit(TOLERANCE):
                    return
                if 0 <= ratio < 1:
                    self._try(low, {**around, name: ratio})

    def _try(self, ratio: float, ratios: dict[str, float]) -> float:
        pruned = cut(self.model, self.example, ratio, ratios, self.asked, self.kept, self.context.seed)
        left = macs(pruned, self.example) / self.whole
        if abs(left - self.asked.macs) < self.distance:
            self.best, self.left, self.ratios = pruned, left, ratios
        self.trials = min(self.trials + 1, TRIALS)
        self.context.report(self.trials, TRIALS + 1, f"{self.left:.1%} of the MACs")
        return left


def cut(
    model: nn.Module,
    example: Tensor,
    ratio: float,
    ratios: dict[str, float],
    asked: Prune,
    kept: Sequence[str],
    seed: int,
) -> nn.Module:
    """A copy of the network with a part of the channels of each group removed: `ratio`, or its own of `ratios`."""
    with quiet():
        import torch_pruning

    importances: dict[str, Any] = {
        "l1": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=1),
        "l2": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=2),
        "lamp": lambda: torch_pruning.importance.LAMPImportance(p=2),
        "random": torch_pruning.importance.RandomImportance,
    }
    copied = copy.deepcopy(model).eval()
    named = dict(copied.named_modules())
    with quiet(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        try:
            torch_pruning.pruner.BasePruner(
                copied,
                example,
                importance=importances[asked.importance](),
                global_pruning=asked.ranking == "global",
                pruning_ratio=ratio,
                pruning_ratio_dict={named[name]: own for name, own in ratios.items()},
                ignored_layers=[named[name] for name in kept],
                round_to=asked.round_to if asked.round_to != 1 else None,
            ).step()
        except Exception as error:
            raise ModelError(
                f"The network's channels cannot be followed for pruning: {first_line(error)}.",
                "Name the layer where this happens in keep, or leave the prune step out.",
            ) from error
    return copied.requires_grad_(True).eval()


def _prunable(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))


def _kept(model: nn.Module, example: Tensor, names: str) -> list[str]:
    """The layers whose outputs stay: those the user named, and the last one to run, which gives the answer."""
    order: list[str] = []
    layers = {n: m for n, m in model.named_modules() if _prunable(m)}
    hooks = [m.register_forward_hook(lambda *_, n=n: order.append(n)) for n, m in layers.items()]
    try:
        answer(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise ModelError("The network runs no convolution or linear layer.", "Leave the prune step out.")
    kept = [name.strip() for name in names.split(",") if name.strip()]
    for name in kept:
        if name not in layers:
            raise ModelError(f'The network has no convolution or linear layer "{name}".', did_you_mean(name, layers))
    return [*kept, *order[-1:]]


def _checked(model: nn.Module, pruned: nn.Module, example: Tensor) -> nn.Module:
    before, after = answer(model, example), answer(pruned, example)
    if before.shape != after.shape:
        raise ModelError(
            f"Pruning changed the answer of the network from {list(before.shape[1:])} to {list(after.shape[1:])}.",
            "Name every layer that gives an answer in keep.",
        )
    return pruned
