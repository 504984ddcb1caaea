"""Static int8 for torch itself on x86: oneDNN's quantized kernels in an exported program. No compiler is needed.

The file holds plain int8 weights and a `prepack` node for each, because oneDNN's packed layout belongs to one machine
and cannot be saved. Run as loaded it is right, but packs again on every call: a session should fold those nodes once,
replacing each call of onednn.qconv_prepack and onednn.qlinear_prepack by its value.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edgebench.compress.lowering import x86_float
from edgebench.compress.lowering.counted import int8_facts
from edgebench.compress.lowering.export import save_program
from edgebench.compress.quantization import grid, layers, ranges
from edgebench.compress.quantization.calibration import check_samples
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError, PlanError

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize

aten = torch.ops.aten
_FLOAT_LAYERS = (
    "aten.conv", "aten.linear", "aten.addmm", "aten.mm", "aten.bmm", "aten.matmul", "aten.lstm", "aten.gru", "aten.rnn",
)  # fmt: skip
_INT8_LAYERS = ("onednn.qconv", "onednn.qlinear")


def quantize(
    model: nn.Module,
    example: Tensor,
    samples: NDArray[Any],
    asked: Quantize,
    path: Path,
    *,
    fused: bool = True,
    narrow: bool = False,
) -> dict[str, Any]:
    """Write an exported program whose convolutions and linear layers run in int8 (u8 activations, s8 weights).

    `example` is (B, ...), B >= 2; the batch axis stays free. Unless `fused`, it has quantize and dequantize around float layers:
    what a compiler of torch's takes, which fuses them itself.
    `narrow` weights have 7 bits at most, as oneDNN needs without VNNI. Returns facts, `int8_coverage` among them. Raises
    ModelError.
    """
    check_samples(samples)
    bits, told = grid.narrowed(asked.weight_bits, narrow)
    if asked.activations == "dynamic":
        raise PlanError(
            "torch on x86 has no dynamic int8 that needs no compiler.",
            'Leave torch out of this recipe, or use activations = "static".',
        )
    layers.check_names(model, example, asked.float_names)
    if not hasattr(torch.ops.onednn, "qconv_prepack"):
        raise ModelError("This torch has no oneDNN int8 kernels.", "Lower for torch on an x86 machine.")
    with quiet(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            graph = _calibrated(model, example, samples[: asked.samples], asked, grid.steps(bits))
            if fused:
                graph = _fused(graph, example)
                x86_float.unpack(graph)
                _pack_for_one_sample(graph, example)
                _without_decomposed(graph)
                _saveable(graph)
            _without_unused(graph)
            program = _export(graph, example)
            save_program(program, path)
        except Exception as error:
            raise ModelError(
                f"torch cannot quantize this network for x86: {first_line(error)}.", "Leave torch out of this recipe."
            ) from error
    return {**_facts(program.graph_module), **told}


def _without_unused(graph: GraphModule) -> None:
    """Drop the float weights that stand beside the int8 ones, which would make the file five times as large."""
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in [*graph.named_parameters(remove_duplicate=False), *graph.named_buffers(remove_duplicate=False)]:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(graph.get_submodule(owner), attribute)
    graph.recompile()


def _export(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(model, (example.clone(),), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _calibrated(model: nn.Module, example: Tensor, samples: NDArray[Any], asked: Quantize, most: int) -> GraphModule:
    """Quantize and dequantize nodes around every layer, with the ranges of the samples (PT2E); weights up to `most`."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    graph = _export(model.eval(), example).module()
    calls = _separate_calls(graph)
    quantizer = x86.X86InductorQuantizer().set_global(_config(asked, most))
    for name in asked.float_names:
        for call in calls.get(name, [name]):
            quantizer.set_module_name_qconfig(call, None)
    prepared = prepare_pt2e(graph, quantizer)
    for part in torch.split(torch.from_numpy(samples.copy()), 32):
        prepared(part)
    return convert_pt2e(prepared)  # type: ignore[no-any-return]


