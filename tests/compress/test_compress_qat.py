"""Quantization-aware training: int8 is simulated as it will be, and what was learnt comes back into the network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from compress_helpers import context, network, stripes
from compress_networks import Depthwise
from torch import nn

from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import export, lower_onnx
from edgebench.compress.quantization import fake_quantization, layers, rounding
from edgebench.compress.quantization.qat import Qat
from edgebench.compress.quantization.quantize import Quantize
from edgebench.compress.training.train import Train
from edgebench.errors import PlanError

INPUTS = tensor(stripes().evaluation.inputs)


@lru_cache(maxsize=1)
def trained() -> nn.Module:
    return Train(epochs=3, batch_size=16, lr=0.005).apply(network(), context())


@lru_cache(maxsize=1)
def learnt() -> nn.Module:
    return Qat(epochs=1, batch_size=16, ema=0.5).apply(trained(), context())


def test_the_network_keeps_its_form_and_has_learnt() -> None:
    before, after = trained().state_dict(), learnt().state_dict()
    assert list(before) == list(after)
    assert not torch.equal(before["stem.0.weight"], after["stem.0.weight"])
    assert not torch.equal(before["stem.1.weight"], after["stem.1.weight"])
    assert torch.equal(before["stem.1.running_mean"], after["stem.1.running_mean"]), (
        "of one epoch that is the last half"
    )
    assert not learnt().training
    with torch.no_grad():
        right = (learnt()(INPUTS).argmax(1).numpy() == stripes().evaluation.labels).mean()
    assert right > 0.95


def test_it_is_lowered_with_every_layer_in_int8(tmp_path: Path) -> None:
    export.export_onnx(learnt(), INPUTS[:4], tmp_path / "f.onnx")
    facts = lower_onnx.quantize(
        tmp_path / "f.onnx", stripes().calibration.inputs, Qat().settled({}), tmp_path / "q.onnx", signed=False
    )
    assert facts["int8_coverage"] == 1
    found = export.open_session(tmp_path / "q.onnx").run(None, {"input": INPUTS.numpy()})[0]
    assert (found.argmax(1) == stripes().evaluation.labels).mean() > 0.95


def test_the_weights_are_rounded_as_the_lowering_will() -> None:
    """A network of one layer: what the simulation answers is the layer with weights on the grid of every lowering."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(400, 3)).eval()
    graph = fake_quantization.prepared(model, INPUTS[:2], Quantize())
    fake_quantization.observe(graph, INPUTS)
    fakes = [m for n, m in graph.named_modules() if n.startswith("activation_post_process") and "." not in n]
    weights = [m for m in fakes if getattr(m, "qscheme", None) == torch.per_channel_symmetric]
    assert len(weights) == 2
    layer = layers.find(layers.trace(model, INPUTS[:4]))[0]
    scale = rounding.scale_of(layers.folded(model, layer), True, 127).reshape(-1)
    found = next(m.scale for m in weights if len(m.scale) == 4)
    torch.testing.assert_close(found, scale, rtol=1e-4, atol=0)


def test_observing_leaves_batch_norms_as_they_are() -> None:
    model = Depthwise().eval()
    graph = fake_quantization.prepared(model, INPUTS[:2], Quantize(per_channel=False))
    fake_quantization.observe(graph, INPUTS[:33])
    fake_quantization.give_back(graph, model)
    assert torch.equal(model.norm.running_mean, torch.zeros(8))


def test_layers_in_float_are_not_simulated() -> None:
    counts = []
    for name in ("", "blocks.0.conv1"):
        graph = fake_quantization.prepared(network(), INPUTS[:2], Quantize(float_layers=name))
        counts.append(sum(1 for n in graph.graph.nodes if n.op == "call_module"))
    assert counts[1] < counts[0]
    with pytest.raises(PlanError, match=r'no layer "blocks.0.conv3".*Did you mean'):
        Qat(float_layers="blocks.0.conv3").apply(trained(), context())


def test_the_same_training_gives_the_same_weights() -> None:
    again = Qat(epochs=1, batch_size=16, ema=0.5).apply(trained(), context())
    for key, value in learnt().state_dict().items():
        assert np.array_equal(value.numpy(), again.state_dict()[key].numpy()), key
