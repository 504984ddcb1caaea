"""A results folder: `run.json`, `results.jsonl`, `samples.jsonl.gz`. Append-only, and on disk at once.

    results/20261123T193000Z-local/
        run.json            what was asked; written before anything is measured
        results.jsonl       one line a cell
        samples.jsonl.gz    one gzip member a raw record

A process can be killed between any two bytes: what ends in the middle is not read, and is cut off before the
next append. results/README.md describes the format for users. No clock is read here: callers give the time.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edgebench.codec import Options, from_json, to_json
from edgebench.errors import StoreError, did_you_mean
from edgebench.schema import Result, Run

RUN, RESULTS, SAMPLES, LOCK = "run.json", "results.jsonl", "samples.jsonl.gz", ".lock"


class RunFolder:
    """One run on disk. Anybody may read it at any time; the first append takes the lock and `close` frees it.

    Every method that writes raises StoreError where it cannot, and leaves what was there before as it was.
    """

    def __init__(self, path: Path, run: Run) -> None:
        self.path = path
        self.run = run
        self._lock: int | None = None

    def append(self, result: Result) -> None:
        """Add the result of one cell; it is on the disk when this returns."""
        self._open_for_writing()
        with writing(self.path):
            _append(self.path / RESULTS, _line(result))

    def append_samples(self, record: Mapping[str, Any]) -> None:
        """Add one raw record of JSON values (a generation of one cell), compressed."""
        self._open_for_writing()
        with writing(self.path):
            _append(self.path / SAMPLES, gzip.compress(_line(record), compresslevel=6, mtime=0))

    def results(self) -> tuple[Result, ...]:
        """One result for each cell, the last that was added, in the order of the first. Raises StoreError for a damaged line."""
        found: dict[str, Result] = {}
        same = Options()
        for number, line, data in _parsed(_whole_lines(self.path / RESULTS)):
            try:
                if isinstance(data, dict) and data.get("environment") == same:
                    data["environment"] = same  # row after row comes from one machine: its facts are kept once
                result = from_json(Result, _loaded(line) if data is None else data)
                same = result.environment
            except (ValueError, StoreError) as error:
                why = error.problem if isinstance(error, StoreError) else f"{error}."
                raise StoreError(
                    f"Line {number} of {self.path / RESULTS} is damaged: {why}",
                    f"Delete that line, and measure its cell again with: edgebench run --resume {self.path}",
                ) from error
            found[result.cell.id] = result
        return tuple(found.values())

    def samples(self) -> Iterator[dict[str, Any]]:
        """Every raw record that was written whole, in the order they were added. Raises StoreError for a damaged one."""
        for number, (_, text) in enumerate(_whole_members(self.path / SAMPLES), start=1):
            try:
                yield dict(_loaded(text))
            except (ValueError, TypeError) as error:
                raise StoreError(
                    f"Record {number} of {self.path / SAMPLES} is damaged: {error}.",
                    f"Restore that file from a copy, or move it away: the figures of {RESULTS} stand without it.",
                ) from error

    def write_text(self, name: str, text: str) -> None:
        """Write a file that is made from the results, in one step: a reader sees the old text or the new, never half of it."""
        with writing(self.path, f"or write the report elsewhere: edgebench report {self.path} --out FOLDER"):
            _write_whole(self.path / name, text)

    def close(self) -> None:
        """Give the lock back. Reading goes on working, and the next append takes the lock again."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open_for_writing(self) -> None:
        if self._lock is not None:
            return
        with writing(self.path), ExitStack() as undo:
            lock = _take_lock(self.path)
            undo.callback(os.close, lock)
            _cut(self.path / RESULTS, sum(len(line) + 1 for line in _whole_lines(self.path / RESULTS)))
            _cut(self.path / SAMPLES, max((end for end, _ in _whole_members(self.path / SAMPLES)), default=0))
            undo.pop_all()
            self._lock = lock

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


TOGETHER = 100
"""Lines that are parsed at once: the names of their fields are then one text, not a hundred."""


def _parsed(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, Any]]:
    """(number, line, its JSON value) of every line that is not empty; None for those among which one is damaged."""
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    while some := list(itertools.islice(numbered, TOGETHER)):
        try:
            values = _loaded(b"[" + b",".join(line for _, line in some) + b"]")
        except ValueError:
            values = []
        whole = len(values) == len(some)
        yield from ((number, line, values[i] if whole else None) for i, (number, line) in enumerate(some))


