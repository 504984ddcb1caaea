"""Tied weights: one parameter that several modules use, and one module that has several names."""

from __future__ import annotations

from torch import nn


def tied(model: nn.Module) -> list[str]:
    """The modules, by name, that share a parameter with another one: what is done to one of them is done to all."""
    owners: dict[int, set[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(name)
    shared = {name for names in owners.values() if len(names) > 1 for name in names}
    return [name for name, _ in model.named_modules() if name in shared]


def renamed(model: nn.Module) -> list[str]:
    """The modules that several others hold, or one under several names: replaced in one place, they stay in the others."""
    places: dict[int, int] = {}
    for parent in model.modules():
        for child in parent._modules.values():
            places[id(child)] = places.get(id(child), 0) + 1
    return [name for name, module in model.named_modules() if places.get(id(module), 0) > 1]
