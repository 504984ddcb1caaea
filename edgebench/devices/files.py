"""Reading the small files in which a kernel tells of itself. Any of them may be missing or refuse: None then.

Every reader takes the root of the tree, so that tests run on trees of machines that are not at hand.
"""

from __future__ import annotations

import re
from pathlib import Path


def text(path: Path) -> str | None:
    """The content without surrounding blanks and NULs, or None."""
    try:
        # Unbuffered: a sensor that answers EAGAIN gives None here, where a buffered read would give None for bytes.
        with path.open("rb", buffering=0) as file:
            content: bytes | None = file.readall()
    except OSError:
        return None
    return None if content is None else content.decode("utf-8", "replace").strip(" \t\r\n\0")


def integer(path: Path) -> int | None:
    """The content as a whole number (decimal, or hex with 0x), or None."""
    content = text(path)
    try:
        return None if content is None else int(content, 0)
    except ValueError:
        return None


def first(*paths: Path) -> str:
    """The content of the first of these files that has any; "" if none has."""
    return next((content for path in paths if (content := text(path))), "")


def matches(folder: Path, pattern: str) -> list[Path]:
    """What `folder` holds by that pattern, cpu2 before cpu10; nothing if it cannot be read."""
    try:
        found = list(folder.glob(pattern))
    except OSError:
        return []
    return sorted(found, key=lambda p: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", str(p))])


def cpu_list(content: str | None) -> tuple[int, ...]:
    """The kernel's list of CPUs, "0-3,8" -> (0, 1, 2, 3, 8); empty for anything else."""
    cpus: list[int] = []
    try:
        for part in (content or "").split(","):
            if part.strip():
                low, _, high = part.partition("-")
                cpus += range(int(low), int(high or low) + 1)
    except ValueError:
        return ()
    return tuple(cpus)
