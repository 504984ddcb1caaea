"""Which part of a network torch cannot export: the smallest module that fails when it is exported alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError


@dataclass(frozen=True)
class _Call:
    """What a module was called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def cannot(error: Exception, what: str, model: nn.Module, example: Tensor, *, free: bool = True) -> ModelError:
    """What to say of a network that torch could not export, and of the module in it that is the reason.

    `free` says whether it was to take batches of any size.
    """
    with quiet():
        part = culprit(model, example)
    why = _line(error) or first_line(error)
    return ModelError(
        f"The network cannot be exported as {what}{', because of its module ' + part if part else ''}: {why}.",
        f"Write its forward without branches on values{', and without a fixed batch size' if free else ''}.",
    )


def _line(error: Exception) -> str:
    """The line of the network's own code that torch stopped at; "" where it names none."""
    found = re.search(r'raised this error:\s+File "([^"]+)", line (\d+), in \w+\s+(.+)', str(error))
    if not found or "site-packages" in found[1]:
        return ""
    return f'torch cannot follow line {found[2]} of {Path(found[1]).name}, "{found[3].strip()}"'


def culprit(model: nn.Module, example: Tensor) -> str:
    """Its name and class, "blocks.2 (Attention)"; "" where no part of the network fails alone, or it does not even run.

    `example` is (B, ...), B >= 2. Each module is tried with what it is called with for it.
    """
    try:
        calls = _calls(model, example)
    except Exception:
        return ""  # what the caller has to say of it is enough
    found = ""
    while True:
        failing = next(
            (n for n in _inside(found, calls) if not _exports(model.get_submodule(n), calls[n], len(example))), ""
        )
        if not failing:
            return f"{found} ({type(model.get_submodule(found)).__name__})" if found else ""
        found = failing


def _inside(found: str, calls: Iterable[str]) -> list[str]:
    """The outermost modules inside of one that are called; lists of modules are not."""
    below = [name for name in calls if name and name.startswith(f"{found}." if found else "")]
    return [name for name in below if not any(name.startswith(f"{other}.") for other in below)]


def _calls(model: nn.Module, example: Tensor) -> dict[str, _Call]:
    """What each module is called with, the last time."""
    calls: dict[str, _Call] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls[name] = _Call(args, kwargs)

        return hook

    hooks = [m.register_forward_pre_hook(note(name), with_kwargs=True) for name, m in model.named_modules()]
    try:
        with torch.no_grad():
            model.eval()(example.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _exports(module: nn.Module, call: _Call, batch: int) -> bool:
    free = torch.export.Dim("batch")
    shapes = tuple({0: free} if isinstance(a, Tensor) and a.ndim and len(a) == batch else None for a in call.args)
    try:
        with torch.no_grad():
            torch.export.export(module, call.args, call.kwargs, dynamic_shapes=None if call.kwargs else shapes)
    except Exception:
        return False
    return True
