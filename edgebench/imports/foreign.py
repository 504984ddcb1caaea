"""What every foreign format is read with: the source, and figures that carry where they are from."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebench import stats
from edgebench.codec import Options
from edgebench.errors import StoreError
from edgebench.schema import Cell, Measurement, Result


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the person who imports knows and the file does not say."""

    model: str = ""
    device: str = ""
    precision: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that is imported, or a folder (whose `text` is empty, and whose files are read through `open`)."""

    path: Path
    text: str
    known: Known = Known()
    maps: tuple[str, ...] = ()
    opened: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    """Columns that the reader of the format made nothing of."""

    def open(self, path: Path) -> str:
        """Read a file of the folder; what was read is part of the import's hash. Raises StoreError where it cannot be read."""
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as error:
            fix = "Check its permissions, or import another part of the submission."
            raise StoreError(f"{path} cannot be read: {error.strerror or error}.", fix) from error
        self.opened[path.as_posix()] = text
        return text

    @property
    def model(self) -> str:
        """The name of the network where the file has none: as told, else the file's own name."""
        return self.known.model or self.path.stem

    @property
    def device(self) -> str:
        return self.known.device or "unknown"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was read: at least one result, each with figures of grade "published"."""

    form: str
    path: Path
    sha256: str
    results: tuple[Result, ...]
    unread: tuple[str, ...] = ()
    """The columns of a table of which nothing was made."""


def refuse(source: Source, form: str, why: str) -> StoreError:
    return StoreError(f"{source.path}, read as {form}, {why}.", "Check the file, or name another format with --format.")


def loaded(text: str) -> Any:
    """The value of a JSON text; None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def number(value: object) -> float | None:
    """A finite number from JSON, or from a text that holds nothing else; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def figure(
    metric: str,
    unit: str,
    value: float | None,
    source: str,
    *,
    samples: Sequence[float] = (),
    n: int = 0,
    note: str = "",
) -> Measurement | None:
    """A published figure in SI units; None where the file has no such number. A time or size below 0 is none."""
    if value is None or not math.isfinite(value) or value < 0 or (unit == "s" and value == 0):
        return None
    return Measurement(
        metric=metric, unit=unit, phase="published", source=source, value=value, samples=tuple(samples),
        n=n or len(samples), grade="published", note=note,
    )  # fmt: skip


def percentiles(seconds: Sequence[float], source: str) -> list[Measurement | None]:
    """p90 and p99 of a list of calls, bounded as ours are: with 99 % confidence, or withheld where they are too few."""
    out: list[Measurement | None] = []
    for percent in (90, 99):
        bound = stats.percentile_bound(list(seconds), percent / 100)
        name, said = f"latency_p{percent}", f"{source}; bound at 99 % confidence"
        if bound is None:
            note = f"n < {stats.samples_needed(percent / 100)}"
            out.append(
                Measurement(
                    metric=name, unit="s", phase="published", source=said, n=len(seconds), grade="published", note=note
                )
            )
        else:
            out.append(figure(name, "s", bound, said, n=len(seconds)))
    return out


def row(
    cell: Cell, figures: Iterable[Measurement | None], *, source: str, effective: Mapping[str, Any] | None = None
) -> Result:
    """One imported row. It is ok where it has a figure, and failed with a reason where it has none."""
    found = tuple(f for f in figures if f is not None)
    if not any(f.value is not None for f in found):
        reason = f"{source} holds no usable figure for this row"
        return Result(cell=cell, status="failed", reason=reason, fix="Check the file.")
    kept = {k: v for k, v in (effective or {}).items() if v not in (None, "")}
    return Result(cell=cell, status="ok", measurements=found, effective=Options(kept))


def precision_in(words: str) -> str:
    """`int8` from "TensorFlow Int8 Quantization" or "model_quant.tflite"; `not named` where nothing says it."""
    low = words.lower()
    for name, pattern in (
        ("int8", r"int-?8|uint8|w8a8|quant|(?<![a-z])i8"),
        ("int4", r"int-?4|w4a"),
        ("fp16", r"fp16|float16|half|f16"),
        ("bf16", r"bf16|bfloat16"),
    ):
        if re.search(pattern, low):
            return name
    return "fp32" if re.search(r"fp32|float32|f32|float(?!1)", low) else "not named"
