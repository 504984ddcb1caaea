"""Pruning of other kinds of network: depthwise, concatenating, transformers; by parameters; in several cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compress_helpers import context, network, stripes
from compress_networks import Odd
from torch import Tensor, nn
from torch.nn import functional

from edgebench.codec import Options
from edgebench.compress import checkpoint
from edgebench.compress.context import Architecture
from edgebench.compress.load_model import macs, parameters, tensor
from edgebench.compress.pruning import heads
from edgebench.compress.pruning.prune import Prune
from edgebench.errors import ModelError, PlanError

EXAMPLE = tensor(stripes().evaluation.inputs[:4])
ONE = EXAMPLE[:1]


class Depthwise(nn.Module):
    """A stem, a depthwise and a pointwise convolution; two branches concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.depth = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), nn.BatchNorm2d(24))
        self.point = nn.Conv2d(24, 32, 1)
        self.branch = nn.Conv2d(32, 16, 3, padding=1)
        self.classifier = nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.point(functional.relu(self.depth(self.stem(x))))
        both = torch.cat([x, self.branch(x)], 1)
        return self.classifier(both.mean((2, 3)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """`layout`: how query, key and value lie in one projection; "named" writes the width of all heads down, too."""

    def __init__(self, width: int, heads: int, layout: str) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.layout = heads, width // heads, layout
        if layout == "named":
            self.inner = width
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        if self.layout == "mixed":  # head by head, which is not how we cut
            parts = self.qkv(x).reshape(n, t, self.num_heads, 3, self.head_dim).permute(3, 0, 2, 1, 4)
        else:
            parts = self.qkv(x).reshape(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2]).transpose(1, 2)
        width = {"fixed": c, "named": getattr(self, "inner", 0)}.get(self.layout, self.num_heads * self.head_dim)
        return self.proj(y.reshape(n, t, width))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    def __init__(self, layout: str = "free", width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 9, width) * 0.1)
        self.attention = nn.ModuleList([Attention(width, heads, layout) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)) for _ in range(2)]
        )
        self.classifier = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for i in range(2):
            x = x + self.attention[i](self.norms[2 * i](x))
            x = x + self.mlps[i](self.norms[2 * i + 1](x))
        return self.classifier(x.mean(1))  # type: ignore[no-any-return]


def seeded(make: Any, *args: Any) -> Any:
    torch.manual_seed(0)
    return make(*args).eval()


@pytest.mark.parametrize(("importance", "budget"), [("l2", 0.5), ("taylor", 0.5), ("fpgm", 0.5), ("bn", 0.85)])
def test_depthwise_and_concatenating_networks(importance: Any, budget: float) -> None:
    model = seeded(Depthwise)
    pruned: Any = Prune(macs=budget, importance=importance).apply(model, context())
    assert macs(pruned, ONE) == pytest.approx(budget * macs(model, ONE), rel=0.02)
    assert pruned.depth[0].groups == pruned.depth[0].out_channels == pruned.stem[0].out_channels < 24
    assert pruned.classifier.in_features == pruned.point.out_channels + pruned.branch.out_channels
    assert (pruned.point.out_channels == 32) == (importance == "bn"), "only what has a norm behind it is ranked by bn"


@pytest.mark.parametrize("ranking", ["local", "global"])
def test_a_budget_of_parameters_is_hit(ranking: Any) -> None:
    model, where = network(), context()
    pruned: Any = Prune(parameters=0.4, ranking=ranking).apply(model, where)
    assert parameters(pruned) == pytest.approx(0.4 * parameters(model), rel=0.02)
    assert where.facts["parameters_left"] == parameters(pruned) / parameters(model)
    with pytest.raises(ModelError, match=r"Pruning cannot leave 0\.1% of the parameters .* nearest it reaches is"):
        Prune(parameters=0.001).apply(model, context())


@pytest.mark.parametrize("layout", ["free", "named"])
def test_heads_and_mlps_of_a_transformer_go_and_its_own_width_stays(layout: str, tmp_path: Path) -> None:
    model, where = seeded(Transformer, layout), context()
    pruned: Any = Prune(macs=0.5).apply(model, where)
    assert macs(pruned, ONE) == pytest.approx(0.5 * macs(model, ONE), rel=0.02)
    assert all(1 <= a.num_heads < 4 and a.qkv.out_features == 24 * a.num_heads for a in pruned.attention)
    assert all(m[0].out_features < 64 for m in pruned.mlps)
    assert pruned.patches.out_channels == pruned.classifier.in_features == 32
    assert where.facts["heads"] == {f"attention.{i}": [4, pruned.attention[i].num_heads] for i in range(2)}
    architecture = Architecture(entry="test_compress_prune_networks:Transformer", options=Options(layout=layout))
    checkpoint.save(pruned, architecture, tmp_path, Path(__file__).parent, EXAMPLE)
    assert torch.equal(checkpoint.load(tmp_path, Path(__file__).parent)(EXAMPLE), pruned(EXAMPLE))


