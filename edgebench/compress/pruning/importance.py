"""How much each channel matters: one number for each channel of a group of layers that must lose it together.

A group is what torch-pruning's dependency graph couples: the filters that make a channel, the norm behind them, and the
slices of the layers that read it. A score is first made layer by layer, then averaged over the group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from edgebench.compress.load_model import tensor
from edgebench.errors import DataError

if TYPE_CHECKING:
    from edgebench.compress.context import Context

Kind = Literal["l1", "l2", "bn", "taylor", "lamp", "fpgm", "random"]
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
BATCHES, BATCH = 8, 32
"""So many batches of the training split give the gradients of the Taylor score."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One layer's share of a group. `rows` (n, m) are the weights of n channels, `root` their places in the group.

    `grads` (B, n, m) are the gradients of B batches. `role`: makes the channels ("out"), reads them ("in"), scales them.
    """

    role: Literal["out", "in", "norm"]
    rows: Tensor
    root: Sequence[int]
    grads: Tensor | None = None


@dataclass(kw_only=True)
class Scores:
    """Called by torch-pruning with a group; gives one score a channel, or None for a group that cannot be ranked."""

    kind: Kind
    grads: Mapping[nn.Module, Tensor] = field(default_factory=dict)
    """The gradients (B, ...) of each layer's weight."""
    only: nn.Module | None = None
    """Where given, groups whose channels another layer makes are not looked at."""

    @torch.no_grad()
    def __call__(self, group: Any) -> Tensor | None:
        if self.only is not None and not makes(group, self.only):
            return None
        return score(self.kind, self.parts(group), len(group[0].idxs))

    def parts(self, group: Any) -> list[Part]:
        return parts(group, self.grads)


def parts(group: Any, grads: Mapping[nn.Module, Tensor] | None = None) -> list[Part]:
    """The weights behind each channel of a group of torch-pruning's, layer by layer."""
    found = []
    for i, (dep, idxs) in enumerate(group):
        layer, root = dep.layer, group[i].root_idxs
        role = role_of(layer, dep.handler.__name__)
        if role is None or getattr(layer, "weight", None) is None or any(r is None for r in root):
            continue
        own = (grads or {}).get(layer)
        found.append(
            Part(
                role=role,
                rows=rows(layer, layer.weight, role)[idxs],
                root=root,
                grads=torch.stack([rows(layer, g, role)[idxs] for g in own]) if own is not None else None,
            )
        )
    return found


def makes(group: Any, layer: nn.Module) -> bool:
    """Whether the channels of a group are, or are coupled with, those that this layer makes."""
    return any(dep.layer is layer and role_of(layer, dep.handler.__name__) == "out" for dep, _ in group)


def role_of(layer: Any, handler: str) -> Literal["out", "in", "norm"] | None:
    if isinstance(layer, NORMS):
        return "norm"
    if not isinstance(layer, LAYERS):
        return None
    return "out" if handler == "prune_out_channels" else "in"


def rows(layer: Any, weight: Tensor, role: str) -> Tensor:
    """A layer's weights as one row for each channel that it makes ("out"), reads ("in") or scales ("norm")."""
    if role == "norm":
        return weight.reshape(-1, 1)
    groups = getattr(layer, "groups", 1)
    if getattr(layer, "transposed", False):  # (in, out / groups, ...)
        reads, makes = layer.in_channels // groups, layer.out_channels // groups
        cut = weight.reshape(groups, reads, makes, -1)
        cut = cut.transpose(1, 2) if role == "out" else cut
    else:  # (out, in / groups, ...)
        cut = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
        cut = cut if role == "out" else cut.transpose(1, 2)
    return cut.reshape(cut.shape[0] * cut.shape[1], -1)


