"""The networks of MLPerf Tiny (Banbury et al., 2021, arXiv:2106.07597) that do not look at pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DsCnn(nn.Module):
    """A 10x4 convolution of stride 2 and four separable ones over time and frequency. (N, 1, T, F) -> (N, classes)."""

    def __init__(self, *, classes: int, width: int, frames: int, features: int) -> None:
        super().__init__()
        # Padding 5, 1: as many steps come out as with TensorFlow's "same", (T + 1) / 2 and F / 2.
        layers: list[nn.Module] = [nn.Conv2d(1, width, (10, 4), 2, (5, 1)), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AvgPool2d(((frames + 1) // 2, features // 2))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))  # type: ignore[no-any-return]


class AutoEncoder(nn.Module):
    """Ten linear layers, eight values wide in the middle. (N, size) -> (N, size)."""

    def __init__(self, *, size: int, width: int, code: int) -> None:
        super().__init__()
        sizes = (size, *[width] * 4, code, *[width] * 4)
        layers: list[nn.Module] = []
        for a, b in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, size))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]
