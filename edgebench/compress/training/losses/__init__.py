"""The losses of distillation, each in its own file; a table of a plan names them: losses = { dkd = { beta = 4.0 } }."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebench.compress.methods import from_options
from edgebench.compress.training.losses.attention import Attention
from edgebench.compress.training.losses.base import LayerLoss, LogitLoss
from edgebench.compress.training.losses.dist import Dist
from edgebench.compress.training.losses.dkd import Dkd
from edgebench.compress.training.losses.fitnet import FitNet
from edgebench.compress.training.losses.hinton import Hinton, LogitStd
from edgebench.compress.training.losses.rkd import Rkd
from edgebench.errors import PlanError, did_you_mean

__all__ = ["LOSSES", "LayerLoss", "LogitLoss", "parse"]

Loss = LogitLoss | LayerLoss
LOSSES: dict[str, type[Loss]] = {k.name: k for k in (Hinton, LogitStd, Dkd, Dist, FitNet, Attention, Rkd)}


def parse(table: Mapping[str, Any]) -> tuple[Loss, ...]:
    """The losses that a table names, with their options. Raises PlanError for a wrong name, option, type or value."""
    made = []
    for name, options in table.items():
        if name not in LOSSES:
            raise PlanError(f'There is no loss "{name}".', did_you_mean(name, LOSSES))
        if not isinstance(options, Mapping):
            raise PlanError(
                f'The options of the loss "{name}" cannot be {options!r}.',
                f"Write a table, as in losses = {{ {name} = {{ weight = 1.0 }} }}.",
            )
        made.append(from_options(f'loss "{name}"', name, LOSSES[name], options))
    return tuple(made)
