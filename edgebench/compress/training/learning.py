"""The options that every step which trains has in common, checked without any framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgebench.codec import Options
from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.compress.methods import from_options
from edgebench.compress.training import losses
from edgebench.data import DataSet
from edgebench.data.augment import Augment
from edgebench.errors import DataError, ModelError, PlanError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

OWN = ("parent", "first")
"""Teachers that a recipe brings with it: what its last compressing step was given, and what its first one was."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network to learn from: a python entry with weights; or one of the recipe's own, which has neither.

    "parent" is what the last compressing step was given, "first" what the first one was. `share` weighs several
    against each other.
    """

    example: ClassVar[str] = (
        'teachers = { parent = {}, big = { source = "my_model:big", weights = "big.safetensors" } }'
    )

    source: str = ""
    weights: str = ""
    options: Options = Options()
    share: float = 1.0

    def __post_init__(self) -> None:
        values.positive("teachers", "share", self.share)


def check_labelled(data: DataSet) -> None:
    """Raise DataError where there is nothing to train on."""
    if len(data.train) < 2 or data.train.labels is None:
        raise DataError(
            f"The data set {data.name} has no labelled training samples.",
            "Add x_train and y_train to it, or leave out the steps that train.",
        )


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How to train: L = labels * CE(y, student) + the weighted sum of `losses` over `teachers`.

    AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101) or SGD with Nesterov's momentum; `lr` rises over the share
    `warmup` of the steps (Goyal et al., 2017, arXiv:1706.02677) and falls as a cosine (Loshchilov and Hutter, 2017,
    arXiv:1608.03983). `ema` > 0 keeps a running mean of the weights, which is the result. `augment` = { crop = 4,
    flip = true } changes the training samples only. Where `mixed_precision` allows, the forward pass is computed in
    bfloat16: "gpu" on a GPU that has it, "always" also on a CPU that has instructions for it (dense convolutions train
    up to twice as fast there, depthwise ones slower), "never" nowhere.
    """

    name: ClassVar[str] = "learning"
    rewrites: ClassVar[bool] = True
    """Whether weights that were set by an earlier step are changed, zeros among them."""
    tables: ClassVar[Mapping[str, Callable[[], Mapping[str, Any]]]] = {
        "losses": lambda: losses.LOSSES,
        "teachers": lambda: {"NAME": Teacher},
        "augment": lambda: {"": Augment},
    }
    """What an option that is a table may hold, for `edgebench methods`."""

    epochs: int = 10
    lr: float = 0.002
    batch_size: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float | None = None
    weight_decay: float = 0.0001
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.3
    ema: float = 0.0
    label_smoothing: float = 0.0
    augment: Options = Options()
    labels: float = 1.0
    losses: Options = Options()
    teachers: Options = Options()
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    mixed_precision: Literal["gpu", "always", "never"] = "gpu"

    def __post_init__(self) -> None:
        values.at_least(self.name, "epochs", self.epochs, 1)
        values.at_least(self.name, "batch_size", self.batch_size, 2)
        values.positive(self.name, "lr", self.lr)
        values.within(
            self.name, "lr", self.lr, 0, 1e6
        )  # far beyond any use, and in float32 its multiples are numbers still
        values.within(self.name, "weight_decay", self.weight_decay, 0, 1)
        values.within(self.name, "warmup", self.warmup, 0, 1)
        values.within(self.name, "ema", self.ema, 0, 0.99999)
        values.within(self.name, "label_smoothing", self.label_smoothing, 0, 0.5)
        values.within(self.name, "labels", self.labels, 0, 1000)
        values.at_least(self.name, "seed", self.seed, 0)
        self._check_momentum()
        self._check_teaching()
        self.augmentation()

    def _check_momentum(self) -> None:
        if self.momentum is None:
            return
        if self.optimizer != "sgd":
            raise PlanError(
                f'The option momentum of "{self.name}" is for sgd, not for {self.optimizer}.',
                'Leave it out, or add optimizer = "sgd".',
            )
        values.within(self.name, "momentum", self.momentum, 0, 0.9999)

    def _check_teaching(self) -> None:
        chosen = losses.parse(self.losses)
        if self.teachers and not chosen:
            raise PlanError(
                f'The step "{self.name}" has teachers, but no losses to learn from them by.',
                "Add them, as in losses = { hinton = {} }.",
            )
        if not chosen and not self.labels:
            raise PlanError(
                f'The step "{self.name}" looks at neither labels nor teachers.', "Set labels above 0, or add losses."
            )
        for name, teacher in self.taught_by().items():
            if name in OWN and (teacher.source or teacher.weights):
                raise PlanError(
                    f'The teacher "{name}" is the recipe\'s own network, and takes no source and no weights.',
                    "Give a teacher of your own another name.",
                )
            if name not in OWN and not all(teacher.source.partition(":")[::2]):
                entry = f'{name} = {{ source = "module:callable", weights = "file.safetensors" }}'
                near = "" if teacher.source else nearest(name, OWN)
                raise PlanError(
                    f'The teacher "{name}" of "{self.name}" has no python entry as its source.',
                    f'Did you mean "{near}"?' if near else f"Write {entry}, or use parent or first.",
                )

    def augmentation(self) -> Augment:
        """What is done to each training sample each time. Raises PlanError for wrong options."""
        made: Augment = from_options("augmentation", "augment", Augment, self.augment)
        return made

    def taught_by(self) -> dict[str, Teacher]:
        """The teachers by name; where there are losses and no teacher is named, "parent"."""
        if not self.teachers:
            return {"parent": Teacher()} if self.losses else {}
        made = {}
        for name, options in self.teachers.items():
            if not isinstance(options, Mapping):
                raise PlanError(
                    f'The teacher "{name}" of "{self.name}" cannot be {options!r}.',
                    f"Write a table, as in teachers = {{ {name} = {{ share = 1.0 }} }}.",
                )
            made[name] = from_options(f'teacher "{name}"', name, Teacher, options)
        return made

    @property
    def entries(self) -> tuple[str, ...]:
        """The code beside its own that the result depends on."""
        return tuple(t.source for t in self.taught_by().values() if t.source)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the result depends on."""
        return tuple(t.weights for t in self.taught_by().values() if t.weights)

    def check_teachers(self, base: Path, compressed: bool) -> None:
        """Raises ModelError for weights that are not there, and for the recipe's own network before there is one.

        `compressed` says whether this step or one before it compresses.
        """
        for name, teacher in self.taught_by().items():
            if name in OWN and not compressed:
                raise no_ancestor(name, f'the step "{self.name}"')
            if teacher.weights and not Path(base, teacher.weights).is_file():
                raise ModelError(
                    f'The weights {Path(base, teacher.weights)} of the teacher "{name}" are not there.',
                    "Check the path.",
                )

    def learn(
        self,
        model: nn.Module,
        context: Context,
        *,
        extra: Callable[[], Tensor] | None = None,
        mode: Callable[[nn.Module, bool], None] | None = None,
    ) -> nn.Module:
        """Train in place by these options, distilled where there are losses; returns the network in eval mode.

        `extra` is added to the loss of every batch (a penalty of the weights); `mode` puts the network into training
        (True) or evaluation where `Module.train` does not (exported networks). Raises DataError and ModelError.
        """
        from edgebench.compress.training import loop, teaching
        from edgebench.compress.training.criterion import Sum

        with teaching.criterion(self, model, context) as criterion:
            whole = Sum(criterion, extra) if extra else criterion
            return loop.fit(model, context, whole, how=self, mode=mode)


def no_ancestor(name: str, stage: str) -> ModelError:
    """A step wants to learn from a network of its recipe that is not there."""
    return ModelError(
        f'The teacher "{name}" of {stage} is what a step that compresses was given, and there is none so far.',
        'Put a prune, distill or other compressing step before it, or give a teacher with source = "module:callable".',
    )
