"""A network with simulated int8 in it, as torchao's PT2E makes it of an exported graph, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from edgebench.compress.lowering.lower_x86 import _separate_calls
from edgebench.compress.quantization import grid, layers, modes
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import MissingRuntime, ModelError

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize


_NOTE = "quantization_annotation"


def prepared(model: nn.Module, example: Tensor, asked: Quantize) -> GraphModule:
    """The graph of the network in training mode, `example` (B, ...), B >= 2, with a fake quantizer around every layer.

    Activations are u8 by tensor, with moving-average ranges; weights symmetric of `weight_bits`, by channel or by tensor, with
    the batch norm folded in. The layers that `asked` keeps in float have none. Raises ModelError, MissingRuntime, or PlanError
    for such a layer that is not there.
    """
    layers.check_names(model, example, asked.float_names)
    with quiet(), torch.random.fork_rng(devices=[]):
        prepare_qat_pt2e, x86 = _torchao()
        try:
            free = ({0: torch.export.Dim("batch", min=2)},)
            program = torch.export.export(model.train(), (example.clone(),), dynamic_shapes=free)
            graph = program.module(check_guards=False)
            calls = _separate_calls(graph)
            quantizer = _quantizer(x86.X86InductorQuantizer)().set_global(
                _config(asked.per_channel, grid.steps(asked.weight_bits))
            )
            for name in asked.float_names:
                for call in calls.get(name, [name]):
                    quantizer.set_module_name_qconfig(call, None)
            made = prepare_qat_pt2e(graph, quantizer)
        except Exception as error:
            raise ModelError(
                f"torchao cannot prepare this network for quantization-aware training: {first_line(error)}.",
                "Leave qat out, or try quantize instead, which some runtimes do for networks that this cannot trace.",
            ) from error
    assert isinstance(made, GraphModule)
    return made


def _torchao() -> tuple[Any, Any]:
    try:
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer
    except ImportError as error:
        raise MissingRuntime(
            "Quantization-aware training needs torchao.", 'Install it with: pip install "edgebench[compress]".'
        ) from error
    return prepare_qat_pt2e, x86_inductor_quantizer


def _quantizer(kind: Any) -> Any:
    """The quantizer without empty notes on layers that stay in float, which torchao's folding of batch norms trips over."""

    class WithoutEmptyNotes(kind):  # type: ignore[misc]
        def annotate(self, model: GraphModule) -> GraphModule:
            made: GraphModule = super().annotate(model)
            for node in made.graph.nodes:
                if node.target in layers.CONVS and not getattr(node.meta.get(_NOTE), "input_qspec_map", True):
                    del node.meta[_NOTE]
            return made

    return WithoutEmptyNotes


def _config(per_channel: bool, most: int) -> Any:
    """Weights are whole numbers up to `most`, as every lowering has them."""
    from torchao.quantization.pt2e import FakeQuantize, FusedMovingAvgObsFakeQuantize
    from torchao.quantization.pt2e.observer import (
        MovingAverageMinMaxObserver,
        MovingAveragePerChannelMinMaxObserver,
    )
    from torchao.quantization.pt2e.quantizer import QuantizationSpec
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import QuantizationConfig

    activations = QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=255,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=FusedMovingAvgObsFakeQuantize.with_args(
            observer=MovingAverageMinMaxObserver, eps=2**-12
        ),
    )
    observer = MovingAveragePerChannelMinMaxObserver if per_channel else MovingAverageMinMaxObserver
    weights = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-most,
        quant_max=most,
        qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if per_channel else None,
        # The range is that of the weight as it is, no average over steps; the fused form's scale is off by 1 / 254.
        observer_or_fake_quant_ctr=FakeQuantize.with_args(observer=observer, eps=2**-12, averaging_constant=1.0),
    )
    return QuantizationConfig(activations, activations, weights, None, True)


def observe(graph: GraphModule, samples: Tensor) -> None:
    """Give the fake quantizers their first ranges, of `samples` (N, ...), without touching the batch norms' statistics."""
    modes.evaluation(graph)
    with torch.no_grad():
        for part in torch.split(samples, 64):
            # The graph was made for two samples or more.
            graph(part if len(part) > 1 else part.repeat(2, *[1] * (part.ndim - 1)))


def give_back(graph: GraphModule, model: nn.Module) -> None:
    """Put the trained parameters and batch-norm statistics of the graph into the network. Raises ModelError."""
    trained = graph.state_dict()
    lost = [name for name, _ in model.named_parameters() if name not in trained]
    if lost:
        raise ModelError(
            f"The parameter {lost[0]} is not in the exported graph, so what it learnt cannot be taken over.",
            "Leave parameters that the network does not use out of it, or use quantize instead of qat.",
        )
    state = model.state_dict()
    for name, value in state.items():
        if name in trained and trained[name].shape == value.shape:
            value.copy_(trained[name])
