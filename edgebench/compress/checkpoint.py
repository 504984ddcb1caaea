"""A network on disk: safetensors, and a JSON from which its architecture is built again. No pickle either way.

Pruning is described by the attributes of each module that differ from what the python entry builds
("out_channels": 24); with the shapes of the weights, that is all there is to rebuild.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.codec import Options, from_json, to_json
from edgebench.compress.context import Architecture
from edgebench.compress.load_model import load_module, parameters, read_safetensors
from edgebench.errors import ModelError
from edgebench.schema import ModelSpec

WEIGHTS, DESCRIPTION = "network.safetensors", "network.json"


def save(model: nn.Module, architecture: Architecture, folder: Path, base: Path, example: Tensor) -> Architecture:
    """Write the network, and prove that it can be read back: raises ModelError when the rebuilt one differs.

    Returns the architecture with its changes. `example` (B, ...) is what both networks are asked.
    """
    from safetensors.torch import save_file

    fresh = _build(architecture, base)
    if any(isinstance(value, nn.parameter.UninitializedParameter) for value in fresh.parameters()):
        raise ModelError(
            f"The network that {architecture.entry} builds has lazy layers, which know their sizes only once it has run.",
            "Run it once on an example before the entry returns it, or give its layers their sizes.",
        )
    if _kinds(fresh) != _kinds(model):
        raise ModelError(
            f"The network has other modules now than {architecture.entry} builds, so it cannot be written down.",
            "Let the method that changed it give context.described() an entry that builds the new one.",
        )
    described = replace(architecture, changes=Options(_changes(fresh, model)))
    # Tied weights share memory, which safetensors refuses: each is written by itself.
    state = {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps(to_json(described), indent=1, sort_keys=True) + "\n")
    wanted = _sure_answer(model, architecture.entry, example)
    with torch.no_grad():
        again = load(folder, base)(example.clone())
    if not torch.equal(again, wanted):
        raise ModelError(
            f"The network of {architecture.entry} answers otherwise when it is built again.",
            "Keep all of its state in parameters, buffers and plain attributes of its modules.",
        )
    return described


@torch.no_grad()
def _sure_answer(model: nn.Module, entry: str, example: Tensor) -> Tensor:
    """What the network answers, where that can be compared. Raises ModelError for one that is NaN or changes by itself."""
    first: Tensor = model.eval()(example.clone())
    if bool(first.isnan().any()):
        raise ModelError(
            f"The network of {entry} answers NaN, no number: a training diverged, or its weights or the data are broken.",
            "Lower lr in the step that trains it, and look for NaN in the weights and the data.",
        )
    if not torch.equal(first, model(example.clone())):
        raise ModelError(
            f"The network of {entry} answers the same inputs otherwise when it is asked again, in eval mode too: it is random,"
            " or remembers what it was asked.",
            "Let chance act in training only (if self.training), and start anew with each call.",
        )
    return first


def load(folder: Path, base: Path) -> nn.Module:
    """Build the network again, in eval mode, in any process. Raises ModelError when its code has changed since."""
    described = from_json(Architecture, json.loads((folder / DESCRIPTION).read_text()))
    state = read_safetensors(folder / WEIGHTS)
    model = _build(described, base)
    modules = dict(model.named_modules())
    for name, attributes in described.changes.items():
        for attribute, value in attributes.items():
            setattr(modules[name], attribute, tuple(value) if isinstance(value, list) else value)
    _resize(model, state)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The network of {described.entry} is not the one that was saved in {folder}.",
            "Delete that folder, and run again.",
        ) from error
    return model.eval()


def _build(architecture: Architecture, base: Path) -> nn.Module:
    return load_module(ModelSpec(name="network", source=architecture.entry, options=architecture.options), base)


def _kinds(model: nn.Module) -> dict[str, tuple[str, str]]:
    """The class of each module by its name: one that is made within a function is another object each time."""
    return {n: (type(m).__module__, type(m).__qualname__) for n, m in model.named_modules()}


def _changes(fresh: nn.Module, model: nn.Module) -> dict[str, dict[str, Any]]:
    """For each module, the plain attributes whose values differ."""
    before = dict(fresh.named_modules())
    found = {}
    for name, module in model.named_modules():
        old = vars(before[name])
        new = {k: v for k, v in vars(module).items() if _plain(v) and k != "training" and old.get(k) != v}
        if new:
            found[name] = new
    return found


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_plain(v) for v in value)
    return isinstance(value, (bool, int, float, str))


def _resize(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give parameters and buffers the shapes that the weights have."""
    for name, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            for key, old in table.items():
                new = state.get(f"{name}.{key}" if name else key)
                if old is not None and new is not None and old.shape != new.shape:
                    empty = torch.empty(new.shape, dtype=old.dtype)
                    table[key] = nn.Parameter(empty, old.requires_grad) if isinstance(old, nn.Parameter) else empty


def facts(model: nn.Module, example: Tensor) -> dict[str, int]:
    """What a network costs wherever it runs: multiply-accumulates per sample, and parameters."""
    from edgebench.compress.load_model import macs

    return {"macs": macs(model, example[:1]), "parameters": parameters(model)}
