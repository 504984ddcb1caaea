"""The quantize step's own work on a torch network: in the order in which each part needs the one before."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgebench.compress.context import Context
from edgebench.compress.load_model import tensor
from edgebench.compress.lowering.export import export_onnx
from edgebench.compress.quantization import equalise, grid, layers, rounding, sensitivity, smooth
from edgebench.compress.quantization.calibration import check_samples
from edgebench.errors import PlanError

if TYPE_CHECKING:
    from edgebench.compress.quantization.quantize import Quantize


def prepare(model: nn.Module, asked: Quantize, context: Context) -> nn.Module:
    """A copy of the network with the changes that were asked for; what was found is remembered in the context.

    First what keeps the float function (equalise, smooth), then the weights onto their grid, then the choice of layers that stay
    in float: those have their weights back as they were before rounding. Raises PlanError, DataError, ModelError.
    """
    samples = context.data.calibration.inputs[: asked.samples]
    check_samples(samples)
    model, example = copy.deepcopy(model).eval(), tensor(_at_least_two(context.data.calibration.inputs))
    layers.check_names(model, example, asked.float_names)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(context.seed)
        _keep_function(model, example, tensor(samples), asked, context)
        exact = copy.deepcopy(model)
        _onto_grid(model, example, tensor(samples), asked, context)
        if asked.searches:
            _choose(model, exact, example, asked, context)
    return model


def _at_least_two(samples: Any) -> Any:
    """An example to trace with: torch.export takes a batch of one for a constant."""
    import numpy as np

    return samples[:4] if len(samples) > 1 else np.repeat(samples, 2, axis=0)


def _keep_function(model: nn.Module, example: Tensor, samples: Tensor, asked: Quantize, context: Context) -> None:
    if asked.equalise:
        pairs = equalise.equalise(model, example)
        if not pairs:
            raise PlanError(
                "equalise was asked for, but this network has no two layers in a row with ReLU or pooling between them.",
                "Leave equalise out.",
            )
        context.remember(equalised_pairs=pairs)
    if asked.smooth:
        norms = smooth.smooth(model, example, samples, asked.smooth)
        if not norms:
            raise PlanError(
                "smooth was asked for, but this network has no layer norm that only linear layers read.",
                "Leave smooth out: SmoothQuant is for transformers.",
            )
        context.remember(smoothed_norms=norms)


def rounds(asked: Quantize) -> bool:
    """Whether weights are put on their grid here. Of 8 bits the nearest is what each lowering does; of fewer the ranges too
    are to be those of the network as it will be.
    """
    return asked.rounding != "nearest" or asked.bias_correction or asked.weight_bits < grid.MOST_BITS


def _onto_grid(model: nn.Module, example: Tensor, samples: Tensor, asked: Quantize, context: Context) -> None:
    if not rounds(asked):
        return
    errors = rounding.onto_grid(
        model,
        example,
        samples,
        per_channel=asked.per_channel,
        bits=asked.weight_bits,
        adaround=asked.rounding_steps if asked.rounding == "adaround" else 0,
        correct=asked.bias_correction,
        skip=asked.float_names,
        seed=context.seed,
        report=context.report,
    )
    if asked.rounding == "adaround":
        rows = [{"layer": name, "nearest": a, "adaround": b} for name, (a, b) in errors.items()]
        context.remember(rounding=rows)


def _choose(model: nn.Module, exact: nn.Module, example: Tensor, asked: Quantize, context: Context) -> None:
    """Choose the layers that stay in float, and give them back their exact weights where the budget holds with those too."""
    samples, judged = context.data.calibration.inputs, sensitivity.judged_by(asked, context.data)
    rounded = rounds(asked)
    with tempfile.TemporaryDirectory() as folder:
        source, float_file = Path(folder, "rounded.onnx"), Path(folder, "exact.onnx")
        export_onnx(model, example, source)
        if rounded:
            export_onnx(exact, example, float_file)
        found = sensitivity.choose(source, asked, context.data, context.report, float_file if rounded else None)
        context.remember(**found)
        names = found["float_layers"]
        if rounded and names:
            before = copy.deepcopy(model.state_dict())
            layers_back(model, exact, example, names)
            if asked.max_drop is not None:
                export_onnx(model, example, source)
                if sensitivity.lost(source, float_file, asked, samples, judged, names) > asked.max_drop:
                    model.load_state_dict(before)  # the budget was held with these weights


def layers_back(model: nn.Module, exact: nn.Module, example: Tensor, names: list[str]) -> None:
    """Give the layers of these names the weights, biases and batch norms of another copy of the network."""
    state = exact.state_dict()
    known = layers.by_name(layers.find(layers.trace(model, example)))
    for layer in (known[name] for name in names if name in known):
        for parameter in (
            layer.weight,
            layer.bias,
            *((f"{layer.norm}.weight", f"{layer.norm}.bias") * bool(layer.norm)),
        ):
            if parameter and parameter in state:
                model.get_parameter(parameter).data.copy_(state[parameter])
