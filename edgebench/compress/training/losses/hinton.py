"""The classic: the student answers as softly as its teacher does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress import values
from edgebench.compress.training.losses.base import LogitLoss
from edgebench.compress.training.losses.standardize import standardized

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Hinton(LogitLoss):
    """T^2 KL(softmax(t / T) || softmax(s / T)) (Hinton et al., 2015, arXiv:1503.02531).

    The factor T^2 keeps the gradients of one size when the temperature T changes. The weight 9 beside the labels' 1
    is the paper's "considerably lower weight" of the labels. `standardize`: see `LogitStd`.
    """

    name: ClassVar[str] = "hinton"
    example: ClassVar[str] = "losses = { hinton = { temperature = 2 } }"

    weight: float = 9.0
    temperature: float = 4.0
    standardize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        values.positive(self.name, "temperature", self.temperature)

    def of(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        return softened(student, teacher, self.temperature)


@dataclass(frozen=True, kw_only=True)
class LogitStd(Hinton):
    """`hinton` on logits of mean 0 and deviation 1 (Sun et al., CVPR 2024, arXiv:2403.01878).

    The student need not reach the teacher's scale, only its shape. The defaults are the paper's base temperature and weight.
    """

    name: ClassVar[str] = "logit_std"
    example: ClassVar[str] = "losses = { logit_std = {} }"

    temperature: float = 2.0
    standardize: bool = True


def softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over the batch; logits (B, C) -> scalar."""
    from torch.nn import functional

    log_student = functional.log_softmax(student / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=1)
    return functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2
