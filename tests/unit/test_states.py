"""Which figures may be published."""

from __future__ import annotations

import dataclasses

import pytest

from edgebench import states

GOOD = states.CellEvidence(samples=100, clean=80, generations=5)


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({}, "valid", ""),
        ({"clean": 50}, "valid", ""),
        ({"samples": 90, "clean": 49}, "noisy", "49 of 50"),
        ({"samples": 101, "clean": 50}, "repaired", "allows for another 5 %"),
        ({"samples": 101, "clean": 49}, "noisy", "49 of 50"),
        ({"clean": 29}, "noisy", "29%"),
        ({"clean": 0, "samples": 0}, "noisy", "0%"),
        ({"generations": 4}, "noisy", "4 of at least 5"),
        ({"steal": 0.0101}, "noisy", "hypervisor"),
        ({"steal": 0.01}, "valid", ""),
        ({"reached": False}, "noisy", "narrow"),
        ({"throttled": True, "reached": False}, "throttled", "clock"),
        ({"clean": None}, "unverified", "does not say"),
        ({"clean": None, "reached": False}, "noisy", "narrow"),
        ({"all_over_clean": 1.031}, "valid", ""),
        ({"all_over_clean": 1.031, "rung": 2}, "noisy", "+3.1%"),
        ({"all_over_clean": 0.96, "rung": 3}, "noisy", "-4.0%"),
        ({"all_over_clean": 1.029, "rung": 2}, "valid", ""),
    ],
)  # fmt: skip
def test_cell_status(change: dict[str, object], status: str, word: str) -> None:
    found, reason = states.cell_status(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert found == status
    assert word in reason
    assert bool(reason) == (status != "valid")


def test_a_quick_protocol_may_ask_for_fewer_generations() -> None:
    assert states.cell_status(dataclasses.replace(GOOD, generations=3), least_generations=3)[0] == "valid"
