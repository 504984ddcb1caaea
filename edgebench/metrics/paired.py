"""Two networks that answered the same samples: which of them were answered rightly by both, by one, by neither."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Right:
    """`bits` has a one for each of the `n` samples that was answered rightly, the first sample in front."""

    n: int
    bits: bytes

    def ones(self) -> int:
        return sum(byte.bit_count() for byte in self.bits)


def note(record: Mapping[str, Any], into: dict[str, Right]) -> None:
    """Put what a raw record says of right answers under its cell: the last check of a cell counts, as for its accuracy."""
    seen = record.get("accuracy") or {}
    if isinstance(seen.get("right"), str) and isinstance(seen.get("n"), int):
        with suppress(ValueError):  # no hexadecimal text: these accuracies are then compared unpaired
            into[str(record["cell"])] = Right(seen["n"], bytes.fromhex(seen["right"]))


def answers(samples: Iterable[Mapping[str, Any]]) -> dict[str, Right]:
    """By cell id, from the raw records of a run."""
    out: dict[str, Right] = {}
    for record in samples:
        note(record, out)
    return out


def noted(samples: Iterable[Mapping[str, Any]], into: dict[str, Right]) -> Iterator[Mapping[str, Any]]:
    """The same records, noted on their way: a run's samples are long, and are read once."""
    for record in samples:
        note(record, into)
        yield record


def counts(a: Right, b: Right) -> tuple[int, int, int, int] | None:
    """(both, only a, only b, neither) were right; None when these are not the same samples."""
    if a.n != b.n or a.n == 0 or len(a.bits) != len(b.bits):
        return None
    both = sum((x & y).bit_count() for x, y in zip(a.bits, b.bits, strict=True))
    only_a, only_b = a.ones() - both, b.ones() - both
    return both, only_a, only_b, a.n - both - only_a - only_b
