"""From a model and a recipe to files: every step and every file is made once and kept by the hash of its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebench.codec import Options
from edgebench.compress import build_file, methods
from edgebench.compress.build_file import FileBuild
from edgebench.compress.build_torch import TorchBuild
from edgebench.compress.context import Progress, silent
from edgebench.compress.timing import Stopwatch
from edgebench.compress.training.learning import Learning, check_labelled
from edgebench.data import DataSet
from edgebench.entries import resolve
from edgebench.errors import ModelError
from edgebench.schema import Artifact, ModelSpec, Recipe


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a recipe made: a file per lowering, and the data to check and rate them with.

    `data` is an .npz: `input:<name>` (N, ...), `labels` (N,) if there are any, `reference` (the outputs of this variant
    in float, before quantization) and `parent` (those of the float network that its last compressing step started
    from, else its own); `reference:0`, `reference:1`, ... where a file has several outputs.
    """

    recipe: Recipe
    artifacts: Mapping[str, Artifact]
    data: Artifact
    facts: Options


def is_file(spec: ModelSpec) -> bool:
    return spec.source.lower().endswith(".onnx")


def check(spec: ModelSpec, data: DataSet, *, base: Path, recipes: Sequence[Recipe] = ()) -> None:
    """Load the model and run it on a few samples; import what the recipes name. Nothing is written. Raises ModelError."""
    for recipe in recipes:
        if is_file(spec):
            build_file.check_steps(recipe)
        steps = [methods.parse(step) for step in recipe.steps]
        for i, method in enumerate(steps):
            for entry in getattr(method, "entries", ()):
                resolve(entry, base, ModelError)
            if isinstance(method, Learning):
                check_labelled(data)
                method.check_teachers(base, any(m.compresses for m in steps[: i + 1]))
    if is_file(spec):
        build_file.check_file(Path(base, spec.source), data)
        return
    from edgebench.compress import load_model
    from edgebench.compress.training import rehearsal

    model = load_model.load_module(spec, base)
    load_model.check_fit(model, data, spec.task)
    for recipe in recipes:
        rehearsal.rehearse(model, [methods.parse(step) for step in recipe.steps], data, base)


def build(
    spec: ModelSpec,
    recipe: Recipe,
    lowerings: Sequence[str],
    data: DataSet,
    *,
    base: Path,
    cache: Path,
    seed: int = 0,
    progress: Progress = silent,
    stopwatch: Stopwatch | None = None,
) -> Variant:
    """Carry out the recipe and write the file of every lowering; what the cache has is not made again.

    `stopwatch` measures for the steps that search by latency. Raises EdgebenchError (PlanError, ModelError, DataError,
    StoreError) in two sentences.
    """
    methods.check_recipe(recipe)
    kind: type[FileBuild | TorchBuild] = FileBuild if is_file(spec) else TorchBuild
    job = kind(spec=spec, recipe=recipe, data=data, base=base.resolve(), cache=cache, seed=seed, progress=progress)
    job.stopwatch = stopwatch
    with job.working():
        job.carry_out()
        artifacts = {name: job.artifact(name) for name in dict.fromkeys(lowerings)}
        return Variant(recipe=recipe, artifacts=artifacts, data=job.data_file(), facts=Options(job.facts()))
