"""An outside power meter: windows kept by a run, its log joined afterwards, figures that can be made again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgebench import metered, runner, store
from edgebench.codec import Options, to_json
from edgebench.devices.sensors.meter_csv import MeterCsv
from edgebench.errors import DataError
from edgebench.schema import DEFAULT, Artifact, Cell, DeviceProfile, Measurement, ModelSpec, Recipe, Result, Run

CELL = Cell(model="m", recipe="r", backend="fake", device="d")
IDLE, LOAD = 2.0, 7.0
BEGIN = 1_800_000_000.0


def folder_with_windows(root: Path, epochs: list[list[float]] | None = None) -> store.RunFolder:
    """A run of one cell that kept seven windows of 10 s and inferred 100 times in each of the five of load."""
    from edgebench.plan import Plan

    plan = Plan(
        name="p", model=ModelSpec(name="m", source="m.fake"), data="random", recipes=(Recipe(name="r"),),
        backends=("fake",), metrics=("energy",), protocol=replace(DEFAULT, external_meter=True),
    )  # fmt: skip
    run = Run(
        id="run",
        started="x",
        versions=Options(),
        plan=Options(to_json(plan)),
        device=DeviceProfile(name="d"),
        host=Options(),
    )
    folder = store.create(root, run)
    artifact = Artifact(format="fake", path="m.fake", sha256="0", size=10)
    waiting = Measurement(metric="energy", unit="J", phase="load", source="no meter")
    folder.append(Result(cell=CELL, status="ok", artifact=artifact, measurements=(waiting,), campaign="run.1"))
    epochs = epochs if epochs is not None else [[BEGIN + 11 * i, BEGIN + 11 * i + 10] for i in range(7)]
    energy = {"meters": [], "epochs": epochs, "inferences": [100] * 5} if epochs else {"meters": []}
    folder.append_samples({"cell": CELL.id, "generation": 0, "slices": [], "energy": energy})
    folder.close()
    return folder


def log(path: Path, seconds: int = 100) -> Path:
    """Ten readings a second: IDLE watts outside the five windows of load, LOAD within them."""
    lines = ["time,power"]
    for i in range(-50, seconds * 10):
        at = i / 10
        loaded = 11 - 0.01 <= at <= 11 * 5 + 10 + 0.01
        lines.append(f"{BEGIN + at:.1f},{LOAD if loaded else IDLE}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_log_gives_energy_in_all_and_above_idle_that_can_be_made_again(tmp_path: Path) -> None:
    folder = folder_with_windows(tmp_path)
    assert metered.join(folder, MeterCsv(log(tmp_path / "meter.csv"))) == (1, ())
    (result,) = folder.results()
    total, above = result.get("energy_wall"), result.get("energy_wall_above_idle")
    assert total is not None
    assert above is not None
    assert total.value == pytest.approx(LOAD * 10 / 100, rel=1e-3)
    assert above.value == pytest.approx((LOAD - IDLE) * 10 / 100, rel=1e-2)
    assert len(total.samples) == 5
    assert runner.rebuild(folder) == folder.results()


def test_a_log_that_is_joined_twice_counts_once(tmp_path: Path) -> None:
    folder = folder_with_windows(tmp_path)
    metered.join(folder, MeterCsv(log(tmp_path / "meter.csv")))
    once = folder.results()
    metered.join(folder, MeterCsv(log(tmp_path / "meter.csv")))
    assert folder.results() == once


def test_a_log_that_ends_too_early_or_a_run_without_windows_writes_nothing(tmp_path: Path) -> None:
    folder = folder_with_windows(tmp_path / "a")
    with pytest.raises(DataError, match="covers"):
        metered.join(folder, MeterCsv(log(tmp_path / "meter.csv", seconds=30)))
    assert len(list(folder.samples())) == 1
    without = folder_with_windows(tmp_path / "b", epochs=[])
    with pytest.raises(DataError, match="no windows"):
        metered.join(without, MeterCsv(log(tmp_path / "meter.csv")))


def test_what_was_not_joined_is_said_with_its_reason(warm: Callable[..., Any], tmp_path: Path) -> None:
    folder_with_windows(tmp_path / "results")
    path = log(tmp_path / "meter.csv")
    falling = [f"{BEGIN + at / 10:.1f},-1" for at in range(-50, 1000)]
    path.write_text("\n".join(falling))
    done = warm("energy", "latest", path)
    assert done.returncode == 0, done.stderr
    assert "was joined" not in done.stdout
    assert "No energy from" in done.stdout
    assert "r on fake: the meter gave no true value" in done.stdout


def test_a_log_of_too_few_readings_for_its_windows_gives_no_figure(tmp_path: Path) -> None:
    folder = folder_with_windows(tmp_path)
    path = tmp_path / "meter.csv"
    path.write_text("\n".join(f"{BEGIN + 2 * i},{5 + i % 2}" for i in range(-5, 60)))
    given, lacking = metered.join(folder, MeterCsv(path))
    assert given == 0
    assert "only about 5 new values of the meter in a window" in lacking[0]
    (result,) = folder.results()
    assert result.get("energy_wall_above_idle") is None


def test_a_load_that_is_not_told_from_idle_is_withheld(tmp_path: Path) -> None:
    folder = folder_with_windows(tmp_path)
    path = tmp_path / "meter.csv"
    noise = random.Random(0)
    path.write_text("\n".join(f"{BEGIN + i / 10:.1f},{noise.uniform(5.5, 6.5)}" for i in range(-50, 1000)))
    assert metered.join(folder, MeterCsv(path)).given == 1
    (result,) = folder.results()
    total, above = result.get("energy_wall"), result.get("energy_wall_above_idle")
    assert total is not None
    assert total.interval is not None
    assert above is not None
    assert above.value is None
    assert "not told from idle" in above.note
    assert runner.rebuild(folder) == folder.results()


def test_the_command_joins_and_prints(edgebench: Callable[..., Any], tmp_path: Path) -> None:
    folder_with_windows(tmp_path / "results")
    done = edgebench("energy", "latest", log(tmp_path / "meter.csv"), "--scope", "module")
    assert done.returncode == 0, done.stderr
    assert "0.700 J" in done.stdout
    rows = json.loads((tmp_path / "results" / "run" / "table.json").read_text())["rows"]
    assert any(m["metric"] == "energy_module" for m in rows[0]["measurements"])
    done = edgebench("energy", "latest", tmp_path / "nothing.csv")
    assert done.returncode == 2
    assert "Fix:" in done.stderr