def _separate_calls(graph: GraphModule) -> dict[str, list[str]]:
    """Tell the calls of one module apart: the quantizer takes a module that is called twice for one operator.

    Returns the names of the calls of each module.
    """
    seen: dict[tuple[str, str], int] = {}
    calls: dict[str, list[str]] = {}
    for node in graph.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op != "call_function" or not stack:
            continue
        key, (path, kind) = list(stack.items())[-1]
        count = seen[path, str(node.target)] = seen.get((path, str(node.target)), -1) + 1
        name = f"{path}.call{count}" if count else path
        node.meta["nn_module_stack"] = {**stack, key: (name, kind)}
        if name not in calls.setdefault(path, []):
            calls[path].append(name)
    return calls


def _config(asked: Quantize, most: int) -> Any:
    from torchao.quantization.pt2e.observer import MinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import QuantizationConfig

    observer = MinMaxObserver if asked.ranges == "minmax" else _observer(asked.ranges)
    activations = QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=255,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=observer.with_args(eps=2**-12),
    )
    weights = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-most,
        quant_max=most,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=_weight_observer(asked.per_channel).with_args(eps=2**-12),
    )
    return QuantizationConfig(activations, activations, weights, None, False)


def _weight_observer(per_channel: bool) -> Any:
    """One scale per output channel, or as many times the same: the kernels know the per-channel form only."""
    from torchao.quantization.pt2e.observer import PerChannelMinMaxObserver

    class WholeTensor(PerChannelMinMaxObserver):  # type: ignore[misc]
        def calculate_qparams(self) -> Any:
            low, high = self.min_val.min(), self.max_val.max()
            return self._calculate_qparams(low.expand_as(self.min_val), high.expand_as(self.max_val))

    return PerChannelMinMaxObserver if per_channel else WholeTensor


def _observer(method: str) -> Any:
    """An observer that takes its range from a histogram, as the ONNX lowering does."""
    from onnxruntime.quantization.calibrate import HistogramCollector
    from torchao.quantization.pt2e.observer import MinMaxObserver

    class HistogramRange(MinMaxObserver):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.seen = HistogramCollector("entropy", False, ranges.BINS, ranges.LEVELS, ranges.PERCENTILE, "same")

        def forward(self, values: Tensor) -> Tensor:
            super().forward(values)
            self.seen.collect({"": [values.detach().numpy()]})
            return values

        def calculate_qparams(self) -> Any:
            counts, edges, low, high, _ = self.seen.histogram_dict[""]
            bounds = ranges.METHODS[method](counts, edges, float(low), float(high))
            return self._calculate_qparams(*map(torch.tensor, bounds))

    return HistogramRange


def _fused(graph: GraphModule, example: Tensor) -> GraphModule:
    """Replace dequantize-layer-quantize by oneDNN's int8 operators, with Inductor's patterns and without compiling."""
    from torch._inductor.fx_passes.freezing_patterns import freezing_passes

    table = torch.export.default_decompositions()
    for operator in list(table):
        if not torch._export.utils._is_cia_op(operator):
            del table[operator]  # only composite operators are taken apart: the patterns know the others whole
    lowered: GraphModule = _export(graph, example).run_decompositions(table).module()
    for node in list(lowered.graph.nodes):
        if node.target == aten.t.default:
            with lowered.graph.inserting_before(node):
                turned = lowered.graph.call_function(aten.permute.default, (node.args[0], [1, 0]))
            node.replace_all_uses_with(turned)
            lowered.graph.erase_node(node)
        elif node.target == aten.view.default:  # the patterns for linear layers on three axes know one word only
            node.target = aten.reshape.default
    lowered.graph.lint()
    lowered.recompile()
    freezing_passes(lowered, (example.clone(),))
    return lowered


def _without_decomposed(graph: GraphModule) -> None:
    """Write quantize and dequantize in plain operators, so that loading the file needs no other library."""
    operators = torch.ops.quantized_decomposed
    for node in list(graph.graph.nodes):
        with graph.graph.inserting_before(node):
            if node.target == operators.quantize_per_tensor.default:
                made = _quantized(graph, *node.args)
            elif node.target == operators.dequantize_per_tensor.default:
                made = _dequantized(graph, *node.args)
            elif node.target == operators.dequantize_per_channel.default:  # of a layer that was not fused
                made = _dequantized_channels(graph, node.meta["val"].ndim, *node.args)
            else:
                continue
        node.replace_all_uses_with(made)
        graph.graph.erase_node(node)


