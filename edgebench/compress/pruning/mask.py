"""Zeros within the layers: a smaller download, not a faster network, unless the runtime knows the pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgebench.codec import Options
from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.errors import PlanError
from edgebench.schema import Step

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Set the smallest weights to zero: any of them (unstructured), or two of every four (2:4).

    No CPU runtime computes less for zeros: what unstructured ones buy is the compressed size of the file, which is recorded.
    2:4 is for TensorRT on GPUs since Ampere (Mishra et al., 2021, arXiv:2104.08378): along the input channels. Magnitude
    (Han et al., 2015, arXiv:1506.02626); `scope` compares within a layer, or over the network. Every layer is masked, the
    classifier too: `keep` names those that stay whole, with commas between them. `retrain` are options of the step finetune,
    during which the zeros stay; a later step that would fill them, or take channels out of the fours, is refused.
    """

    name: ClassVar[str] = "mask"
    example: ClassVar[str] = '{ method = "mask", pattern = "2:4", retrain = { epochs = 2 } }'
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = True
    pattern: Literal["unstructured", "2:4"] = "unstructured"
    sparsity: float = 0.5
    scope: Literal["layer", "network"] = "layer"
    keep: str = ""
    retrain: Options = Options()

    def __post_init__(self) -> None:
        values.between(self.name, "sparsity", self.sparsity, 0, 1)
        if self.pattern == "2:4" and (self.sparsity != 0.5 or self.scope != "layer"):
            raise PlanError(
                'The pattern "2:4" is half zeros in every layer, but sparsity or scope says otherwise.',
                "Leave sparsity and scope out.",
            )
        self._finetune()

    def _finetune(self) -> Any:
        from edgebench.compress import methods

        return methods.parse(Step(method="finetune", options=self.retrain)) if self.retrain else None

    def undone_by(self, after: Any) -> str:
        """Why a later step of a recipe would undo the mask, or nothing. Zeros stay zeros where no weight is written anew."""
        if isinstance(after, Mask):
            return "which would fill its zeros again" if after.retrain and not after._covers(self) else ""
        if getattr(after, "rewrites", False):
            return "which would fill its zeros again"
        if self.pattern == "2:4" and getattr(after, "resizes", False):
            return "which takes channels out of its groups of four"
        return ""

    def _covers(self, earlier: Mask) -> bool:
        """Whether all zeros of an earlier mask are zeros of this one: the smallest weights, and no fewer."""
        if self.keep != earlier.keep or self.scope != earlier.scope:
            return False
        if self.pattern == "2:4":
            return earlier.pattern == "2:4"
        return self.sparsity >= earlier.sparsity

    @property
    def entries(self) -> tuple[str, ...]:
        """The code beside its own that the result depends on: that of the teachers of `retrain`."""
        return tuple(getattr(self._finetune(), "entries", ()))

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(getattr(self._finetune(), "files", ()))

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Mask in place. Raises ModelError where no layer can take the pattern, or a name of `keep` is not there."""
        from edgebench.compress.pruning import masking

        return masking.masked(model, self, self._finetune(), context)
