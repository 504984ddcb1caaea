"""The reference networks have the parameters and multiply-accumulates that were published for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgebench import zoo


def counted(model: nn.Module, shape: tuple[int, ...]) -> int:
    """MACs by the shapes of what convolutions and linear layers give: not the counter that edgebench itself uses."""
    found = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal found
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        spread = out[0, 0].numel() if isinstance(module, nn.Conv2d) else out[0].numel() // out.shape[-1]
        found += weight.numel() * spread

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return found


def with_norms_as_keras(model: nn.Module) -> int:
    """Keras counts the running mean and variance of a batch norm, too: four numbers a channel."""
    own = sum(p.numel() for p in model.parameters())
    return own + sum(2 * m.num_features for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


# Total params as the reference models of github.com/mlcommons/tiny print them, and the MACs of their documentation.
TINY: list[tuple[Callable[[], nn.Module], tuple[int, ...], int, float]] = [
    (zoo.resnet8, (3, 32, 32), 78_666, 12.5e6),
    (zoo.ds_cnn, (1, 49, 10), 24_908, 2.66e6),
    (zoo.mobilenet_v1, (3, 96, 96), 221_794, 7.49e6),
    (zoo.autoencoder, (640,), 269_992, 0.264e6),
]


@pytest.mark.parametrize(("entry", "shape", "parameters", "macs"), TINY, ids=[e[0].__name__ for e in TINY])
def test_mlperf_tiny(entry: Callable[[], nn.Module], shape: tuple[int, ...], parameters: int, macs: float) -> None:
    model = entry()
    assert with_norms_as_keras(model) == parameters
    assert counted(model, shape) == pytest.approx(macs, rel=2e-3)


@pytest.mark.parametrize(
    ("entry", "parameters", "macs"), [(zoo.resnet20, 272_474, 40.81e6), (zoo.resnet56, 855_770, 125.75e6)]
)
def test_cifar_resnets(entry: Callable[[], nn.Module], parameters: int, macs: float) -> None:
    """With 1x1 shortcuts; the paper's 0.27 M and 0.85 M are of shortcuts without weights."""
    model = entry()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert counted(model, (3, 32, 32)) == pytest.approx(macs, rel=1e-4)


def test_mobilenet_v2_of_the_paper() -> None:
    """3,504,872 parameters as torchvision has it, and the paper's 300 M MACs."""
    model = zoo.mobilenet_v2(classes=1000)
    assert sum(p.numel() for p in model.parameters()) == 3_504_872
    assert counted(model, (3, 224, 224)) == pytest.approx(300.8e6, rel=1e-3)


@pytest.mark.parametrize(
    ("width", "size", "parameters", "macs"), [(0.35, 96, 1.66e6, 11), (0.5, 96, 1.95e6, 18), (0.35, 160, 1.66e6, 30)]
)
def test_small_mobilenet_v2(width: float, size: int, parameters: float, macs: int) -> None:
    """As its authors' table has them: parameters in hundredths, MACs in whole millions."""
    model = zoo.mobilenet_v2(classes=1001, width=width)
    assert with_norms_as_keras(model) == pytest.approx(parameters, rel=2e-2)
    assert counted(model, (3, size, size)) // 1_000_000 == macs


def test_vit_is_deit_tiny_without_class_token_and_learnt_positions() -> None:
    model = zoo.vit(classes=1000, size=224, patch=16, width=192, depth=12, heads=3)
    assert sum(p.numel() for p in model.parameters()) == 5_717_416 - 192 * (1 + 197)


def test_a_vit_tells_positions_apart() -> None:
    model = zoo.vit(size=24, depth=1, width=48, in_channels=1).eval()
    x = torch.zeros(1, 1, 24, 24)
    x[..., :12, :12] = 1
    with torch.no_grad():
        assert not torch.allclose(model(x), model(x.flip(-1)), atol=1e-5)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="patches of 7 must divide 96"):
        zoo.vit(patch=7)


def test_edgebench_counts_the_same_macs() -> None:
    from edgebench.compress.load_model import macs

    for entry, shape, _, _ in TINY:
        assert macs(entry().eval(), torch.zeros(1, *shape)) == counted(entry(), shape)
