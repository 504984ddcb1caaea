"""Post-training quantization: the settings. The work is done by each lowering, on the graph of its own runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgebench.compress import values
from edgebench.compress.context import Context

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Static int8 with calibrated ranges (Jacob et al., 2018, arXiv:1712.05877; Krishnamoorthi, 2018, arXiv:1806.08342).

    There is no one int8 file that is right and fast everywhere, so this step fixes how to quantize, and every
    lowering (`edgebench.compress.lower`) does it for its target. `samples` of the calibration split are run; `ranges`
    are their least and greatest value, their 99.999th percentile, or those of least KL divergence (entropy).
    """

    name: ClassVar[str] = "quantize"
    precision: ClassVar[str | None] = "int8"
    compresses: ClassVar[bool] = True

    samples: int = 200
    ranges: Literal["minmax", "percentile", "entropy"] = "minmax"
    per_channel: bool = True

    def __post_init__(self) -> None:
        values.at_least(self.name, "samples", self.samples, 1)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Leave the float network as it is, and hand these settings to the lowerings."""
        context.quantization = self
        return model
