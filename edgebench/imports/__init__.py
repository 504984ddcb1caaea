"""Other tools' results as rows of ours: each figure has the grade "published", and its source says where it is from.

A format is a file of this folder with `NAME`, `recognizes(source)` and `read(source)`; none of them measures anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from edgebench.codec import Options
from edgebench.errors import StoreError, did_you_mean
from edgebench.imports import benchmark_app, csv_mapping, litert_benchmark, llama_bench, mlperf_tiny, trtexec
from edgebench.imports.foreign import Imported, Known, Source, refuse
from edgebench.schema import DeviceProfile, Result, Run

__all__ = ["FORMATS", "Imported", "Known", "read", "run_of"]

FORMATS: dict[str, ModuleType] = {
    m.NAME: m for m in (mlperf_tiny, trtexec, litert_benchmark, benchmark_app, llama_bench, csv_mapping)
}
MOST_BYTES = 1 << 30


def read(path: Path, form: str | None = None, *, known: Known | None = None, maps: Sequence[str] = ()) -> Imported:
    """The results in a file, or in a folder of an MLPerf Tiny submission.

    `known` fills in what the file does not say; `maps` are METRIC=COLUMN[:UNIT], for CSV. Raises StoreError where the
    file cannot be read, its format is not known or not told, or nothing in it is a result.
    """
    source = _open(path, known or Known(), tuple(maps))
    if not path.is_dir() and not source.text.strip():
        raise StoreError(f"{path} is empty.", "Give the file that the other tool wrote its results to.")
    module = _format(source, form)
    if maps and module is not csv_mapping:
        raise StoreError(
            f"--map is for CSV, and {path} is read as {module.NAME}.", "Leave --map away, or add --format csv."
        )
    results = tuple(module.read(source))
    if not results:
        raise refuse(source, module.NAME, "holds no result")
    return Imported(
        form=module.NAME,
        path=path,
        sha256=_digest(source),
        results=_told_apart(results),
        unread=tuple(source.unread),
    )


def run_of(found: Imported, started: str) -> Run:
    """The run.json of an import: nothing was planned, and where it is from stands in its place."""
    devices = sorted({result.cell.device for result in found.results})
    return Run(
        id=f"{started}-imported-{found.form}",
        started=started,
        versions=Options(),
        plan=Options(
            name="import", imported={"format": found.form, "file": found.path.name, "sha256": found.sha256}, recipes=[]
        ),
        device=DeviceProfile(
            name=devices[0] if len(devices) == 1 else "several", description=f"published, from {found.form}"
        ),
        host=Options(),
    )


def _open(path: Path, known: Known, maps: tuple[str, ...]) -> Source:
    try:
        if path.is_dir():
            return Source(path=path, text="", known=known, maps=maps)
        if path.stat().st_size > MOST_BYTES:
            raise StoreError(f"{path} is larger than 1 GiB.", "Import the part that holds the results.")
        return Source(path=path, text=path.read_text("utf-8-sig", "replace"), known=known, maps=maps)
    except FileNotFoundError:
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise StoreError(f"There is no file {path}.", did_you_mean(path.name, near[:200])) from None
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
        ) from error


def _format(source: Source, form: str | None) -> ModuleType:
    if form is not None:
        if form not in FORMATS:
            raise StoreError(f'There is no format "{form}" to import.', did_you_mean(form, FORMATS))
        return FORMATS[form]
    able = [module for module in FORMATS.values() if module.recognizes(source)]
    if len(able) != 1:
        what = "of no known format" if not able else f"like {' and like '.join(m.NAME for m in able)}"
        raise StoreError(f"{source.path} looks {what}.", f"Say it with --format, one of: {', '.join(FORMATS)}.")
    return able[0]


def _digest(source: Source) -> str:
    """Of a folder: of the names and contents that were read from it."""
    total = hashlib.sha256(source.text.encode("utf-8", "replace"))
    for name, text in sorted(source.opened.items()):
        total.update(f"{name}\0{text}\0".encode("utf-8", "replace"))
    return total.hexdigest()


def _told_apart(results: Sequence[Result]) -> tuple[Result, ...]:
    """Two rows of one file that are asked the same would be one cell: the later ones get a number."""
    seen: dict[str, int] = {}
    out = []
    for result in results:
        number = seen[result.cell.id] = seen.get(result.cell.id, 0) + 1
        if number > 1:
            options = Options({**result.cell.options, "repeat": number})
            result = replace(result, cell=replace(result.cell, options=options))
        out.append(result)
    return tuple(out)
