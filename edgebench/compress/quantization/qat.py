"""Quantization-aware training: the network learns with its weights and activations rounded as they will be."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.compress.quantization import grid
from edgebench.compress.quantization.quantize import Quantize
from edgebench.compress.training.learning import Learning

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Qat(Learning):
    """Train on with int8 simulated in the forward pass and straight-through gradients, then quantize.

    Fake quantization with batch norms folded as they will be (Jacob et al., 2018, arXiv:1712.05877; straight-through:
    Bengio et al., 2013, arXiv:1308.3432), by torchao's PT2E on the exported graph. The trained weights go back into the network;
    each lowering calibrates them for its target, as for `quantize`: `samples`, `ranges`, `per_channel`, `weight_bits` and
    `float_layers` (the layers that stay in float, with commas between them) are as there. Files for an x86 without VNNI have
    weights of 7 bits: `weight_bits = 7` learns for them. For the last half of the epochs batch norms keep their statistics, as
    they will (Krishnamoorthi, 2018, arXiv:1806.08342). The training options are those of `train`; with
    losses = { hinton = {} } and teachers = { first = {} } it is distilled on the way.
    """

    name: ClassVar[str] = "qat"
    example: ClassVar[str] = '{ method = "qat", epochs = 4, per_channel = false }'
    precision: ClassVar[str | None] = "int8"
    compresses: ClassVar[bool] = True
    prepares: ClassVar[bool] = True
    changes_weights: ClassVar[bool] = True

    epochs: int = 4
    lr: float = 0.0005
    samples: int = 200
    ranges: Literal["minmax", "percentile", "entropy", "mse"] = "minmax"
    per_channel: bool = True
    weight_bits: int = 8
    float_layers: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        values.at_least(self.name, "samples", self.samples, 1)
        values.within(self.name, "weight_bits", self.weight_bits, grid.LEAST_BITS, grid.MOST_BITS)

    def settled(self, facts: Mapping[str, Any]) -> Quantize:
        """The settings that the lowerings follow."""
        return Quantize(
            samples=self.samples,
            ranges=self.ranges,
            per_channel=self.per_channel,
            weight_bits=self.weight_bits,
            float_layers=self.float_layers,
        )

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Return a trained copy, in float: its weights are made for the grid of int8. Raises ModelError, DataError, PlanError."""
        from edgebench.compress.load_model import tensor
        from edgebench.compress.quantization import fake_quantization, modes, preparation
        from edgebench.compress.quantization.calibration import check_samples

        asked = self.settled({})
        context.quantization = asked
        samples = context.data.calibration.inputs[: self.samples]
        check_samples(samples)
        trained = copy.deepcopy(model)
        graph = fake_quantization.prepared(trained, tensor(context.data.train.inputs[:2]), asked)
        fake_quantization.observe(graph, tensor(samples))
        self.learn(graph, context, mode=modes.freezing(graph, self.epochs // 2))
        fake_quantization.give_back(graph, trained)
        return preparation.prepare(trained, asked, context) if preparation.rounds(asked) else trained.eval()


def outputs(graph: nn.Module, samples: Tensor) -> Tensor:
    """What the network with simulated int8 answers (N, ...), in evaluation mode."""
    import torch

    from edgebench.compress.quantization import modes

    modes.evaluation(graph)
    with torch.no_grad():
        return torch.cat([graph(part) for part in torch.split(samples, 64)])
