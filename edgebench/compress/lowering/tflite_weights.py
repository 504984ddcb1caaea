"""The ranges of a .tflite file's weights that give them fewer than 8 bits: ai-edge-quantizer divides a range by 127 always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress.lowering import tflite_file
from edgebench.compress.quantization import grid
from edgebench.errors import ModelError

Limits = dict[str, dict[str, NDArray[Any]]]
"""What ai-edge-quantizer takes for a calibration: by the name of the tensor its "min" and "max"."""
CHANNELS: Mapping[str, int] = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""Which axis of a layer's weight its output channels lie on."""


def limits(model: Any, per_channel: bool, bits: int) -> Limits:
    """Wider ranges, so that 127 steps of 8 bits are the steps of `bits`; none for 8.

    Raises ModelError for a layer whose weights would have 8 bits all the same.
    """
    if bits == grid.MOST_BITS:
        return {}
    made: Limits = {}
    for kind, tensor, weight in _weights(model):
        if kind not in CHANNELS:
            raise ModelError(
                f"LiteRT's quantizer gives the weights of {kind} 8 bits, and weight_bits is {bits}.",
                "Leave litert out of this recipe, or weight_bits.",
            )
        axes = tuple(a for a in range(weight.ndim) if a != CHANNELS[kind]) if per_channel else None
        wide = np.abs(weight).max(axes, keepdims=True) * grid.steps(grid.MOST_BITS) / grid.steps(bits)
        made[tensor] = {"min": -wide, "max": wide}
    return made


def _weights(model: Any) -> list[tuple[str, str, NDArray[Any]]]:
    """The operator, the tensor's name and the values of each layer's stored weights."""
    tensors, found = model.subgraphs[0].tensors, []
    for kind, op in tflite_file._named(model):
        if kind not in tflite_file.LAYERS:
            continue
        tensor = tensors[op.inputs[tflite_file.weight_place(kind)]]
        stored = model.buffers[tensor.buffer].data
        if stored is not None:
            weight = np.frombuffer(bytes(stored), np.float32).reshape(tensor.shape)
            found.append((kind, tensor.name.decode(), weight))
    return found
