"""Plans that come with edgebench, and the reading of anybody's plan file."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from edgebench import plan, plugins, toml
from edgebench.errors import PlanError, did_you_mean
from edgebench.plan import Plan

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


def read(name: str) -> Plan:
    """Read a plan file, or a suite by its name. Raises PlanError with every mistake and its line."""
    from edgebench.compress.methods import check_recipe

    known = {kind: plugins.names(f"edgebench.{kind}") for kind in ("backends", "metrics")}
    if name in names():
        return plan.from_document(toml.read(FOLDER / f"{name}.toml"), check_recipe, ".", known)
    path = Path(name)
    if not path.exists() and path.suffix != ".toml" and "/" not in name:
        raise PlanError(f'There is no suite and no plan file "{name}".', did_you_mean(name, names()))
    return plan.from_document(toml.read(path), check_recipe, str(path.resolve().parent), known)
