"""Sparsity-regularised training, and masks within the layers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import context, network, stripes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgebench.codec import Options
from edgebench.compress import methods
from edgebench.compress.load_model import tensor
from edgebench.compress.pruning import masking, penalties
from edgebench.compress.pruning.factorize import Factorize
from edgebench.compress.pruning.mask import Mask
from edgebench.compress.pruning.prune import Prune
from edgebench.compress.pruning.sparsify import Sparsify
from edgebench.compress.quantization.quantize import Quantize
from edgebench.compress.training.train import Train
from edgebench.errors import ModelError, PlanError
from edgebench.report import made
from edgebench.schema import Recipe, Step

ONE = tensor(stripes().evaluation.inputs[:1])


def small() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def test_group_lasso_is_the_norm_of_all_weights_that_a_channel_takes_with_it() -> None:
    model = small()
    (group,) = penalties.channel_groups(model, ONE)
    conv, norm, last = model[0].weight.detach(), model[1].weight.detach(), model[5].weight.detach()
    by_hand = 0.0
    for c in range(4):
        weights = np.concatenate([conv[c].flatten().numpy(), norm[c : c + 1].numpy(), last[:, c].numpy()])
        by_hand += np.sqrt(len(weights)) * np.linalg.norm(weights)
    value = penalties.group_lasso(group)
    assert value.item() == pytest.approx(by_hand, rel=1e-5)
    assert torch.autograd.grad(value, model[5].weight)[0].abs().min() > 0, "it can be derived by every coupled layer"


def test_bn_scale_is_the_sum_of_absolute_scales() -> None:
    model = small()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([1.0, -2.0, 0.5, 0.0]))
    assert penalties.bn_scale(model).item() == 3.5


def test_the_growing_penalty_is_of_the_least_channels_and_rises_to_alpha() -> None:
    model = small()
    with torch.no_grad():
        model[0].weight[[1, 3]] *= 0.1
    asked = Sparsify(penalty="growing", share=0.5, alpha=2.0, epochs=2, batch_size=60)
    with penalties.of(model, asked, context()) as penalty:  # 120 samples: 4 steps
        total, _ = penalties.squares(penalty.groups[0])
        assert sorted(penalty.chosen[0].tolist()) == sorted(total.argsort()[:2].tolist())
        full = total[penalty.chosen[0]].sum().item()
        assert [penalty().item() for _ in range(4)] == pytest.approx([2 * full * f for f in (0.25, 0.5, 0.75, 1.0)])
    assert penalties.STEPS not in dict(model.named_buffers())


@pytest.mark.parametrize("penalty", ["group_lasso", "bn_scale", "growing"])
def test_training_with_a_penalty_makes_what_it_is_of_smaller(penalty: Any) -> None:
    def size(model: Any) -> float:
        if penalty == "bn_scale":
            return penalties.bn_scale(model).item()
        groups = penalties.channel_groups(model, ONE)
        sizes = [penalties.squares(g)[0].sqrt().sort()[0] for g in groups]
        return sum(s[: len(s) // 2].sum().item() for s in sizes)

    where = context()
    free = Sparsify(penalty=penalty, alpha=1e-9, epochs=3, lr=0.02, batch_size=20).apply(network(), context())
    bound = Sparsify(penalty=penalty, alpha=0.1, epochs=3, lr=0.02, batch_size=20).apply(network(), where)
    assert size(bound) < 0.9 * size(free)
    assert where.facts["penalty"] == penalty
    assert 0 <= where.facts["small_channels"] <= 1
    assert where.facts["channels"] > 0


class Folding(nn.Module):
    """Half of its first layer's channels gate the other half, which no dependency graph here follows."""

    def __init__(self) -> None:
        super().__init__()
        self.gated, self.plain, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.plain(nn.functional.glu(self.gated(x), 1)).mean((2, 3)))


def test_channels_that_cannot_be_followed_have_no_penalty_and_are_named() -> None:
    where = context()
    Sparsify(epochs=1).apply(Folding(), where)
    assert where.facts["not_followed"] == ["gated"]
    assert where.facts["channels"] == 4
    assert made.pruned({"steps": [where.facts]})[0].startswith("The penalty of sparsify is not of gated:")
    only = nn.Sequential(nn.Conv2d(1, 8, 3), nn.GLU(1), nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match=r"followed from 0 to the layers that read it.*bn_scale"):
        Sparsify(epochs=1).apply(only, context())


def test_what_cannot_be_penalised_is_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    with pytest.raises(ModelError, match=r"scales of batch norms.*this network has none"):
        Sparsify(penalty="bn_scale").apply(plain, context())
    alone = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    with pytest.raises(ModelError, match=r"no channel that could be removed"):
        Sparsify().apply(alone, context())
    with pytest.raises(PlanError, match=r"share .* is for the penalty growing"):
        Sparsify(share=0.5)


def zeros(model: nn.Module) -> dict[str, float]:
    return {
        n: float((m.weight == 0).float().mean())
        for n, m in model.named_modules()
        if isinstance(m, (nn.Conv2d, nn.Linear))
    }


