"""A plan file x a device -> the ordered squares of the comparison. Pure: reads no file, asks no machine.

Every mistake of a plan is reported at once, with its line and a "did you mean". An impossible square (a precision that a
runtime does not have) is kept, with its reason: never silence.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath as Path
from typing import Any

from edgebench.backend import Backend
from edgebench.errors import EdgebenchError, PlanError, did_you_mean
from edgebench.plugins import offered
from edgebench.schema import DEFAULT, PROTOCOLS, Cell, ModelSpec, Options, Protocol, Recipe, Step
from edgebench.toml import Document, Problems, check_table

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
QUANTIZE = Step(method="quantize")
_BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare: a model, its data, recipes x precisions x backends x batches x threads.

    A recipe may bring a model and data of its own; cells are compared within one model.
    """

    name: str
    model: ModelSpec
    data: str
    data_options: Options = Options()
    recipes: tuple[Recipe, ...]
    backends: tuple[str, ...]
    backend_options: Options = Options()
    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("fp32",)
    metrics: tuple[str, ...] = ()
    """What is measured beside the standard figures: server, multistream, offline, profile, or a stranger's."""
    application: Options = Options()
    """Python entries of what the user's program does around the network: samples, before, after."""
    protocol: Protocol = Protocol()
    seed: int = 0
    base: str = "."
    """The folder that file names and python entries of the plan are found from."""


@dataclass(frozen=True, kw_only=True)
class Square:
    """One square of the table: its cell, how its artifact is made, or why it cannot be (`skip`)."""

    cell: Cell
    recipe: Recipe
    lowering: str = ""
    baseline: str | None = None
    skip: str = ""


RUN_KEYS: dict[str, Any] = {
    "backends": list,
    "batch": (int, list),
    "threads": (int, list),
    "precisions": list,
    "metrics": list,
    "seed": int,
}
MODEL_KEYS: dict[str, Any] = {"name": str, "source": str, "weights": str, "task": str, "options": dict}
RECIPE_KEYS: dict[str, Any] = {"name": str, "steps": list, "model": dict, "data": dict}
TABLES: dict[str, Any] = {
    "name": str,
    "model": dict,
    "data": dict,
    "run": dict,
    "budget": dict,
    "application": dict,
    "backends": dict,
    "recipe": list,
}
APPLICATION_KEYS: dict[str, Any] = {"samples": str, "before": str, "after": str}
BUDGET_KEYS: dict[str, Any] = {
    "time": str,
    "trust": str,
    "generations": int,
    "cell_timeout": str,
    "sustained": str,
    "memory": str,
}


def from_document(
    document: Document, check_recipe: Callable[[Recipe], None], base: str, known: Mapping[str, Iterable[str]]
) -> Plan:
    """Check a parsed plan whole and build it. Raises PlanError with every mistake.

    `check_recipe` raises EdgebenchError for steps that no method knows or that cannot follow one another; `known` holds
    the names of the "backends" and the "metrics" that there are.
    """
    problems = Problems(document)
    data = document.data
    check_table(document, (), data, TABLES, problems, required=("model", "data", "recipe"))
    model = _table(data, "model")
    check_table(document, ("model",), model, MODEL_KEYS, problems, required=("source",) if "model" in data else ())
    run = _table(data, "run")
    check_table(document, ("run",), run, RUN_KEYS, problems)
    budget = _table(data, "budget")
    check_table(document, ("budget",), budget, BUDGET_KEYS, problems)
    application = _table(data, "application")
    check_table(document, ("application",), application, APPLICATION_KEYS, problems)
    source = _table(data, "data")
    if "data" in data:
        _check_data(source, ("data",), problems)
    recipes = _recipes(document, problems, check_recipe)
    protocol = _protocol(budget, problems)
    plan = Plan(
        name=str(data.get("name") or Path(document.name).stem),
        model=_model(model),
        data=str(source.get("source", "")),
        data_options=Options({k: v for k, v in source.items() if k != "source"}),
        recipes=recipes,
        backends=_texts(run, "backends", ("onnxruntime", "openvino"), problems),
        backend_options=Options(_table(data, "backends")),
        batches=_counts(run, "batch", problems),
        threads=_counts(run, "threads", problems),
        precisions=_texts(run, "precisions", ("fp32",), problems),
        metrics=_texts(run, "metrics", (), problems) if "metrics" in run else (),
        application=Options(application),
        protocol=protocol,
        seed=run.get("seed", 0) if isinstance(run.get("seed", 0), int) else 0,
        base=base,
    )
    for i, precision in enumerate(plan.precisions):
        if precision not in PRECISIONS:
            problems.add(
                ("run", "precisions", i), f'unknown precision "{precision}". {did_you_mean(precision, PRECISIONS)}'
            )
    _check_names(run, _table(data, "backends"), known, problems)
    problems.raise_if_any()
    return plan


