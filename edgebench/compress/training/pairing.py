"""Listening to layers inside a network, and pairing the layers of two networks by their resolution."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.errors import ModelError, did_you_mean

Pairs = tuple[tuple[str, str], ...]
"""(the student's layer, the teacher's), from the first to the deepest."""


@contextlib.contextmanager
def listening(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what the named layers gave out the last time they ran, for as long as the context lasts."""
    heard: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    hooks = [modules[name].register_forward_hook(_keeping(heard, name)) for name in names]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _keeping(heard: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            heard[name] = output

    return hook


def heard_of_all(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """What every layer gives out for some inputs (B, ...), in the order in which they finish; eval mode, no gradients."""
    order: list[str] = []
    hooks = [
        module.register_forward_hook(partial(_noting, order, name)) for name, module in model.named_modules() if name
    ]
    names = [name for name, _ in model.named_modules() if name]
    was_training = model.training
    try:
        with torch.no_grad(), listening(model, names) as heard:
            model.eval()(example.clone())
    finally:
        for hook in hooks:
            hook.remove()
    model.train(was_training)
    return {name: heard[name] for name in order if name in heard}


def _noting(order: list[str], name: str, *_: Any) -> None:
    if name in order:  # a layer that runs twice finishes when it does for the last time
        order.remove(name)
    order.append(name)


def resolution(output: Tensor) -> tuple[int, ...] | None:
    """(H, W) of maps (B, C, H, W), (T,) of tokens (B, T, C), None of anything else."""
    if output.ndim == 4:
        return tuple(output.shape[2:])
    return (output.shape[1],) if output.ndim == 3 else None


def paired(wanted: Mapping[str, str], student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], loss: str) -> Pairs:
    """The pairs that the user named, or the last layers of each resolution that both networks have.

    `student` and `teacher` hold example outputs by layer. Raises ModelError for a layer that is not there or does not
    run, and where no two layers match.
    """
    for names, known, whose in ((wanted.keys(), student, "student"), (wanted.values(), teacher, "teacher")):
        for name in names:
            if name not in known:
                raise ModelError(
                    f'The {whose} of the loss "{loss}" has no layer "{name}" that gives out a tensor.',
                    did_you_mean(name, known),
                )
    if wanted:
        return tuple(wanted.items())
    ours, theirs = _last_of_each(student), _last_of_each(teacher)
    common = [at for at in ours if at in theirs]
    if not common:
        raise ModelError(
            f'No layer of the student has the resolution of one of its teacher, so the loss "{loss}" has nothing to pair.',
            f'Name the layers in the plan: {loss} = {{ layers = {{ "student\'s layer" = "teacher\'s layer" }} }}.',
        )
    return tuple((ours[at], theirs[at]) for at in common)


def _last_of_each(heard: Mapping[str, Tensor]) -> dict[tuple[int, ...], str]:
    """The last layer of each resolution of more than one place: one place alone says nothing of where things are."""
    last: dict[tuple[int, ...], str] = {}
    for name, output in heard.items():
        at = resolution(output)
        if at and max(at) > 1:
            last.pop(at, None)
            last[at] = name
    return last
