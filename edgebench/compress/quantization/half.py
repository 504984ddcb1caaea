"""Half precision as a recipe's last step: fp16 or bf16, by whatever the runtime of each row does for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.compress.context import Context

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Fp16:
    """Run in fp16 (IEEE 754 binary16): half the size, no calibration (Micikevicius et al., 2018, arXiv:1710.03740).

    Each backend makes of it what it has: a file with fp16 weights, or fp16 arithmetic; what was in force is in the row.
    """

    name: ClassVar[str] = "fp16"
    example: ClassVar[str] = '{ method = "fp16" }'
    precision: ClassVar[str | None] = "fp16"
    compresses: ClassVar[bool] = True

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Leave the network as it is: casting it is the lowering's or the runtime's."""
        return model


@dataclass(frozen=True, kw_only=True)
class Bf16:
    """Run in bf16: the exponent of fp32 with 8 bits of precision (Kalamkar et al., 2019, arXiv:1905.12322).

    A precision of the arithmetic, which backends with such kernels choose at run time; what was in force is in the row.
    """

    name: ClassVar[str] = "bf16"
    example: ClassVar[str] = '{ method = "bf16" }'
    precision: ClassVar[str | None] = "bf16"
    compresses: ClassVar[bool] = True

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Leave the network as it is: casting it is the runtime's."""
        return model