def _check_names(
    run: Mapping[str, Any], options: Mapping[str, Any], known: Mapping[str, Iterable[str]], problems: Problems
) -> None:
    """The plug-ins that [run] and the tables [backends.NAME] name."""
    named = [
        (("run", key, i), key, name)
        for key in ("backends", "metrics")
        if isinstance(run.get(key), list)
        for i, name in enumerate(run[key])
    ]
    for at, key, name in [*named, *((("backends", name), "backends", name) for name in options)]:
        if isinstance(name, str) and name not in known[key]:
            problems.add(at, f'There is no {key.removesuffix("s")} "{name}". {did_you_mean(name, offered(known[key]))}')


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key, {})
    return value if isinstance(value, dict) else {}


def _model(table: Mapping[str, Any]) -> ModelSpec:
    source = str(table.get("source", ""))
    return ModelSpec(
        name=str(table.get("name") or model_name(source or "model")),
        source=source,
        weights=table.get("weights"),
        task=str(table.get("task", "classify")),
        options=Options(_table(table, "options")),
    )


def _check_data(table: Mapping[str, Any], at: tuple[str | int, ...], problems: Problems) -> None:
    if not (isinstance(table.get("source"), str) and table["source"]):
        problems.add(at, '[data] needs a source: "digits", a file, a folder, or "module:callable".')


MOST = 2**31 - 1
"""Runtimes count in 32 bits."""

NAMELESS = (
    "make",
    "make_model",
    "build",
    "build_model",
    "create",
    "create_model",
    "get_model",
    "model",
    "net",
    "network",
)
"""Names of functions that say nothing of the network that they return."""


def model_name(source: str) -> str:
    """A file-safe name from a python entry or a path: my_nets:resnet8 is resnet8, and my_net:make is my_net."""
    if ":" not in source:
        return file_name(source.rsplit("/", 1)[-1].rsplit(".", 1)[0])
    module, _, name = source.rpartition(":")
    return file_name(module.rpartition(".")[2] if name in NAMELESS else name)


def file_name(text: str) -> str:
    """The text with everything that a file name should not hold turned into dashes."""
    return re.sub(r"[^\w.-]+", "-", text)[:80] or "model"


def _texts(run: Mapping[str, Any], key: str, default: tuple[str, ...], problems: Problems) -> tuple[str, ...]:
    values = run.get(key, default)
    if not isinstance(values, (list, tuple)):
        return default
    for i, value in enumerate(values):
        if not isinstance(value, str):
            problems.add(("run", key, i), f"{key} holds names in quotes, not {value!r}.")
    if not values:
        problems.add(("run", key), f"{key} is empty: name at least one.")
    return tuple(dict.fromkeys(str(v) for v in values))


def _counts(run: Mapping[str, Any], key: str, problems: Problems) -> tuple[int, ...]:
    values = run.get(key, 1)
    values = values if isinstance(values, list) else [values]
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.add(("run", key), f"{key} must be a whole number from 1 up, not {value!r}.")
    if not values:
        problems.add(("run", key), f"{key} is empty: give at least one number.")
    return tuple(dict.fromkeys(v for v in values if isinstance(v, int)))


def _recipes(document: Document, problems: Problems, check: Callable[[Recipe], None]) -> tuple[Recipe, ...]:
    tables = document.data.get("recipe", [])
    out: list[Recipe] = []
    for i, table in enumerate(tables if isinstance(tables, list) else []):
        at = ("recipe", i)
        if not isinstance(table, dict):
            problems.add(at, "a recipe is a table: write [[recipe]].")
            continue
        check_table(document, at, table, RECIPE_KEYS, problems, required=("name",))
        recipe = Recipe(
            name=str(table.get("name", "")),
            steps=_steps(table.get("steps", []), at, problems),
            model=_model(_table(table, "model")) if "model" in table else None,
            data=Options(_table(table, "data")),
        )
        if "model" in table:
            check_table(document, (*at, "model"), _table(table, "model"), MODEL_KEYS, problems, required=("source",))
        if "data" in table:
            _check_data(recipe.data, (*at, "data"), problems)
        if "name" in table and not recipe.name.strip():
            problems.add((*at, "name"), "a recipe needs a name, by which its rows and files are known.")
        if any(r.name == recipe.name for r in out):
            problems.add((*at, "name"), f'two recipes are named "{recipe.name}".')
        _check_steps(recipe, at, check, problems)
        out.append(recipe)
    if not out and "recipe" in document.data:
        problems.add(("recipe",), "there is no recipe: write at least one [[recipe]].")
    return tuple(out)


