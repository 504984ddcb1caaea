"""Python entries ("module:callable"): the user's own code, the only code that a plan can name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError, did_you_mean


def resolve(entry: str, base: Path, error: type[EdgebenchError]) -> Callable[..., Any]:
    """Import what `module:callable` names, with `base` first on the path. Raises `error` in two sentences."""
    name, _, attribute = entry.partition(":")
    if not name or not attribute:
        raise error(f'"{entry}" is no python entry.', 'Write it as "module:callable".')
    if "/" in name or name.endswith(".py"):
        meant = name.removesuffix(".py").rpartition("/")[2]
        raise error(f'"{entry}" names a file, and an entry names a module.', f'Write it as "{meant}:{attribute}".')
    folder = str(base.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    _forget_namesake(name, base)
    try:
        module = importlib.import_module(name)
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt):
            raise
        reason = str(problem).rstrip(".") or type(problem).__name__
        there = base / f"{name.replace('.', '/')}.py"
        mend = f"Mend {there}" if there.is_file() else f"Put {name}.py into {folder}, or install it"
        raise error(
            f"The python entry {entry} does not import: {type(problem).__name__}: {reason}.",
            f"{mend}, and try: python -c 'import {name}'",
        ) from problem
    found = getattr(module, attribute, None)
    if not callable(found):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise error(f'The module {name} has no callable "{attribute}".', did_you_mean(attribute, public))
    return found  # type: ignore[no-any-return]


def call(entry: str, options: Mapping[str, Any], base: Path, error: type[EdgebenchError]) -> Any:
    """Resolve the entry and call it with the options as keywords. Raises `error` when it raises."""
    function = resolve(entry, base, error)
    try:
        return function(**options)
    except (EdgebenchError, KeyboardInterrupt):
        raise
    except BaseException as problem:  # SystemExit too: a library's main() must not end the run in silence
        reason = str(problem).strip().splitlines()[0].rstrip(".") if str(problem).strip() else "no message"
        raise error(
            f"The python entry {entry} raised {type(problem).__name__}: {reason}.",
            "Mend it, or change its options in the plan.",
        ) from problem


def _forget_namesake(name: str, base: Path) -> None:
    """Two plans in two folders may both have a model.py: the one beside this plan is meant."""
    here, loaded = base / f"{name.replace('.', '/')}.py", sys.modules.get(name)
    if loaded is not None and here.is_file():
        file = getattr(loaded, "__file__", None)
        if file is None or Path(file).resolve() != here.resolve():
            del sys.modules[name]
            folder = str(base.resolve())
            sys.path.remove(folder)
            sys.path.insert(0, folder)
            importlib.invalidate_caches()
