"""Cross-layer equalisation keeps the float function and evens out the ranges."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from compress_helpers import network, stripes
from compress_networks import Depthwise, uneven
from torch import nn

from edgebench.compress.load_model import tensor
from edgebench.compress.quantization import equalise, rounding

INPUTS = tensor(stripes().evaluation.inputs)


def answers(model: nn.Module) -> Any:
    with torch.no_grad():
        return model(INPUTS)


@pytest.mark.parametrize(("make", "pairs"), [(Depthwise, 3), (network, 3)], ids=["depthwise", "residual"])
def test_the_float_function_stays(make: Any, pairs: int) -> None:
    torch.manual_seed(1)
    model = uneven(make())
    before, weights = answers(model), copy.deepcopy(model.state_dict())
    assert equalise.equalise(model, INPUTS[:4]) == pairs
    assert any(not torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(answers(model), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_both_layers_of_a_pair_have_the_same_range_in_every_channel() -> None:
    """sqrt(r1 r2) on both sides: equation 11 of the paper, computed here from the weights themselves."""
    torch.manual_seed(1)
    model = uneven(nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)))
    first, second = model[0].weight, model[2].weight
    r1, r2 = first.abs().amax((1, 2, 3)).detach(), second.abs().amax((0, 2, 3)).detach()
    equalise.equalise(model, INPUTS[:4])
    for after in (model[0].weight.abs().amax((1, 2, 3)), model[2].weight.abs().amax((0, 2, 3))):
        torch.testing.assert_close(after.detach(), torch.sqrt(r1 * r2), rtol=1e-3, atol=1e-6)


def test_weights_by_tensor_lose_less_after_it() -> None:
    torch.manual_seed(1)
    model = uneven(Depthwise())
    wanted = answers(model)
    plain, evened = copy.deepcopy(model), copy.deepcopy(model)
    equalise.equalise(evened, INPUTS[:4])
    for given in (plain, evened):
        rounding.onto_grid(given, INPUTS[:4], INPUTS, per_channel=False)
    off = [float((answers(given) - wanted).norm()) for given in (plain, evened)]
    assert off[1] < off[0] / 2


def test_relu6_is_no_way_through_but_the_other_layers_are_equalised() -> None:
    torch.manual_seed(1)
    model = uneven(Depthwise(nn.ReLU6))
    before = answers(model)
    assert equalise.equalise(model, INPUTS[:4]) == 0
    assert torch.equal(answers(model), before)


def test_a_dead_channel_is_left_alone() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    model[0].weight.data[1] = 0
    before = answers(model)
    equalise.equalise(model, INPUTS[:4])
    torch.testing.assert_close(answers(model), before, rtol=1e-4, atol=1e-5)
