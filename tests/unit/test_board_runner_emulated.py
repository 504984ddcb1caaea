"""What an emulator ran is no figure of speed, memory or energy, whoever prints it."""

from __future__ import annotations

import dataclasses

import pytest

from edgebench.codec import Options
from edgebench.devices import emulation
from edgebench.devices.runner import hello
from edgebench.report import columns, spread, table
from edgebench.schema import Cell, DeviceProfile, Interval, Measurement, Result, Run

CELL = Cell(model="net", recipe="as given", backend="fake", device="emulated")
BOUNDS = Interval(low=0.9, high=1.1)


def measured(metric: str, unit: str, phase: str) -> Measurement:
    return Measurement(
        metric=metric, unit=unit, phase=phase, source="test", value=1.0, samples=(1.0,), n=1, interval=BOUNDS
    )


FOUND = (
    measured("latency", "s", "steady"),
    measured("energy_module", "J", "load, scope module"),
    measured("memory_peak", "B", "load and run"),
    measured("load", "s", "load"),
    measured("invented_by_a_plug_in", "s", "anything"),
    measured("accuracy", "1", "accuracy"),
    measured("size", "B", "artifact"),
)


def result(emulator: str) -> Result:
    noise = Options(state="valid", all_median=0.5, clean_share=1.0)
    effective = Options(layers=[{"time": 1}], repeating={"value": 2.0, "low": 2.0}, version="1")
    environment = Options(emulated=emulator)
    return Result(cell=CELL, status="ok", measurements=FOUND, noise=noise, effective=effective, environment=environment)


def test_only_what_the_network_decides_keeps_its_figure() -> None:
    found = emulation.withhold(result("qemu-aarch64-static"))
    assert {m.metric for m in found.measurements if m.value is not None} == {"accuracy", "size"}
    for m in found.measurements:
        assert m.value is not None or (m.samples == () and m.interval is None and "qemu" in m.note)
    assert found.noise["state"] == "emulated"
    assert found.noise["all_median"] is None
    assert dict(found.effective) == {"version": "1"}
    assert emulation.withhold(found) == found


def test_a_meter_that_is_not_there_is_told_of_an_emulated_board_too() -> None:
    no_meter = Measurement(metric="energy", unit="J", phase="load", source="no meter", note="no meter was found")
    asked = dataclasses.replace(result("qemu-aarch64-static"), measurements=(*FOUND, no_meter))
    found = emulation.withhold(asked)
    shown = {column.key: column.make(found) for column in columns.choose([found])}
    assert shown["energy"].notes == ("no meter was found",)


def test_a_real_processor_keeps_them_all() -> None:
    for name in ("", None):
        real = dataclasses.replace(result(""), environment=Options(emulated=name))
        assert emulation.withhold(real) is real
    assert emulation.withhold(dataclasses.replace(real, environment=Options())).measurements == FOUND


def test_the_table_says_why_there_is_no_figure() -> None:
    found = emulation.withhold(result("qemu-aarch64-static"))
    shown = {column.key: column.make(found) for column in columns.choose([found])}
    assert shown["latency"].text == "withheld"
    assert shown["status"].text == "emulated"
    assert "stood in for the processor" in shown["status"].notes[0]
    for key in ("memory_peak", "load", "energy_module", "invented_by_a_plug_in"):
        assert shown[key].value is None


@pytest.mark.parametrize(("emulator", "drawn"), [("qemu-aarch64-static", False), ("", True)])
def test_no_curve_of_its_calls_is_drawn(emulator: str, drawn: bool) -> None:
    record = {"cell": CELL.id, "generation": 1, "slices": [{"wall_ns": [10**6] * 30, "drop": 2}]}
    run = Run(id="r", started="s", versions=Options(), plan=Options(), device=DeviceProfile(name="d"), host=Options())
    found = emulation.withhold(result(emulator))
    source = table.Source(run=run, results=(found,), spreads=spread.spreads([record]))
    assert source.spreads
    (row,) = table.build_all([source]).rows
    assert (row.spread is not None) is drawn


def test_this_processor_is_a_real_one() -> None:
    assert hello.emulator() == ""
