"""Training samples changed a little each time they are seen: of the training split only, nothing else calls this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgebench.errors import DataError, PlanError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crops after padding by `crop` zeros, and mirroring left to right (He et al., 2015, arXiv:1512.03385, 4.2)."""

    example: ClassVar[str] = "augment = { crop = 4, flip = true }"

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise PlanError(f"The option crop of augment cannot be {self.crop}.", "Give a whole number from 0 up.")

    def __bool__(self) -> bool:
        return bool(self.crop or self.flip)

    def __call__(self, inputs: Tensor, chance: Generator) -> Tensor:
        """Pictures (B, C, H, W) -> the same shape, each changed by itself; `chance` is a generator of the CPU.

        Raises DataError for samples that are no pictures.
        """
        import torch

        if not self:
            return inputs
        if inputs.ndim != 4:
            raise DataError(
                f"Samples of shape {list(inputs.shape[1:])} cannot be cropped or mirrored.",
                "Leave out augment, or give pictures (channels, height, width).",
            )
        if self.flip:
            mirrored = (torch.rand(len(inputs), generator=chance) < 0.5).to(inputs.device)
            inputs = torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
        if self.crop:
            inputs = self._cropped(inputs, chance)
        return inputs

    def _cropped(self, inputs: Tensor, chance: Generator) -> Tensor:
        import torch
        from torch.nn import functional

        count, _, height, width = inputs.shape
        padded = functional.pad(inputs, [self.crop] * 4)
        starts = torch.randint(2 * self.crop + 1, (2, count), generator=chance)
        made = torch.empty_like(inputs)
        for i, (down, right) in enumerate(starts.T.tolist()):
            made[i] = padded[i, :, down : down + height, right : right + width]
        return made
