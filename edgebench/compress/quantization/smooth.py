"""SmoothQuant: outliers of a transformer's activations moved into the weights that read them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import Node

from edgebench.compress.quantization import layers
from edgebench.compress.quantization.layers import Layer

aten = torch.ops.aten


def smooth(model: nn.Module, example: Tensor, samples: Tensor, alpha: float) -> int:
    """Rescale each layer norm that only linear layers read, and those, in place; returns how many norms were.

    Channel j of the norm's output is divided by s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), and column j of the weights
    multiplied: the float function stays, and what is hard to quantize is shared (Xiao et al., 2022, arXiv:2211.10438,
    equation 4). `samples` (N, ...) give max|X_j|. Raises ModelError.
    """
    graph = layers.trace(model, example)
    readers = {layer.node: layer for layer in layers.find(graph)}
    norms = [n for n in graph.graph.nodes if n.target is aten.layer_norm.default and _only_linear(n, readers)]
    peaks = _peaks(graph, norms, samples)
    with torch.no_grad():
        for node in norms:
            _rescale(model, node, [readers[user] for user in node.users], peaks[node], alpha)
    return len(norms)


def _only_linear(node: Node, readers: dict[Node, Layer]) -> bool:
    """Whether it has a weight of one axis, and linear layers only read it."""
    shape, weight = node.args[1], node.args[2] if len(node.args) > 2 else None
    if not isinstance(weight, Node) or not isinstance(shape, (list, tuple)) or len(shape) != 1:
        return False
    return bool(node.users) and all(u in readers and u.target is layers.LINEAR for u in node.users)


def _peaks(graph: torch.fx.GraphModule, nodes: list[Node], samples: Tensor) -> dict[Node, Tensor]:
    """The greatest magnitude of each channel (the last axis) over the samples."""
    seen = layers.values(graph, samples, nodes, lambda x: x.abs().reshape(len(x), -1, x.shape[-1]).amax(1))
    return {node: peaks.amax(0) for node, peaks in seen.items()}


def _rescale(model: nn.Module, node: Node, readers: list[Layer], peak: Tensor, alpha: float) -> None:
    columns = torch.stack([model.get_parameter(r.weight).abs().amax(0) for r in readers]).amax(0)
    live = (peak > 0) & (columns > 0)
    one = torch.ones_like(peak)
    scale = torch.where(live, peak.where(live, one) ** alpha / columns.where(live, one) ** (1 - alpha), one)
    for place in (2, 3):
        held = node.args[place] if len(node.args) > place else None
        if isinstance(held, Node):
            model.get_parameter(str(held.target)).data /= scale
    for reader in readers:
        model.get_parameter(reader.weight).data *= scale