def score(kind: Kind, found: Sequence[Part], channels: int) -> Tensor | None:
    """One score a channel, (channels,), the group's mean 1 but for LAMP; None where no part carries such a score."""
    if kind == "random":
        return torch.rand(channels)
    own = [(part.root, _LAYER[kind](part)) for part in found if part.role in _ROLES[kind]]
    if not own:
        return None
    total = torch.zeros(channels)
    for root, values in own:
        total.scatter_add_(0, torch.as_tensor(root), values.float())
    total /= len(own)
    if kind == "lamp":
        return lamp(total)
    mean = total.mean()
    return total / mean if mean > 0 else total


def _l1(part: Part) -> Tensor:
    """Li et al., 2017, arXiv:1608.08710: the sum of |w|."""
    return part.rows.abs().sum(1)


def _l2(part: Part) -> Tensor:
    """The sum of w squared; over a group as Fang et al., 2023, arXiv:2301.12900."""
    return part.rows.square().sum(1)


def _taylor(part: Part) -> Tensor:
    """Molchanov et al., 2019, arXiv:1906.10771, equation 8 for a filter: (sum of gradient times weight) squared.

    The mean over batches: of all data at once, the gradients of a trained network would be nearly nothing.
    """
    assert part.grads is not None
    return (part.grads * part.rows).sum(2).square().mean(0)


def _fpgm(part: Part) -> Tensor:
    """He et al., 2019, arXiv:1811.00250: the sum of distances to the layer's other filters; near their median is superfluous."""
    return torch.cdist(part.rows, part.rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def lamp(squares: Tensor) -> Tensor:
    """Lee et al., 2021, arXiv:2010.07611: a square over the sum of all squares in its layer that are not smaller."""
    ordered, places = squares.sort()
    left = ordered.flip(0).cumsum(0).flip(0)
    out = torch.empty_like(squares)
    out[places] = torch.where(left > 0, ordered / left, torch.zeros_like(left))
    return out


_LAYER = {"l1": _l1, "l2": _l2, "lamp": _l2, "taylor": _taylor, "fpgm": _fpgm, "bn": _l1}
_ROLES: Mapping[str, tuple[str, ...]] = {
    "l1": ("out", "in", "norm"),
    "l2": ("out", "in", "norm"),
    "lamp": ("out", "in", "norm"),
    "taylor": ("out", "norm"),  # what reads a channel would count the same effect twice
    "fpgm": ("out",),
    "bn": ("norm",),  # Liu et al., 2017, arXiv:1708.06519: |gamma|
}


def gradients(model: nn.Module, context: Context) -> dict[str, Tensor]:
    """By parameter, the gradients (B, ...) of the cross-entropy on the first batches of the training split, in eval mode.

    Raises DataError where there are no labels.
    """
    train = context.data.train
    if not len(train) or train.labels is None:
        raise DataError(
            f'The importance "taylor" needs gradients, but {context.data.name} has no labelled training samples.',
            "Add x_train and y_train to it, or take another importance.",
        )
    named = dict(model.eval().named_parameters())
    kept: dict[str, list[Tensor]] = {name: [] for name in named}
    count = min(len(train), BATCHES * BATCH)
    with torch.enable_grad():
        for index in torch.arange(count).tensor_split(-(-count // BATCH)):
            places = index.numpy()
            outputs = model(tensor(train.inputs[places]))
            loss = nn.functional.cross_entropy(outputs, tensor(train.labels[places]).long())
            found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
            for (name, parameter), grad in zip(named.items(), found, strict=True):
                kept[name].append(torch.zeros_like(parameter) if grad is None else grad)
    return {name: torch.stack(grads) for name, grads in kept.items()}


def of_layers(model: nn.Module, grads: Mapping[str, Tensor]) -> dict[nn.Module, Tensor]:
    """The gradients of weights by the layer of a copy of the network."""
    return {m: grads[f"{n}.weight"] for n, m in model.named_modules() if f"{n}.weight" in grads}


def has_batch_norm(modules: Iterable[nn.Module]) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine for m in modules)
