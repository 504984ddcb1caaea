"""Which cells are measured together: no block too large, baselines beside their cells, one anchor in all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgebench import blocks
from edgebench.schema import Artifact, Cell, Work

ARTIFACT = Artifact(format="onnx", path="m", sha256="0", size=1)


def grid(variants: int, runtimes: int) -> list[Work]:
    """Variant by variant, as a plan gives them; the first variant of each runtime is the baseline."""
    cells = [
        Cell(model="m", recipe=f"v{v}", backend=f"r{r}", device="d") for v in range(variants) for r in range(runtimes)
    ]
    return [
        Work(cell=c, artifact=ARTIFACT, data=ARTIFACT, baseline=cells[i % runtimes].id) for i, c in enumerate(cells)
    ]


def test_a_small_grid_is_one_block() -> None:
    works = grid(4, 2)
    (block,) = blocks.cut(works)
    assert set(block) == {w.cell.id for w in works}


def test_the_cells_of_one_baseline_stay_together() -> None:
    cut = blocks.cut(grid(5, 3))
    assert [len(b) for b in cut] == [5, 6, 6]
    assert [sum(f"/r{r}@" in c for c in b) for r, b in enumerate(cut)] == [5, 5, 5]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(3, 9))
def test_every_cell_once_its_baseline_and_the_anchor_beside_it(variants: int, runtimes: int, most: int) -> None:
    works = grid(variants, runtimes)
    cut = blocks.cut(works, most=most)
    anchor = works[0].cell.id
    shared = {anchor} | {w.baseline for w in works}
    for work in works:
        homes = [b for b in cut if work.cell.id in b]
        assert len(homes) == 1 or (work.cell.id in shared and homes)
        if work.cell.id not in shared:
            assert work.baseline in homes[0]
    assert all(len(b) <= most and b[0] == anchor for b in cut if b)


@given(st.integers(2, 8), st.integers(1, 4), st.data())
def test_a_cell_that_was_begun_stays_in_its_block(variants: int, runtimes: int, data: st.DataObject) -> None:
    works = grid(variants, runtimes)
    before = blocks.cut(works)
    known = {c: min(k for k, b in enumerate(before) if c in b) for b in before for c in b}
    lost = data.draw(st.sets(st.sampled_from([w.cell.id for w in works[runtimes:]]), max_size=3))
    left = [w for w in works if w.cell.id not in lost]
    after = blocks.cut(left, {c: k for c, k in known.items() if c not in lost})
    for work in left:
        home = known[work.cell.id]
        assert work.cell.id in after[home]


def test_a_generation_tells_its_block() -> None:
    assert (blocks.block_of(7), blocks.block_of(2003)) == (0, 2)
    assert (blocks.shown(7), blocks.shown(1003)) == ("7", "2.3")


def test_nothing_is_no_block() -> None:
    assert blocks.cut([]) == []
