"""SmoothQuant keeps the float function, and shares the outliers as its equation says."""

from __future__ import annotations

import torch
from compress_helpers import stripes
from compress_networks import Transformer, uneven
from torch import nn

from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import export, lower_onnx
from edgebench.compress.quantization import smooth
from edgebench.compress.quantization.quantize import Quantize

INPUTS = tensor(stripes().evaluation.inputs)


def test_the_float_function_stays() -> None:
    torch.manual_seed(0)
    model = uneven(Transformer())
    with torch.no_grad():
        before = model(INPUTS)
        weight = model.block.qkv.weight.clone()
        assert smooth.smooth(model, INPUTS[:4], INPUTS, 0.5) == 2
        assert not torch.equal(model.block.qkv.weight, weight)
        torch.testing.assert_close(model(INPUTS), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_the_scales_are_those_of_the_paper() -> None:
    """s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), with max|X_j| taken here from the layer norm itself."""
    torch.manual_seed(0)
    model = uneven(Transformer())
    norm, reader = model.block.norm2, model.block.fc1
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_hook(lambda *given: seen.append(given[2].detach()))
    with torch.no_grad():
        model(INPUTS)
    handle.remove()
    x, w = torch.cat(seen).abs().amax((0, 1)), reader.weight.detach().abs().amax(0)
    gamma = norm.weight.detach().clone()
    with torch.no_grad():
        smooth.smooth(model, INPUTS[:4], INPUTS, 0.7)
    torch.testing.assert_close(gamma / norm.weight.detach(), x**0.7 / w**0.3, rtol=1e-3, atol=0)


def test_int8_of_a_network_with_outliers_is_nearer_to_float(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    torch.manual_seed(0)
    model = Transformer().eval()
    for norm, reader in ((model.block.norm1, model.block.qkv), (model.block.norm2, model.block.fc1)):
        norm.weight.data = torch.logspace(-1, 1.5, 16)[torch.randperm(16)]  # outliers, for which the weights make up
        reader.weight.data /= norm.weight.data**0.8
    with torch.no_grad():
        wanted = model(INPUTS)

    def error(name: str) -> float:
        export.export_onnx(model, INPUTS[:4], folder / f"{name}.onnx")
        path = folder / f"{name}.int8.onnx"
        lower_onnx.quantize(folder / f"{name}.onnx", INPUTS.numpy(), Quantize(per_channel=False), path, signed=False)
        found = export.open_session(path).run(None, {"input": INPUTS.numpy()})[0]
        return float((torch.from_numpy(found) - wanted).norm() / wanted.norm())

    before = error("plain")
    with torch.no_grad():
        smooth.smooth(model, INPUTS[:4], INPUTS, 0.5)
    assert error("smooth") < 0.5 * before


def test_a_norm_that_others_read_is_left_alone() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(12), nn.Linear(12, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm(x.flatten(1, 2))
            return (self.fc(y) + y).mean(1)

    model = Shared().eval()
    assert smooth.smooth(model, INPUTS[:4], INPUTS, 0.5) == 0
