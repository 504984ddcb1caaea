"""Which cells are measured together. Pure.

The slices of a block are taken in turn, so a round must not last so long that the machine changes within it, and all
workers of a block are alive at once. A large grid is cut into blocks of at most eight cells; every block holds the baselines
of its cells, and one anchor cell runs in all of them, so that they can be joined (measurement protocol, item 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgebench.schema import Work

STRIDE = 1000
"""Generations of block k are numbered from k * STRIDE + 1: only what ran side by side has the same number."""


def block_of(generation: int) -> int:
    return generation // STRIDE


def cut(works: Sequence[Work], known: Mapping[str, int] | None = None, most: int = 8) -> list[list[str]]:
    """The ids of the cells of each block, its anchor first. `known` gives the blocks of cells that were begun before.

    Cells of one baseline stay together as far as they fit.
    """
    known = known or {}
    if not works:
        return []
    anchor = works[0].baseline or works[0].cell.id
    groups: dict[str, list[str]] = {}
    for work in works:
        base = work.baseline or work.cell.id
        groups.setdefault(base, [anchor, base]).append(work.cell.id)
    blocks: dict[int, list[str]] = {}
    for base, group in groups.items():
        if not _fits(blocks.get(max(blocks, default=0), []), group, most) and _fits([], group, most):
            blocks[max(blocks) + 1] = []  # rather one more block than a group in two
        for cell in group[2:]:
            number = known.get(cell)
            if number is None:
                number = max(blocks, default=0)
                if not _fits(blocks.get(number, []), [anchor, base, cell], most):
                    number += 1
            blocks[number] = list(dict.fromkeys([*blocks.get(number, []), anchor, base, cell]))
    present = {w.cell.id for w in works}
    return [[cell for cell in blocks.get(k, []) if cell in present] for k in range(max(blocks) + 1)]


def _fits(block: Sequence[str], more: Sequence[str], most: int) -> bool:
    return len({*block, *more}) <= most


def shown(generation: int) -> str:
    """`3`, or `2.3` for the third generation of the second block."""
    block, number = divmod(generation, STRIDE)
    return f"{block + 1}.{number}" if block else str(number)
