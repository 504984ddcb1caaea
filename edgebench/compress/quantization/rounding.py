"""Weights onto the grid of int8: to the nearest step or as AdaRound learns it, with biases corrected for what that moved.

The float network is changed so that its weights already lie on the grid that every lowering will put them on (of 8 bits:
max|w| / 127 of the folded weight, by channel or by tensor), so each target gets the same rounding from one preparation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from edgebench.compress.quantization import grid, layers
from edgebench.compress.quantization.layers import Layer

RATE, WARM, STRENGTH = 1e-2, 0.2, 0.1
"""Adam's rate, the share of the steps before the regulariser acts, and its weight (AdaRound's own: 1e-3 over 10,000 steps)."""
BETA = (20.0, 2.0)
BATCH = 32
_LOW, _HIGH = -0.1, 1.1
"""How far the rectified sigmoid is stretched (zeta and gamma of AdaRound, equation 23)."""


def onto_grid(
    model: nn.Module,
    example: Tensor,
    samples: Tensor,
    *,
    per_channel: bool,
    bits: int = grid.MOST_BITS,
    adaround: int = 0,
    correct: bool = False,
    skip: Collection[str] = (),
    seed: int = 0,
    report: Callable[[int, int, str], None] | None = None,
) -> dict[str, tuple[float, float]]:
    """Round every layer's weight in place, the layers `skip` aside; `samples` (N, ...) run through it.

    `adaround` is the number of steps that the rounding is learnt for, 0 for the nearest. With `correct`, each layer's
    bias then makes the mean of its output over the samples, channel by channel, what it was in float (Nagel et al., 2019,
    arXiv:1906.04721, section 4.2, the empirical form), given what the rounded layers before it now give; a layer without
    bias or batch norm has nothing to correct. Returns for each
    layer the mean squared error of its output with nearest rounding and with the rounding taken. Raises ModelError.
    """
    graph, exact = layers.trace(model, example), layers.trace(copy.deepcopy(model), example)
    found, origin = layers.find(graph), layers.by_name(layers.find(exact))
    means = layers.channel_means(graph, samples, found) if correct else {}
    todo = [layer for layer in found if layer.name not in skip]
    errors = {}
    for done, layer in enumerate(todo):
        layers.refresh(graph, model)
        inputs = _inputs(graph, layer, samples)
        target = _inputs(exact, origin[layer.name], samples) if adaround else inputs
        errors[layer.name] = _round(model, layer, inputs, target, per_channel, grid.steps(bits), adaround, seed)
        if correct:
            layers.refresh(graph, model)
            layers.shift(model, layer, means[layer.name] - layers.channel_means(graph, samples, [layer])[layer.name])
        if report:
            report(done + 1, len(todo), f"layer {layer.name}")
    return errors


def scale_of(weight: Tensor, per_channel: bool, most: int) -> Tensor:
    """The size of a step in the shape that divides a weight (O, ...): max|w| / most."""
    peak = weight.reshape(len(weight), -1).abs().amax(1)
    peak = peak if per_channel else peak.max().expand_as(peak)
    return layers.along(torch.where(peak > 0, peak / most, 1), weight)


def _inputs(graph: GraphModule, layer: Layer, samples: Tensor) -> Tensor:
    source = layers.source_of(layer)
    return layers.values(graph, samples, [source])[source]


def _round(
    model: nn.Module, layer: Layer, inputs: Tensor, exact: Tensor, per_channel: bool, most: int, steps: int, seed: int
) -> tuple[float, float]:
    """Replace one weight by its rounded form. Returns the errors of nearest rounding and of what was taken.

    `inputs` is what the layer is given after rounded layers, `exact` what float ones give it: AdaRound makes up for the
    difference too (equation 25). What the norm or the bias adds to the output is no matter of rounding.
    """
    float_weight = layers.folded(model, layer)
    scale = scale_of(float_weight, per_channel, most)
    nearest = torch.round(float_weight / scale).clamp(-most, most)
    target = layers.apply_layer(layer, exact, float_weight)
    taken, before = nearest, _error(layer, inputs, nearest * scale, target)
    after = before
    if steps:
        learnt = _adaround(layer, inputs, target, float_weight / scale, scale, before, steps, seed).clamp(-most, most)
        after = _error(layer, inputs, learnt * scale, target)
        taken, after = (learnt, after) if after < before else (nearest, before)
    weight = model.get_parameter(layer.weight)
    multiplier = layers.along(layers.factor(model, layer), weight)
    kept = torch.where(multiplier != 0, taken * scale / torch.where(multiplier != 0, multiplier, 1), weight.data)
    weight.data = kept.to(weight.dtype)
    return before, after


def _error(layer: Layer, inputs: Tensor, weight: Tensor, target: Tensor) -> float:
    with torch.no_grad():
        return float((layers.apply_layer(layer, inputs, weight) - target).square().mean())


def _adaround(
    layer: Layer,
    inputs: Tensor,
    target: Tensor,
    steps_of: Tensor,
    scale: Tensor,
    nearest: float,
    steps: int,
    seed: int,
) -> Tensor:
    """The rounding (whole numbers) that keeps the layer's output best; `nearest` is what nearest costs.

    Each weight goes down or up: floor(w) + h(V), h a rectified sigmoid; sum(1 - |2 h - 1|^beta), beta falling, drives h to
    0 or 1 (Nagel et al., 2020, arXiv:2004.10568, equations 21 to 24).
    """
    floor = torch.floor(steps_of)
    rest = (steps_of - floor).clamp(0.01, 0.99)
    start = torch.logit((rest - _LOW) / (_HIGH - _LOW))
    on_grid = (
        steps_of - torch.round(steps_of)
    ).abs() < 1e-4  # the channel's greatest weight among them, which sets the scale
    random = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        v = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([v], RATE)
        for step in range(steps):
            index = torch.randint(len(inputs), (min(BATCH, len(inputs)),), generator=random)
            h = (torch.sigmoid(v) * (_HIGH - _LOW) + _LOW).clamp(0, 1)
            weight = torch.where(on_grid, torch.round(steps_of), floor + h) * scale
            off = (layers.apply_layer(layer, inputs[index], weight) - target[index]).square()
            loss = off.mean() / max(nearest, 1e-20)  # so that one strength fits all layers
            if (share := (step / steps - WARM) / (1 - WARM)) > 0:
                beta = BETA[1] + (BETA[0] - BETA[1]) * (1 - share)
                loss = loss + STRENGTH * (1 - (2 * h - 1).abs().pow(beta)).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    h = (torch.sigmoid(v.detach()) * (_HIGH - _LOW) + _LOW).clamp(0, 1)
    return torch.where(on_grid, torch.round(steps_of), floor + (h >= 0.5))
