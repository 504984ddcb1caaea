"""Knowledge distillation: a small network learns from a large one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgebench.codec import Options
from edgebench.compress.context import Context
from edgebench.compress.training.learning import Learning
from edgebench.data import DataSet
from edgebench.errors import ModelError, PlanError
from edgebench.schema import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Distill(Learning):
    """Train a student on what the network so far says (Hinton et al., 2015, arXiv:1503.02531), or what its layers do.

    L = labels * CE(y, s) + sum weight * T(t, s). `losses` names T, with options: hinton, logit_std, dkd, dist, fitnet,
    attention, rkd; { } is the baseline, labels alone. `teachers` may name others ("module:callable" with weights) beside
    or instead of "parent", the network so far. `student` is a python entry, `student_options` its keyword arguments.
    Teachers' answers are kept unless the samples are augmented. Other options as those of `train`.
    """

    name: ClassVar[str] = "distill"
    example: ClassVar[str] = '{ method = "distill", student = "my_model:small", student_options = { width = 8 } }'
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = True

    student: str
    student_options: Options = Options()
    epochs: int = 12
    lr: float = 0.004
    losses: Options = Options(hinton={})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(self.student.partition(":")[::2]):
            raise PlanError(
                f'The option student of "distill" cannot be "{self.student}".',
                'Give a python entry: "module:callable".',
            )

    @property
    def entries(self) -> tuple[str, ...]:
        return (self.student, *super().entries)

    def new_student(self, base: Path, seed: int, data: DataSet) -> nn.Module:
        """The untrained student. Raises ModelError when it does not import or has no answer for each class."""
        from edgebench.compress.load_model import check_fit, load_module

        spec = ModelSpec(name="student", source=self.student, options=self.student_options)
        student = load_module(spec, base, seed=seed + self.seed)
        try:
            check_fit(student, data, "classify")
        except ModelError as error:
            raise ModelError(
                f"The student {self.student} does not fit. {error.problem}",
                f"{error.fix.rstrip('.')}: student_options are its arguments.",
            ) from error
        return student

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """`model` is the teacher "parent"; returns the student. Raises ModelError when their classes differ."""
        student = self.new_student(context.base, context.seed, context.data)
        context.described(self.student, self.student_options)
        return self.learn(student, replace_parent(context, model))


def replace_parent(context: Context, model: nn.Module) -> Context:
    """The context with `model` as the teacher "parent"; what is remembered in it is remembered in the first."""
    return replace(context, ancestors={**context.ancestors, "parent": lambda: model})
