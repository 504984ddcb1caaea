"""Weights on the int8 grid: AdaRound is never worse than nearest, and bias correction leaves no mean error."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from compress_helpers import network, stripes
from compress_networks import Depthwise, Encoder, uneven
from torch import nn

from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import export, lower_onnx
from edgebench.compress.quantization import layers, rounding
from edgebench.compress.quantization.quantize import Quantize

INPUTS = tensor(stripes().evaluation.inputs)
EXAMPLE = INPUTS[:4]


def model_of(kind: str) -> nn.Module:
    torch.manual_seed(2)
    return uneven(network() if kind == "residual" else Depthwise())


def grid(model: nn.Module, name: str, per_channel: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """A folded weight in steps of its own scale, and that scale."""
    layer = layers.by_name(layers.find(layers.trace(model, EXAMPLE)))[name]
    weight = layers.folded(model, layer)
    scale = rounding.scale_of(weight, per_channel, 127)
    return weight / scale, scale


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kind", ["residual", "depthwise"])
def test_every_weight_lies_on_the_grid_and_moved_by_less_than_a_step(kind: str, per_channel: bool) -> None:
    exact = model_of(kind)
    model = copy.deepcopy(exact)
    errors = rounding.onto_grid(model, EXAMPLE, INPUTS, per_channel=per_channel, adaround=5)
    for name in errors:
        steps, scale = grid(model, name, per_channel)
        before, old = grid(exact, name, per_channel)
        torch.testing.assert_close(scale, old, rtol=1e-5, atol=0)  # or each lowering would round a second time
        assert float((steps - steps.round()).abs().max()) < 1e-3
        assert float((steps - before).abs().max()) < 1 + 1e-3


@pytest.mark.parametrize(("kind", "better"), [("residual", 5), ("depthwise", 1)])
def test_adaround_reconstructs_no_layer_worse_than_nearest_and_some_better(kind: str, better: int) -> None:
    exact = model_of(kind)
    errors = rounding.onto_grid(exact, EXAMPLE, INPUTS, per_channel=False, adaround=150)
    assert all(after <= before for before, after in errors.values())
    assert sum(after < 0.9 * before for before, after in errors.values()) >= better


def test_adaround_beats_every_choice_by_hand_of_one_weight() -> None:
    """0.45 and 0.35 of a step, the second input 1.5 times the first: of the four ways, up and down is off by 0.025 steps."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False)).eval()
    model[1].weight.data = torch.tensor([[127.0, 10.45, 20.35]])
    inputs = torch.tensor([1.0, 1.0, 1.5]) * torch.linspace(1, 2, 64)[:, None]
    errors = rounding.onto_grid(model, inputs[:4], inputs, per_channel=True, adaround=400)
    assert model[1].weight.detach().tolist() == [[127.0, 11.0, 20.0]]
    before, after = errors["1"]
    assert before == pytest.approx(0.975**2 * float(inputs[:, 0].square().mean()), rel=1e-2)
    assert after == pytest.approx(0.025**2 * float(inputs[:, 0].square().mean()), rel=1e-2)


@pytest.mark.parametrize("kind", ["residual", "depthwise"])
def test_bias_correction_leaves_no_mean_error_in_any_layer(kind: str) -> None:
    exact = model_of(kind)

    def errors(model: nn.Module) -> dict[str, float]:
        graphs = [layers.trace(m, EXAMPLE) for m in (exact, model)]
        means = [layers.channel_means(g, INPUTS, layers.find(g)) for g in graphs]
        return {name: float((means[0][name] - means[1][name]).abs().max()) for name in means[0]}

    plain, corrected = copy.deepcopy(exact), copy.deepcopy(exact)
    rounding.onto_grid(plain, EXAMPLE, INPUTS, per_channel=False)
    rounding.onto_grid(corrected, EXAMPLE, INPUTS, per_channel=False, correct=True)
    before, after = errors(plain), errors(corrected)
    assert max(before.values()) > 1e-2
    assert max(after.values()) < 1e-3 * max(before.values()) + 1e-5


def test_a_lowering_takes_the_rounding_as_it_is(tmp_path: Path) -> None:
    """The integers in the ONNX file are those that were chosen, not rounded a second time."""
    model = model_of("residual")
    rounding.onto_grid(model, EXAMPLE, INPUTS, per_channel=True, adaround=5)
    export.export_onnx(model, EXAMPLE, tmp_path / "f.onnx")
    lower_onnx.quantize(tmp_path / "f.onnx", INPUTS.numpy(), Quantize(), tmp_path / "q.onnx", signed=True)
    graph = onnx.load(tmp_path / "q.onnx").graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for name in ("blocks.0.conv1", "blocks.2.shortcut", "classifier"):
        steps, _ = grid(model, name, True)
        found = next(v for k, v in stored.items() if k == f"{name}.weight_quantized")
        assert np.array_equal(found.reshape(steps.shape), steps.round().numpy().astype(np.int8))


def test_layers_that_stay_in_float_are_not_touched() -> None:
    exact = model_of("depthwise")
    model = copy.deepcopy(exact)
    errors = rounding.onto_grid(model, EXAMPLE, INPUTS, per_channel=True, correct=True, skip=("depth",))
    assert set(errors) == {"stem", "point", "fc"}
    assert torch.equal(model.depth.weight, exact.depth.weight)
    assert not torch.equal(model.point.weight, exact.point.weight)


def test_a_transformer_of_torch_is_rounded_and_corrected_over_any_number_of_samples() -> None:
    """Its attention has the samples on the second axis, and the last of the batches of 64 is smaller."""
    torch.manual_seed(0)
    exact = Encoder().eval()
    model, samples = copy.deepcopy(exact), torch.randn(70, 1, 12, 12)
    errors = rounding.onto_grid(model, EXAMPLE, samples, per_channel=True, adaround=20, correct=True)
    assert len(errors) == 10
    assert all(after <= before for before, after in errors.values())
    wanted, found = (layers.trace(m, EXAMPLE) for m in (exact, model))
    means = [layers.channel_means(graph, samples, layers.find(graph)) for graph in (wanted, found)]
    for name in means[0]:
        assert torch.allclose(means[0][name], means[1][name], atol=1e-4), name


def test_what_a_node_gives_has_a_row_for_each_sample() -> None:
    graph = layers.trace(Encoder().eval(), EXAMPLE)
    projection = layers.by_name(layers.find(graph))["encoder.layers.0.self_attn"].node
    samples = torch.randn(70, 1, 12, 12)
    seen = layers.values(graph, samples, [projection])[projection]
    assert seen.shape == (70, 9, 48)
    assert torch.allclose(seen[65:66], layers.values(graph, samples[65:66], [projection])[projection], atol=1e-5)
