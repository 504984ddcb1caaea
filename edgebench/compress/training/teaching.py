"""Distillation as a criterion: the same inside training, fine-tuning after pruning, and quantization-aware training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgebench.compress.load_model import answer, load_module, tensor
from edgebench.compress.training import losses
from edgebench.compress.training.accelerator import device_for
from edgebench.compress.training.criterion import Criterion, Labels, cross_entropy
from edgebench.compress.training.learning import Learning, Teacher, no_ancestor
from edgebench.compress.training.losses import LayerLoss, LogitLoss
from edgebench.compress.training.pairing import Pairs, heard_of_all, listening, paired
from edgebench.errors import ModelError
from edgebench.schema import ModelSpec

if TYPE_CHECKING:
    from edgebench.compress.context import Context

CACHED = 1 << 30
"""Bytes of a teacher's answers to the whole training split up to which they are kept."""


@contextlib.contextmanager
def criterion(how: Learning, student: nn.Module, context: Context) -> Iterator[Criterion]:
    """What `how` says to minimise for `student`; while the context lasts, layers are listened to where losses need it.

    Raises ModelError for a teacher that is not there, has other classes, or has no layer as named.
    """
    if not how.losses:
        yield Labels(partial(_labels_alone, how))
        return
    with contextlib.ExitStack() as stack, torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed + how.seed)  # the projections that are learnt
        yield Teaching(how, student, context, stack)


def _labels_alone(how: Learning, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
    return how.labels * cross_entropy(outputs, labels, how.label_smoothing)


@dataclass
class Term:
    """One loss with one teacher: the pairs of layers that it compares, and what is learnt for each of them."""

    loss: LogitLoss | LayerLoss
    factor: float
    pairs: Pairs = ()
    learnt: Sequence[nn.Module] = ()

    def of(self, student: Heard, teacher: Heard, labels: Tensor) -> Tensor:
        """The weighted loss; the mean over the pairs' losses where it is of layers."""
        if isinstance(self.loss, LogitLoss):
            return self.factor * self.loss.of(student.logits, teacher.logits, labels)
        made = [
            self.loss.of(student.layers[ours], teacher.layers[theirs], own)
            for (ours, theirs), own in zip_longest(self.pairs, self.learnt)
        ]
        return self.factor * torch.stack(made).mean()


@dataclass
class Heard:
    """What a network said to a batch: logits (B, C), and the outputs of the layers that are listened to."""

    logits: Tensor
    layers: dict[str, Tensor]


class Teaching(Criterion):
    """labels * CE(y, student) + sum over teachers and losses of share * weight * T(teacher, student)."""

    def __init__(self, how: Learning, student: nn.Module, context: Context, stack: contextlib.ExitStack) -> None:
        self.how = how
        inputs = tensor(context.data.train.inputs)
        some = inputs[:2]
        chosen = losses.parse(how.losses)
        deep = [loss for loss in chosen if isinstance(loss, LayerLoss)]
        ours = _all_heard(student, some, "student") if deep else {}
        teachers = how.taught_by()
        shares = sum(teacher.share for teacher in teachers.values())
        self.teachers: list[tuple[_Taught, list[Term]]] = []
        for name, teacher in teachers.items():
            model = _teacher(name, teacher, context)
            _same_classes(student, name, model, some)
            _check_trained(name, teacher, model, context)
            theirs = _all_heard(model, some, name) if deep else {}
            terms = [_term(loss, teacher.share / shares, ours, theirs) for loss in chosen]
            wanted = dict.fromkeys(theirs_of for term in terms for _, theirs_of in term.pairs)
            device = device_for(how.device)
            self.teachers.append(
                (_Taught(model.to(device), tuple(wanted), stack, None if how.augmentation() else inputs), terms)
            )
        every = [term for _, terms in self.teachers for term in terms]
        self.learnt = nn.ModuleList([own for term in every for own in term.learnt])
        heard = dict.fromkeys(name for term in every for name, _ in term.pairs)
        self.student: dict[str, Tensor] = stack.enter_context(listening(student, tuple(heard)))
        pairs = {term.loss.name: " ".join(f"{a}={b}" for a, b in term.pairs) for term in every if term.pairs}
        if pairs:
            context.remember(layers=pairs)

    def see(self, inputs: Tensor, index: Tensor) -> None:
        self.said = [taught.says(inputs, index) for taught, _ in self.teachers]

    def __call__(self, outputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        whole = self.how.labels * cross_entropy(outputs, labels, self.how.label_smoothing)
        student = Heard(outputs.float(), self.student)
        for said, (_, terms) in zip(self.said, self.teachers, strict=True):
            for term in terms:
                whole = whole + term.of(student, said, labels)
        return whole


class _Taught:
    """A teacher in eval mode, whose answers are kept where its inputs never change and they are small enough."""

    def __init__(
        self, model: nn.Module, names: tuple[str, ...], stack: contextlib.ExitStack, inputs: Tensor | None
    ) -> None:
        self.model, self.names = model.eval(), names
        self.heard = stack.enter_context(listening(model, names))
        self.kept: Heard | None = None
        if inputs is not None and self._bytes(inputs) <= CACHED:
            self.kept = self._of_all(inputs)

    def says(self, inputs: Tensor, index: Tensor) -> Heard:
        """The answer to a batch: inputs (B, ...) as they are, indices (B,) into the training split."""
        if self.kept is None:
            return self._ask(inputs)
        at = index.to(self.kept.logits.device)
        return Heard(self.kept.logits[at], {name: kept[at] for name, kept in self.kept.layers.items()})

    def _ask(self, inputs: Tensor) -> Heard:
        with torch.no_grad():
            logits = self.model(inputs.clone()).float()  # it may work in place, and the student is given them next
        return Heard(logits, {name: self.heard[name] for name in self.names})

    def _bytes(self, inputs: Tensor) -> int:
        said = self._ask(inputs[:1].to(self._device()))
        return sum(t.nbytes for t in (said.logits, *said.layers.values())) * len(inputs)

    def _of_all(self, inputs: Tensor, batch: int = 256) -> Heard:
        parts = [self._ask(part.to(self._device())) for part in torch.split(inputs, batch)]
        return Heard(
            torch.cat([part.logits for part in parts]),
            {name: torch.cat([part.layers[name] for part in parts]) for name in self.names},
        )

    def _device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))


