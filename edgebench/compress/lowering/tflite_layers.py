"""Which operator of a .tflite file is which layer of the torch network: the converter leaves a trail of names on the weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgebench.compress.lowering import tflite_file
from edgebench.errors import ModelError, PlanError, did_you_mean


def scopes(model: Any, names: Sequence[str]) -> list[str]:
    """For each layer ("blocks.0.conv1") the regular expression that finds its operator: its output tensor's name.

    Raises PlanError for a layer that is not there, and ModelError where two operators could be it.
    """
    graph = model.subgraphs[0]
    told = [
        (
            graph.tensors[op.inputs[tflite_file.weight_place(name)]].name.decode(),
            [graph.tensors[i].name.decode() for i in op.outputs],
        )
        for name, op in tflite_file._named(model)
        if name in tflite_file.LAYERS
    ]
    found = []
    for name in names:
        mine = [outputs for weight, outputs in told if _belongs(weight, name)]
        if not mine:
            raise PlanError(
                f'The network has no layer "{name}" to keep in float.', did_you_mean(name, _known(w for w, _ in told))
            )
        if len(mine) > 1:
            raise ModelError(
                f'The .tflite file does not say which operator is the layer "{name}".',
                "Leave litert out of this recipe.",
            )
        # The quantizer joins the names of all outputs, each with a semicolon behind it.
        found.append("^" + re.escape(mine[0][0]) + "(;|$)")
    return found


def _segments(weight: str) -> list[list[str]]:
    """ "net.V/net.Block_b/torch.nn.modules.linear.Linear_fc1;1" -> [["net.Block_b", "torch...Linear_fc1"]], without the root."""
    paths = [part for part in weight.split(";") if "/" in part]
    return [path.split("/")[1:] for path in paths if re.search(r"(Conv\w*|Linear)_\w+$", path)]


def _belongs(weight: str, name: str) -> bool:
    """Whether a trail ends in this layer: each step is "package.Class_attribute"."""
    parts = name.split(".")
    return any(
        len(steps) == len(parts) and all(s.endswith(f"_{p}") for s, p in zip(steps, parts, strict=True))
        for steps in _segments(weight)
    )


def _known(weights: Any) -> list[str]:
    """The layers' names as far as they can be told: a class's name has no underscore as a rule."""
    return [
        ".".join(step.rsplit(".", 1)[-1].split("_", 1)[-1] for step in steps) for w in weights for steps in _segments(w)
    ]
