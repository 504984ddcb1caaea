"""The catalogue of plug-ins: backends, devices, methods, metrics and reports, found by their entry points.

The built-in ones are registered exactly as a stranger's are. Listing reads metadata only and imports nothing,
so a broken plug-in costs its own name and no other.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

from edgebench.backend import Backend
from edgebench.errors import EdgebenchError, MissingRuntime, did_you_mean

GROUPS = tuple(f"edgebench.{kind}" for kind in ("backends", "devices", "methods", "metrics", "reports"))

FLOOR = "fake"
"""The backend that infers nothing: its row is what the harness itself costs (DESIGN 6, item 14), and no user asks for it."""

Registered = list[tuple[EntryPoint, Distribution]]


def names(group: str) -> tuple[str, ...]:
    """Every name registered in `group` ("edgebench.backends"), sorted, whether or not it can be imported."""
    return tuple(sorted(_catalogue(group)))


def load(group: str, name: str) -> Any:
    """Import what `name` stands for.

    Raises EdgebenchError for an unknown name or one that two distributions claim, and MissingRuntime when the
    plug-in does not import: that names its distribution and what to install.
    """
    found = _find(group, name)
    if len(found) > 1:
        owners = " and ".join(_label(distribution) for _, distribution in found)
        raise EdgebenchError(
            f"{owners} both register {name!r} as one of {group}.",
            "Uninstall one of the two, or ask its author for another name.",
        )
    entry, distribution = found[0]
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise _does_not_import(entry, distribution, error) from error


def backend(name: str) -> Backend:
    """Make the backend registered as `name`. Raises as `load` does, and when it is no Backend."""
    kind = load("edgebench.backends", name)
    try:
        made = kind()
    except Exception as error:
        made = error
    if isinstance(made, Backend):
        return made
    reason = f": {made}" if isinstance(made, Exception) else ""
    owner = origin("edgebench.backends", name)
    raise EdgebenchError(
        f"The backend {name!r} of {owner} is no edgebench.backend.Backend{reason}.",
        "Report it to its author, who finds the rules in backends/README.md.",
    )


def backends() -> dict[str, Backend]:
    """Every registered backend by name; one that does not import costs its own name and no other."""
    found: dict[str, Backend] = {}
    for name in names("edgebench.backends"):
        with suppress(EdgebenchError):
            found[name] = backend(name)
    return found


def endings() -> dict[str, str]:
    """The ending of a model file -> its format, as the backends say; one that does not import says nothing."""
    return {ending: form for made in backends().values() for ending, form in made.endings.items()}


def packages() -> tuple[str, ...]:
    """What the backends say shapes their files and figures, as pip calls it; one that does not import says nothing."""
    return tuple(dict.fromkeys(name for made in backends().values() for name in made.distributions))


def origin(group: str, name: str) -> str:
    """The distribution and version that `name` comes from ("edgebench 0.1.0"); both if two claim it."""
    return " and ".join(_label(distribution) for _, distribution in _find(group, name))


def offered(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that a user is told of: the floor is the tests' own and the harness's."""
    return tuple(name for name in names if name != FLOOR)


def _find(group: str, name: str) -> Registered:
    known = _catalogue(group)
    if name not in known:
        raise EdgebenchError(f"There is no {_noun(group)} called {name!r}.", did_you_mean(name, offered(known)))
    return known[name]


def _catalogue(group: str) -> Mapping[str, Registered]:
    """Each name with everyone who registers it."""
    if group not in GROUPS:
        raise ValueError(f"{group!r} is none of {GROUPS}")
    return _read(group, tuple((place, _changed(place)) for place in sys.path))


def _changed(place: str) -> int | None:
    """When something was last installed in a folder of the path: a package may be while we live."""
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=32)
def _read(group: str, places: tuple[tuple[str, int | None], ...]) -> dict[str, Registered]:
    """Read from all that is installed, which takes some 10 ms; `places` says when that must be done again."""
    known: dict[str, Registered] = {}
    seen: set[str] = set()
    for distribution in distributions():
        # One unreadable entry_points.txt anywhere makes importlib.metadata.entry_points() raise for everyone.
        try:
            mine = {entry.name: entry for entry in distribution.entry_points if entry.group == group}
            label = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower() if mine else ""
        except Exception:
            continue
        if not mine or label in seen:
            continue  # an older copy further down the path, which Python would not import either
        seen.add(label)
        for name, entry in mine.items():
            known.setdefault(name, []).append((entry, distribution))
    return known


def _does_not_import(entry: EntryPoint, distribution: Distribution, error: BaseException) -> MissingRuntime:
    last = traceback.format_exception_only(type(error), error)[-1].strip().rstrip(".")
    noun, owner = _noun(entry.group), _label(distribution)
    problem = f"The {noun} {entry.name!r} of {owner} does not import: {last}."
    missing = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing != entry.module.split(".")[0]:
        package = _package(missing, distribution)
        return MissingRuntime(problem, f'Install {missing}, which it needs: pip install "{package}"')
    name = distribution.metadata["Name"]
    return MissingRuntime(problem, f"Install a version that works here: pip install --upgrade {name}")


def _package(module: str, distribution: Distribution) -> str:
    """What to install for `module`: the extra of `distribution` that brings it, or its own name."""
    for requirement in distribution.requires or ():
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        if extra and re.match(rf"{re.escape(module)}\b", requirement.replace("-", "_"), re.IGNORECASE):
            return f"{distribution.metadata['Name']}[{extra[1]}]"
    return module


def _label(distribution: Distribution) -> str:
    return f"{distribution.metadata['Name']} {distribution.version}"


def _noun(group: str) -> str:
    return group.removeprefix("edgebench.").removesuffix("s")
