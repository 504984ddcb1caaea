"""A network that comes as an ONNX file with data: nothing to train, its own outputs are the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.compress import cache as kept
from edgebench.compress import methods
from edgebench.compress.build import Build
from edgebench.compress.context import Architecture, Context
from edgebench.compress.lowering import lower
from edgebench.compress.model_file import check_onnx, external_files
from edgebench.compress.quiet import first_line, quiet
from edgebench.data import DataSet
from edgebench.errors import ModelError, PlanError
from edgebench.schema import Artifact, Recipe, Step, TensorSpec


def check_file(path: Path, data: DataSet) -> TensorSpec:
    """The one input of the file. Raises ModelError when it does not take the samples of the data set."""
    inputs = check_onnx(path)
    if len(inputs) > 1:
        raise ModelError(
            f"{path.name} has {len(inputs)} inputs, but a data set has one.",
            "Use edgebench bench with an .npz of all inputs; edgebench convert makes it int8.",
        )
    spec = inputs[0]
    shape = data.evaluation.inputs.shape
    fits = len(spec.shape) == len(shape) and all(a in (None, b) for a, b in zip(spec.shape[1:], shape[1:], strict=True))
    given = str(data.evaluation.inputs.dtype)
    if spec.dtype != given or not fits:
        wanted = ["any" if d is None else d for d in spec.shape[1:]]
        raise ModelError(
            f"{path.name} takes {spec.dtype} samples of shape {wanted}, but {data.name} has {given} {list(shape[1:])}.",
            "Give it data of the type and shape that it was made for.",
        )
    return spec


def check_steps(recipe: Recipe) -> None:
    """Raise ModelError for a step that an ONNX file cannot take."""
    for step in recipe.steps:
        if not methods.parse(step).precision:
            raise ModelError(
                f'The recipe "{recipe.name}" asks to {step.method} an ONNX file, which is a finished graph.',
                'Give the network as "module:callable" with weights, or keep to quantize.',
            )


def outputs(path: Path, spec: TensorSpec, samples: NDArray[Any]) -> list[NDArray[Any]]:
    """Every output for every sample, (N, ...) each, run by onnxruntime. Raises ModelError."""
    from edgebench.compress.lowering.export import open_session

    batch = spec.shape[0] if spec.shape and spec.shape[0] else 64
    parts: list[list[NDArray[Any]]] = []
    try:
        with quiet():
            session = open_session(path)
            for start in range(0, len(samples), batch):
                part = samples[start : start + batch]
                keep = len(part)
                if spec.shape[0]:  # a fixed batch is filled up with its last sample
                    part = np.concatenate([part, np.repeat(part[-1:], batch - keep, axis=0)])
                parts.append([out[:keep] for out in session.run(None, {spec.name: part})])
    except Exception as error:
        raise ModelError(
            f"onnxruntime cannot run {path.name}: {first_line(error)}.", "Export the model again."
        ) from error
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def parameters(path: Path) -> int:
    """How many numbers the file's weights hold."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return int(sum(np.prod(tuple(tensor.dims), dtype=np.int64) for tensor in graph.initializer))


@dataclass(kw_only=True)
class FileBuild(Build):
    """A ready ONNX file: it can be quantized, and is its own float parent."""

    found: Mapping[str, Any] = field(default_factory=dict)

    def carry_out(self) -> None:
        self.path = Path(self.base, self.spec.source)
        self.input = check_file(self.path, self.data)
        check_steps(self.recipe)
        for step in self.recipe.steps:
            method = methods.parse(step)
            context = Context(data=self.data, base=self.base, architecture=Architecture(entry=""))
            self.quantization = self._settled(step, method, context)
        self.sha256 = kept.sha256(self.path)
        self.name = kept.key_of(files=[kept.sha256(p) for p in (self.path, *external_files(self.path))])

    def _settled(self, step: Step, method: methods.Method, context: Context) -> Any:
        """What the lowerings are to follow. Layers are chosen here; what would change the file's weights is refused."""
        if getattr(method, "changes_weights", False) or not hasattr(method, "searches"):
            if getattr(method, "prepares", False):
                raise ModelError(
                    f'The recipe "{self.recipe.name}" asks {step.method} to change the weights of {self.path.name}, which is a'
                    " finished graph.",
                    'Give the network as "module:callable" with weights, or leave those options out.',
                )
        elif method.searches:
            self.found = self._searched(method)
            return method.settled(self.found)  # type: ignore[attr-defined]
        method.apply(None, context)
        return context.quantization

    def _searched(self, method: Any) -> Mapping[str, Any]:
        """The layers that stay in float, chosen once and kept."""
        files = [kept.sha256(p) for p in (self.path, *external_files(self.path))]
        key = kept.key_of(files=files, options=dataclasses.asdict(method), data=self.data.sha256)

        def fill(part: Path) -> Mapping[str, Any]:
            from edgebench.compress.quantization import sensitivity

            def report(done: int, total: int, note: str) -> None:
                self.progress(f"{self.recipe.name}: {method.name}", done, total, note)

            return sensitivity.choose(self.path, method, self.data, report)

        found: Mapping[str, Any] = kept.once(self.cache / "choices" / key, fill)["facts"]
        return found

    def artifact(self, name: str) -> Artifact:
        if lower.get(name).needs_torch:
            raise PlanError(
                f"The lowering {name} starts from a torch network, but {self.path.name} is an ONNX file.",
                "Leave out the backends that want it, or give the network as a python entry.",
            )
        return super().artifact(name)

    def key(self) -> str:
        return self.name

    def parent_key(self) -> str:
        return self.name

    def origin(self) -> str:
        return self.sha256

    def facts(self) -> dict[str, Any]:
        return {"parameters": parameters(self.path), **self.found}

    def request(self) -> lower.Request:
        return lower.Request(
            model=None,
            example=None,
            calibration=self.data.calibration.inputs,
            onnx=lambda: self.path,
            quantize=self.quantization,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        held_out = self.data.evaluation
        made: dict[str, NDArray[Any]] = {f"input:{self.input.name}": held_out.inputs}
        if held_out.labels is not None:
            made["labels"] = held_out.labels
        found = outputs(self.path, self.input, held_out.inputs)
        for word in ("reference", "parent"):
            names = [word] if len(found) == 1 else [f"{word}:{i}" for i in range(len(found))]
            made.update(zip(names, found, strict=True))
        return made
