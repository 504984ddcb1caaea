"""What an engine and a session are asked for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgebench.backend import EdgebenchError

OPTIONS = {
    "product": "tensorrt or tensorrt_rtx (default: the first that is installed)",
    "cuda": "cuda-bindings or pycuda: what moves memory (default: the first that is installed)",
    "cuda_graph": "true: copies and kernels are one CUDA graph, cuda-bindings only (default false)",
    "workspace": "MiB that a layer may use while building (default: half of the memory that is free)",
    "max_batch": "the greatest batch that the engine takes (default: the batch asked for, the fastest)",
    "optimization_level": "0 to 5: how long the builder searches (default: TensorRT's own)",
    "compute_capability": "build for another GPU, TensorRT-RTX only, such as 86 (default: the one here)",
    "dla": "the number of the DLA core to run on, with the GPU for what it refuses (default: none)",
    "dla_share": "the least share of layers on the DLA, or the row fails (default 0.5)",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One set of options. Raises EdgebenchError for a value that means nothing."""

    precision: str
    batch: int
    product: str = ""
    cuda: str = ""
    cuda_graph: bool = False
    workspace: int = 0
    max_batch: int = 0
    optimization_level: int = -1
    compute_capability: str = ""
    dla: int = -1
    dla_share: float = 0.5

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Asked:
        if options["threads"] != 1:
            raise EdgebenchError(
                f"TensorRT runs on the GPU and has no threads of its own, and {options['threads']} were asked for.",
                "Ask for threads = 1.",
            )
        given = {name: options[name] for name in OPTIONS if name in options}
        if "compute_capability" in given:
            given["compute_capability"] = str(given["compute_capability"])
        asked = cls(precision=options["precision"], batch=options["batch"], **given)
        asked._check()
        return asked

    def _check(self) -> None:
        for name, least, most in (("workspace", 0, 1 << 24), ("optimization_level", -1, 5), ("dla", -1, 15)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise EdgebenchError(f"{name} cannot be {value!r}.", f"Use a whole number up to {most}.")
        if not isinstance(self.cuda_graph, bool):
            raise EdgebenchError(f"cuda_graph cannot be {self.cuda_graph!r}.", "Use true or false.")
        if isinstance(self.max_batch, bool) or not isinstance(self.max_batch, int) or 0 < self.max_batch < self.batch:
            raise EdgebenchError(
                f"max_batch cannot be {self.max_batch!r} for a batch of {self.batch}.", f"Use {self.batch} or more."
            )
        if (
            isinstance(self.dla_share, bool)
            or not isinstance(self.dla_share, (int, float))
            or not 0 <= self.dla_share <= 1
        ):
            raise EdgebenchError(f"dla_share cannot be {self.dla_share!r}.", "Use a number from 0 to 1.")

    @property
    def most(self) -> int:
        """The greatest batch of the engine."""
        return self.max_batch or self.batch

    def of_engine(self) -> dict[str, Any]:
        """What the engine depends on, a part of its key."""
        return {
            "precision": self.precision, "batch": self.batch, "max_batch": self.most, "workspace": self.workspace,
            "optimization_level": self.optimization_level, "compute_capability": self.compute_capability,
            "dla": self.dla, "dla_share": self.dla_share,
        }  # fmt: skip
