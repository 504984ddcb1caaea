"""A torch network as quantization sees it: its weighted layers, the batch norms that fold into them, what feeds what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edgebench.compress.lowering.culprit import cannot
from edgebench.compress.quiet import quiet
from edgebench.errors import PlanError, did_you_mean

aten = torch.ops.aten
CONVS = (aten.conv1d.default, aten.conv2d.default, aten.conv2d.padding, aten.conv1d.padding)
LINEAR = aten.linear.default
_GROUPS = 6
"""Where a convolution's operator has its groups."""


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer, by the names of its parameters in the network.

    `norm` is the batch norm that alone reads its output, and `eps` its own; inference folds it into the weight.
    """

    name: str
    node: Node
    weight: str
    bias: str | None
    groups: int
    norm: str | None = None
    eps: float = 0.0
    end: Node | None = None

    @property
    def output(self) -> Node:
        """The node of the folded layer's output."""
        return self.end or self.node


def trace(model: nn.Module, example: Tensor) -> GraphModule:
    """The network as a graph of ATen operators, `example` (B, ...), B >= 2. Raises ModelError."""
    with quiet(), torch.no_grad():
        try:
            free = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(model.eval(), (example.clone(),), dynamic_shapes=free)
            made = program.module(check_guards=False)
        except Exception as error:
            raise cannot(error, "a graph", model, example) from error
    assert isinstance(made, GraphModule)
    return made


def find(graph: GraphModule, *, shared: bool = False) -> list[Layer]:
    """Every weighted layer in the order in which they run, but (without `shared`) those that share a weight.

    A weight that is shared, by two layers or by two runs of one, cannot be changed for one of them.
    """
    found = []
    for node in graph.graph.nodes:
        if node.op != "call_function" or node.target not in (*CONVS, LINEAR):
            continue
        weight, bias = _attribute(node.args[1]), _attribute(node.args[2] if len(node.args) > 2 else None)
        if weight is None or (len(node.args[1].users) > 1 and not shared):
            continue
        groups = node.args[_GROUPS] if node.target in CONVS and len(node.args) > _GROUPS else 1
        name = weight.removesuffix(".weight").removesuffix(".in_proj_weight")  # the latter of torch's attention
        found.append(_with_norm(Layer(name, node, weight, bias, groups)))
    return found


def _attribute(node: Any) -> str | None:
    return str(node.target) if isinstance(node, Node) and node.op == "get_attr" else None


def _with_norm(layer: Layer) -> Layer:
    """The layer with its batch norm, where only that reads it."""
    users = list(layer.node.users)
    if len(users) != 1 or users[0].target is not aten.batch_norm.default:
        return layer
    mean = _attribute(users[0].args[3])
    if mean is None:
        return layer
    norm, eps = mean.removesuffix(".running_mean"), float(users[0].args[7])  # type: ignore[arg-type]
    return Layer(layer.name, layer.node, layer.weight, layer.bias, layer.groups, norm, eps, users[0])


def check_names(model: nn.Module, example: Tensor, names: Sequence[str]) -> None:
    """Raises PlanError for a layer that is not there; without names nothing is traced."""
    if names:
        pick(find(trace(model, example), shared=True), names)


def pick(found: Iterable[Layer], names: Sequence[str]) -> list[Layer]:
    """The layers of these names, one that runs twice once for each. Raises PlanError for one that is not there."""
    found = list(found)
    known = by_name(found)
    for name in names:
        if name not in known:
            raise PlanError(f'The network has no layer "{name}" to keep in float.', did_you_mean(name, known))
    return [layer for layer in found if layer.name in names]


def factor(model: nn.Module, layer: Layer) -> Tensor:
    """What the batch norm multiplies each output channel with, (O,); ones without a batch norm."""
    weight = model.get_parameter(layer.weight)
    if layer.norm is None:
        return torch.ones(len(weight))
    norm: Any = model.get_submodule(layer.norm)
    gamma = norm.weight if norm.weight is not None else torch.ones_like(norm.running_var)
    made: Tensor = gamma.detach() / torch.sqrt(norm.running_var + layer.eps)
    return made


