"""From a model and a recipe to files: every step and every file is made once and kept by the hash of its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.codec import Options
from edgebench.compress import build_file, foreseen, methods
from edgebench.compress.build import accuracy_of
from edgebench.compress.build_file import FileBuild
from edgebench.compress.build_torch import TorchBuild
from edgebench.compress.context import Progress, silent
from edgebench.compress.lowering import lower
from edgebench.compress.timing import Stopwatch
from edgebench.compress.training.learning import Learning, check_labelled
from edgebench.data import DataSet
from edgebench.data.one_class import check_taught
from edgebench.entries import resolve
from edgebench.errors import EdgebenchError, ModelError
from edgebench.schema import Artifact, ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


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


def check(spec: ModelSpec, data: DataSet, *, base: Path, recipes: Sequence[Recipe] = ()) -> nn.Module | None:
    """Load the model and run it on a few samples; try what the recipes name. Nothing is written. Raises ModelError.

    Returns the network, None for a file.
    """
    if is_file(spec):
        build_file.check_file(Path(base, spec.source), data)
        network = None
    else:
        from edgebench.compress import load_model

        network = load_model.load_module(spec, base)
        load_model.check_fit(network, data, spec.task)
    check_recipes(spec, network, data, base=base, recipes=recipes)
    return network


def check_recipes(
    spec: ModelSpec, network: nn.Module | None, data: DataSet, *, base: Path, recipes: Sequence[Recipe]
) -> None:
    """Import what the recipes of a checked model name, and try their teachers. Raises EdgebenchError, with all that is wrong."""
    found: list[EdgebenchError] = []
    for recipe in recipes:
        try:
            _check_steps(spec, recipe, network, data, base)
        except EdgebenchError as error:
            said = len(recipes) == 1 or f'"{recipe.name}"' in error.problem
            where = "" if said else f'In the recipe "{recipe.name}": '
            found.append(type(error)(f"{where}{error.problem}", error.fix))
    if len(found) == 1:
        raise found[0]
    if found:
        told = "\n  ".join(f"{error.problem} {error.fix}" for error in found)
        raise ModelError(
            f"{len(found)} recipes cannot be carried out:\n  {told}", "Correct them and run the same command again."
        )


def _check_steps(spec: ModelSpec, recipe: Recipe, network: nn.Module | None, data: DataSet, base: Path) -> None:
    if is_file(spec):
        build_file.check_steps(recipe)
    steps = [methods.parse(step) for step in recipe.steps]
    for i, method in enumerate(steps):
        for entry in getattr(method, "entries", ()):
            resolve(entry, base, ModelError)
        if isinstance(method, Learning):
            check_labelled(data)
            if method.labels:
                check_taught(data)
            method.check_teachers(base, any(m.compresses for m in steps[: i + 1]))
    if network is not None:
        from edgebench.compress.training import rehearsal

        rehearsal.rehearse(network, steps, data, base)
        foreseen.check(network, steps, data, base)


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
    if isinstance(job, TorchBuild):
        job.exported = any(lower.get(name).exported for name in lowerings)
    with job.working():
        job.carry_out()
        artifacts = {name: job.artifact(name) for name in dict.fromkeys(lowerings)}
        rating = job.data_file()
        told = accuracy_of(Path(rating.path))
        artifacts = {name: replace(made, facts=Options({**made.facts, **told})) for name, made in artifacts.items()}
        return Variant(recipe=recipe, artifacts=artifacts, data=rating, facts=Options({**job.facts(), **told}))
