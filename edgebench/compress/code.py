"""Digests of code: a result that is kept must not outlive the code that made it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache
def of_this_package() -> str:
    """A digest of all the code that compresses, and of what is done to samples while training."""
    here = Path(__file__).parent
    return _digest([*here.rglob("*.py"), here.parent / "data" / "augment.py"], here.parent)


@lru_cache
def of_training() -> str:
    """A digest of the code that trains a network, and keeps it and loads it.

    It imports none of the rest, and so a network that took hours to train outlives what is changed there.
    """
    here = Path(__file__).parent
    first = [*(here / "training").rglob("*.py"), here / "checkpoint.py", here.parent / "data" / "augment.py"]
    return _digest(_followed(first, here.parents[1], lambda name: name.startswith(f"{__package__}.")), here.parents[1])


def of_step(method: Any) -> str:
    """A digest of all the code that may shape what a step makes of a network."""
    own = type(method).__module__
    if own.startswith(f"{__package__}.training."):
        return of_training()
    return of_this_package() + ("" if own.startswith(f"{__package__}.") else of(type(method)))


def of(thing: Any) -> str:
    """A digest of the file that defines a function or class, and of the files beside it that it imports.

    Only its own package is followed, or for a lone module its own folder: libraries count by their version.
    "" for what has no source.
    """
    try:
        found = inspect.getsourcefile(inspect.unwrap(thing))
    except TypeError:
        return ""
    module = sys.modules.get(getattr(thing, "__module__", ""))
    if not found or not Path(found).is_file() or module is None:
        return ""
    file = Path(found).resolve()
    root = file.parents[module.__name__.count(".") + (file.name == "__init__.py")]
    own = module.__name__.split(".")[0] if "." in module.__name__ or file.name == "__init__.py" else ""
    if not own and "site-packages" in file.parts:
        return _digest([file])
    return _digest(_followed([file], root, lambda name: not own or name.split(".")[0] == own), root)


def _followed(files: list[Path], root: Path, wanted: Callable[[str], bool]) -> set[Path]:
    """The files, and those under `root` that they import, by names that are wanted."""
    seen, waiting = set[Path](), files
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [p for name in _imports(path, root) if wanted(name) for p in _files(name, root)]
    return seen


def _imports(path: Path, root: Path) -> tuple[str, ...]:
    return _imported(path.read_bytes(), path.relative_to(root).parent.parts)


@lru_cache(maxsize=1024)
def _imported(text: bytes, package: tuple[str, ...]) -> tuple[str, ...]:
    """Every module name that a file of a package may import when it runs, functions' own imports included.

    Each step asks again.
    """
    return tuple(_named(ast.parse(text), package))


def _named(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else ())))
            yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _files(name: str, root: Path) -> Iterator[Path]:
    if name:
        stem = root.joinpath(*name.split("."))
        yield from (p for p in (stem.with_name(stem.name + ".py"), stem / "__init__.py") if p.is_file())


def _digest(paths: Any, root: Path | None = None) -> str:
    text = hashlib.sha256()
    for path in sorted(paths):
        text.update(str(path.relative_to(root) if root else path.name).encode())
        text.update(path.read_bytes())
    return text.hexdigest()
