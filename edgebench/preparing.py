"""Check everything that the user gave against this host and the device, before a results folder is made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgebench import fitting, given, measure, plugins, ready
from edgebench.backend import Backend
from edgebench.codec import Options
from edgebench.devices import Device
from edgebench.environment import cache_folder
from edgebench.errors import EdgebenchError, MissingRuntime, PlanError, StoreError
from edgebench.plan import Plan, check_names
from edgebench.schema import Recipe
from edgebench.squares import Square, check_backend_options, expand


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan that was checked whole against this host and the device; nothing is written yet."""

    plan: Plan
    device: Device
    squares: tuple[Square, ...]
    data: Any = None
    own_data: Mapping[str, Any] = field(default_factory=dict)
    """By their names, the data of the recipes that bring some."""
    began: float = field(default_factory=measure.monotonic)
    """When the checking of the plan began: from then on its budget is spent."""


def recipe_precision(recipe: Recipe) -> str | None:
    """The precision that the recipe's own last quantizing step gives, or None."""
    from edgebench.compress import methods

    found = [methods.parse(step).precision for step in recipe.steps]
    return next((p for p in reversed(found) if p), None)


def planned(
    plan: Plan, device: str, cpu: Mapping[str, Any] | None = None, refused: Mapping[str, str] | None = None
) -> tuple[Square, ...]:
    """The squares of a plan: no runtime, network or device is touched. `cpu`: what the device says of its processor.

    `refused`: by the names of recipes whose network cannot be used, why.
    """
    backends = {name: plugins.backend(name) for name in plan.backends}
    return expand(plan, device, backends, recipe_precision, ready.file_format(plan), cpu, refused)


def prepare(plan: Plan, device: Device) -> Prepared:
    """Check everything that the user gave. Raises EdgebenchError; writes nothing."""
    began = measure.monotonic()
    _check_cache()
    check_names(plan.recipes)
    backends = {name: plugins.backend(name) for name in plan.backends}
    if device.profile.transport == "local":
        fitting.check_threads(plan.threads)
        with ThreadPoolExecutor() as several:  # each imports its runtime in a process of its own
            for _ in several.map(_require, backends.values()):
                pass
    check_backend_options(plan, backends)
    for name in plan.metrics:  # an unknown one is refused now
        plugins.load("edgebench.metrics", name)
    plan = _with_application(plan, device)
    planned(plan, device.name)  # what is wrong with the axes is said before the device is touched
    data: Any = None
    own: dict[str, Any] = {}
    refused: dict[str, str] = {}
    if ready.file_format(plan):
        ready.check_file(Path(plan.base, plan.model.source))
        data = given.read(plan)
    else:
        from edgebench.data import load

        data = load(plan.data, plan.data_options, Path(plan.base))
        fitting.check_batches(data.evaluation.inputs[0].nbytes, plan.batches)
        own, refused = _check_networks(plan, data)
    device.furnish(backends, cache_folder())
    squares = planned(plan, device.name, device.processor(), refused)
    return Prepared(plan=plan, device=device, squares=squares, data=data, own_data=own, began=began)


def _check_networks(plan: Plan, data: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Try each network of the plan on its data, once; the data of the recipes that bring some, by their names.

    Where another network can be used, one that cannot costs its own recipes: why, by their names. A step that can never
    work is the plan's mistake, and is refused whole.
    """
    from edgebench.compress import pipeline
    from edgebench.data import load
    from edgebench.data.one_class import check_told

    base, own = Path(plan.base), {}
    failed: dict[str, EdgebenchError] = {}
    groups: dict[tuple[Any, Options], list[Recipe]] = {}
    for recipe in plan.recipes:
        groups.setdefault((recipe.model or plan.model, recipe.data), []).append(recipe)
    for (model, source), recipes in groups.items():
        try:
            options = {k: v for k, v in source.items() if k != "source"}
            found = load(source["source"], options, base) if source else data
            if model.task == "classify":
                check_told(found)
            network = pipeline.check(model, found, base=base)
        except EdgebenchError as error:
            failed.update({recipe.name: error for recipe in recipes})
            continue
        own.update({recipe.name: found for recipe in recipes if source})
        pipeline.check_recipes(model, network, found, base=base, recipes=recipes)
    if len(failed) == len(plan.recipes):
        raise next(iter(failed.values()))
    return own, {name: str(error) for name, error in failed.items()}


def _check_cache() -> None:
    """A cache that cannot be written would cost every row: refused now, with what to set."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise StoreError(
            f"The cache folder {folder} cannot be written.", "Make it writable, or name another: EDGEBENCH_CACHE=FOLDER"
        )


def _with_application(plan: Plan, device: Device) -> Plan:
    """Where the plan names what the application does around the network, that is tried now and measured later."""
    if not plan.application:
        return plan
    if device.profile.transport != "local":
        raise PlanError(
            "[application] names python functions of this machine, and the device is another one.",
            "Run edgebench on the device itself, or leave [application] out.",
        )
    from edgebench.metrics import application

    application.check({**plan.application, "base": plan.base})
    return replace(plan, metrics=tuple(dict.fromkeys((*plan.metrics, "application"))))


def _require(backend: Backend) -> None:
    found = backend.probe()
    if not found.ok:
        raise MissingRuntime(f'Backend "{backend.name}" cannot run here: {found.reason}.', found.fix)
