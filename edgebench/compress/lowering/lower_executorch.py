"""ExecuTorch's programs (.pte): torch.export, partitioned for the XNNPACK delegate, in float or static int8 (PT2E).

The batch is fixed, to one unless another is asked for: with a free batch axis ExecuTorch plans memory for the largest,
cuts the graph at every reshape, and answers inputs of a wrong size within that memory without complaint.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgebench.compress.lowering.counted import int8_facts
from edgebench.compress.lowering.culprit import cannot
from edgebench.compress.lowering.lower_x86 import _observer, _separate_calls
from edgebench.compress.quantization import grid, layers
from edgebench.compress.quantization.calibration import check_samples
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import EdgebenchError, MissingRuntime, ModelError

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize

aten = torch.ops.aten
_LAYERS = ("aten.convolution", "aten.conv", "aten.linear", "aten.addmm", "aten.mm", "aten.bmm", "aten.matmul")
_TRANSFORMER = (aten.layer_norm.default, aten.softmax.int, aten.scaled_dot_product_attention.default)
_WEIGHTED = (aten.linear.default, aten.conv2d.default, aten.conv2d.padding)


def export(model: nn.Module, example: Tensor, path: Path, batch: int = 1) -> dict[str, Any]:
    """Write the float network for this batch. `example` is (B, ...). Returns facts. Raises ModelError."""
    with quiet(), torch.no_grad():
        _check_installed()
        return _write(_partitioned(_exported(_plain(model), _of_batch(example, batch))), path)


def quantize(
    model: nn.Module, example: Tensor, samples: NDArray[Any], asked: Quantize, path: Path, batch: int = 1
) -> dict[str, Any]:
    """Write the int8 network: s8 asymmetric activations and s8 weights, as XNNPACK wants them.

    Returns facts, `int8_coverage` and `delegated_share` among them. Raises ModelError or DataError.
    """
    check_samples(samples)
    with quiet(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        _check_installed()
        try:
            given = _of_batch(example, batch)
            graph = _calibrated(_plain(model), given, samples[: asked.samples], asked)
        except EdgebenchError:
            raise
        except Exception as error:
            raise ModelError(
                f"ExecuTorch cannot quantize this network: {first_line(error)}.", "Leave executorch out of this recipe."
            ) from error
        edge = _partitioned(_exported(graph, given))
        covered = _coverage(edge.exported_program().graph_module)
        return {**_write(edge, path), **int8_facts(*covered), "weight_bits": asked.weight_bits}


def _check_installed() -> None:
    try:
        import executorch.exir  # noqa: F401
    except ImportError as error:
        raise MissingRuntime(
            "Lowering for ExecuTorch needs executorch.", 'Install it with: pip install "edgebench[executorch]".'
        ) from error


def _plain(model: nn.Module) -> nn.Module:
    """The network for inference, each weight with its axes in order: others end in errors of XNNPACK's, some at run time."""
    model = copy.deepcopy(model).eval()
    for weight in (*model.parameters(), *model.buffers()):
        weight.data = _in_order(weight.data)
    return model


def _in_order(values: Tensor) -> Tensor:
    """A copy with the strides of its shape. (clone and contiguous keep odd ones where an axis has one element.)"""
    return torch.empty(values.shape, dtype=values.dtype).copy_(values)


def _of_batch(example: Tensor, batch: int) -> Tensor:
    """So many samples, repeated where there are fewer."""
    return _in_order(example[torch.arange(batch) % len(example)])


