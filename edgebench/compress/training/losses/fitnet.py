"""Hints: layers of the student learn to say what layers of the teacher say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress.training.losses.base import LayerLoss
from edgebench.compress.training.losses.maps import as_maps, same_size

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class FitNet(LayerLoss):
    """mean((r(s) - t)^2), r a learnt 1x1 convolution (Romero et al., FitNets, ICLR 2015, arXiv:1412.6550).

    r brings the student's channels to the teacher's number, is trained along, and is thrown away. The mean is over
    samples, channels and positions; the paper's sum over them is this times their number, halved. Here the hints are
    learnt together with the labels, not in a stage before. `layers` pairs them: the student's = the teacher's; without it, by
    their resolution.
    """

    name: ClassVar[str] = "fitnet"
    example: ClassVar[str] = 'losses = { hinton = {}, fitnet = { layers = { "stage2" = "layer3" } } }'

    weight: float = 100.0

    def learnt(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Sequence[nn.Module]:
        from torch import nn

        return [nn.Conv2d(as_maps(s).shape[1], as_maps(t).shape[1], 1) for s, t in pairs]

    def of(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        from torch.nn import functional

        assert learnt is not None
        s, t = same_size(as_maps(student), as_maps(teacher))
        return functional.mse_loss(learnt(s), t)
