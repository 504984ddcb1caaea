"""What is no figure is not one: answers that cannot be judged, rates that were not found, stages that do not exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_metrics import WORK, Doubling, subject

from edgebench.backend import Feeds, ModelError, Outputs
from edgebench.errors import DataError
from edgebench.metrics import Subject
from edgebench.metrics.accuracy import Accuracy, check_finite
from edgebench.metrics.application import Application, check
from edgebench.metrics.server import LOADS, Server
from edgebench.schema import DEFAULT, Cell
from edgebench.worker import _check_precision

ONES = np.ones((4, 3), np.float32)
HALF = np.where(np.arange(12).reshape(4, 3) < 6, np.float32(np.nan), np.float32(1))


class Ruined(Doubling):
    def run(self, feeds: Feeds) -> Outputs:
        return [out * np.float32(np.nan) for out in super().run(feeds)]


class Drawing(Doubling):
    def run(self, feeds: Feeds) -> Outputs:
        draw = np.random.default_rng(len(self.batches))
        return [out + draw.normal(size=out.shape).astype(np.float32) * 100 for out in super().run(feeds)]


def with_session(kind: type[Doubling], **more: Any) -> Subject:
    made = subject(**more)
    made.session = kind(made.session.world)  # type: ignore[attr-defined]
    return made


def test_a_network_that_answers_nan_has_no_row_and_says_what_to_give() -> None:
    with pytest.raises(ModelError) as found:
        Accuracy().observe(with_session(Ruined, reference=[]))
    assert "no correctness can be judged" in found.value.problem
    assert "--data" in found.value.fix


@pytest.mark.parametrize("beside", ["reference", "parent"])
def test_nan_where_the_reference_or_the_parent_is_finite_is_refused(beside: str) -> None:
    right = subject().inputs["x"] * 2
    with pytest.raises(ModelError, match="where the reference is"):
        Accuracy().observe(with_session(Ruined, **{"reference": [], "parent": [], beside: [right]}))


def test_what_is_finite_enough_passes() -> None:
    mask = np.where(np.isnan(HALF), np.float32(-np.inf), HALF)
    check_finite([mask], [])
    check_finite([HALF], [HALF])
    check_finite([np.array([1, 2]), np.array(["a"]), ONES[:0]], [])
    for bad in (HALF, ONES * np.float32(np.inf)):
        with pytest.raises(ModelError):
            check_finite([bad], [])
    with pytest.raises(ModelError):
        check_finite([HALF], [HALF * np.nan])


def test_a_network_that_draws_numbers_is_named_as_the_cause() -> None:
    with pytest.raises(ModelError, match="itself is random"):
        Accuracy().observe(with_session(Drawing, reference=[]))
    for batch in (1, 3, 16):
        assert Accuracy().observe(subject(batch, reference=[]))["gate"]["ok"]


class Finding(Doubling):
    """Answers where its input is odd, as NonZero does: how much depends on what it is given."""

    def run(self, feeds: Feeds) -> Outputs:
        return [np.array(np.nonzero(feeds["x"][:, 1:] % 4))]


@pytest.mark.parametrize("batch", [1, 3])
def test_an_output_whose_shape_depends_on_the_input_is_kept_and_compared(batch: int) -> None:
    made = with_session(Finding, batch=batch, reference=[])
    assert Accuracy().observe(made)["gate"]["ok"]
    (found,) = made.outputs
    assert found.shape[0] == 1
    assert not Accuracy().observe(with_session(Finding, batch=batch, reference=[found + 1]))["gate"]["ok"]
    with pytest.raises(ModelError, match="no class can be read"):
        Accuracy().observe(with_session(Finding, batch=batch, reference=[], labels=np.zeros(10, int)))
    assert "agree" not in Accuracy().observe(with_session(Finding, batch=batch, reference=[], parent=[found]))


def test_a_file_of_fp16_is_measured_as_one_and_a_swapped_precision_is_not() -> None:
    cell = Cell(model="m", recipe="r", backend="b", device="d")
    _check_precision(cell, {"precision": "fp16", "file_precision": "fp16"})
    for found in ({"precision": "fp16"}, {"precision": "bf16", "file_precision": "fp16"}):
        with pytest.raises(ModelError, match="fp32 was asked for"):
            _check_precision(cell, found)
    with pytest.raises(ModelError, match=r"use .*onnxruntime.* for this one"):
        _check_precision(replace(cell, precision="int8"), {"precision": "fp32"})


def served(greatest: float, late_ns: int) -> dict[str, Any]:
    def point(load: float) -> dict[str, Any]:
        return {"load": load, "late_ns": [late_ns] * 700, "service_ns": [1000] * 700, "latency_ns": [2000] * 700}

    points = [*(point(load) for load in LOADS), point(0.5), point(greatest or 0.25)]
    return {"server": {"capacity": 1e6, "bound_ns": 10_000, "points": points, "greatest_load": greatest}}


@pytest.mark.parametrize(
    ("greatest", "late_ns", "said"),
    [(0.0, 90_000, "no rate down to"), (0.5, 90_000, "late by over 5 %"), (0.5, 10, "")],
)
def test_a_rate_that_was_not_found_is_withheld_with_its_reason(greatest: float, late_ns: int, said: str) -> None:
    figures = {m.metric: m for m in Server().figures(WORK, [served(greatest, late_ns)], DEFAULT)}
    rate = figures["server_rate"]
    assert said in rate.note
    assert rate.value == (None if said else 5e5)
    assert "of capacity" in figures["server_p50_30"].phase


FUNCTIONS = """
def prepare(sample):
    return (sample * 2).astype("float32")
def flat(sample):
    return prepare(sample)[0]
def wide(sample):
    return prepare(sample)[:, :2]
def decode(outputs):
    return outputs[0].argmax()
"""


def observed(folder: Path, **named: str) -> dict[str, Any]:
    (folder / "app_of_a_test.py").write_text(FUNCTIONS)
    made = subject()
    made.application = {**{k: f"app_of_a_test:{v}" for k, v in named.items()}, "base": str(folder)}
    return {"application": Application().observe(made)}


@pytest.mark.parametrize(
    ("named", "parts"),
    [({"after": "decode"}, {"inference", "after"}), ({"before": "prepare"}, {"before", "inference"})],
)
def test_a_stage_that_was_not_named_has_no_figure(named: dict[str, str], parts: set[str], tmp_path: Path) -> None:
    figures = {m.metric: m for m in Application().figures(WORK, [observed(tmp_path, **named)] * 3, DEFAULT)}
    assert {m.removeprefix("application_") for m in figures} == {"application", "p99", *parts}
    assert figures["application"].interval is not None


def test_without_an_application_there_is_no_figure_of_one(tmp_path: Path) -> None:
    (only,) = Application().figures(WORK, [observed(tmp_path)], DEFAULT)
    assert only.value is None
    assert "nothing of the application was named" in only.note


def test_an_exit_in_the_application_ends_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text("def samples():\n    raise SystemExit(0)\n")
    with pytest.raises(DataError, match="raised SystemExit"):
        check({"samples": "leaving:samples", "base": str(tmp_path)})


@pytest.mark.parametrize(("entry", "fix"), [("flat", "batch axis"), ("wide", "the network's shape")])
def test_a_wrong_shape_is_refused_with_what_to_change(entry: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as found:
        observed(tmp_path, before=entry)
    assert "the network takes [1, 3]" in found.value.problem
    assert fix in found.value.fix
    assert "plan" not in found.value.fix
