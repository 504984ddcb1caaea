"""Trying out what a recipe's training steps need before hours go into the steps before them: weights, classes, teachers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from edgebench.compress.context import Architecture, Context
from edgebench.compress.methods import Method
from edgebench.compress.training import teaching
from edgebench.compress.training.distill import Distill
from edgebench.compress.training.learning import Learning
from edgebench.data import DataSet, Split
from edgebench.errors import ModelError


def rehearse(model: nn.Module, steps: Sequence[Method], data: DataSet, base: Path) -> None:
    """Let each step of a recipe that learns from a teacher meet it on two samples, untrained. Raises ModelError.

    A network without a weight to train is refused at the first step that trains.

    Pruning changes widths, not names, so that the networks before it stand for those after it; quantized training is
    left out, as it works on another form of the network.
    """
    some = Split(data.evaluation.inputs[:2], None)
    now, ancestors = model, dict[str, Callable[[], nn.Module]]()
    for method in steps:
        if method.compresses:
            ancestors = {"first": partial(_itself, now), **ancestors, "parent": partial(_itself, now)}
        if isinstance(method, Distill):
            now = method.new_student(base, 0, data)
        if isinstance(method, Learning) and not any(p.requires_grad for p in now.parameters()):
            raise ModelError(
                f"{method.name} has nothing to train: the network has no weights, or all of them are frozen.",
                "Let those that it shall train have requires_grad = True, or leave the step out.",
            )
        if isinstance(method, Learning) and method.losses and not getattr(method, "precision", None):
            context = Context(
                data=replace(data, train=some),
                base=base,
                architecture=Architecture(entry=""),
                stage=method.name,
                ancestors=ancestors,
            )
            with teaching.criterion(replace(method, device="cpu"), now, context):
                pass


def _itself(model: nn.Module) -> nn.Module:
    return model
