"""Where every finished step is kept, by the hash of all that it was made from. A kill loses the step in progress only.

A folder of the cache appears whole or not at all: it is filled under another name and then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from edgebench import plugins
from edgebench.codec import Options, canonical
from edgebench.compress import code
from edgebench.errors import StoreError
from edgebench.schema import Artifact

TOOLS = ("edgebench", "torch", "torch-pruning", "torchao", "onnx", "onnxscript", "onnxruntime", "safetensors", "numpy")
"""What may shape any network; what shapes a runtime's files, its backend says."""
NOTE = "made.json"
"""Written last into every folder: what lies beside it, with its sha256."""


@lru_cache(maxsize=1)
def tools() -> Options:
    """The version of every library that may shape a result."""
    found = {}
    for name in dict.fromkeys((*TOOLS, *plugins.packages())):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return Options(found)


def sha256(path: Path) -> str:
    """The sha256 of a file, as hex."""
    text = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            text.update(block)
    return text.hexdigest()


def key_of(*, by: str | None = None, **parts: Any) -> str:
    """One name for all that a result is made from, tool versions and our own code included.

    `by` is the digest of the code that it is made by, where that is not this whole package.
    """
    everything = {"parts": parts, "tools": dict(tools()), "code": by or code.of_this_package()}
    return hashlib.sha256(canonical(everything).encode()).hexdigest()


def once(folder: Path, fill: Callable[[Path], Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return the note of `folder`, filling it first if it is not there or damaged.

    `fill` writes files into the folder that it is given, and returns what to note beside them. Raises StoreError
    when the cache cannot be written.
    """
    note = read_note(folder)
    if note is not None:
        return note
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name[:12]}-", dir=folder.parent))
    try:
        facts = fill(part)
        with writing(folder):
            made = {p.name: sha256(p) for p in sorted(part.iterdir())}
            text = json.dumps({"files": made, "facts": dict(facts or {})}, indent=1, sort_keys=True)
            (part / NOTE).write_text(text + "\n")
            if read_note(folder) is None:  # else another process was faster
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    note = read_note(folder)
    assert note is not None
    return note


def artifact(
    path: Path,
    note: Mapping[str, Any],
    *,
    format: str,
    parent: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Artifact:
    """A file of a finished folder, as its note knows it."""
    return Artifact(
        format=format,
        path=str(path),
        sha256=note["files"][path.name],
        size=path.stat().st_size,
        made_by=tools(),
        parent=parent,
        facts=Options(facts or {}),
    )


def read_note(folder: Path) -> dict[str, Any] | None:
    """What was noted when the folder was filled; None when it is missing or a file is not as it was."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text())
        whole = all(sha256(folder / name) == digest for name, digest in note["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return note if whole else None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into our two sentences."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The cache {path.parent} cannot be written: {error.strerror}.",
            "Free some space or mend its permissions, or name another folder in EDGEBENCH_CACHE.",
        ) from error
