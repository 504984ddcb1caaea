"""Cropping and mirroring: every change is one of those allowed, each sample by itself, the same for the same seed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgebench.data.augment import Augment  # noqa: E402
from edgebench.errors import DataError, PlanError  # noqa: E402


def pictures(count: int = 64) -> torch.Tensor:
    """Each pixel of all pictures is another number from 1 up."""
    return torch.arange(1.0, 1 + count * 2 * 3 * 4).reshape(count, 2, 3, 4)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_is_nothing_done() -> None:
    given = pictures()
    assert not Augment()
    assert Augment()(given, chance()) is given


def test_about_half_are_mirrored_and_the_others_stay() -> None:
    given = pictures(200)
    made = Augment(flip=True)(given, chance())
    mirrored = [bool(torch.equal(m, g.flip(2))) for m, g in zip(made, given, strict=True)]
    same = [bool(torch.equal(m, g)) for m, g in zip(made, given, strict=True)]
    assert [not m for m in mirrored] == same
    assert 70 < sum(mirrored) < 130


def test_a_crop_is_a_window_of_the_padded_picture_and_every_window_comes() -> None:
    given = pictures(300)
    made = Augment(crop=1)(given, chance())
    assert made.shape == given.shape
    found = set()
    for m, g in zip(made, given, strict=True):
        padded = torch.zeros(2, 5, 6)
        padded[:, 1:4, 1:5] = g
        places = [
            (down, right) for down in range(3) for right in range(3)
            if torch.equal(m, padded[:, down : down + 3, right : right + 4])
        ]  # fmt: skip
        assert len(places) == 1
        found.add(places[0])
    assert len(found) == 9


def test_the_seed_alone_decides() -> None:
    both = Augment(crop=2, flip=True)
    given = pictures()
    kept = given.clone()
    assert torch.equal(both(given, chance()), both(given, chance()))
    assert not torch.equal(both(given, chance()), both(given, chance(1)))
    assert torch.equal(given, kept), "the samples themselves stay as they are"


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(DataError, match=r"Samples of shape \[4\] cannot be cropped.*Leave out augment"):
        Augment(flip=True)(torch.zeros(3, 4), chance())
    with pytest.raises(PlanError, match=r"crop of augment cannot be -1"):
        Augment(crop=-1)
