"""Reading flatbuffers without generated code: fields by their number (https://flatbuffers.dev/internals).

Every offset is checked by the slice it is read from: a damaged file raises struct.error, IndexError or ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any


class Table:
    """One table of a flatbuffer."""

    def __init__(self, data: bytes, at: int) -> None:
        if not 0 <= at < len(data):
            raise ValueError(f"an offset points to byte {at} of {len(data)}")
        self._data, self._at = data, at
        self._vtable = at - int(_read("<i", data, at))
        if self._vtable < 0:
            raise ValueError("a table has no list of its fields")

    def _field(self, number: int) -> int:
        """Where the field lies; 0 if it is not there."""
        place = 4 + 2 * number
        if place >= _read("<H", self._data, self._vtable):
            return 0
        offset = int(_read("<H", self._data, self._vtable + place))
        return self._at + offset if offset else 0

    def number(self, number: int, kind: str = "<i", default: int = 0) -> int:
        """A scalar field; `kind` as struct has it."""
        at = self._field(number)
        return int(_read(kind, self._data, at)) if at else default

    def table(self, number: int) -> Table | None:
        at = self._field(number)
        return Table(self._data, at + int(_read("<I", self._data, at))) if at else None

    def text(self, number: int) -> str:
        start, count = self._vector(number)
        return self._data[start : start + count].decode(errors="replace")

    def raw(self, number: int) -> bytes:
        start, count = self._vector(number)
        return self._data[start : start + count]

    def numbers(self, number: int, kind: str = "<i") -> list[int]:
        start, count = self._vector(number)
        size = struct.calcsize(kind)
        if count * size > len(self._data):
            raise ValueError(f"a list of {count} numbers is longer than the file")
        return [int(_read(kind, self._data, start + i * size)) for i in range(count)]

    def tables(self, number: int) -> list[Table]:
        start, count = self._vector(number)
        if 4 * count > len(self._data):
            raise ValueError(f"a list of {count} tables is longer than the file")
        places = (start + 4 * i for i in range(count))
        return [Table(self._data, at + int(_read("<I", self._data, at))) for at in places]

    def _vector(self, number: int) -> tuple[int, int]:
        at = self._field(number)
        if not at:
            return 0, 0
        start = at + int(_read("<I", self._data, at))
        return start + 4, int(_read("<I", self._data, start))


def root(data: bytes, start: int = 0) -> Table:
    return Table(data[start:] if start else data, int(_read("<I", data, start)))


_read: Callable[[str, bytes, int], Any] = lambda kind, data, at: struct.unpack_from(kind, data, at)[0]  # noqa: E731
