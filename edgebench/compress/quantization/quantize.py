"""Quantization after training: what is done to the network once, and the settings that every lowering then follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.compress.quantization import grid
from edgebench.errors import PlanError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Int8 with calibrated ranges (Jacob et al., 2018, arXiv:1712.05877; Krishnamoorthi, 2018, arXiv:1806.08342).

    There is no one int8 file that is right and fast everywhere, so this step fixes how to quantize, and every lowering
    (`compress.lowering.lower`) does it for its target. `samples` of the calibration split are run; `ranges` are their least
    and greatest value, their 99.999th percentile, or those of least KL divergence (entropy) or least squared error (mse).
    `activations = "dynamic"` finds ranges at each inference instead. Weights of fewer than 8 `weight_bits` (symmetric: 7 are -63
    to 63) fill a byte each all the same: they are for arithmetic that has no more, and they lose more.

    First the float network may be made easier to quantize, which every target has the good of: `equalise` scales channels
    across layers (Nagel et al., 2019, arXiv:1906.04721), `smooth` is SmoothQuant's alpha, 0 for none (Xiao et al., 2022,
    arXiv:2211.10438), `rounding = "adaround"` learns which weights to round up in `rounding_steps` steps a layer (Nagel et
    al., 2020, arXiv:2004.10568), `bias_correction` takes out the mean error that rounded weights make (arXiv:1906.04721).

    Some layers may stay in float: those named in `float_layers` (with commas between them), a share `mixed` of all layers, the
    most sensitive first, and as many more as it takes to lose at most `max_drop` of the accuracy (0.01 is one point),
    judged on the `judge` split; where its samples have no labels and the data has classes, the share of changed answers stands
    for it, which is never less. `sweep`
    measures each layer's sensitivity alone, for its table and plot.
    """

    name: ClassVar[str] = "quantize"
    example: ClassVar[str] = '{ method = "quantize", ranges = "mse", float_layers = "stem, head" }'
    precision: ClassVar[str | None] = "int8"
    compresses: ClassVar[bool] = True

    samples: int = 200
    ranges: Literal["minmax", "percentile", "entropy", "mse"] = "minmax"
    per_channel: bool = True
    weight_bits: int = 8
    activations: Literal["static", "dynamic"] = "static"
    equalise: bool = False
    smooth: float = 0.0
    rounding: Literal["nearest", "adaround"] = "nearest"
    rounding_steps: int = 500
    bias_correction: bool = False
    float_layers: str = ""
    sweep: bool = False
    mixed: float = 0.0
    max_drop: float | None = None
    judge: Literal["calibration", "evaluation"] = "calibration"

    def __post_init__(self) -> None:
        values.at_least(self.name, "samples", self.samples, 1)
        values.within(self.name, "weight_bits", self.weight_bits, grid.LEAST_BITS, grid.MOST_BITS)
        values.within(self.name, "smooth", self.smooth, 0, 1)
        values.at_least(self.name, "rounding_steps", self.rounding_steps, 1)
        values.within(self.name, "mixed", self.mixed, 0, 0.99)
        if self.max_drop is not None:
            values.within(self.name, "max_drop", self.max_drop, 0, 1)
        self._check_used()
        if self.activations == "dynamic" and self.ranges != "minmax":
            raise PlanError(
                f'A dynamic quantize step calibrates nothing, so ranges = "{self.ranges}" has no meaning.',
                'Leave ranges out, or use activations = "static".',
            )

    def _check_used(self) -> None:
        """Refuse options that nothing would read."""
        if self.rounding != "adaround" and self.rounding_steps != Quantize.rounding_steps:
            raise PlanError(
                'The method "quantize" was given rounding_steps, and its rounding learns nothing.',
                'Add rounding = "adaround", or leave rounding_steps out.',
            )
        if self.max_drop is None and self.judge != Quantize.judge:
            raise PlanError(
                'The method "quantize" was told what to judge by, and has no budget to judge.',
                "Add max_drop = 0.01, say, or leave judge out.",
            )

    @property
    def float_names(self) -> tuple[str, ...]:
        """The layers that stay in float, by name."""
        return values.names(self.float_layers)

    @property
    def changes_weights(self) -> bool:
        return bool(self.equalise or self.smooth or self.rounding != "nearest" or self.bias_correction)

    @property
    def searches(self) -> bool:
        return bool(self.sweep or self.mixed or self.max_drop is not None)

    @property
    def prepares(self) -> bool:
        """Whether the step has work of its own, beside being settings."""
        return self.changes_weights or self.searches or self.weight_bits < grid.MOST_BITS

    def apply(self, model: nn.Module | None, context: Context) -> nn.Module | None:
        """Return the network as every lowering shall have it, and hand them these settings.

        Without one of the options that change weights it is the network as it was given; None stands for a finished graph, whose
        weights the lowerings alone put on their grid. Raises ModelError, DataError, PlanError.
        """
        context.quantization = self
        if model is None or not self.prepares:
            return model
        from edgebench.compress.quantization import preparation

        return preparation.prepare(model, self, context)

    def settled(self, facts: Mapping[str, Any]) -> Quantize:
        """The settings for the lowerings once `apply` has done its part; `facts` are what it remembered."""
        plain: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(self) if f.name not in _LOWERED}
        kept = facts.get("float_layers", self.float_names)
        return dataclasses.replace(self, **{**plain, "float_layers": ", ".join(kept)})


_LOWERED = ("samples", "ranges", "per_channel", "weight_bits", "activations")