def test_the_weakest_head_is_the_one_that_goes() -> None:
    model = seeded(Transformer)
    (first, _) = heads.prunable(model, ONE)
    with torch.no_grad():
        for part in range(3):
            model.attention[0].qkv.weight[32 * part + 16 : 32 * part + 24] *= 1e-3
        model.attention[0].proj.weight[:, 16:24] *= 1e-3
    assert heads.weakest(model, first, "l2", 1, {}) == [2]
    before = model(EXAMPLE)
    heads.remove(model, first, [2])
    assert torch.allclose(model(EXAMPLE), before, atol=1e-3)


@pytest.mark.parametrize("layout", ["mixed", "fixed"])
def test_attention_of_another_layout_is_left_whole(layout: str) -> None:
    """Where the heads do not lie as we cut, or the forward counts on them, the MLPs alone must do."""
    model = seeded(Transformer, layout)
    assert heads.prunable(model, ONE) == []
    pruned: Any = Prune(macs=0.75).apply(model, context())
    assert all(a.num_heads == 4 for a in pruned.attention)
    assert macs(pruned, ONE) == pytest.approx(0.75 * macs(model, ONE), rel=0.02)


def test_torch_own_encoder_keeps_its_heads_and_loses_mlp_width() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(12, 32)
            self.layer = nn.TransformerEncoderLayer(32, 4, 96, batch_first=True)
            self.classifier = nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.layer(self.embed(x[:, 0])).mean(1))  # type: ignore[no-any-return]

    model = seeded(Encoder)
    pruned: Any = Prune(parameters=0.7).apply(model, context())
    assert pruned.layer.linear1.out_features < 96
    assert pruned.layer.self_attn.in_proj_weight.shape == (96, 32)
    assert parameters(pruned) == pytest.approx(0.7 * parameters(model), rel=0.02)


def test_the_reference_transformer_loses_heads() -> None:
    from edgebench.zoo import vit

    model = vit(classes=3, in_channels=1, size=12, patch=4, width=32, depth=2, heads=4)
    pruned = Prune(macs=0.5).apply(model, context())
    assert macs(pruned, ONE) == pytest.approx(0.5 * macs(model, ONE), rel=0.02)
    assert all(a.heads < 4 for a in heads.find(pruned))


def test_several_cuts_with_training_between_them_end_at_the_budget() -> None:
    model, where = network(), context()
    seen: list[str] = []
    where.progress = lambda stage, done, total, note: seen.append(note)
    asked = Prune(macs=0.4, steps=3, schedule="cubic", between=Options(epochs=1))
    pruned: Any = asked.apply(model, where)
    assert macs(pruned, ONE) == pytest.approx(0.4 * macs(model, ONE), rel=0.02)
    assert sum("loss" in note for note in seen) == 2, "trained between the cuts, not after the last"


def test_the_shares_of_a_schedule() -> None:
    def shares(schedule: Any) -> list[float]:
        asked = Prune(macs=0.5, steps=2, schedule=schedule)
        return [asked.share(step, 0.5) for step in (1, 2)]

    assert shares("linear") == [0.75, 0.5]
    assert shares("geometric") == pytest.approx([0.5**0.5, 0.5])
    assert shares("cubic") == pytest.approx([1 - 0.5 * (1 - 0.5**3), 0.5])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"needs the option \"macs\", \"parameters\" or \"latency\""),
        ({"macs": 0.5, "parameters": 0.5}, "was given macs and parameters"),
        ({"latency": 0.5}, "no backend to measure it on"),
        ({"latency": "fast", "backend": "onnxruntime"}, 'cannot be "fast".*2.5 ms'),
        ({"macs": 0.5, "backend": "onnxruntime"}, "its budget is no latency"),
        ({"macs": 0.5, "between": Options(epochs=1)}, "one cut only"),
        ({"macs": 0.5, "steps": 2, "between": Options(epoch=1)}, 'no option "epoch".*"epochs"'),
        ({"macs": 0.5, "steps": 0}, "steps"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        Prune(**options)


@pytest.mark.parametrize("budget", [{"macs": 0.7}, {"parameters": 0.7}, {"macs": 0.7, "ranking": "global"}])
def test_a_layer_whose_width_the_forward_counts_on_stays_whole_and_is_told(budget: Any) -> None:
    where = context()
    pruned: Any = Prune(**budget).apply(Odd("counted"), where)
    assert pruned.second.out_channels == 16
    assert pruned.first.out_channels < 16
    assert where.facts["kept_whole"] == ["second"]
    with pytest.raises(ModelError, match=r"with second whole, whose widths its code counts on; the nearest"):
        Prune(macs=0.02).apply(Odd("counted"), context())


def test_channels_that_are_folded_stay_whole_and_the_rest_is_pruned() -> None:
    """A pixel shuffle makes one channel of four, which the dependency graph does not know: it counts past the reader's end."""
    layers = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.PixelShuffle(2), nn.Conv2d(8, 16, 3), nn.ReLU()]
    model, where = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)), context()
    pruned: Any = Prune(macs=0.5).apply(model, where)
    assert macs(pruned, ONE) == pytest.approx(0.5 * macs(model, ONE), rel=0.02)
    assert where.facts["kept_whole"] == ["2"]
    assert pruned[0].out_channels < 16
    assert pruned[4].out_channels < 16