def test_unstructured_zeros_are_the_smallest_of_each_layer() -> None:
    model, where = network(), context()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    made = Mask(sparsity=0.9, keep="classifier").apply(model, where)
    shares = zeros(made)
    assert shares.pop("classifier") == 0
    for name, share in shares.items():
        weight = before[f"{name}.weight"]
        assert share == pytest.approx(0.9, abs=0.5 / weight.numel() + 1e-9)
        kept = made.get_submodule(name).weight != 0
        assert weight[kept].abs().min() >= weight[~kept].abs().max()
        assert torch.equal(made.get_submodule(name).weight[kept], weight[kept])
    assert where.facts["mask"] == "unstructured"
    assert where.facts["dense_layers"] == ["classifier"]
    assert where.facts["download_bytes"] < 0.4 * where.facts["download_bytes_before"]


def test_the_scope_of_the_network_compares_all_layers() -> None:
    model = network()
    with torch.no_grad():
        model.blocks[0].conv1.weight *= 1e-3
    shares = zeros(Mask(sparsity=0.5, scope="network").apply(model, context()))
    assert shares["blocks.0.conv1"] == 1
    assert min(shares.values()) < 0.5


@given(
    st.lists(st.floats(-10, 10, width=32), min_size=16, max_size=16), st.sampled_from([(4, 4), (2, 8), (1, 4, 2, 2)])
)
@settings(max_examples=40, deadline=None)
def test_two_of_four_keeps_the_pair_of_greatest_sum_along_the_input_channels(
    numbers: list[float], shape: tuple[int, ...]
) -> None:
    weight = torch.tensor(numbers).view(shape)
    mask = masking.two_of_four(weight)
    along = torch.stack([weight.abs().movedim(1, -1).reshape(-1, 4), mask.movedim(1, -1).reshape(-1, 4)])
    for sizes, kept in zip(*along.tolist(), strict=True):
        assert sum(kept) == 2
        best = max(a + b for a, b in itertools.combinations(sizes, 2))
        assert sum(s * k for s, k in zip(sizes, kept, strict=True)) == pytest.approx(best)


def test_two_of_four_leaves_layers_dense_whose_inputs_no_four_divides() -> None:
    where = context()
    shares = zeros(Mask(pattern="2:4").apply(network(), where))
    assert where.facts["dense_layers"] == ["stem.0"]
    assert shares.pop("stem.0") == 0
    assert set(shares.values()) == {0.5}
    assert where.facts["sparsity"] == 0.5
    with pytest.raises(ModelError, match=r"No convolution or linear layer .* four divides"):
        Mask(pattern="2:4").apply(nn.Sequential(nn.Flatten(), nn.Linear(145, 3)), context())


def test_zeros_stay_through_the_retraining_and_other_weights_learn() -> None:
    model = network()
    before = model.blocks[1].conv1.weight.clone()
    made: Any = Mask(pattern="2:4", retrain=Options(epochs=1)).apply(model, context())
    weight = made.blocks[1].conv1.weight
    assert isinstance(weight, nn.Parameter)
    assert "parametrizations" not in " ".join(made.state_dict())
    assert float((weight == 0).float().mean()) == 0.5
    assert not torch.equal(weight[weight != 0], before[weight != 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 1.0}, "sparsity .* between 0 and 1"),
        ({"pattern": "2:4", "sparsity": 0.7}, "half zeros"),
        ({"pattern": "2:4", "scope": "network"}, "half zeros"),
        ({"retrain": Options(epoch=1)}, 'no option "epoch"'),
    ],
)
def test_mask_options_that_make_no_sense_are_refused(options: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        Mask(**options)


def test_a_name_that_is_not_there_is_said() -> None:
    with pytest.raises(ModelError, match=r'"clasifier".*Did you mean "classifier"'):
        Mask(keep="clasifier").apply(network(), context())


@pytest.mark.parametrize(
    "after", [Train(epochs=1), Factorize(energy=0.9), Prune(macs=0.5, steps=2, between=Options(epochs=1))]
)
def test_what_would_fill_the_zeros_again_is_refused(after: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"mask": Mask(), "after": after, "prune": Prune(macs=0.5), "quantize": Quantize()}
    monkeypatch.setattr(methods, "parse", lambda step: made[step.method])

    def recipe(*names: str) -> Recipe:
        return Recipe(name="r", steps=tuple(Step(method=name) for name in names))

    with pytest.raises(PlanError, match=rf'"{after.name}" after "mask", which would fill its zeros again'):
        methods.check_recipe(recipe("mask", "after"))
    methods.check_recipe(recipe("after", "mask", "prune", "quantize"))


def test_a_weight_that_is_made_of_others_stays_dense() -> None:
    """Zeros in it would be gone at the next call."""
    norm = nn.utils.parametrizations.weight_norm
    model, where = nn.Sequential(norm(nn.Conv2d(1, 4, 3)), nn.Flatten(), nn.Linear(400, 3)), context()
    made: Any = Mask(sparsity=0.5, retrain=Options(epochs=1)).apply(model, where)
    assert where.facts["dense_layers"] == ["0"]
    assert int((made[2].weight == 0).sum()) == 600
    assert nn.utils.parametrize.is_parametrized(made[0], "weight")
