"""f(theta) of the sparsity-regularised training: one term for each channel that could be pruned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgebench.compress.load_model import tensor
from edgebench.compress.pruning import heads, importance
from edgebench.compress.pruning.importance import parts, score
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError

if TYPE_CHECKING:
    from edgebench.compress.context import Context
    from edgebench.compress.pruning.sparsify import Sparsify

TINY = 1e-12
"""Under the root: the norm has no gradient at zero."""
SMALL = 0.01
"""A channel whose norm is under this share of its layer's mean is as good as gone."""
STEPS = "edgebench_penalty_steps"
SHARE = 0.5


@contextlib.contextmanager
def of(model: nn.Module, asked: Sparsify, context: Context) -> Iterator[Penalty]:
    """The penalty of a training that runs within. Raises ModelError where the network has nothing to be penalised."""
    by_norm = asked.penalty == "bn_scale"
    groups = [] if by_norm else channel_groups(model, tensor(context.data.evaluation.inputs[:1]))
    fit: list[Any] = []
    lost: list[Any] = []
    for group in groups:
        (fit if followed(group) else lost).append(group)
    asked.suits(model)
    if not by_norm and not groups:
        raise ModelError("The network has no channel that could be removed.", "Leave the sparsify step out.")
    if not by_norm and not fit:
        raise ModelError(
            f"No channel of the network can be followed from {', '.join(roots(model, lost))} to the layers that read it.",
            'Take penalty = "bn_scale", which follows none, or leave the sparsify step out.',
        )
    batches = max(1, len(context.data.train) // asked.batch_size)
    penalty = Penalty(model, fit, asked, asked.epochs * batches)
    # A buffer of the network, so that a training that was killed goes on with the factor that it had reached.
    model.register_buffer(STEPS, torch.zeros((), dtype=torch.int64))
    try:
        yield penalty
    finally:
        delattr(model, STEPS)
    if lost:
        context.remember(not_followed=roots(model, lost))


class Penalty:
    """Called once a batch: alpha times the sum, a scalar that can be derived by the weights."""

    def __init__(self, model: nn.Module, groups: Sequence[Any], asked: Sparsify, steps: int) -> None:
        self.model, self.groups, self.asked, self.steps = model, groups, asked, steps
        self.chosen = [least(group, asked.share or SHARE) for group in groups] if asked.penalty == "growing" else []

    def __call__(self) -> Tensor:
        if self.asked.penalty == "bn_scale":
            return self.asked.alpha * bn_scale(self.model)
        if self.asked.penalty == "group_lasso":
            return self.asked.alpha * torch.stack([group_lasso(group) for group in self.groups]).sum()
        steps = getattr(self.model, STEPS)
        steps += 1
        terms = [squares(group)[0][chosen].sum() for group, chosen in zip(self.groups, self.chosen, strict=True)]
        return self.asked.alpha * float(steps) / self.steps * torch.stack(terms).sum()

    @torch.no_grad()
    def found(self) -> dict[str, Any]:
        """For the record: how many channels there are, and the share of those that are nearly zero now."""
        norms = [squares(group)[0].sqrt() for group in self.groups] or scales(self.model)
        small = sum(int((n < SMALL * n.mean()).sum()) for n in norms)
        total = sum(len(n) for n in norms)
        return {"penalty": self.asked.penalty, "channels": total, "small_channels": small / total if total else 0.0}


def channel_groups(model: nn.Module, example: Tensor) -> list[Any]:
    """The groups of coupled layers that a prune step could take channels from. Raises ModelError."""
    from edgebench.compress.pruning.shares import kept_layers

    named = dict(model.named_modules())
    kept = [named[name] for name in (*kept_layers(model, example, ""), *heads.fixed(model))]
    with quiet(), torch.enable_grad():
        import torch_pruning

        try:
            graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example.clone())
            return list(graph.get_all_groups(ignored_layers=kept, root_module_types=list(importance.LAYERS)))
        except Exception as error:
            raise ModelError(
                f"The network's channels cannot be followed: {first_line(error)}.",
                'Take penalty = "bn_scale", which needs no dependency graph, or leave the step out.',
            ) from error


def followed(group: Any) -> bool:
    """Whether the graph's places are those of the weights: where a network's code folds channels, it can count past their end."""
    try:
        squares(group)
    except (IndexError, RuntimeError):
        return False
    return True


def roots(model: nn.Module, groups: Sequence[Any]) -> list[str]:
    """The names of the layers that make the channels of these groups."""
    names = {module: name for name, module in model.named_modules()}
    return sorted({names[group[0].dep.layer] for group in groups if group[0].dep.layer in names})


def squares(group: Any) -> tuple[Tensor, int]:
    """Of each channel of a group, the sum of the squares of all weights that go with it, and how many these are."""
    channels = len(group[0].idxs)
    found = parts(group)
    total = torch.zeros(channels, device=found[0].rows.device)
    count = 0
    for part in found:
        root = torch.as_tensor(part.root, device=total.device)
        total = total.scatter_add(0, root, part.rows.square().sum(1))
        count += part.rows.numel()
    return total, count // channels


def group_lasso(group: Any) -> Tensor:
    """sqrt(n) times the sum over channels of the norm of its n weights (Yuan and Lin, 2006)."""
    total, count = squares(group)
    return count**0.5 * (total + TINY).sqrt().sum()  # type: ignore[no-any-return]


def bn_scale(model: nn.Module) -> Tensor:
    """The sum of |gamma| over all batch norms."""
    return torch.stack([sizes.sum() for sizes in scales(model)]).sum()


def scales(model: nn.Module) -> list[Tensor]:
    """|gamma| of each batch norm."""
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine)
    return [m.weight.abs() for m in norms]


@torch.no_grad()
def least(group: Any, share: float) -> Tensor:
    """The places of the least important channels of a group, by L2."""
    scores = score("l2", parts(group), len(group[0].idxs))
    assert scores is not None
    return scores.argsort(stable=True)[: int(share * len(scores))]
