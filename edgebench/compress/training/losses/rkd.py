"""Relations between samples: what lies close together, or at an angle, for the teacher shall for the student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress import values
from edgebench.compress.training.losses.base import LayerLoss
from edgebench.compress.training.losses.maps import as_maps

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Rkd(LayerLoss):
    """distance D + angle A, relational distillation (Park et al., CVPR 2019, arXiv:1904.05068).

    D is Huber's loss between the distances of all pairs of a batch, over their mean; A that between the cosines of
    the angles of all triples. Samples are compared in the deepest layers that match, averaged over positions.
    """

    name: ClassVar[str] = "rkd"
    example: ClassVar[str] = 'losses = { hinton = {}, rkd = { layers = { "features" = "backbone.features" } } }'
    deepest: ClassVar[bool] = True

    distance: float = 25.0
    angle: float = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        values.within(self.name, "distance", self.distance, 0, 10_000)
        values.within(self.name, "angle", self.angle, 0, 10_000)

    def of(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        from torch.nn import functional

        s, t = (as_maps(x).float().mean(dim=(2, 3)) for x in (student, teacher))
        made = 0 * s.sum()
        if self.distance:
            made = made + self.distance * functional.smooth_l1_loss(distances(s), distances(t))
        if self.angle:
            made = made + self.angle * functional.smooth_l1_loss(angles(s), angles(t))
        return made


def distances(points: Tensor) -> Tensor:
    """Points (B, D) -> (B, B): Euclidean distances over the mean of those above 0."""
    import torch

    squares = (points.unsqueeze(0) - points.unsqueeze(1)).square().sum(dim=2)
    apart = squares > 0
    found = torch.where(apart, squares, torch.ones_like(squares)).sqrt() * apart  # the root has no slope at 0
    return found / (found.sum() / apart.sum().clamp(min=1)).clamp(min=1e-12)


def angles(points: Tensor) -> Tensor:
    """Points (B, D) -> (B, B, B): at [j, i, k] the cosine of the angle at point j between those to i and to k."""
    from torch.nn import functional

    unit = functional.normalize(points.unsqueeze(0) - points.unsqueeze(1), dim=2)
    return unit @ unit.transpose(1, 2)
