"""Relations instead of values: the student need only rank as its teacher does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress import values
from edgebench.compress.training.losses.base import LogitLoss
from edgebench.compress.training.losses.standardize import standardized

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-8


@dataclass(frozen=True, kw_only=True)
class Dist(LogitLoss):
    """T^2 (beta (1 - r over classes) + gamma (1 - r over samples)), DIST (Huang et al., NeurIPS 2022, arXiv:2205.10536).

    r is the mean Pearson correlation of the softened answers: of each sample's classes (inter), and of each class's
    samples in the batch (intra). It stays useful with a teacher far stronger than the student. `standardize`: see `LogitStd`.
    """

    name: ClassVar[str] = "dist"
    example: ClassVar[str] = "losses = { dist = {} }"

    beta: float = 2.0
    gamma: float = 2.0
    temperature: float = 4.0
    standardize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        values.positive(self.name, "temperature", self.temperature)
        values.within(self.name, "beta", self.beta, 0, 1000)
        values.within(self.name, "gamma", self.gamma, 0, 1000)

    def of(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        s, t = ((logits / self.temperature).softmax(dim=1) for logits in (student, teacher))
        inter = 1 - correlation(s, t).mean()
        intra = 1 - correlation(s.T, t.T).mean()
        return self.temperature**2 * (self.beta * inter + self.gamma * intra)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each row of a with that of b: (N, M) twice -> (N,)."""
    from torch.nn import functional

    return functional.cosine_similarity(
        a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True), dim=1, eps=TINY
    )
