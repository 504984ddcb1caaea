"""Plans that come with edgebench, and the reading of anybody's plan file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench import plan_file, plugins, toml
from edgebench.errors import EdgebenchError, PlanError, did_you_mean
from edgebench.plan import Plan
from edgebench.squares import check_options

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in FOLDER.glob("*.toml")))


def about(name: str) -> str:
    """The first sentence of a suite's own opening comment."""
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    comment = " ".join(
        line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    )
    return re.split(r"(?<=[.?!]) ", comment.strip())[0]


AXES = {"backend": "backends", "batch": "batches", "threads": "threads", "precision": "precisions"}
"""The options that narrow a plan, and what they are called in a recorded one."""


def axes(name: str) -> dict[str, list[Any]]:
    """What a suite runs by itself, by the options that narrow it, `recipe` too; {} for any other plan."""
    if name not in names():
        return {}
    data = toml.read(FOLDER / f"{name}.toml").data
    found = {axis: data["run"].get(axis if axis == "batch" else key) for axis, key in AXES.items()}
    return {
        "recipe": [recipe["name"] for recipe in data["recipe"]],
        **{
            axis: [*value] if isinstance(value, list) else [value] for axis, value in found.items() if value is not None
        },
    }


def read(name: str) -> Plan:
    """Read a plan file, or a suite by its name. Raises PlanError with every mistake and its line."""
    from edgebench.compress.methods import check_recipe

    known = {kind: plugins.names(f"edgebench.{kind}") for kind in ("backends", "metrics")}
    if name in names():
        return plan_file.from_document(toml.read(FOLDER / f"{name}.toml"), check_recipe, ".", known, _check_options)
    path = Path(name)
    if not path.exists() and path.suffix != ".toml" and "/" not in name:
        raise PlanError(f'There is no suite and no plan file "{name}".', did_you_mean(name, names()))
    return plan_file.from_document(toml.read(path), check_recipe, str(path.resolve().parent), known, _check_options)


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    try:
        backend = plugins.backend(name)
    except EdgebenchError:
        return  # one that does not import is told where it is used
    check_options(backend, options)