def _loaded(text: bytes) -> Any:
    """The value of a JSON text. ValueError for what is none, and for NaN and Infinity, which Python would take."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON has")


def create(root: Path, run: Run) -> RunFolder:
    """Make the folder `root`/<run.id> with its run.json, and lock it. An id that is taken gets -2, -3, ...

    Raises StoreError where that cannot be written; then nothing is left behind.
    """
    with writing(root), ExitStack() as undo:
        for folder in reversed([p for p in (root, *root.parents) if not p.exists()]):
            undo.callback(_remove_empty, folder)
        root.mkdir(parents=True, exist_ok=True)
        path = _new_folder(root, run.id)
        undo.callback(shutil.rmtree, path, ignore_errors=True)
        made = RunFolder(path, replace(run, id=path.name))
        undo.callback(made.close)
        made._open_for_writing()
        (path / RESULTS).touch()
        # Last: a folder without it is no run, so that nobody resumes or reports one that was half made.
        _write_whole(path / RUN, json.dumps(to_json(made.run), indent=1, allow_nan=False) + "\n")
        undo.pop_all()
    return made


def open_run(path: Path) -> RunFolder:
    """Read the run.json of a folder. Raises StoreError unless it is one that this version understands."""
    with _reading(path):
        if not path.is_dir():
            others = _runs(path.parent)
            nowhere = "Give the path of the run, or the folder of all runs as --results; a new one: edgebench run"
            fix = did_you_mean(path.name, others) if others else nowhere
            raise StoreError(f"There is no results folder {path}.", fix)
        if not _is_run(path):
            inside = _runs(path)
            fix = f"Name a run in it, like {path / inside[-1]}." if inside else "Name a folder that a run made."
            raise StoreError(f"{path} is not a results folder: it has no {RUN}.", fix)
        text = (path / RUN).read_bytes()
    try:
        data = _loaded(text)
    except ValueError as error:
        fix = "Restore it from a copy, or measure again with: edgebench run"
        raise StoreError(f"{path / RUN} is damaged: {error}.", fix) from error
    try:
        return RunFolder(path, from_json(Run, data))
    except StoreError as error:
        raise StoreError(f"{path / RUN}: {error.problem}", error.fix) from error


def latest(root: Path) -> Path:
    """The newest run folder in `root`. Raises StoreError when there is none."""
    return newest_first(root)[0]


def newest_first(root: Path) -> list[Path]:
    """The run folders in `root`. Raises StoreError when there is none."""
    with _reading(root):
        names = _runs(root)
    if not names:
        raise StoreError(f"There is no run in {root} yet.", "Make one with: edgebench run")
    return [root / name for name in reversed(names)]


def sha256(path: Path) -> str:
    """The hash of a file's bytes, as hex. Raises StoreError where it cannot be read."""
    total = hashlib.sha256()
    with _reading(path), path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


@contextmanager
def writing(path: Path, instead: str = "") -> Iterator[None]:
    """Turn an OSError of writing in `path` into a StoreError that says what is kept and how to go on.

    `instead`: what else can be done where `path` is a run; by default going on with the run.
    """
    try:
        yield
    except OSError as error:
        begun = _is_run(path)
        kept = "; what was measured so far is kept" if begun else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = f"The disk is full: {path} cannot be written{kept}."
            fix = "Free some space" if begun else "Free some space, or name a folder elsewhere."
        else:
            problem = f"{path} cannot be written: {error.strerror or error}{kept}."
            fix = "Make it writable" if begun else "Name another folder, or make it writable."
        go_on = instead or f"then go on with: edgebench run --resume {path}"
        raise StoreError(problem, f"{fix}, {go_on}" if begun else fix) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or error}."
        raise StoreError(problem, "Check the path and its permissions.") from error


def _is_run(path: Path) -> bool:
    try:
        return (path / RUN).is_file()
    except OSError:  # a folder that may not be looked into
        return False


def _runs(root: Path) -> list[str]:
    """The names of the run folders in `root`, oldest first: the numbers in a name count as numbers."""
    names = [p.name for p in root.iterdir() if _is_run(p)] if root.is_dir() else []
    return sorted(names, key=lambda name: [int(x) if x.isdecimal() else x for x in re.split(r"(\d+)", name)])


def _new_folder(root: Path, name: str) -> Path:
    for number in itertools.count(1):
        path = root / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            break
    return path


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _take_lock(folder: Path) -> int:
    """The descriptor that holds the lock; the kernel frees it when this process ends, however it ends."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        problem = f"Another edgebench is writing into {folder}."
        raise StoreError(problem, "Wait until it has ended, or start a new run.") from None
    except OSError:
        pass  # a file system without locks: nothing better can be had there
    return lock


def _line(value: Any) -> bytes:
    return json.dumps(to_json(value), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _append(path: Path, data: bytes) -> None:
    """Add the bytes and wait for the disk; when they do not fit, take back those that did."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(file).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for start in range(0, len(text), 1 << 20):  # a report may be long, and is not to be in memory twice
                file.write(text[start : start + (1 << 20)])
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with suppress(OSError):  # gone already when all went well
            part.unlink()


def _whole_lines(path: Path) -> list[bytes]:
    """The lines that end in a line feed: after the last one, the process died while it was writing."""
    with _reading(path):
        return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _whole_members(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each complete gzip member: where it ends in the file, and its text. Stops at the first that is torn."""
    if not path.exists():
        return
    with _reading(path), path.open("rb") as file:
        member, parts, end, rest = zlib.decompressobj(wbits=31), [], 0, b""
        while block := rest or file.read(1 << 16):
            try:
                parts.append(member.decompress(block))
            except zlib.error:
                return
            rest = member.unused_data
            end += len(block) - len(rest)
            if member.eof:
                yield end, b"".join(parts)
                member, parts = zlib.decompressobj(wbits=31), []


def _cut(path: Path, size: int) -> None:
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