def folded(model: nn.Module, layer: Layer) -> Tensor:
    """The weight as inference will have it, its batch norm folded in: (O, I / groups, ...)."""
    weight = model.get_parameter(layer.weight).detach()
    return weight * along(factor(model, layer), weight)


def along(values: Tensor, weight: Tensor) -> Tensor:
    """Values for each output channel (O,), in the shape that multiplies a weight (O, ...)."""
    return values.reshape(-1, *[1] * (weight.ndim - 1))


def shift(model: nn.Module, layer: Layer, amount: Tensor) -> bool:
    """Add (O,) to the folded layer's output, in the batch norm's or its own bias. False where it has neither."""
    owner: Any = model.get_submodule(layer.norm) if layer.norm else None
    bias = owner.bias if owner is not None else model.get_parameter(layer.bias) if layer.bias else None
    if bias is None:
        return False
    bias.data += amount
    return True


def apply_layer(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer's own operator with another weight and bias."""
    made: Tensor = layer.node.target(x, weight, bias, *layer.node.args[3:])  # type: ignore[operator]
    return made


def source_of(layer: Layer) -> Node:
    node = layer.node.args[0]
    assert isinstance(node, Node)
    return node


def values(
    graph: GraphModule, samples: Tensor, nodes: Iterable[Node], reduce: Callable[[Tensor], Tensor] | None = None
) -> dict[Node, Tensor]:
    """What each of the nodes gives for the samples (N, ...), run in batches and put together along the axis of the samples.

    That axis comes first, wherever the node has it: inside of torch's attention it is the second. With `reduce`, each
    batch's tensor is first made smaller by it (the first axis must stay).
    """
    kept: dict[Node, list[Tensor]] = {node: [] for node in nodes}

    class Keep(torch.fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            made = super().run_node(n)
            if n in kept:
                found = made.detach().movedim(_batch_axis(n), 0)
                kept[n].append(reduce(found) if reduce else found.clone())
            return made

    with torch.no_grad():
        for part in torch.split(samples, 64):
            Keep(graph).run(part.clone())
    return {node: torch.cat(parts) for node, parts in kept.items()}


def _batch_axis(node: Node) -> int:
    """The axis whose length depends on the batch; the first where none does."""
    value = node.meta.get("val")
    lengths = value.shape if isinstance(value, Tensor) else ()
    return next((axis for axis, length in enumerate(lengths) if isinstance(length, torch.SymInt)), 0)


def channel_means(graph: GraphModule, samples: Tensor, found: Iterable[Layer]) -> dict[str, Tensor]:
    """The mean over the samples of each output channel of each layer, (O,), by the layer's name."""
    made = {}
    for kind in (True, False):  # a convolution's channels are the second axis, a linear layer's the last
        some = [layer for layer in found if (layer.node.target in CONVS) == kind]

        def per_sample(y: Tensor, kind: bool = kind) -> Tensor:
            axis = 1 if kind else y.ndim - 1
            other = [a for a in range(1, y.ndim) if a != axis]
            return y.mean(other) if other else y

        if some:
            seen = values(graph, samples, [layer.output for layer in some], per_sample)
            made.update({layer.name: seen[layer.output].mean(0) for layer in some})
    return made


def refresh(graph: GraphModule, model: nn.Module) -> None:
    """Give a traced graph the parameters that the network has now."""
    graph.load_state_dict(model.state_dict(), strict=False)


def by_name(layers: Iterable[Layer]) -> Mapping[str, Layer]:
    return {layer.name: layer for layer in layers}


def chain(start: Node, through: Mapping[Any, bool]) -> Iterator[Node]:
    """From a node along its only user, as long as that is an operator of `through`; the last one given is another operator."""
    node = start
    while len(node.users) == 1:
        node = next(iter(node.users))
        yield node
        if node.target not in through:
            return
