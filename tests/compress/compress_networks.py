"""Small networks in which the layers meet in every way that quantization has to know."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Depthwise(nn.Module):
    """Pointwise, depthwise, pointwise as in MobileNet, then a linear layer behind flatten; (N, 1, 12, 12) -> (N, 3)."""

    def __init__(self, relu: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1)
        self.depth = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.point = nn.Conv2d(8, 12, 1)
        self.relu, self.pool = relu(), nn.MaxPool2d(3)
        self.fc = nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.depth(self.relu(self.stem(x)))))
        return self.fc(torch.flatten(self.pool(self.relu(self.point(x))), 1))


class Block(nn.Module):
    """A transformer block."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(count, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + self.out(mixed)
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """Patches, one block, mean, head; (N, 1, 12, 12) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.block, self.head = nn.Conv2d(1, 16, 4, 4), Block(), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class Encoder(nn.Module):
    """Patches, torch's own transformer encoder, mean, head; (N, 1, 12, 12) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.patch, self.encoder = nn.Conv2d(1, 16, 4, 4), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class Odd(nn.Module):
    """A stem, two convolutions and a linear layer, with one oddity of real networks; (N, 1, 12, 12) -> (N, 3).

    `tied`: both convolutions share a weight; `twice`: the first runs twice; `counted`: the forward knows how many channels the
    second has; `read`: it reads the second's weight.
    """

    def __init__(self, oddity: str = "") -> None:
        super().__init__()
        self.oddity = oddity
        self.stem = nn.Conv2d(1, 16, 3, 2, 1)
        self.first, self.second = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        if oddity == "tied":
            self.second.weight = self.first.weight
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x).relu()).relu()
        if self.oddity == "twice":
            x = self.first(x).relu()
        if self.oddity == "read":
            x = nn.functional.conv2d(x, self.second.weight, self.second.bias, padding=1)
        else:
            x = self.second(x).relu()
        if self.oddity == "counted":
            x = x.view(-1, 16, 36).mean(2, keepdim=True)
        return self.fc(x.flatten(2).mean(2))


def uneven(model: nn.Module, seed: int = 0) -> nn.Module:
    """The network with channels of very different size, and batch norms that have seen something."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.1, 4)
            module.weight.data.uniform_(0.02, 3)
            module.bias.data.uniform_(-1, 1)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            size = torch.logspace(-1.5, 1, len(module.weight))[torch.randperm(len(module.weight))]
            module.weight.data *= size.reshape(-1, *[1] * (module.weight.ndim - 1))
        elif isinstance(module, nn.LayerNorm):
            module.weight.data = torch.logspace(-1, 1.5, len(module.weight))
    return model.eval()
