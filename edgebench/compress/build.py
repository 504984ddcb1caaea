"""What every build shares: the files of the lowerings and the data file, made once and kept by their origin."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress import cache as kept
from edgebench.compress import code
from edgebench.compress.context import Progress
from edgebench.compress.lowering import lower
from edgebench.compress.timing import Stopwatch
from edgebench.data import DataSet
from edgebench.errors import PlanError
from edgebench.schema import Artifact, ModelSpec, Recipe


@dataclass(kw_only=True)
class Build(ABC):
    """One recipe on one kind of model. `carry_out` comes first; everything else reads what it left."""

    spec: ModelSpec
    recipe: Recipe
    data: DataSet
    base: Path
    cache: Path
    seed: int
    progress: Progress
    stopwatch: Stopwatch | None = None
    """Measures on the device, for steps that search by latency."""
    quantization: Any = None
    """How the lowerings quantize; what has a `write(lowering, request, path)` writes its int8 files itself."""

    def working(self) -> AbstractContextManager[None]:
        """What must hold while anything is made."""
        return nullcontext()

    @abstractmethod
    def key(self) -> str:
        """Names the float network that the lowerings start from."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What is known of the float network: macs, parameters, what its steps remembered."""

    @abstractmethod
    def request(self) -> lower.Request:
        """What the lowerings work from."""

    @abstractmethod
    def origin(self) -> str:
        """The sha256 of the float network's file."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The content of the data file."""

    def artifact(self, name: str) -> Artifact:
        """The file of one lowering, from the cache or made now."""
        how = lower.get(name)
        self._check_precision(name, how.precision)
        quantized = how.precision != "fp32"
        own = getattr(self.quantization, "write", None) if quantized else None
        key = kept.key_of(
            network=self.key(),
            lowering=name,
            quantize=dataclasses.asdict(self.quantization) if quantized else None,
            calibration=self.data.sha256 if quantized else None,
            writer=[type(self.quantization).__qualname__, code.of(type(self.quantization))] if own else None,
        )
        folder = self.cache / "files" / key
        path = folder / f"model.{how.format}"

        def fill(part: Path) -> Mapping[str, Any]:
            stage = f"{self.recipe.name}: {name}"
            self.progress(stage, 0, 1, "")
            request = self.request()
            facts = own(how, request, part / path.name) if own else how.write(request, part / path.name)
            self.progress(stage, 1, 1, "")
            return facts

        note = kept.once(folder, fill)
        facts = {**self.facts(), **note["facts"], "lowering": name, "data_sha256": self.data.sha256}
        if how.precision == "int8" and getattr(self.quantization, "activations", "") != "dynamic":
            asked = getattr(self.quantization, "samples", None)
            facts |= {"calibration_samples": min(asked, len(self.data.calibration))} if asked else {}
        return kept.artifact(path, note, format=how.format, parent=self.origin(), facts=facts)

    def _check_precision(self, name: str, precision: str) -> None:
        asked = self.quantization.precision if self.quantization else "fp32"
        if asked != precision:
            raise PlanError(
                f'The recipe "{self.recipe.name}" gives a network in {asked}, but the lowering {name} is {precision}.',
                "Add a quantize step to the recipe." if asked == "fp32" else "Ask for int8 where this recipe runs.",
            )

    def data_file(self) -> Artifact:
        """The .npz that the worker checks and rates every file of this variant with."""
        key = kept.key_of(network=self.key(), parent=self.parent_key(), data=self.data.sha256)
        folder = self.cache / "data" / key

        def fill(part: Path) -> Mapping[str, Any]:
            write_npz(part / "data.npz", self.arrays())
            return {}

        return kept.artifact(folder / "data.npz", kept.once(folder, fill), format="npz")

    @abstractmethod
    def parent_key(self) -> str:
        """Names the float network that the variant is compared with."""

    @abstractmethod
    def carry_out(self) -> None:
        """Do the steps of the recipe."""


def accuracy_of(data: Path) -> dict[str, Any]:
    """Of a data file, what its network got right in float, before any lowering: `float_accuracy` of `float_accuracy_samples`.

    Empty without labels, or where the answers are no class scores.
    """
    with np.load(data, allow_pickle=False) as archive:
        if not {"labels", "reference"} <= {*archive.files}:
            return {}
        labels, scores = archive["labels"], archive["reference"]
    if scores.ndim != 2 or labels.ndim != 1 or len(labels) != len(scores):
        return {}
    right = float((scores.argmax(1) == labels).mean())
    return {"float_accuracy": right, "float_accuracy_samples": len(labels)}


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An uncompressed .npz whose bytes depend on the arrays alone: numpy's own carries the time of day."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            memory = io.BytesIO()
            np.lib.format.write_array(memory, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), memory.getvalue())
