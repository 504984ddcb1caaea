"""Each importance against a value computed another way: by hand, by a loop of plain Python, or by finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import context, network, stripes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgebench.compress.pruning import importance
from edgebench.compress.pruning.importance import Part, Scores, lamp, rows, score
from edgebench.compress.pruning.prune import Prune
from edgebench.data.arrays import from_arrays
from edgebench.errors import DataError, ModelError

FILTERS = torch.tensor([[3.0, -4.0], [0.0, 1.0], [-2.0, 2.0]])


def out(weights: Tensor = FILTERS, **more: Any) -> Part:
    return Part(role="out", rows=weights, root=range(len(weights)), **more)


def found(kind: Any, *parts: Part) -> list[float]:
    scores = score(kind, parts, 3)
    assert scores is not None
    return [pytest.approx(x, rel=1e-5) for x in scores.tolist()]


def test_l1_and_l2_are_norms_over_their_mean() -> None:
    assert found("l1", out()) == [7 / 4, 1 / 4, 4 / 4]
    assert found("l2", out()) == [25 / (34 / 3), 1 / (34 / 3), 8 / (34 / 3)]


def test_a_group_is_the_mean_of_its_layers_where_each_counts_for_the_channels_it_touches() -> None:
    reads = Part(role="in", rows=torch.tensor([[6.0], [2.0]]), root=[2, 2])  # a linear layer behind two pixels
    assert found("l1", out(), reads) == [7 / (20 / 3), 1 / (20 / 3), 12 / (20 / 3)]


def test_bn_looks_at_scales_only() -> None:
    scales = Part(role="norm", rows=torch.tensor([[0.5], [-1.5], [1.0]]), root=range(3))
    assert found("bn", out(), scales) == [0.5, 1.5, 1.0]
    assert score("bn", [out()], 3) is None


def test_fpgm_adds_the_distances_to_all_other_filters() -> None:
    table = [[math.dist(a, b) for b in FILTERS.tolist()] for a in FILTERS.tolist()]
    sums = [sum(line) for line in table]
    assert found("fpgm", out()) == [s / (sum(sums) / 3) for s in sums]


@given(st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_lamp_divides_by_all_that_are_not_smaller(squares: list[float]) -> None:
    made = lamp(torch.tensor(squares)).tolist()
    ordered = sorted(zip(squares, made, strict=True))
    for place, (square, value) in enumerate(ordered):
        total = math.fsum(s for s, _ in ordered[place:])
        assert value == pytest.approx(square / total if total else 0.0, rel=1e-4, abs=1e-6)
    if max(squares) > 0:
        assert ordered[-1][1] == pytest.approx(1.0), "the greatest of each layer stays: no layer is emptied"


def test_taylor_is_the_squared_change_of_the_loss_to_first_order() -> None:
    """The derivative of the loss by a factor on a filter, by finite differences in double precision, is sum(g * w)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(300, 3)).double()
    x, y = torch.from_numpy(stripes().train.inputs[:32].astype(np.float64)), torch.arange(32) % 3

    def loss(channel: int, factor: float) -> float:
        conv: Any = net[0]
        whole = conv.weight.data.clone()
        conv.weight.data[channel] *= factor
        value = nn.functional.cross_entropy(net(x), y).item()
        conv.weight.data.copy_(whole)
        return value

    changes = [((loss(c, 1 + 1e-5) - loss(c, 1 - 1e-5)) / 2e-5) ** 2 for c in range(3)]
    grad = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), net[0].weight)[0]
    part = out(rows(net[0], net[0].weight, "out").detach(), grads=rows(net[0], grad, "out")[None])
    assert found("taylor", part) == [c / (sum(changes) / 3) for c in changes]


def test_gradients_are_of_eight_batches_of_the_training_split() -> None:
    model = network()
    grads = importance.gradients(model, context())
    assert grads["classifier.weight"].shape == (4, *model.classifier.weight.shape)  # 120 samples
    x, y = torch.from_numpy(stripes().train.inputs[:30].copy()), torch.from_numpy(stripes().train.labels[:30].copy())  # type: ignore[index]
    loss = nn.functional.cross_entropy(model(x), y)
    assert torch.allclose(grads["stem.0.weight"][0], torch.autograd.grad(loss, model.stem[0].weight)[0], atol=1e-6)


def test_taylor_without_labels_and_bn_without_norms_say_so() -> None:
    data = stripes()
    bare = from_arrays(
        "bare", {"x_train": data.train.inputs, "x_eval": data.evaluation.inputs, "x_calib": data.calibration.inputs}
    )
    with pytest.raises(DataError, match=r"needs gradients, but bare has no labelled"):
        Prune(macs=0.5, importance="taylor").apply(network(), context(bare))
    plain = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1600, 3))
    with pytest.raises(ModelError, match=r"this network has none"):
        Prune(macs=0.5, importance="bn").apply(plain, context())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        nn.Linear(4, 6),
    ],
)
@pytest.mark.parametrize("role", ["out", "in"])
def test_the_rows_of_a_channel_are_the_weights_that_it_depends_on(layer: Any, role: str) -> None:
    """Found by gradients: the weights that see input channel c, or make output channel c."""
    reads = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    makes = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    shape = (1, reads) if isinstance(layer, nn.Linear) else (1, reads, 5, 5)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, layer.weight.numel() + 1).view_as(layer.weight))
    cut = rows(layer, layer.weight, role)
    for channel in range(reads if role == "in" else makes):
        x = torch.ones(shape)
        if role == "in":
            x = torch.zeros(shape)
            x[:, channel] = 1
        y = layer(x)
        seen = torch.autograd.grad(y.sum() if role == "in" else y[:, channel].sum(), layer.weight)[0] != 0
        assert sorted(cut[channel].tolist()) == sorted(layer.weight[seen].tolist())


def test_random_follows_the_seed() -> None:
    scores = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        scores.append(score("random", [], 5))
    assert scores[0] is not None
    assert scores[1] is not None
    assert torch.equal(scores[0], scores[1])
    assert scores[2] is not None
    assert not torch.equal(scores[0], scores[2])


def test_groups_of_the_dependency_graph_score_as_torch_pruning_does() -> None:
    """Where its importance is the same formula: L1, L2, LAMP and BN; its FPGM measures between squares, ours between filters."""
    import torch_pruning as tp

    model, example = network(), torch.from_numpy(stripes().evaluation.inputs[:1].copy())
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=example)
    theirs = {
        "l1": tp.importance.GroupMagnitudeImportance(p=1),
        "l2": tp.importance.GroupMagnitudeImportance(p=2),
        "lamp": tp.importance.LAMPImportance(p=2),
        "bn": tp.importance.BNScaleImportance(),
    }
    compared = 0
    for group in graph.get_all_groups(ignored_layers=[model.classifier]):
        for kind, score_theirs in theirs.items():
            wanted, ours = score_theirs(group), Scores(kind=kind)(group)  # type: ignore[arg-type]
            assert (wanted is None) == (ours is None)
            if wanted is not None:
                assert torch.allclose(ours, wanted, rtol=1e-4, atol=1e-6)
                compared += 1
    assert compared > 10