def _term(loss: LogitLoss | LayerLoss, share: float, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Term:
    if isinstance(loss, LogitLoss):
        return Term(loss, loss.weight * share)
    pairs = paired(loss.layers, ours, theirs, loss.name)
    if loss.deepest and not loss.layers:
        pairs = pairs[-1:]
    return Term(loss, loss.weight * share, pairs, loss.learnt([(ours[a], theirs[b]) for a, b in pairs]))


def _teacher(name: str, asked: Teacher, context: Context) -> nn.Module:
    """The teacher's network, loaded anew so that nothing else is done to it."""
    if asked.source:
        spec = ModelSpec(name=name, source=asked.source, weights=asked.weights or None, options=asked.options)
        return load_module(spec, context.base, seed=context.seed)
    make: Callable[[], nn.Module] | None = context.ancestors.get(name)
    if make is None:
        raise no_ancestor(name, context.stage or "this step")
    return make()


def _check_trained(name: str, asked: Teacher, made: nn.Module, context: Context) -> None:
    """Raise ModelError for a teacher without weights of its own, whose entry draws them: another seed makes another one."""
    if not asked.source or asked.weights:
        return
    spec = ModelSpec(name=name, source=asked.source, options=asked.options)
    other = load_module(spec, context.base, seed=context.seed + 1).state_dict()
    if any(not torch.equal(value, other[key]) for key, value in made.state_dict().items() if key in other):
        raise ModelError(
            f'The teacher "{name}" is untrained: it was given no weights, and {asked.source} draws them at random.',
            f'Add them: {name} = {{ source = "{asked.source}", weights = "file.safetensors" }}.',
        )


def _same_classes(student: nn.Module, name: str, teacher: nn.Module, some: Tensor) -> None:
    found, wanted = _answer(student, some), answer(teacher, some)
    if wanted.shape != found.shape or wanted.ndim != 2:
        raise ModelError(
            f"The student answers {list(found.shape[1:])} per sample, its teacher {name} {list(wanted.shape[1:])}.",
            "Give both the same classes, for example with student_options or the teacher's options.",
        )


def _answer(student: nn.Module, some: Tensor) -> Tensor:
    """What the student says, whichever mode it is in: an exported network cannot be put into another."""
    if isinstance(student, torch.fx.GraphModule):
        with torch.no_grad():
            made: Tensor = student(some)
        return made
    return answer(student, some)


def _all_heard(model: nn.Module, some: Tensor, whose: str) -> dict[str, Tensor]:
    if isinstance(model, torch.fx.GraphModule):
        raise ModelError(
            f"The {whose} is an exported graph, in which no layer can be listened to.",
            "Use losses of the answers alone there: hinton, dkd, dist or logit_std.",
        )
    return heard_of_all(model, some)
