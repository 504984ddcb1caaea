"""Hinton's loss taken apart: how sure of the right class, and how the others compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress import values
from edgebench.compress.training.losses.base import LogitLoss
from edgebench.compress.training.losses.standardize import standardized

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Dkd(LogitLoss):
    """T^2 (alpha TCKD + beta NCKD), decoupled distillation (Zhao et al., CVPR 2022, arXiv:2203.08679).

    TCKD is the divergence of (right class, all others) as two numbers; NCKD that of the other classes among
    themselves, which Hinton's loss weighs down where the teacher is sure. `standardize`: see `LogitStd`.
    """

    name: ClassVar[str] = "dkd"
    example: ClassVar[str] = "losses = { dkd = { beta = 4, standardize = true } }"

    alpha: float = 1.0
    beta: float = 8.0
    temperature: float = 4.0
    standardize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        values.positive(self.name, "temperature", self.temperature)
        values.within(self.name, "alpha", self.alpha, 0, 1000)
        values.within(self.name, "beta", self.beta, 0, 1000)

    def of(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        if student.shape[1] < 2:
            return 0 * student.sum()  # one class has no others to compare
        right = functional.one_hot(labels, student.shape[1]).bool()
        parts = []
        for logits in (student, teacher):
            log = functional.log_softmax(logits / self.temperature, dim=1)
            others = log.masked_fill(right, float("-inf")).logsumexp(dim=1)
            among = functional.log_softmax((logits / self.temperature)[~right].view(len(logits), -1), dim=1)
            parts.append((torch.stack([log[right], others], dim=1), among))
        (two_s, among_s), (two_t, among_t) = parts
        target = functional.kl_div(two_s, two_t, reduction="batchmean", log_target=True)
        rest = functional.kl_div(among_s, among_t, reduction="batchmean", log_target=True)
        return self.temperature**2 * (self.alpha * target + self.beta * rest)