def _quantized(graph: GraphModule, x: Node, scale: float, zero: int, low: int, high: int, dtype: torch.dtype) -> Node:
    """clamp(round(x / scale) + zero, low, high)."""
    call = graph.graph.call_function
    steps = call(aten.round.default, (call(aten.mul.Tensor, (x, 1.0 / scale)),))
    return call(aten.to.dtype, (call(aten.clamp.default, (call(aten.add.Tensor, (steps, zero)), low, high)), dtype))


def _dequantized(graph: GraphModule, x: Node, scale: float, zero: int, *_: Any) -> Node:
    """(x - zero) * scale."""
    call = graph.graph.call_function
    steps = call(aten.sub.Tensor, (call(aten.to.dtype, (x, torch.float32)), zero))
    return call(aten.mul.Tensor, (steps, scale))


def _dequantized_channels(
    graph: GraphModule, axes: int, x: Node, scales: Node, zeros: Node, axis: int, *_: Any
) -> Node:
    """(x - zeros) * scales, each of them along one axis of the weights."""
    call, shape = graph.graph.call_function, [-1 if i == axis else 1 for i in range(axes)]
    by, off = (call(aten.reshape.default, (along, shape)) for along in (scales, zeros))
    steps = call(aten.sub.Tensor, (call(aten.to.dtype, (x, torch.float32)), off))
    return call(aten.mul.Tensor, (steps, by))


def _saveable(graph: GraphModule) -> None:
    """Make the oneDNN nodes pass through torch.export and its file format."""
    _register_shapes()
    for node in graph.graph.nodes:
        if _is_int8(node):
            # The format has no empty list of numbers; the operators that get one do not look into it.
            node.args = tuple([0.0] if isinstance(arg, (list, tuple)) and not arg else arg for arg in node.args)


def _pack_for_one_sample(graph: GraphModule, example: Tensor) -> None:
    """Tell the prepack of each layer's weight the shape that it will meet, at batch 1.

    Without, oneDNN guesses a layout, and where the guess is wrong every call packs the weight again: seen to make a
    pruned network ten times slower than in float.
    """

    class Shapes(torch.fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            made = super().run_node(n)
            for layer in (user for user in n.users if user.args[0] is n and _is_int8(user)):
                weight = layer.args[3]
                assert isinstance(weight, Node)
                # A linear layer gets the tokens of all samples as its first axis.
                weight.args = (*weight.args[:-1], [made.shape[0] // len(example), *made.shape[1:]])
            return made

    Shapes(graph).run(example)


def _register_shapes() -> None:
    """Tell torch.export what a prepack returns: a convolution's weight as it is, a linear one transposed. Once per process."""
    if getattr(_register_shapes, "done", False):
        return
    _register_shapes.done = True  # type: ignore[attr-defined]

    def same(weight: Tensor, *_: Any) -> Tensor:
        return torch.empty_like(weight)

    def transposed(weight: Tensor, *_: Any) -> Tensor:
        return weight.new_empty(weight.shape[1], weight.shape[0])

    torch.library.register_fake("onednn::qconv_prepack", same)
    torch.library.register_fake("onednn::qlinear_prepack", transposed)


def _is_int8(node: Node) -> bool:
    return str(node.target).startswith(_INT8_LAYERS) and "prepack" not in str(node.target)


def _facts(graph: GraphModule) -> dict[str, Any]:
    floats = [node for node in graph.graph.nodes if str(node.target).startswith(_FLOAT_LAYERS)]
    fusable = sum(all("dequantize" in str(getattr(a, "target", "")) for a in node.args[:2]) for node in floats)
    done = sum(map(_is_int8, graph.graph.nodes)) + fusable
    count = done + len(floats) - fusable
    return int8_facts(done, count)