def _steps(values: Any, at: tuple[str | int, ...], problems: Problems) -> tuple[Step, ...]:
    steps = []
    for j, step in enumerate(values if isinstance(values, list) else []):
        if not isinstance(step, dict) or not isinstance(step.get("method"), str):
            problems.add((*at, "steps", j), 'a step is a table with a method: {method = "prune", macs = 0.5}.')
            continue
        steps.append(Step(method=step["method"], options=Options({k: v for k, v in step.items() if k != "method"})))
    return tuple(steps)


def _check_steps(
    recipe: Recipe, at: tuple[str | int, ...], check: Callable[[Recipe], None], problems: Problems
) -> None:
    """Each step by itself first, so that every wrong one is told with its own line; then their order."""
    wrong = False
    for j, step in enumerate(recipe.steps):
        try:
            check(Recipe(name=recipe.name, steps=(step,)))
        except EdgebenchError as error:
            problems.add((*at, "steps", j), f"{error.problem} {error.fix}")
            wrong = True
    if not wrong:
        try:
            check(recipe)
        except EdgebenchError as error:
            problems.add((*at, "steps"), f"{error.problem} {error.fix}")


def _protocol(budget: Mapping[str, Any], problems: Problems) -> Protocol:
    trust = str(budget.get("trust", "default"))
    if trust not in PROTOCOLS:
        problems.add(("budget", "trust"), f'unknown trust "{trust}". {did_you_mean(trust, PROTOCOLS)}')
    protocol = PROTOCOLS.get(trust, DEFAULT)
    for key, field in (
        ("time", "budget_seconds"),
        ("cell_timeout", "command_timeout"),
        ("sustained", "sustained_seconds"),
    ):
        if isinstance(budget.get(key), str):
            try:
                changes: dict[str, Any] = {field: duration(budget[key])}
                protocol = replace(protocol, **changes)
            except EdgebenchError as error:
                problems.add(("budget", key), f"{error.problem} {error.fix}")
    if isinstance(budget.get("memory"), str):
        try:
            protocol = replace(protocol, memory_limit=size(budget["memory"]))
        except EdgebenchError as error:
            problems.add(("budget", "memory"), f"{error.problem} {error.fix}")
    if "generations" in budget:
        value = budget["generations"]
        if not isinstance(value, int) or value < 1:
            problems.add(("budget", "generations"), f"generations must be a whole number from 1 up, not {value!r}.")
        else:
            protocol = with_generations(protocol, value)
    return protocol


def with_generations(protocol: Protocol, count: int) -> Protocol:
    """Exactly `count` generations, whatever the intervals."""
    return replace(protocol, least_generations=count, most_generations=count)


def duration(text: str) -> float:
    """`90s`, `5m`, `1.5h`, `250ms` -> seconds. A number without a unit is refused."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    if not match or match[2] not in _SECONDS or float(match[1]) <= 0:
        raise PlanError(f'"{text}" is not a length of time.', 'Write a number and its unit, like "90s", "5m" or "1h".')
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """`512 MiB`, `2GB`, `64kB` -> bytes. A number without a unit is refused."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]i?B)\s*", text)
    if not match or match[2] not in _BYTES or float(match[1]) <= 0:
        raise PlanError(f'"{text}" is not a size.', 'Write a number and its unit, like "512 MiB" or "2 GB".')
    return int(float(match[1]) * _BYTES[match[2]])


