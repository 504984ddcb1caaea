"""What is to be compared, and how a command line narrows it. Pure: reads no file, asks no machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgebench.codec import Options
from edgebench.errors import PlanError, did_you_mean
from edgebench.schema import ModelSpec, Protocol, Recipe

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


MOST = 2**31 - 1
"""Runtimes count in 32 bits."""


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


def name_refusal(name: str, others: Iterable[str] = ()) -> str:
    """Why a recipe cannot be called `name` beside the others, in two sentences: its files are called so. "" where it can."""
    if not name.strip():
        return "a recipe needs a name, by which its rows and files are known."
    if name in others:
        return f'two recipes are named "{name}".'
    if "/" in name or "\\" in name or not name.isprintable() or file_name(name)[0] in ".-":
        fix = "Begin it with a letter or a digit, and use no slash in it"
        return f"{name!r} cannot be the name of a file, as a recipe's name is. {fix}: {_mended(name)!r}."
    same = next((other for other in others if file_name(other) == file_name(name)), None)
    if same is not None:
        return f'the files of the recipes "{same}" and "{name}" would both be called {file_name(name)}. Rename one.'
    return ""


def _mended(name: str) -> str:
    return re.sub(r"[^\w.-]+|(?<=-)-+", "-", name).strip(".-") or "my-recipe"


def check_names(recipes: Sequence[Recipe]) -> None:
    """Raise PlanError for a recipe whose name cannot be that of its files."""
    for i, recipe in enumerate(recipes):
        if refused := name_refusal(recipe.name, [other.name for other in recipes[:i]]):
            raise PlanError(refused, "Rename it.")


def with_generations(protocol: Protocol, count: int) -> Protocol:
    """Exactly `count` generations, whatever the intervals."""
    return replace(protocol, least_generations=count, most_generations=count)
