"""The reference networks that the suites use, as callables without required arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["digits_student", "digits_teacher", "resnet8"]


def resnet8(classes: int = 10, in_channels: int = 3, width: int = 16) -> nn.Module:
    """ResNet-8 of MLPerf Tiny (Banbury et al., 2021, arXiv:2106.07597): 12.5 M MACs at 3x32x32, width 16."""
    from edgebench.zoo.resnet import ResNet8

    return ResNet8(in_channels=in_channels, widths=(width, 2 * width, 4 * width), classes=classes, stem_stride=1)


def digits_teacher() -> nn.Module:
    """A ResNet-8 with a halving stem: 12 M MACs, 0.31 M parameters at 1x32x32; ten classes."""
    from edgebench.zoo.resnet import ResNet8

    return ResNet8(in_channels=1, widths=(32, 64, 128), classes=10, stem_stride=2)


def digits_student() -> nn.Module:
    """`digits_teacher` at half its widths: a quarter of the MACs and of the parameters."""
    from edgebench.zoo.resnet import ResNet8

    return ResNet8(in_channels=1, widths=(16, 32, 64), classes=10, stem_stride=2)
