"""An exported graph trains and infers as a network does: dropouts, batch norms of any eps, and norms that are frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compress_helpers import context, network, stripes
from torch import Tensor, nn

from edgebench.compress.load_model import tensor
from edgebench.compress.quantization import fake_quantization, modes
from edgebench.compress.quantization.qat import Qat
from edgebench.compress.quantization.quantize import Quantize

INPUTS = tensor(stripes().evaluation.inputs)


class Net(nn.Module):
    def __init__(self, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4, eps=eps, momentum=momentum)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


def graph_of(eps: float = 1e-5, momentum: float = 0.1) -> Any:
    torch.manual_seed(0)
    return fake_quantization.prepared(Net(eps, momentum), INPUTS[:2], Quantize())


@pytest.mark.parametrize(("eps", "momentum"), [(1e-5, 0.1), (1e-3, 0.1), (1e-3, 0.01)])
def test_norms_keep_their_statistics_in_evaluation_whatever_their_eps(eps: float, momentum: float) -> None:
    graph = graph_of(eps, momentum)
    fake_quantization.observe(graph, INPUTS)
    assert torch.equal(graph.state_dict()["norm.running_mean"], torch.zeros(4))
    with torch.no_grad():
        alone, among = graph(INPUTS[:2])[0], graph(INPUTS)[0]
    assert torch.allclose(alone, among, atol=0.05), "the answer to a sample hangs on the others"
    modes.training(graph)
    graph(INPUTS)
    assert not torch.equal(graph.state_dict()["norm.running_mean"], torch.zeros(4))


def test_frozen_norms_keep_their_statistics_while_dropouts_go_on() -> None:
    graph = graph_of()
    fake_quantization.observe(graph, INPUTS)
    mode, seen = modes.freezing(graph, 1), []
    for _ in range(3):
        mode(graph, True)
        assert not torch.equal(graph(INPUTS), graph(INPUTS)), "no dropout"
        seen.append(graph.state_dict()["norm.running_mean"].clone())
    assert not torch.equal(seen[0], torch.zeros(4))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    mode(graph, False)
    assert torch.allclose(graph(INPUTS), graph(INPUTS), atol=0.02), "the ranges may move a little, and no more"


class Killed(BaseException):
    pass


def test_a_killed_training_goes_on_with_its_norms_frozen_where_they_were(tmp_path: Path) -> None:
    step = Qat(epochs=4, batch_size=16)

    def killing(stage: str, done: int, total: int, note: str) -> None:
        if done == 26:  # in the last epoch of seven steps
            raise Killed

    whole = step.apply(network(), context()).state_dict()
    with pytest.raises(Killed):
        step.apply(network(), replace(context(), scratch=tmp_path, progress=killing))
    again = step.apply(network(), replace(context(), scratch=tmp_path)).state_dict()
    assert all(torch.equal(whole[key], again[key]) for key in whole)
