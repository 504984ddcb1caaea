"""A parsed plan file -> a `Plan`. Every mistake is reported at once, with its line and a "did you mean"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePath as Path
from typing import Any

from edgebench.codec import Options
from edgebench.errors import EdgebenchError, did_you_mean
from edgebench.plan import PRECISIONS, Plan, model_name, name_refusal, with_generations
from edgebench.plugins import offered
from edgebench.quantities import duration, size
from edgebench.schema import DEFAULT, PROTOCOLS, ModelSpec, Protocol, Recipe, Step
from edgebench.toml import Document, Problems, check_table

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


MODEL_KEYS: dict[str, Any] = {"name": str, "source": str, "weights": str, "task": str, "options": dict}


RUN_KEYS: dict[str, Any] = {
    "backends": list,
    "batch": (int, list),
    "threads": (int, list),
    "precisions": list,
    "metrics": list,
    "seed": int,
}
ELSEWHERE = {"device", "devices"}
"""What people look for in [run], and the command line says."""


BUDGET_KEYS: dict[str, Any] = {
    "time": str,
    "trust": str,
    "generations": int,
    "cell_timeout": str,
    "sustained": str,
    "memory": str,
}


APPLICATION_KEYS: dict[str, Any] = {"samples": str, "before": str, "after": str}


RECIPE_KEYS: dict[str, Any] = {"name": str, "steps": list, "model": dict, "data": dict}


def from_document(
    document: Document,
    check_recipe: Callable[[Recipe], None],
    base: str,
    known: Mapping[str, Iterable[str]],
    check_options: Callable[[str, Mapping[str, Any]], None],
) -> Plan:
    """Check a parsed plan whole and build it. Raises PlanError with every mistake.

    `check_recipe` raises EdgebenchError for steps that no method knows or that cannot follow one another; `known` holds
    the names of the "backends" and the "metrics" that there are; `check_options` raises EdgebenchError for options that the
    backend of that name does not take.
    """
    problems = Problems(document)
    data = document.data
    check_table(document, (), data, TABLES, problems, required=("model", "data", "recipe"))
    model = _table(data, "model")
    check_table(document, ("model",), model, MODEL_KEYS, problems, required=_if_table(data, "model"))
    run = _table(data, "run")
    here = {key: value for key, value in run.items() if key not in ELSEWHERE}
    check_table(document, ("run",), here, RUN_KEYS, problems)
    for key in run.keys() - here.keys():
        problems.add(("run", key), f'"{key}" is not in a plan, which any device can run. Name it with: --device NAME')
    budget = _table(data, "budget")
    check_table(document, ("budget",), budget, BUDGET_KEYS, problems)
    application = _table(data, "application")
    check_table(document, ("application",), application, APPLICATION_KEYS, problems)
    source = _table(data, "data")
    if isinstance(data.get("data"), dict):
        _check_data(source, ("data",), problems)
    recipes = _recipes(document, problems, check_recipe)
    protocol = _protocol(budget, problems)
    options = _backend_options(_table(data, "backends"), known["backends"], check_options, problems)
    plan = Plan(
        name=str(data.get("name") or Path(document.name).stem),
        model=_model(model),
        data=str(source.get("source", "")),
        data_options=Options({k: v for k, v in source.items() if k != "source"}),
        recipes=recipes,
        backends=_texts(run, "backends", ("onnxruntime", "openvino"), problems),
        backend_options=options,
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


def _backend_options(
    tables: Mapping[str, Any],
    known: Iterable[str],
    check: Callable[[str, Mapping[str, Any]], None],
    problems: Problems,
) -> Options:
    """The tables [backends.NAME]."""
    for name, options in tables.items():
        if not isinstance(options, dict):
            problems.add(("backends", name), f"the options of a backend are a table: write [backends.{name}].")
        elif name in known:
            for key, error in _refused(options, partial(check, name)):
                problems.add(("backends", name, *key), f"{error.problem} {error.fix}")
    return Options({name: options for name, options in tables.items() if isinstance(options, dict)})


def _refused(
    options: Mapping[str, Any], check: Callable[[Mapping[str, Any]], None]
) -> Iterator[tuple[tuple[str, ...], EdgebenchError]]:
    """All that the check says, each with the one option that it refuses by itself in the same words, or with none."""
    left = dict(options)
    while error := _refusal(left, check):
        key = next((k for k, v in left.items() if str(_refusal({k: v}, check)) == str(error)), None)
        yield () if key is None else (key,), error
        if key is None:
            return
        del left[key]


def _refusal(options: Mapping[str, Any], check: Callable[[Mapping[str, Any]], None]) -> EdgebenchError | None:
    try:
        check(options)
    except EdgebenchError as error:
        return error
    return None


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key, {})
    return value if isinstance(value, dict) else {}


def _if_table(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """What a table of a model must have; nothing where it is not there or no table, which is told already."""
    return ("source",) if isinstance(data.get(key), dict) else ()


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


def _texts(run: Mapping[str, Any], key: str, default: tuple[str, ...], problems: Problems) -> tuple[str, ...]:
    values = run.get(key, default)
    if not isinstance(values, (list, tuple)):
        return default
    for i, value in enumerate(values):
        if not isinstance(value, str):
            problems.add(("run", key, i), f"{key} holds names in quotes, not {value!r}.")
    if not values:
        problems.add(("run", key), f"{key} is empty: name at least one.")
    return tuple(dict.fromkeys(v for v in values if isinstance(v, str)))


def _counts(run: Mapping[str, Any], key: str, problems: Problems) -> tuple[int, ...]:
    values = run.get(key, 1)
    if type(values) not in (int, list):
        return ()  # told already, with the types of all keys
    values = values if isinstance(values, list) else [values]
    for i, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.add(("run", key, i), f"{key} must be a whole number from 1 up, not {value!r}.")
    if not values:
        problems.add(("run", key), f"{key} is empty: give at least one number.")
    return tuple(dict.fromkeys(v for v in values if isinstance(v, int)))


def _recipes(document: Document, problems: Problems, check: Callable[[Recipe], None]) -> tuple[Recipe, ...]:
    tables = document.data.get("recipe")
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
        own = _table(table, "model")
        check_table(document, (*at, "model"), own, MODEL_KEYS, problems, required=_if_table(table, "model"))
        if isinstance(table.get("data"), dict):
            _check_data(recipe.data, (*at, "data"), problems)
        if isinstance(table.get("name"), str) and (refused := name_refusal(recipe.name, [r.name for r in out])):
            problems.add((*at, "name"), refused)
        _check_steps(recipe, at, check, problems)
        out.append(recipe)
    if tables == []:
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
    trust = budget.get("trust", "default")
    trust = trust if isinstance(trust, str) else "default"
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
    value = budget.get("generations")
    if type(value) is int:
        if value < 1:
            problems.add(("budget", "generations"), f"generations must be a whole number from 1 up, not {value!r}.")
        else:
            protocol = with_generations(protocol, value)
    return protocol
