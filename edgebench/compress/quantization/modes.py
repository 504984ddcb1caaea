"""Training and evaluation of an exported graph, whose dropouts and batch norms are operators and know no `train`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.fx import GraphModule

EPOCHS = "edgebench_epochs_begun"
"""A buffer of the graph, so that a training that goes on after a kill knows."""
_TRAINING = 5
"""Where the operator of a batch norm is told whether it trains."""


def evaluation(graph: nn.Module) -> None:
    """Dropouts let all through, and batch norms use the statistics that they have."""
    from torchao.quantization.pt2e import move_exported_model_to_eval

    assert isinstance(graph, GraphModule)
    move_exported_model_to_eval(graph)
    _batch_norms(graph, False)


def training(graph: nn.Module, *, norms: bool = True) -> None:
    """Dropouts drop; with `norms` batch norms use the statistics of each batch, and average them."""
    from torchao.quantization.pt2e import move_exported_model_to_train

    assert isinstance(graph, GraphModule)
    move_exported_model_to_train(graph)
    _batch_norms(graph, norms)


def _batch_norms(graph: GraphModule, on: bool) -> None:
    """By their own argument: torchao finds those with its own eps and momentum only, and leaves others in training."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default:
            node.args = (*node.args[:_TRAINING], on, *node.args[_TRAINING + 1 :])
    graph.recompile()


def freezing(graph: nn.Module, after: int) -> Callable[[nn.Module, bool], None]:
    """The mode of a training whose batch norms keep their statistics after so many epochs (Krishnamoorthi, 2018,
    arXiv:1806.08342, section 3.2.2).

    They are folded into the weights: while they move from batch to batch the rounding of every weight moves with them, and what
    is learnt is not what inference runs. What is returned begins an epoch (True) or leaves training (False).
    """
    graph.register_buffer(EPOCHS, torch.zeros((), dtype=torch.int64))

    def mode(graph: nn.Module, on: bool) -> None:
        if on:
            begun = graph.get_buffer(EPOCHS)
            training(graph, norms=int(begun) < after)
            begun += 1
        else:
            evaluation(graph)

    return mode
