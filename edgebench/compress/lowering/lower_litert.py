"""LiteRT (TensorFlow Lite): torch -> litert-torch -> .tflite, and from that int8 and fp16 by ai-edge-quantizer.

The input stays NCHW as torch has it, and is transposed inside: against an NHWC input that costs float nothing and
int8 one to five percent (3x32x32, 3x96x96), and an application with NCHW data would do it anyway. The file is made twice,
for batches of 1 and of another size: what differs depends on the batch, and is freed (`tflite_file`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress.lowering import tflite_file, tflite_layers, tflite_weights
from edgebench.compress.lowering.counted import int8_facts
from edgebench.compress.lowering.lower_onnx import check_samples
from edgebench.compress.quantization import ranges
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgebench.compress.quantization.quantize import Quantize

PARITY = 1e-4
"""Greatest difference to eager torch, relative to the greatest output if that is above 1."""
OTHER_BATCH = 3
CALIBRATED_AT_ONCE = 16
_TRANSFORMER = {"SOFTMAX", "BATCH_MATMUL"}
"""A graph with both has attention in it."""


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """`quiet`, for native code too: the converter writes to the file descriptors themselves."""
    with contextlib.ExitStack() as stack:
        nothing = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nothing)
        for descriptor in (1, 2):
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(nothing, descriptor)
        stack.enter_context(quiet())
        yield


def convert(model: nn.Module, example: Tensor, path: Path) -> dict[str, Any]:
    """Write the float32 file: input "input", one output is "output", and a batch axis that can be resized.

    `example` is (B, ...), B >= 2. Returns facts; `batch` is there, and 1, where the network would not let go of its
    batch. Raises ModelError: it cannot be converted, or LiteRT's answers differ from eager torch's by more than 1e-4.
    """
    content, free = _converted(model, example)
    path.write_bytes(content)
    _check_parity(content, model, example, len(example) if free else 1)
    return {} if free else {"batch": 1}


def quantize(
    model: nn.Module, example: Tensor, samples: NDArray[Any], asked: Quantize, path: Path, *, dynamic: bool = False
) -> dict[str, Any]:
    """Write the int8 form: per-channel weights; activations by the ranges of the samples, or as they come if `dynamic`.

    A network with attention is always dynamic: static int8 around softmax and layer norm ruins it, and is no
    faster. Inputs and outputs stay float32 where the quantizer can do that. Returns facts, `int8_coverage` among
    them. Raises ModelError or DataError.
    """
    check_samples(samples)
    content, free = _converted(model, example)
    names = set(tflite_file.operators(tflite_file.parse(content)))
    dynamic = dynamic or asked.activations == "dynamic" or names >= _TRANSFORMER
    keep = tflite_layers.scopes(tflite_file.parse(content), asked.float_names)
    steps = tflite_weights.limits(tflite_file.parse(content), asked.per_channel, asked.weight_bits)
    with silent():
        try:
            if dynamic:
                made = _quantized(content, _recipe("dynamic", asked.per_channel, keep), steps)
            else:
                limits = _limits(content, samples[: asked.samples], asked.ranges, free)
                made = _static(content, asked.per_channel, {**_bounds(limits), **steps}, keep)
        except Exception as error:
            raise ModelError(
                f"ai-edge-quantizer cannot quantize this network: {first_line(error)}.",
                "Leave litert out of this recipe.",
            ) from error
    path.write_bytes(made)
    return {
        **({} if free else {"batch": 1}),
        "activations": "dynamic" if dynamic else "static",
        "weight_bits": asked.weight_bits,
        **int8_facts(*tflite_file.coverage(tflite_file.parse(made))),
    }


def halve(model: nn.Module, example: Tensor, path: Path) -> dict[str, Any]:
    """Write the file with its weights in fp16: half the size. What is computed in fp16 is up to the runtime.

    Returns facts. Raises ModelError.
    """
    content, free = _converted(model, example)
    with silent():
        try:
            path.write_bytes(_quantized(content, _recipe("fp16", True), {}))
        except Exception as error:
            raise ModelError(
                f"ai-edge-quantizer cannot cast this network to fp16: {first_line(error)}.", "Ask litert for fp32."
            ) from error
    return {} if free else {"batch": 1}


def _converted(model: nn.Module, example: Tensor) -> tuple[bytes, bool]:
    """The float32 file, and whether its batch can be resized."""
    with silent():
        try:
            import torch

            litert_torch = _converter()
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                made, twin = (
                    tflite_file.parse(litert_torch.convert(model.eval(), (_batch(example, size),)).model_content())
                    for size in (1, OTHER_BATCH)
                )
        except ImportError as error:
            raise ModelError(
                f"Making .tflite files needs litert-torch: {first_line(error)}.",
                'Install it with: pip install "edgebench[litert-convert]".',
            ) from error
        except Exception as error:
            raise ModelError(
                f"litert-torch cannot convert this network: {first_line(error)}.",
                "Leave litert out of this plan, or write the network in operators that it knows.",
            ) from error
    tflite_file.name_ends(made)
    free = tflite_file.free_batch(made, twin)
    return tflite_file.pack(made), free


def _converter() -> Any:
    """litert_torch, without the warning that its JAX would attach to each later fork: ours become other programs."""
    import litert_torch
    from jax._src import xla_bridge

    xla_bridge._at_fork_handler_installed = True
    return litert_torch


def _batch(example: Tensor, size: int) -> Tensor:
    return example[:1].expand(size, *example.shape[1:]).clone()


def _recipe(kind: str, per_channel: bool, keep: Sequence[str] = ()) -> list[Any]:
    """How to quantize every operator; those that the expressions `keep` find stay in float."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe, every = RecipeManager(), TFLOperationName.ALL_SUPPORTED
    granularity = QuantGranularity.CHANNELWISE if per_channel else QuantGranularity.TENSORWISE
    if kind == "fp16":
        recipe.add_weight_only_config(".*", every, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    elif kind == "dynamic":
        recipe.add_dynamic_config(".*", every, 8, granularity=granularity)
    else:
        recipe.add_static_config(".*", every, 8, 8, weight_granularity=granularity)
    if kind == "static":
        for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):  # or the file would take and give int8
            recipe.add_quantization_config(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for scope in keep:
        recipe.add_quantization_config(scope, every, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return list(recipe.get_quantization_recipe())


def _bounds(limits: Mapping[str, ranges.Range]) -> tflite_weights.Limits:
    return {name: {"min": np.array([low]), "max": np.array([high])} for name, (low, high) in limits.items()}


def _static(content: bytes, per_channel: bool, limits: tflite_weights.Limits, keep: Sequence[str]) -> bytes:
    """Static int8 with float32 ends; but where an output also feeds a layer, LiteRT refuses that, and they are int8."""
    made = _quantized(content, _recipe("static", per_channel, keep), limits)
    try:
        _interpreter(made, 1)
    except RuntimeError:
        made = _quantized(content, _recipe("static, int8 ends", per_channel, keep), limits)
        _interpreter(made, 1)
    return made


def _quantized(content: bytes, recipe: list[Any], limits: tflite_weights.Limits) -> bytes:
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(bytearray(content), recipe)
    done = quantizer.quantize(limits or None, enable_progress_bar=False, enable_progress_report=False)
    return bytes(done.quantized_model)


def _limits(content: bytes, samples: NDArray[Any], method: str, free: bool) -> dict[str, ranges.Range]:
    """The range of every activation over the samples: what it held, or as `method` cuts it."""
    extremes: dict[str, ranges.Range] = {}
    for name, values in _activations(content, samples, free):
        low, high = extremes.get(name, (np.inf, -np.inf))
        extremes[name] = min(low, float(values.min())), max(high, float(values.max()))
    if method == "minmax":
        return extremes
    bounds = {name: max(abs(low), abs(high), 1e-30) for name, (low, high) in extremes.items()}
    counts = {name: np.zeros(ranges.BINS, np.int64) for name in extremes}
    for name, values in _activations(content, samples, free):
        counts[name] += np.histogram(values, ranges.BINS, (-bounds[name], bounds[name]))[0]
    return {
        name: ranges.METHODS[method](counts[name], np.linspace(-b, b, ranges.BINS + 1), *extremes[name])
        for name, b in bounds.items()
    }


def _activations(content: bytes, samples: NDArray[Any], free: bool) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every float tensor that is computed, by name, for one batch after the other."""
    model = tflite_file.parse(content)
    graph = model.subgraphs[0]
    fed = {int(i) for op in graph.operators for i in op.outputs} | {int(i) for i in graph.inputs}
    size = CALIBRATED_AT_ONCE if free else 1
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        if not start or len(part) != size:
            interpreter = _interpreter(content, len(part), keep=True)
        _feed(interpreter, part)
        interpreter.invoke()
        for index in fed:
            values = interpreter.get_tensor(index)
            if values.dtype == np.float32:
                yield graph.tensors[index].name.decode(), values


def _interpreter(content: bytes, batch: int, *, keep: bool = False) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep else OpResolverType.AUTO
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=kind, experimental_preserve_all_tensors=keep
    )
    for detail in interpreter.get_input_details():
        interpreter.resize_tensor_input(detail["index"], [batch, *detail["shape"][1:]])
    interpreter.allocate_tensors()
    return interpreter


def _feed(interpreter: Any, samples: NDArray[Any]) -> None:
    """Set the one input. What was int64 in torch is int32 here."""
    [wanted] = interpreter.get_input_details()
    interpreter.set_tensor(wanted["index"], np.ascontiguousarray(samples, wanted["dtype"]))


def _check_parity(content: bytes, model: nn.Module, example: Tensor, most: int) -> None:
    """Raise ModelError unless LiteRT gives torch's outputs, for one sample and for `most`."""
    from edgebench.compress.lowering.export import eager

    given: Any = eager(model, example)
    wanted = [given] if hasattr(given, "shape") else list(given)
    for size in sorted({1, most}):
        with silent():
            interpreter = _interpreter(content, size)
            _feed(interpreter, example[:size].numpy())
            interpreter.invoke()
            found = [interpreter.get_tensor(end["index"]) for end in interpreter.get_output_details()]
        for ours, theirs in zip(found, wanted, strict=True):
            reference = theirs[:size].numpy()
            off = float(np.abs(ours - reference).max()) / max(1.0, float(np.abs(reference).max()))
            if not off < PARITY:
                raise ModelError(
                    f"The .tflite file differs from torch by {off:.1e} on a batch of {size}, more than {PARITY:g}.",
                    "Look for an operator whose result depends on order or on the batch size.",
                )
