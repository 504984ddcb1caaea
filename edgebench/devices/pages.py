"""The pages of files that a process has in memory, which a fork of it lacks until it touches them.

fork(2) copies the tables of private memory; what is only mapped from files (the code of the libraries) is faulted in anew. A
fork that touches the pages which its parent had, holds what a process holds that imported the same modules itself, so that its
memory can be told as such a process's.
"""

from __future__ import annotations

import ctypes
import os
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

PRESENT, OF_FILE = 1 << 63, 1 << 61
"""Bits of an entry of pagemap (the kernel's admin-guide/mm/pagemap)."""
_MAPPED = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r..p \S+ \S+ [1-9]\d*\s+/(?!dev/|memfd:)")
"""A private, readable mapping of a file. A device's memory is not to be read for no reason."""


def can_tell(process: Path = Path("/proc/self")) -> bool:
    """Whether this system says which pages a process has."""
    return os.access(process / "pagemap", os.R_OK)


def resident(process: Path = Path("/proc/self")) -> array[int]:
    """The addresses of this process's pages that are in memory and come from files. Raises OSError."""
    size = os.sysconf("SC_PAGE_SIZE")
    out = array("Q")
    with (process / "pagemap").open("rb") as table:
        for start, end in _mappings((process / "maps").read_text()):
            table.seek(start // size * 8)
            entries = array("Q")
            entries.frombytes(table.read((end - start) // size * 8))
            out.extend(start + i * size for i, e in enumerate(entries) if e & PRESENT and e & OF_FILE)
    return out


def _mappings(text: str) -> Iterator[tuple[int, int]]:
    for line in text.splitlines():
        if found := _MAPPED.match(line):
            yield int(found[1], 16), int(found[2], 16)


def touch(pages: Iterable[int]) -> None:
    """Read a byte of each. They must be mapped in this process, as in a fork of the one that `resident` looked at."""
    for address in pages:
        ctypes.string_at(address, 1)
