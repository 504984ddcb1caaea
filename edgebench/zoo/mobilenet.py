"""Networks of depthwise separable convolutions, for phones and smaller things."""

from __future__ import annotations

import torch
from torch import Tensor, nn

V1_STAGES = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Output channels and stride of each separable convolution (Howard et al., 2017, table 1)."""

V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, repeats and first stride (Sandler et al., 2018, table 2)."""


class MobileNetV1(nn.Module):
    """Separable convolutions with biases, as MLPerf Tiny's reference in Keras has them. (N, C, H, W) -> (N, classes)."""

    def __init__(self, *, classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        now = int(32 * width)
        layers = [_conv(in_channels, now, 3, 2, bias=True, act=nn.ReLU)]
        for channels, stride in V1_STAGES:
            wide = int(channels * width)
            layers += [
                _conv(now, now, 3, stride, groups=now, bias=True, act=nn.ReLU),
                _conv(now, wide, 1, 1, bias=True, act=nn.ReLU),
            ]
            now = wide
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(now, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """1x1 to more channels, 3x3 depthwise, 1x1 to few channels, without an activation at the end."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        layers = [_conv(in_channels, inner, 1, 1)] if expansion != 1 else []
        layers += [_conv(inner, inner, 3, stride, groups=inner)]
        self.layers = nn.Sequential(
            *layers, nn.Conv2d(inner, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Inverted residuals with linear bottlenecks. (N, C, H, W) -> (N, classes)."""

    def __init__(self, *, classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        now = divisible(32 * width)
        layers: list[nn.Module] = [_conv(in_channels, now, 3, 2)]
        for expansion, channels, repeats, stride in V2_STAGES:
            wide = divisible(channels * width)
            for i in range(repeats):
                layers.append(InvertedResidual(now, wide, 1 if i else stride, expansion))
                now = wide
        last = divisible(1280 * max(1.0, width))
        layers.append(_conv(now, last, 1, 1))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))  # type: ignore[no-any-return]


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of `by`, never less than nine tenths of what was asked: the rule of the paper's authors' code."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int,
    *,
    groups: int = 1,
    bias: bool = False,
    act: type[nn.Module] = nn.ReLU6,
) -> nn.Module:
    """Convolution, batch norm, activation."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), act())
