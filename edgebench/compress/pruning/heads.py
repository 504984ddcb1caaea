"""Attention heads: found by what a module is made of, ranked, and removed whole.

A head is hd rows of the query, key and value projections and hd columns of the output projection, so nothing outside of its
module changes. Whether the module really is laid out that way is tried, not believed: the network without a head must answer
as the whole network does with that head's output columns at zero.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from edgebench.compress.pruning.importance import Kind, Part, score

WORDS = ("num_heads", "n_heads", "nheads", "heads", "n_head", "num_attention_heads")
NEAR = 1e-4
"""Greatest relative difference between a head removed and a head silenced; only the order of summation differs."""


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One attention module: the attribute that counts its heads, its projections (all but the last) and its output."""

    name: str
    word: str
    heads: int
    projections: tuple[str, ...]
    output: str
    width: int
    also: tuple[str, ...] = ()
    """Further attributes that hold the width of all heads together."""

    @property
    def layers(self) -> tuple[str, ...]:
        return (*self.projections, self.output)


def find(model: nn.Module) -> list[Attention]:
    """Modules with a head count whose linear layers are query, key and value (apart or in one) and an output."""
    found = []
    for name, module in model.named_modules():
        word = next((w for w in WORDS if type(getattr(module, w, None)) is int), None)
        if word is None or isinstance(module, nn.MultiheadAttention):
            continue
        own = {f"{name}.{n}" if name else n: m for n, m in module.named_modules() if isinstance(m, nn.Linear)}
        if len(own) < 2:
            continue
        *projections, output = own
        width, heads = own[output].in_features, getattr(module, word)
        widths = [own[p].out_features for p in projections]
        if heads < 1 or width % heads or any(w % width for w in widths) or sum(widths) != 3 * width:
            continue
        found.append(
            Attention(name=name, word=word, heads=heads, width=width, projections=tuple(projections), output=output)
        )
    return found


def fixed(model: nn.Module) -> list[str]:
    """Layers of attention modules, torch's own included: no channel of theirs goes by itself."""
    names = [name for attention in find(model) for name in attention.layers]
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            names += [name, f"{name}.out_proj"]
    return names


def prunable(model: nn.Module, example: Tensor) -> list[Attention]:
    """The attention modules that can lose a head, each tried on `example` (1, ...)."""
    out = []
    for attention in find(model):
        # Where a module keeps its inner width as a number of its own, that must change with the heads.
        module = model.get_submodule(attention.name)
        inner = tuple(k for k, v in vars(module).items() if type(v) is int and v == attention.width)
        for also in ((), inner) if inner else ((),):
            candidate = replace(attention, also=also)
            if attention.heads > 1 and _works(model, example, candidate):
                out.append(candidate)
                break
    return out


def _works(model: nn.Module, example: Tensor, attention: Attention) -> bool:
    silenced, without = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
    size = attention.width // attention.heads
    output = silenced.get_submodule(attention.output)
    assert isinstance(output, nn.Linear)
    with torch.no_grad():
        output.weight[:, :size] = 0
        wanted = silenced(example.clone())
        remove(without, attention, [0])
        try:
            found = without(example.clone())
        except Exception:  # whatever the user's forward says to fewer heads
            return False
    scale = max(1.0, float(wanted.abs().max()))
    return found.shape == wanted.shape and float((found - wanted).abs().max()) <= NEAR * scale


def weakest(
    model: nn.Module, attention: Attention, kind: Kind, count: int, grads: Mapping[nn.Module, Tensor]
) -> list[int]:
    """The `count` heads of least mean importance over their channels."""
    found = []
    for name in attention.layers:
        layer: Any = model.get_submodule(name)
        reads = name == attention.output
        for start in range(0, 1 if reads else layer.out_features, attention.width):
            block = slice(start, start + attention.width)
            cut = layer.weight.T if reads else layer.weight[block]
            own = grads.get(layer)
            if own is not None:
                own = own.transpose(1, 2) if reads else own[:, block]
            role: Any = "in" if reads else "out"
            found.append(Part(role=role, rows=cut.detach(), root=range(attention.width), grads=own))
    scores = score(kind, found, attention.width)
    if scores is None:
        return []
    order = scores.view(attention.heads, -1).mean(1).argsort(stable=True)
    return sorted(order[:count].tolist())


def remove(model: nn.Module, attention: Attention, gone: Sequence[int]) -> None:
    """Take heads out in place, and set the module's own counts to what is left."""
    size = attention.width // attention.heads
    left = [h for h in range(attention.heads) if h not in set(gone)]
    inner = torch.tensor([h * size + i for h in left for i in range(size)])
    for name in attention.projections:
        layer: Any = model.get_submodule(name)
        blocks = range(0, layer.out_features, attention.width)
        keep = torch.cat([inner + start for start in blocks])
        layer.weight = nn.Parameter(layer.weight.data[keep].clone())
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.data[keep].clone())
        layer.out_features = len(keep)
    output: Any = model.get_submodule(attention.output)
    output.weight = nn.Parameter(output.weight.data[:, inner].clone())
    output.in_features = len(inner)
    module = model.get_submodule(attention.name)
    setattr(module, attention.word, len(left))
    for name in attention.also:
        setattr(module, name, len(inner))