def narrow(
    plan: Plan,
    *,
    backends: Sequence[str] = (),
    recipes: Sequence[str] = (),
    precisions: Sequence[str] = (),
    batches: Sequence[int] = (),
    threads: Sequence[int] = (),
    metrics: Sequence[str] = (),
) -> Plan:
    """The plan with what the command line asked for instead. Raises PlanError for names that are not there."""
    for kind, asked, known in (
        ("recipe", recipes, [r.name for r in plan.recipes]),
        ("precision", precisions, PRECISIONS),
    ):
        for name in asked:
            if name not in known:
                raise PlanError(f'There is no {kind} "{name}" in plan "{plan.name}".', did_you_mean(name, known))
    for kind, counts in (("batch", batches), ("threads", threads)):
        for count in counts:
            if count < 1:
                raise PlanError(f"{kind} must be a whole number from 1 up, not {count}.", f"Give --{kind} 1 or more.")
            if count > MOST:
                raise PlanError(f"{kind} must be {MOST:,} or less, not {count:.0e}.", f"Give a smaller --{kind}.")
    return replace(
        plan,
        backends=tuple(dict.fromkeys(backends)) or plan.backends,
        recipes=tuple(r for r in plan.recipes if r.name in recipes) if recipes else plan.recipes,
        precisions=tuple(dict.fromkeys(precisions)) or plan.precisions,
        metrics=tuple(dict.fromkeys(metrics)) or plan.metrics,
        batches=tuple(dict.fromkeys(batches)) or plan.batches,
        threads=tuple(dict.fromkeys(threads)) or plan.threads,
        backend_options=Options({k: v for k, v in plan.backend_options.items() if not backends or k in backends}),
    )


def expand(
    plan: Plan,
    device: str,
    backends: Mapping[str, Backend],
    precision_of: Callable[[Recipe], str | None],
    file_format: str = "",
    cpu: Mapping[str, Any] | None = None,
) -> tuple[Square, ...]:
    """All squares in the order of the plan: recipes, then precisions, then backends, batches, threads.

    A recipe that quantizes has its own precision (`precision_of`) and is not multiplied by the plan's. For another one,
    "int8" means: the recipe with a default quantize step behind it. `file_format` is that of a ready model file, `cpu` what the
    device says of its processor.
    """
    squares: list[Square] = []
    for recipe in plan.recipes:
        own = precision_of(recipe)
        for precision in (own,) if own else plan.precisions:
            steps = recipe.steps + (QUANTIZE,) if precision == "int8" and not own else recipe.steps
            built = replace(recipe, steps=steps)
            for name, batch, threads in itertools.product(plan.backends, plan.batches, plan.threads):
                cell = Cell(
                    model=(recipe.model or plan.model).name,
                    recipe=recipe.name,
                    backend=name,
                    device=device,
                    precision=precision,
                    batch=batch,
                    threads=threads,
                    options=Options(plan.backend_options.get(name, {})),
                )
                squares.append(_square(cell, built, backends[name], squares, file_format, cpu or {}))
    return tuple(squares)


def _square(
    cell: Cell, recipe: Recipe, backend: Backend, earlier: Sequence[Square], file_format: str, cpu: Mapping[str, Any]
) -> Square:
    asked = {**cell.options, "batch": cell.batch, "threads": cell.threads, "cpu": cpu}
    lowering = backend.lowering(cell.precision, asked)
    if lowering is None:
        has = ", ".join(backend.precisions)
        why = f": {backend.refused[cell.precision]}" if cell.precision in backend.refused else ""
        return Square(cell=cell, recipe=recipe, skip=f"{backend.name} has no {cell.precision}{why}; it has {has}.")
    if file_format and file_format not in backend.accepts:
        takes = ", ".join(sorted(backend.accepts))
        return Square(
            cell=cell, recipe=recipe, skip=f"{backend.name} does not open {file_format} files; it opens {takes}."
        )
    same = ("model", "backend", "batch", "threads", "options")
    baseline = next(
        (s.cell.id for s in earlier if not s.skip and all(getattr(s.cell, k) == getattr(cell, k) for k in same)),
        cell.id,
    )
    return Square(cell=cell, recipe=recipe, lowering=file_format or lowering, baseline=baseline)


def check_backend_options(plan: Plan, backends: Mapping[str, Backend]) -> None:
    """Refuse options that a backend does not have, or values of them that mean nothing. Raises EdgebenchError."""
    for name, options in plan.backend_options.items():
        if name not in backends:
            if name not in plan.backends:
                raise PlanError(
                    f'Options are set for the backend "{name}", which is not used here.',
                    did_you_mean(name, plan.backends),
                )
            continue
        for option in options:
            if option not in backends[name].options:
                raise PlanError(
                    f'Backend "{name}" has no option "{option}".',
                    f"{did_you_mean(option, backends[name].options)} See: edgebench backends {name}",
                )
        backends[name].check(options)
