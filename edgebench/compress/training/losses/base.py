"""What every loss of distillation is: a frozen dataclass whose fields are its options, and a function of two networks.

A loss is T in L = CE(y, student) + weight * T(teacher, student). Constructing one checks its options and imports nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.codec import Options
from edgebench.compress import values
from edgebench.errors import PlanError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LogitLoss:
    """A loss of the two networks' answers alone."""

    name: ClassVar[str]

    weight: float = 1.0

    def __post_init__(self) -> None:
        values.positive(self.name, "weight", self.weight)

    def of(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) twice and labels (B,) -> scalar, the mean over the batch."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class LayerLoss:
    """A loss of what layers inside the two networks give out.

    `layers` says which: the student's layer = the teacher's; without it, layers are paired by their resolution.
    """

    name: ClassVar[str]
    deepest: ClassVar[bool] = False
    """Whether only the deepest of the pairs found by resolution is looked at."""

    weight: float = 1.0
    layers: Options = Options()

    def __post_init__(self) -> None:
        values.positive(self.name, "weight", self.weight)
        for student, teacher in self.layers.items():
            if not isinstance(teacher, str):
                raise PlanError(
                    f'The option layers of "{self.name}" cannot hold {student} = {teacher!r}.',
                    'Write the name of the teacher\'s layer in quotes behind each layer of the student: "a" = "b".',
                )

    def learnt(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Sequence[nn.Module]:
        """What is learnt beside the student, one for each pair of example outputs (student, teacher); may be none."""
        return ()

    def of(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """The outputs of one pair of layers (B, ...) -> scalar, the mean over the batch."""
        raise NotImplementedError
