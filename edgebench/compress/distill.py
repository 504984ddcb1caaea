"""Knowledge distillation: a small network learns from a large one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.errors import ModelError, PlanError
from edgebench.schema import ModelSpec, Options

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Train a student on the softened answers of the network so far (Hinton et al., 2015, arXiv:1503.02531).

    L = (1 - alpha) CE(y, s) + alpha T^2 KL(softmax(t / T) || softmax(s / T)); the factor T^2 keeps the gradients of
    both terms of one size when T changes. `student` is a python entry, `student_options` its keyword arguments.
    """

    name: ClassVar[str] = "distill"
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = True

    student: str
    student_options: Options = Options()
    temperature: float = 4.0
    alpha: float = 0.9
    epochs: int = 12
    lr: float = 0.004
    batch_size: int = 64
    weight_decay: float = 0.0001

    def __post_init__(self) -> None:
        if not all(self.student.partition(":")[::2]):
            raise PlanError(
                f'The option student of "distill" cannot be "{self.student}".',
                'Give a python entry: "module:callable".',
            )
        values.positive(self.name, "temperature", self.temperature)
        values.within(self.name, "alpha", self.alpha, 0, 1)
        values.at_least(self.name, "epochs", self.epochs, 1)
        values.at_least(self.name, "batch_size", self.batch_size, 2)
        values.positive(self.name, "lr", self.lr)
        values.within(self.name, "weight_decay", self.weight_decay, 0, 1)

    @property
    def entries(self) -> tuple[str, ...]:
        """The code beside its own that the result depends on."""
        return (self.student,)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """`model` is the teacher; returns the student. Raises ModelError when their classes differ."""
        from torch.nn import functional

        from edgebench.compress import training
        from edgebench.compress.load_model import load_module, tensor

        spec = ModelSpec(name="student", source=self.student, options=self.student_options)
        student = load_module(spec, context.base, seed=context.seed)
        inputs = tensor(context.data.train.inputs)
        self._same_classes(model, student, inputs[:2])
        taught = training.outputs_of(model, inputs)  # no augmentation: the teacher answers once for all epochs

        def loss(outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
            soft = hinton(outputs, taught[index], self.temperature)
            return (1 - self.alpha) * functional.cross_entropy(outputs, labels) + self.alpha * soft

        trained = training.fit(
            student,
            context,
            loss,
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
        )
        context.described(self.student, self.student_options)
        return trained

    def _same_classes(self, teacher: nn.Module, student: nn.Module, some: Tensor) -> None:
        from edgebench.compress.load_model import answer

        wanted, found = answer(teacher, some), answer(student, some)
        if wanted.shape != found.shape:
            raise ModelError(
                f"The student {self.student} answers {list(found.shape[1:])}, its teacher {list(wanted.shape[1:])}.",
                "Give the student the classes of its teacher, for example with student_options.",
            )


def hinton(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over the batch; logits (B, C) -> scalar."""
    from torch.nn import functional

    log_student = functional.log_softmax(student / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=1)
    return functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2