def _exported(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(model, (example,))
    except Exception as error:
        raise cannot(error, "a graph", model, example, free=False) from error


def _calibrated(model: nn.Module, example: Tensor, samples: NDArray[Any], asked: Quantize) -> torch.fx.GraphModule:
    """Quantize and dequantize nodes around every layer, with the ranges of the samples (PT2E)."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    graph = _exported(model, example).module()
    assert isinstance(graph, torch.fx.GraphModule)
    _separate_calls(graph)
    quantizer, config = XNNPACKQuantizer(), _config(asked)
    _keep_float(quantizer, graph, asked.float_names)
    # Around layer norm and softmax int8 costs more accuracy than it saves time: there, weighted layers only.
    if asked.activations == "dynamic":
        quantizer.set_operator_type(aten.linear.default, _dynamic(asked))  # it has no dynamic convolution
    elif any(node.target in _TRANSFORMER for node in graph.graph.nodes):
        for operator in _WEIGHTED:
            quantizer.set_operator_type(operator, config)
    else:
        quantizer.set_global(config)
    prepared = prepare_pt2e(graph, quantizer)
    batch, given = len(example), torch.from_numpy(samples.copy())
    for start in range(0, len(given), batch):  # the graph takes a whole batch: the last one begins again
        prepared(_of_batch(given[start : start + batch], batch))
    converted: torch.fx.GraphModule = convert_pt2e(prepared)
    return converted


def _keep_float(quantizer: Any, graph: torch.fx.GraphModule, names: Sequence[str]) -> None:
    """Hide the layers of these names from the quantizer. Raises PlanError for one that is not there."""
    chosen = layers.pick(layers.find(graph, shared=True), names)
    hidden = {node for layer in chosen for node in (layer.node, layer.output)}
    if hidden:
        quantizer.set_filter_function(lambda node: node not in hidden)


def _dynamic(asked: Quantize) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config

    most = grid.steps(asked.weight_bits)
    return get_symmetric_quantization_config(
        is_per_channel=asked.per_channel, is_dynamic=True, weight_qmin=-most, weight_qmax=most
    )


def _config(asked: Quantize) -> Any:
    most = grid.steps(asked.weight_bits)
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import QuantizationConfig
    from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    observer = MinMaxObserver if asked.ranges == "minmax" else _observer(asked.ranges)
    activations = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=observer.with_args(eps=2**-12),
    )
    weights = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-most,
        quant_max=most,
        qscheme=torch.per_channel_symmetric if asked.per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if asked.per_channel else None,
        observer_or_fake_quant_ctr=(PerChannelMinMaxObserver if asked.per_channel else MinMaxObserver).with_args(
            eps=2**-12
        ),
    )
    return QuantizationConfig(activations, activations, weights, None, False)


def _coverage(graph: torch.fx.GraphModule) -> tuple[int, int]:
    """How many convolutions and matrix products have both operands dequantized from int8, of how many.

    Of the graph as it runs: a recurrent layer is a product for every step by then.
    """
    from executorch.exir.lowered_backend_module import get_lowered_submodules

    delegated = [part.original_module.graph_module for _, part, _ in get_lowered_submodules(graph)]
    found = [node for part in (graph, *delegated) for node in part.graph.nodes if _is_layer(node)]
    return sum(map(_is_int8, found)), len(found)


def _is_layer(node: torch.fx.Node) -> bool:
    return node.op == "call_function" and _operator(node).startswith(_LAYERS)


def _is_int8(node: torch.fx.Node) -> bool:
    operands = node.args[1:3] if _operator(node).startswith("aten.addmm") else node.args[:2]
    return all("dequantize" in str(getattr(operand, "target", "")) for operand in operands)


def _operator(node: torch.fx.Node) -> str:
    """`aten.linear.default`, by itself or of `<EdgeOpOverload: aten.linear.default>: schema = ...`."""
    return str(node.target).removeprefix("<EdgeOpOverload: ")


@contextmanager
def _lowering() -> Iterator[None]:
    """What ExecuTorch raises is said in two sentences."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"ExecuTorch cannot lower this network: {first_line(error)}.",
            "Replace that operator in the network, or leave executorch out.",
        ) from error


def _partitioned(program: torch.export.ExportedProgram) -> Any:
    """The program in Core ATen, with what XNNPACK takes given to it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with _lowering():
        return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])


def _write(edge: Any, path: Path) -> dict[str, Any]:
    """Plan the memory, serialize. The facts say how many operators XNNPACK took."""
    from executorch.devtools.backend_debug import get_delegation_info

    with _lowering():
        info = get_delegation_info(edge.exported_program().graph_module)
        made = edge.to_executorch()
    _check_operators(made.executorch_program)
    path.write_bytes(made.buffer)
    taken, left = info.num_delegated_nodes, _portable(made.executorch_program)
    return {
        "delegated_ops": taken,
        "portable_ops": left,
        "delegated_share": taken / (taken + left) if taken + left else 0.0,
    }


def _check_operators(program: Any) -> None:
    """Name an operator that the runtime has no kernel for: at run time it would be a number of an error."""
    from executorch.extension.pybindings import _C

    known = set(_C._get_operator_names())
    asked = [f"{op.name}.{op.overload}" if op.overload else op.name for op in program.execution_plan[0].operators]
    missing = [name for name in asked if name not in known]
    if missing:
        raise ModelError(
            f"ExecuTorch's runtime has no kernel for {', '.join(missing)}, and XNNPACK does not take it.",
            "Replace that operator in the network, or leave executorch out.",
        )


def _portable(program: Any) -> int:
    """How many calls of ExecuTorch's own kernels are left beside the delegate."""
    from executorch.exir.schema import KernelCall

    calls = program.execution_plan[0].chains[0].instructions
    return sum(isinstance(call.instr_args, KernelCall) for call in calls)
