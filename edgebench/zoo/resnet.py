"""Residual networks for small pictures (He et al., 2015, arXiv:1512.03385)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is 1x1 where the shape changes.

    `keras`: as MLPerf Tiny's reference has it, with biases before the norms and no norm on the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, keras: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=keras)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=keras)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=keras)
            self.shortcut = projection if keras else nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(y)) + self.shortcut(x))  # type: ignore[no-any-return]


class ResNet8(nn.Module):
    """Stem, three blocks of `widths` channels, pooling, a linear layer; (N, C, H, W) -> (N, classes)."""

    def __init__(
        self, *, in_channels: int, widths: tuple[int, int, int], classes: int, stem_stride: int, keras: bool = False
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, stem_stride, 1, bias=keras), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            Block(first, first, 1, keras=keras),
            Block(first, second, 2, keras=keras),
            Block(second, third, 2, keras=keras),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(third, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))  # type: ignore[no-any-return]


class CifarResNet(nn.Module):
    """Stem, three stages of n blocks (depth = 6n + 2), each but the first halving the picture; (N, C, H, W) -> (N, classes)."""

    def __init__(self, *, in_channels: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a depth of {depth} is not 6n + 2")
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks, now = [], width
        for stage in range(3):
            for i in range((depth - 2) // 6):
                blocks.append(Block(now, width << stage, 2 if stage and not i else 1))
                now = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(now, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))  # type: ignore[no-any-return]
