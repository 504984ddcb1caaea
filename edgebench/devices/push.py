"""Files for a board, over rsync: what was cut off is gone on with, and nothing is used before its sha256 was checked there."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from edgebench.codec import digest

RUNNER = Path(__file__).parent / "runner"
MANIFEST = "MANIFEST.json"

RETRIED = {10, 12, 20, 23, 30, 35, 255}
"""rsync's exit statuses that a broken link gives (rsync(1)): socket, protocol stream, partial transfer, time-outs, ssh."""

OPTIONS = ("--recursive", "--times", "--secluded-args", "--partial-dir=.eb-part")
"""A file that did not arrive whole waits in the partial directory, never under its name; the next try sends the rest."""


@cache
def runner() -> bytes:
    """The runner as one zipapp; the same bytes each time, so that a board keeps one copy a version."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        texts = {f"runner/{path.name}": path.read_text(encoding="utf-8") for path in sorted(RUNNER.glob("*.py"))}
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def rsync(ssh: str, host: str, source: Path, target: str) -> list[str]:
    """The command that brings a file, or what a folder holds, to a path over there. `ssh` is the remote shell's command line."""
    place = host if ":" not in host else f"{host.rpartition('@')[0]}@[{host.rpartition('@')[2]}]".removeprefix("@")
    given = f"{source}/" if source.is_dir() else str(source)
    return ["rsync", *OPTIONS, f"--rsh={ssh}", "--", given, f"{place}:{target}"]


class Remembered:
    """Which trees a board had when it was last furnished with the same backends: what to ask for in the first breath.

    A guess, no more: the board says whether it has them, and what is wanted now may be others.
    """

    def __init__(self, cache: Path, *which: object) -> None:
        self._file = cache / "boards" / f"had-{digest(which)[:16]}.json"
        try:
            self.keys: list[str] = [str(key) for key in json.loads(self._file.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            self.keys = []

    def keep(self, keys: list[str]) -> None:
        if keys != self.keys:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(keys), encoding="utf-8")


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, to be filled and renamed; what is left of it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        part.chmod(0o755)
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def manifest(folder: Path) -> str:
    """Write MANIFEST.json, {path: [size, sha256]}, into the folder; its own sha256 is the digest of the tree."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        content = path.read_bytes()
        files[path.relative_to(folder).as_posix()] = [len(content), hashlib.sha256(content).hexdigest()]
    text = json.dumps(files, sort_keys=True, separators=(",", ":"))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def size_of(source: Path) -> int:
    """The bytes of a file, or of all that a folder holds."""
    files = source.rglob("*") if source.is_dir() else [source]
    return sum(path.stat().st_size for path in files if path.is_file())


def digest_of(tree: Path) -> str:
    """The digest of a tree that has its manifest."""
    return hashlib.sha256((tree / MANIFEST).read_bytes()).hexdigest()
