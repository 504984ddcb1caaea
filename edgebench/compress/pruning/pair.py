"""What a factorized layer becomes: two thin ones in a row that can still be read as the one that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.compress.load_model import plain_attention


class Pair(nn.Sequential):
    """Two layers in a row. torch's transformer layers look at `weight` and `bias` of theirs before they choose a kernel."""

    @property
    def weight(self) -> Tensor:
        """The product of both weights, in the shape of the layer that was factorized."""
        pair: Any = self
        first, second = pair[0].weight, pair[1].weight
        product: Tensor = second.flatten(1) @ first.flatten(1)
        return product.view(len(second), *first.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        second: Any = self[1]
        made: Tensor | None = second.bias
        return made


def not_called(model: nn.Module, names: Sequence[str], example: Tensor) -> list[str]:
    """The layers that cannot be a pair: the network's code looks into them otherwise than by calling them.

    `example` (B, ...) is what the network is tried on.
    """
    try:
        called = _called(model, names, example)
    except Exception:  # some layer does not let itself be replaced: each is tried alone
        called = [name for name in names if _works(model, name, example)]
    return [name for name in names if name not in called]


def _works(model: nn.Module, name: str, example: Tensor) -> bool:
    try:
        return bool(_called(model, [name], example))
    except Exception:  # whatever the user's forward says to a pair
        return False


def _called(model: nn.Module, names: Sequence[str], example: Tensor) -> list[str]:
    """Those that run when all of them are pairs."""
    from edgebench.compress.pruning.factorize import factorized

    tried = factorized(model, dict.fromkeys(names, 1), {}, filled=False)
    found: list[str] = []
    for name in names:
        tried.get_submodule(name).register_forward_hook(lambda *_, n=name: found.append(n))
    with torch.no_grad(), plain_attention():
        tried(example.clone())
    return found
