"""The training loop that training, fine-tuning and distillation share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgebench.compress.context import Context
from edgebench.compress.load_model import macs, tensor
from edgebench.compress.threads import threads_for
from edgebench.errors import DataError, ModelError

__all__ = ["Loss", "Tensor", "fit", "outputs_of"]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(outputs (B, C), labels (B,), indices (B,) into the training split) -> scalar."""


def fit(
    model: nn.Module,
    context: Context,
    loss: Loss,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    weight_decay: float,
) -> nn.Module:
    """Train in place, in float32 on the CPU; returns the network in eval mode.

    All chance comes from `context.seed`. Raises DataError without labels to learn from, and
    ModelError when the loss stops being a number.
    """
    inputs, labels = _training_set(context)
    batches = max(1, len(inputs) // batch_size)  # a batch of one left over would break batch norm
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * batches)
    work = macs(model, inputs[:1]) * len(inputs) // batches
    # The order of the samples and dropout draw from the global stream, which is restored afterwards.
    with threads_for(work), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(context.seed)
        for epoch in range(epochs):
            model.train()
            total = 0.0
            for index in torch.randperm(len(inputs)).tensor_split(batches):
                value = loss(model(inputs[index]), labels[index], index)
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += value.item() * len(index)
            mean = total / len(inputs)
            if not mean < float("inf"):
                raise ModelError(
                    f"The loss stopped being a number in epoch {epoch + 1} of {context.stage or 'training'}.",
                    f"Lower lr ({lr:g}) in that step.",
                )
            context.report(epoch + 1, epochs, f"loss {mean:.3f}")
    context.remember(loss=mean)
    return model.eval()


def _training_set(context: Context) -> tuple[Tensor, Tensor]:
    train = context.data.train
    if len(train) < 2 or train.labels is None:
        raise DataError(
            f"The data set {context.data.name} has no labelled training samples.",
            "Add x_train and y_train to it.",
        )
    return tensor(train.inputs), tensor(train.labels)


def outputs_of(model: nn.Module, inputs: Tensor, batch: int = 128) -> Tensor:
    """The network's outputs (N, ...) in eval mode, without gradients, batch by batch."""
    was_training = model.training
    model.eval()
    with threads_for(macs(model, inputs[:1]) * batch), torch.no_grad():
        made = torch.cat([model(part) for part in torch.split(inputs, batch)])
    model.train(was_training)
    return made