def test_a_weight_that_is_made_of_others_is_said_to_be_the_reason() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3))
    model = nn.Sequential(nn.Conv2d(1, 8, 3), normed, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(ModelError, match=r"weight of 1 is made of others.*remove_parametrizations"):
        Prune(macs=0.5).apply(model, context())


def test_what_is_named_beside_an_earlier_keep_joins_it() -> None:
    with pytest.raises(ModelError, match=r'no longer runs .* the layer second: .*keep = "stem, first, second"'):
        Prune(macs=0.7, keep="stem, first").apply(Odd("counted"), context())


class ByHand(nn.Module):
    """Attention written out: query, key, value and output apart, and their width as numbers in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(12, 12) for _ in range(4))
        self.f1, self.f2, self.fc = nn.Linear(12, 64), nn.Linear(64, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0]
        q, k, v = (layer(x).view(len(x), 12, 3, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = torch.softmax(q @ k.transpose(2, 3) / 2, 3) @ v
        x = x + self.o(mixed.transpose(1, 2).reshape(len(x), 12, 12))
        return self.fc((x + self.f2(self.f1(x).relu())).mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("heads", [True, False])
def test_attention_that_is_written_by_hand_stays_whole_and_the_rest_is_pruned(heads: bool) -> None:
    model, where = seeded(ByHand), context()
    pruned: Any = Prune(macs=0.7, heads=heads).apply(model, where)
    assert macs(pruned, ONE) == pytest.approx(0.7 * macs(model, ONE), rel=0.02)
    assert pruned.f1.out_features < 64
    assert {"q", "k", "v"} <= {*where.facts["kept_whole"]}


def test_an_lstm_stays_whole_and_what_is_around_it_is_pruned() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.mlp = nn.LSTM(12, 16, batch_first=True), nn.Linear(16, 512)
            self.fc = nn.Linear(512, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.mlp(self.lstm(x[:, 0])[0][:, -1]).relu())  # type: ignore[no-any-return]

    pruned: Any = Prune(parameters=0.5).apply(Rows(), context())
    assert pruned.lstm.hidden_size == 16
    assert pruned.mlp.out_features < 400


def test_a_layer_that_runs_twice_is_pruned_as_one() -> None:
    model = Odd("twice")
    pruned: Any = Prune(macs=0.5).apply(model, context())
    assert macs(pruned, ONE) == pytest.approx(0.5 * macs(model, ONE), rel=0.02)
    assert pruned.first.out_channels < 16


def test_tied_weights_stay_tied() -> None:
    with pytest.raises(ModelError, match=r"nothing to prune: .* tied to each other"):
        Prune(macs=0.5).apply(Odd("tied"), context())

    class More(Odd):
        def __init__(self) -> None:
            super().__init__("tied")
            self.wide, self.fc = nn.Linear(16, 512), nn.Linear(512, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.second(self.first(self.stem(x).relu()).relu())
            return self.fc(self.wide(x.mean((2, 3))).relu())  # type: ignore[no-any-return]

    pruned: Any = Prune(parameters=0.7).apply(More(), context())
    assert pruned.first.weight is pruned.second.weight
    assert pruned.stem.out_channels == 16
    assert pruned.wide.out_features < 512


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(12, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x[:, 0])[0][:, -1])  # type: ignore[no-any-return]


def test_advice_where_keep_leaves_nothing_or_too_little() -> None:
    with pytest.raises(ModelError, match=r'nothing left to prune: .*keep = "stem, first, second".*out of keep'):
        Prune(macs=0.5, keep="stem, first, second").apply(Odd(), context())
    with pytest.raises(ModelError, match=r"cannot leave 50.0% .*Ask for macs = 0\.\d+"):
        Prune(macs=0.5, keep="stem, first").apply(Odd(), context())
    with pytest.raises(ModelError, match=r"one layer with weights.*Leave the prune step out"):
        Prune(macs=0.5).apply(nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), context())
    with pytest.raises(ModelError, match=r"Lower round_to: no layer here that may lose channels has more than 16"):
        Prune(macs=0.5, round_to=16).apply(Odd(), context())
    with pytest.raises(ModelError, match=r"other layers with weights \(LSTM\) have no channels that may go"):
        Prune(macs=0.5).apply(Recurrent(), context())
