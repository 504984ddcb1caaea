"""Float layers in a network that Inductor froze for x86: back from oneDNN's and MKL's packed forms, which no file can hold."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten
_ACCUMULATOR = 6
"""Where oneDNN's convolution with a sum has what it adds to."""


def unpack(graph: GraphModule) -> None:
    """Replace packed float convolutions and linear layers by ATen's own, in place; their weights are in the graph already."""
    convolution = torch.ops.mkldnn._convolution_pointwise.default
    linear = getattr(torch.ops.mkl, "_mkl_linear", None)
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in (convolution, linear, getattr(linear, "default", None)):
            continue
        with graph.graph.inserting_before(node):
            made = _convolution(graph, *node.args) if node.target is convolution else _linear(graph, *node.args)
        node.replace_all_uses_with(made)
        graph.graph.erase_node(node)
    _lay_out(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _lay_out(graph: GraphModule) -> None:
    """Where a sum is added to what a float layer made, that must lie as oneDNN's own outputs do: channels last."""
    added = torch.ops.onednn.qconv2d_pointwise.binary
    for node in graph.graph.nodes:
        if node.target is added and not str(node.args[_ACCUMULATOR].target).startswith("onednn"):
            with graph.graph.inserting_before(node):
                lasting: dict[str, Any] = {"memory_format": torch.channels_last}
                laid = graph.graph.call_function(aten.clone.default, (node.args[_ACCUMULATOR],), lasting)
            node.update_arg(_ACCUMULATOR, laid)


def _convolution(
    graph: GraphModule, x: Node, packed: Node, bias: Any, padding: Any, stride: Any, dilation: Any, groups: int, *_: Any
) -> Node:
    where = (stride, padding, dilation, False, [0] * len(stride), groups)
    return graph.graph.call_function(aten.convolution.default, (x, packed.args[0], bias, *where))


def _linear(graph: GraphModule, x: Node, packed: Node, weight: Node, bias: Any, *_: Any) -> Node:
    return graph.graph.call_function(aten.linear.default, (x, weight, bias))
