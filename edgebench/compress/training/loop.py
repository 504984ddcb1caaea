"""The training loop that training, fine-tuning, distillation and quantization-aware training share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.compress.context import Context
from edgebench.compress.load_model import macs, tensor
from edgebench.compress.threads import threads_for
from edgebench.compress.training.accelerator import ROOM, autocast, device_for, layout, precision, repeatable
from edgebench.compress.training.average import Average
from edgebench.compress.training.criterion import Criterion, Labels, Loss
from edgebench.compress.training.learning import Learning, check_labelled
from edgebench.compress.training.resume import Checkpoint, State
from edgebench.compress.training.schedule import optimizer, rate
from edgebench.errors import ModelError

__all__ = ["Criterion", "Loss", "Tensor", "fit", "outputs_of"]

FEW = 8
"""Samples that a network is asked after each epoch, to see whether its answers are numbers still."""
TOLD = 10
"""How often the progress of an epoch is told, where it has that many batches."""
Mode = Callable[[nn.Module, bool], None]


def fit(
    model: nn.Module,
    context: Context,
    loss: Loss | Criterion,
    *,
    how: Learning | None = None,
    mode: Mode | None = None,
    **options: Any,
) -> nn.Module:
    """Train in place by `how`, or by the fields of `Learning` as keywords; returns the network in eval mode, on the CPU.

    All chance comes from the seeds of the context and of `how`. `mode` is for networks that have no `train` of
    their own (exported ones). Raises DataError without labels to learn from, and ModelError when the loss stops
    being a number; the network of the epoch before is then kept.
    """
    how = how or Learning(**options)
    criterion = loss if isinstance(loss, Criterion) else Labels(loss)
    return _Training(model, context, criterion, how, mode or _train_mode).run()


def _train_mode(model: nn.Module, on: bool) -> None:
    model.train(on)


@dataclass
class _Tally:
    """What an epoch has come to so far."""

    loss: float = 0.0
    right: int = 0
    seen: int = 0

    def add(self, value: float, outputs: Tensor, labels: Tensor) -> None:
        self.loss += value * len(labels)
        self.right += int((outputs.detach().argmax(1) == labels).sum()) if outputs.ndim == 2 else 0
        self.seen += len(labels)

    def note(self) -> dict[str, float]:
        return {"loss": self.loss / self.seen, "accuracy": self.right / self.seen}


class _Training:
    """One call of `fit`."""

    def __init__(self, model: nn.Module, context: Context, criterion: Criterion, how: Learning, mode: Mode) -> None:
        self.model, self.context, self.criterion, self.how, self.mode = model, context, criterion, how, mode
        self.augment = how.augmentation()
        self.inputs, self.labels = _training_set(context)
        self.batches = max(1, len(self.inputs) // how.batch_size)  # a batch of one left over would break batch norm
        self.steps = how.epochs * self.batches
        self.device = device_for(how.device)
        self.layout = layout(self.device)

    def run(self) -> nn.Module:
        work = self._work() * len(self.inputs) // self.batches
        # Dropout draws from the global stream, which is restored afterwards.
        with threads_for(work), torch.random.fork_rng(devices=[]), torch.enable_grad(), repeatable(self.device):
            state = self._begin()
            checkpoint = Checkpoint(self.context, self.how, state)
            checkpoint.load()
            if 0 < state.epoch < self.how.epochs:
                self.context.report(state.epoch * self.batches, self.steps, f"goes on after epoch {state.epoch}")
            for epoch in range(state.epoch, self.how.epochs):
                state.note = self._epoch(state, epoch, checkpoint)
                state.epoch = epoch + 1
                checkpoint.save()
        if state.average:
            self.model.load_state_dict(state.average.values)
        note = state.note
        assert note is not None
        trained_in = f"{precision(self.device, self.how.mixed_precision)} on {self.device.type}"
        self.context.remember(loss=note["loss"], running_train_accuracy=note["accuracy"], trained_in=trained_in)
        self.model.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.mode(self.model, False)
        return self.model

    def _begin(self) -> State:
        """Everything on its device, pictures laid out as convolutions train fastest."""
        self.model.to(self.device)
        self.criterion.learnt.to(self.device)
        if self.inputs.ndim == 4:
            self.model.to(memory_format=self.layout)  # type: ignore[call-overload]
        if self.inputs.nbytes <= ROOM:
            self.inputs = self.inputs.to(self.device)
        self.labels = self.labels.to(self.device)
        weights = [*self.model.parameters(), *self.criterion.learnt.parameters()]
        return State(
            model=self.model,
            learnt=self.criterion.learnt,
            optimizer=optimizer(self.how, weights),
            average=Average(self.model, self.how.ema) if self.how.ema else None,
        )

    def _epoch(self, state: State, epoch: int, checkpoint: Checkpoint) -> dict[str, float]:
        """Every sample once, in an order that seed and epoch give; the mean loss and the accuracy on the way."""
        seed = _mixed_seed(self.context.seed, self.how.seed, epoch)
        torch.manual_seed(seed)
        chance = torch.Generator().manual_seed(seed)
        self.mode(self.model, True)
        tally = _Tally()
        order = torch.randperm(len(self.inputs), generator=chance).tensor_split(self.batches)
        for batch, index in enumerate(order):
            step = epoch * self.batches + batch
            value, outputs, labels = self._step(state, index, step, chance)
            if not math.isfinite(value):
                raise self._lost(epoch, checkpoint)
            tally.add(value, outputs, labels)
            if (batch + 1) % max(1, self.batches // TOLD) == 0 or batch + 1 == self.batches:
                self._tell(step + 1, epoch, tally)
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()) or self._overflows():
            raise self._lost(epoch, checkpoint)
        return tally.note()

    def _overflows(self) -> bool:
        """Whether the network answers with infinity or no number at all: its weights may be finite, but far too large."""
        if self.mode is not _train_mode:
            return False  # an exported network with simulated int8 would take these samples into its ranges
        self.model.eval()
        with torch.no_grad():
            said = self.model(self.inputs[:FEW].clone().to(self.device))
        return bool((said.isnan() | said.isposinf()).any())

    def _step(self, state: State, index: Tensor, step: int, chance: torch.Generator) -> tuple[float, Tensor, Tensor]:
        for group in state.optimizer.param_groups:
            group["lr"] = rate(self.how, step, self.steps)
        at = index.to(self.inputs.device)
        inputs = self.augment(self.inputs[at], chance).to(self.device)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=self.layout)
        labels = self.labels[index.to(self.device)]
        with autocast(self.device, self.how.mixed_precision):
            self.criterion.see(inputs, index)
            outputs = self.model(inputs)
            value = self.criterion(outputs, labels, index)
        state.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        if state.average:
            state.average.update(self.model, step)
        return value.item(), outputs, labels

    def _tell(self, done: int, epoch: int, tally: _Tally) -> None:
        note = tally.note()
        self.context.report(
            done,
            self.steps,
            f"loss {note['loss']:.3f}, accuracy {note['accuracy']:.1%}, epoch {epoch + 1}/{self.how.epochs}",
        )

    def _lost(self, epoch: int, checkpoint: Checkpoint) -> ModelError:
        kept = checkpoint.last_good()
        return ModelError(
            f"The loss stopped being a number in epoch {epoch + 1} of {self.context.stage or 'training'}"
            + (f"; the network of epoch {epoch} is kept in {kept}." if kept else "."),
            f"Lower lr ({self.how.lr:g}) in that step.",
        )

    def _work(self) -> int:
        """Multiply-accumulates of one sample; a network with modes of its own is not asked, and works on one thread."""
        return macs(self.model, self.inputs[:1]) if self.mode is _train_mode else 0


def _mixed_seed(*parts: int) -> int:
    """One seed of several numbers, such that neighbours have nothing in common."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


def _training_set(context: Context) -> tuple[Tensor, Tensor]:
    check_labelled(context.data)
    train = context.data.train
    assert train.labels is not None
    return tensor(train.inputs), tensor(train.labels)


def outputs_of(model: nn.Module, inputs: Tensor, batch: int = 128) -> Tensor:
    """The network's outputs (N, ...) in eval mode, without gradients, batch by batch."""
    was_training = model.training
    model.eval()
    with threads_for(macs(model, inputs[:1]) * batch), torch.no_grad():
        made = torch.cat([model(part.clone()) for part in torch.split(inputs, batch)])  # it may work in place
    model.train(was_training)
    return made
