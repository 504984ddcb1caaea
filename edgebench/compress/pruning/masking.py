"""The masks of the method `mask`: which weights become zero, and how they stay so through a training."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgebench.compress import values
from edgebench.compress.pruning.importance import LAYERS
from edgebench.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from edgebench.compress.context import Context
    from edgebench.compress.pruning.mask import Mask


def masked(model: nn.Module, asked: Mask, finetune: Any, context: Context) -> nn.Module:
    """The network with its smallest weights at zero, retrained under the masks where that was asked. Raises ModelError."""
    layers, dense = eligible(model, asked)
    before = download(model)
    masks = unstructured(layers, asked.sparsity, asked.scope) if asked.pattern == "unstructured" else pairs(layers)
    with torch.no_grad():
        for name, layer in layers.items():
            layer.weight.mul_(masks[name])
    if finetune is not None:
        model = retrained(model, layers, masks, finetune, context)
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers.values())
    total = sum(layer.weight.numel() for layer in layers.values())
    context.report(1, 1, f"{zeros / total:.1%} zeros")
    context.remember(
        mask=asked.pattern,
        sparsity=zeros / total,
        masked_layers=len(layers),
        dense_layers=dense,
        download_bytes=download(model),
        download_bytes_before=before,
    )
    return model


def eligible(model: nn.Module, asked: Mask) -> tuple[dict[str, Any], list[str]]:
    """The layers to mask, and the names of those that must stay dense.

    These are named in keep, of a width that no four divides, or have a weight that is made of others each time (weight norm).
    """
    every = {n: m for n, m in model.named_modules() if isinstance(m, LAYERS)}
    kept = values.names(asked.keep)
    for name in kept:
        if name not in every:
            raise ModelError(f'The network has no convolution or linear layer "{name}".', did_you_mean(name, every))
    free = {n: m for n, m in every.items() if n not in kept and "weight" in m._parameters}
    layers = {n: m for n, m in free.items() if asked.pattern != "2:4" or fours(m)}
    if not layers:
        why = "a number of input channels that four divides" if asked.pattern == "2:4" else "weights that may change"
        raise ModelError(f"No convolution or linear layer of the network has {why}.", "Leave the mask step out.")
    return layers, [n for n in every if n not in layers]


def fours(layer: Any) -> bool:
    """Whether a layer's weights come in fours along its input channels, as 2:4 kernels take them."""
    return not getattr(layer, "transposed", False) and layer.weight.shape[1] % 4 == 0


def unstructured(layers: Mapping[str, Any], sparsity: float, scope: str) -> dict[str, Tensor]:
    """1 where a weight stays: the greatest by magnitude, exactly (1 - sparsity) of them, rounded, ties by position."""
    if scope == "layer":
        return {name: _greatest([layer.weight], sparsity)[0] for name, layer in layers.items()}
    found = _greatest([layer.weight for layer in layers.values()], sparsity)
    return dict(zip(layers, found, strict=True))


def _greatest(weights: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    sizes = torch.cat([w.detach().abs().flatten() for w in weights])
    mask = torch.ones_like(sizes)
    mask[sizes.argsort(stable=True)[: round(sparsity * len(sizes))]] = 0
    cut: Any = torch.split(mask, [w.numel() for w in weights])
    return [m.view(w.shape) for m, w in zip(cut, weights, strict=True)]


def pairs(layers: Mapping[str, Any]) -> dict[str, Tensor]:
    """1 for the two greatest of every four neighbours along the input channels."""
    return {name: two_of_four(layer.weight.detach()) for name, layer in layers.items()}


def two_of_four(weight: Tensor) -> Tensor:
    """Of a weight (out, in, ...), 1 for the two of each four (in 0-3, 4-7, ...) of greatest magnitude."""
    last = weight.abs().movedim(1, -1)
    fours = last.reshape(-1, 4)
    mask = torch.ones_like(fours).scatter_(1, fours.argsort(dim=1, stable=True)[:, :2], 0)
    return mask.view(last.shape).movedim(-1, 1).contiguous()


class _Masked(nn.Module):
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def retrained(
    model: nn.Module, layers: Mapping[str, Any], masks: Mapping[str, Tensor], finetune: Any, context: Context
) -> nn.Module:
    """Fine-tuned with the masks in force; the zeros are zeros in the plain weights afterwards."""
    for name, layer in layers.items():
        parametrize.register_parametrization(layer, "weight", _Masked(masks[name]))
    try:
        model = finetune.apply(model, context)
    finally:
        for layer in layers.values():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def download(model: nn.Module) -> int:
    """Bytes of all weights and buffers together after zlib's strongest compression: what a zipped file comes to, nearly."""
    packer, size = zlib.compressobj(9), 0
    for value in model.state_dict().values():
        size += len(packer.compress(value.detach().contiguous().numpy().tobytes()))
    return size + len(packer.flush())
