"""The reference networks that the suites use, as callables without required arguments.

Each takes (N, C, H, W) and answers (N, classes), unless it says otherwise. MACs are multiply-accumulates of convolutions and
matrix products for one sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "autoencoder",
    "digits_student",
    "digits_teacher",
    "ds_cnn",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet8",
    "resnet20",
    "resnet56",
    "vit",
]


def resnet8(classes: int = 10, in_channels: int = 3, width: int = 16) -> nn.Module:
    """ResNet-8 of MLPerf Tiny (Banbury et al., 2021, arXiv:2106.07597): 12.5 M MACs, 78 k parameters at 3x32x32, width 16.

    As its reference in Keras: convolutions have biases, a shortcut has no norm.
    """
    from edgebench.zoo.resnet import ResNet8

    widths = (width, 2 * width, 4 * width)
    return ResNet8(in_channels=in_channels, widths=widths, classes=classes, stem_stride=1, keras=True)


def resnet20(classes: int = 10, in_channels: int = 3, width: int = 16) -> nn.Module:
    """ResNet-20 (He et al., 2015, arXiv:1512.03385, section 4.2) with 1x1 shortcuts.

    40.8 M MACs and 0.27 M parameters at 3x32x32.
    """
    from edgebench.zoo.resnet import CifarResNet

    return CifarResNet(in_channels=in_channels, width=width, depth=20, classes=classes)


def resnet56(classes: int = 10, in_channels: int = 3, width: int = 16) -> nn.Module:
    """ResNet-56 (He et al., 2015, arXiv:1512.03385, section 4.2) with 1x1 shortcuts.

    126 M MACs and 0.86 M parameters at 3x32x32.
    """
    from edgebench.zoo.resnet import CifarResNet

    return CifarResNet(in_channels=in_channels, width=width, depth=56, classes=classes)


def ds_cnn(classes: int = 12, width: int = 64, frames: int = 49, features: int = 10) -> nn.Module:
    """DS-CNN of MLPerf Tiny's keyword spotting (Zhang et al., 2017, arXiv:1711.07128): 2.7 M MACs, 24 k parameters.

    Takes (N, 1, frames, features): the cepstral coefficients of one second of speech.
    """
    from edgebench.zoo.tiny import DsCnn

    return DsCnn(classes=classes, width=width, frames=frames, features=features)


def mobilenet_v1(classes: int = 2, in_channels: int = 3, width: float = 0.25) -> nn.Module:
    """MobileNetV1 (Howard et al., 2017, arXiv:1704.04861); at width 0.25 that of MLPerf Tiny's visual wake words.

    7.5 M MACs and 0.22 M parameters at 3x96x96.
    """
    from edgebench.zoo.mobilenet import MobileNetV1

    return MobileNetV1(classes=classes, in_channels=in_channels, width=width)


def mobilenet_v2(classes: int = 10, in_channels: int = 3, width: float = 1.0) -> nn.Module:
    """MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381): 301 M MACs, 3.5 M parameters at width 1, 3x224x224, 1000 classes.

    It takes pictures of any size that is a multiple of 32.
    """
    from edgebench.zoo.mobilenet import MobileNetV2

    return MobileNetV2(classes=classes, in_channels=in_channels, width=width)


def autoencoder(size: int = 640, width: int = 128, code: int = 8) -> nn.Module:
    """The auto-encoder of MLPerf Tiny's anomaly detection (Koizumi et al., 2020, arXiv:2006.05822).

    (N, size) -> (N, size): five spectral frames, given back; 264 k MACs, 0.27 M parameters.
    """
    from edgebench.zoo.tiny import AutoEncoder

    return AutoEncoder(size=size, width=width, code=code)


def vit(
    classes: int = 10,
    in_channels: int = 3,
    size: int = 96,
    patch: int = 12,
    width: int = 192,
    depth: int = 6,
    heads: int = 3,
) -> nn.Module:
    """A small vision transformer (Dosovitskiy et al., 2020, arXiv:2010.11929) in the plain form of Beyer et al.

    (2022, arXiv:2205.01580): fixed positions and a mean over the tokens. By default 64 tokens of DeiT-Ti's width (Touvron et al.,
    2020, arXiv:2012.12877), half its depth: 2.8 M parameters. Raises ValueError for sizes that do not divide.
    """
    from edgebench.zoo.transformer import VisionTransformer

    return VisionTransformer(
        classes=classes, in_channels=in_channels, size=size, patch=patch, width=width, depth=depth, heads=heads
    )


def digits_teacher() -> nn.Module:
    """A ResNet-8 with a halving stem: 12 M MACs, 0.31 M parameters at 1x32x32; ten classes."""
    from edgebench.zoo.resnet import ResNet8

    return ResNet8(in_channels=1, widths=(32, 64, 128), classes=10, stem_stride=2)


def digits_student() -> nn.Module:
    """`digits_teacher` at half its widths: a quarter of the MACs and of the parameters."""
    from edgebench.zoo.resnet import ResNet8

    return ResNet8(in_channels=1, widths=(16, 32, 64), classes=10, stem_stride=2)
