"""Cross-layer equalisation: the same float function with weights that int8 covers more evenly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgebench.compress.quantization import layers
from edgebench.compress.quantization.layers import Layer

aten = torch.ops.aten
ROUNDS, SETTLED = 20, 1e-3
_HOMOGENEOUS = {
    aten.relu.default: True,
    aten.relu_.default: True,
    aten.leaky_relu.default: True,
    aten.max_pool2d.default: True,
    aten.avg_pool2d.default: True,
    aten.adaptive_avg_pool2d.default: True,
    aten.dropout.default: True,
    aten.flatten.using_ints: True,
}
"""f(s x) = s f(x) for s > 0, channel by channel. ReLU6 is not among them: its 6 stands still."""


def equalise(model: nn.Module, example: Tensor) -> int:
    """Scale channels between each pair of layers in place until both use them alike; returns the number of pairs.

    For output channel i of the first layer, of range r1, and the input channel of the second that reads it, of range r2,
    s = sqrt(r1 / r2): the first is divided by s and the second multiplied, so that both ranges are sqrt(r1 r2). ReLU lets
    s > 0 pass, so the float function stays (Nagel et al., 2019, arXiv:1906.04721, section 4.1). Raises ModelError.
    """
    found = layers.find(layers.trace(model, example))
    couples = list(pairs(model, found))
    with torch.no_grad():
        for _ in range(ROUNDS):
            if max((_balance(model, a, b) for a, b in couples), default=0.0) < SETTLED:
                break
    return len(couples)


def pairs(model: nn.Module, found: list[Layer]) -> list[tuple[Layer, Layer]]:
    """Layers whose output is read by one other layer only, through operators that let a scale pass."""
    readers = {layer.node: layer for layer in found}
    made = []
    for layer in found:
        end = next((n for n in layers.chain(layer.output, _HOMOGENEOUS) if n in readers), None)
        if end is not None and end.args[0] is not layer.node and _scalable(model, layer):
            second = readers[end]
            inputs = _in_channels(model, second)
            if inputs % len(model.get_parameter(layer.weight)) == 0 and _same_axis(layer, second):
                made.append((layer, second))
    return made


def _scalable(model: nn.Module, layer: Layer) -> bool:
    if layer.norm is None:
        return True
    norm = model.get_submodule(layer.norm)
    return norm.weight is not None


def _same_axis(first: Layer, second: Layer) -> bool:
    """A convolution's channels are its second axis, and flatten keeps them in order; a linear layer's are the last."""
    return first.node.target in layers.CONVS or second.node.target is layers.LINEAR


def _in_channels(model: nn.Module, layer: Layer) -> int:
    return int(model.get_parameter(layer.weight).shape[1]) * layer.groups


def _by_input(weight: Tensor, groups: int) -> Tensor:
    """A weight (O, I / groups, ...) as (groups, O / groups, I / groups, rest)."""
    return weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)


def _balance(model: nn.Module, first: Layer, second: Layer) -> float:
    """Scale one pair; returns how far the scales were from 1 (in natural logarithms)."""
    ahead, behind = layers.folded(model, first), layers.folded(model, second)
    count = len(ahead)
    r1 = ahead.reshape(count, -1).abs().amax(1)
    r2 = _by_input(behind, second.groups).abs().amax((1, 3)).reshape(count, -1).amax(1)
    live = (r1 > 0) & (r2 > 0)
    scale = torch.where(live, torch.sqrt(r1 / torch.where(live, r2, 1)), 1)
    _divide(model, first, scale)
    weight = model.get_parameter(second.weight)
    wide = scale.repeat_interleave(_in_channels(model, second) // count)
    grouped = _by_input(weight.data, second.groups) * wide.reshape(second.groups, 1, -1, 1)
    weight.data = grouped.reshape(weight.shape).contiguous()
    return float(scale.log().abs().max())


def _divide(model: nn.Module, layer: Layer, scale: Tensor) -> None:
    """Divide the folded layer's output: in its batch norm, or in its own weight and bias."""
    if layer.norm is not None:
        norm: Any = model.get_submodule(layer.norm)
        norm.weight.data /= scale
        if norm.bias is not None:
            norm.bias.data /= scale
        return
    weight = model.get_parameter(layer.weight)
    weight.data /= layers.along(scale, weight)
    if layer.bias is not None:
        model.get_parameter(layer.bias).data /= scale
