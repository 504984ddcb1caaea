"""Where the network looks: the student attends to the places that its teacher attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress.training.losses.base import LayerLoss
from edgebench.compress.training.losses.maps import as_maps, same_size

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Attention(LayerLoss):
    """mean((a(s) - a(t))^2), a(x) = sum_c x_c^2 over its own length (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928).

    A map of C channels becomes one of none, so nothing is learnt and the numbers of channels need not agree. The mean
    is over samples and positions and the weight the paper's beta, as in the authors' code.
    """

    name: ClassVar[str] = "attention"
    example: ClassVar[str] = (
        'losses = { hinton = {}, attention = { layers = { "stage1" = "layer1", "stage2" = "layer3" } } }'
    )

    weight: float = 1000.0

    def of(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        from torch.nn import functional

        s, t = same_size(as_maps(student), as_maps(teacher))
        return functional.mse_loss(attention(s), attention(t))


def attention(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) -> (B, H * W): the mean square over the channels, each sample scaled to length 1."""
    from torch.nn import functional

    return functional.normalize(maps.square().mean(dim=1).flatten(1), dim=1)
