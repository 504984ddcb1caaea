"""Integers at the ends of a network that stand for real numbers: what an application makes of them, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebench.schema import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """An integer q of a tensor stands for (q - zero_point) * scale (Jacob et al., 2018, arXiv:1712.05877)."""

    scale: float
    zero_point: int

    def codes(self, numbers: Any, dtype: str) -> Any:
        """The nearest integers of this type to real numbers, those beyond its limits at the limits."""
        import numpy as np

        limits = np.iinfo(dtype)
        found = np.rint(numbers * np.float32(1 / self.scale)) + self.zero_point
        return np.clip(found, limits.min, limits.max).astype(dtype)

    def numbers(self, codes: Any) -> Any:
        """The real numbers, float32, that integers stand for."""
        import numpy as np

        return (codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    def __str__(self) -> str:
        return f"scale {self.scale:.6g}, zero point {self.zero_point}"


def fed(spec: TensorSpec, array: Any) -> Any:
    """What is fed for an array: real numbers as the integers that stand for them, all else as it is."""
    return spec.scaled.codes(array, spec.dtype) if spec.scaled and array.dtype.kind == "f" else array


def told(specs: Sequence[TensorSpec], outputs: Sequence[Any]) -> list[Any]:
    """The outputs of a session as real numbers, where its integers stand for such."""
    return [s.scaled.numbers(out) if s.scaled else out for s, out in zip(specs, outputs, strict=True)]
