"""What steps want of the network that they will be given, looked for before hours go into the steps before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.compress import values
from edgebench.compress.methods import Method
from edgebench.compress.training.distill import Distill
from edgebench.data import DataSet
from edgebench.errors import PlanError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

OPTIONS = ("keep", "float_layers")
"""The options that name layers, with commas between them."""


def check(network: nn.Module, steps: Sequence[Method], data: DataSet, base: Path) -> None:
    """Raise PlanError for names that are no layer's of the network as it then is, and ModelError for a network that has not
    what a step is of (its `suits`, where it has one); pruning changes widths, neither names nor kinds of layers.
    """
    then: Callable[[], nn.Module] = lambda: network  # noqa: E731
    for method in steps:
        if isinstance(method, Distill):
            then = cache(partial(method.new_student, base, 0, data))  # made once, where a later step asks
        names = [name for option in OPTIONS for name in values.names(getattr(method, option, ""))]
        if names:
            _check(names, method.name, then())
        if suits := getattr(method, "suits", None):
            suits(then())


def _check(names: Sequence[str], method: str, network: nn.Module) -> None:
    known = {name for name, _ in network.named_modules(remove_duplicate=False) if name}
    wrong = [name for name in names if name not in known]
    if wrong:
        layers = {name.rpartition(".")[0] for name, _ in network.named_parameters(remove_duplicate=False)}
        quoted = ", ".join(f'"{name}"' for name in wrong)
        raise PlanError(
            f"{method} names {quoted}, and the network has no such layer{'s' * (len(wrong) > 1)}.",
            did_you_mean(wrong[0], sorted(layers - {""})),
        )
