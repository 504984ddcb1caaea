"""Digests of code: a result that is kept must not outlive the code that made it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=1)
def of_this_package() -> str:
    """A digest of all the code that compresses, and of what is done to samples while training."""
    here = Path(__file__).parent
    return _digest([*here.rglob("*.py"), here.parent / "data" / "augment.py"], here.parent)


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
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [
                p for name in _imports(path, root) if name.split(".")[0] == own or not own for p in _files(name, root)
            ]
    return _digest(seen, root)


def _imports(path: Path, root: Path) -> tuple[str, ...]:
    return _imported(path.read_bytes(), path.relative_to(root).parent.parts)


@lru_cache(maxsize=1024)
def _imported(text: bytes, package: tuple[str, ...]) -> tuple[str, ...]:
    """Every module name that a file of a package may import, functions' own imports included. Each step asks again."""
    return tuple(_named(ast.parse(text), package))


def _named(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
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
