"""A plain vision transformer, in operators that every runtime has: no axis beyond the fourth, queries, keys and values apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, arXiv:1706.03762). (N, T, D) -> (N, T, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.project(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.head).transpose(1, 2)


class Layer(nn.Module):
    """Attention and a perceptron four times as wide, each behind a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """Patches, fixed positions, `depth` layers, a mean over the tokens. (N, C, size, size) -> (N, classes)."""

    positions: Tensor

    def __init__(
        self, *, classes: int, in_channels: int, size: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        if size % patch or width % heads or width % 4:
            raise ValueError(f"patches of {patch} must divide {size}, and {heads} heads and 4 the width {width}")
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.register_buffer("positions", sines(size // patch, width), persistent=False)
        self.layers = nn.Sequential(*[Layer(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.classifier(self.norm(self.layers(tokens)).mean(1))  # type: ignore[no-any-return]


def sines(side: int, width: int) -> Tensor:
    """(side * side, width): sines and cosines of both coordinates, as Beyer et al. (2022) place their patches."""
    rates = 1.0 / 10000 ** (torch.arange(width // 4) / (width // 4 - 1))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [at.flatten()[:, None] * rates[None] for at in (x, y)]
    return torch.cat([turn(angle) for angle in angles for turn in (torch.sin, torch.cos)], 1)
