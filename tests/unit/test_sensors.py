"""Energy meters on synthetic trees: the right rails, the right units, and never a number that is not true."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench import ensemble
from edgebench.devices import sensors
from edgebench.devices.sensors import ina3221, nvml, rapl, raspberry_pi
from edgebench.devices.sensors.meter_csv import MeterCsv
from edgebench.errors import DataError

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards
import more_boards

RAIL = Path("sys/bus/i2c/devices/1-0040/hwmon/hwmon3")


def total(root: Path) -> sensors.Sensor:
    return next(s for s in sensors.find(root) if s.scope != "rail")


@pytest.mark.parametrize(
    ("board", "name", "scope", "watts"),
    [
        (boards.orin_nano, "ina3221 VDD_IN", "module", 4.912 * 1.104),
        (boards.agx_orin, "ina3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", "module", 4.0 + 2.0 + 4.0),
        (boards.nano, "ina3221 POM_5V_IN", "module", 2.540),
        (boards.xavier_nx, "ina3221 VDD_IN", "module", 3.620),
        (boards.agx_thor, "ina238 VIN", "carrier", 31.5),
    ],
)
def test_the_total_of_each_jetson(
    board: Callable[[Path], Path], name: str, scope: str, watts: float, tmp_path: Path
) -> None:
    found = sensors.find(board(tmp_path))
    first = found[0]
    assert (first.name, first.scope, first.kind) == (name, scope, "power")
    assert first.read() == pytest.approx(watts)
    assert sum(s.scope != "rail" for s in found) == 1, "rails that contain one another are not added up"


def test_agx_xavier_is_the_sum_of_its_six_rails(tmp_path: Path) -> None:
    boards.hwmon_ina3221(tmp_path, "1-0040", {"GPU": (19000, 100), "CPU": (19000, 50), "SOC": (19000, 60)})
    boards.hwmon_ina3221(tmp_path, "1-0041", {"CV": (19000, 0), "VDDRQ": (19000, 20), "SYS5V": (5000, 300)})
    assert total(tmp_path).read() == pytest.approx(19.0 * 0.230 + 5.0 * 0.3)


def test_every_rail_is_published_beside_the_total(tmp_path: Path) -> None:
    names = [s.name for s in sensors.find(boards.agx_orin(tmp_path)) if s.scope == "rail"]
    assert names == [f"ina3221 {n}" for n in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")]


def test_the_rail_that_is_the_total_is_published_once(tmp_path: Path) -> None:
    names = [s.name for s in sensors.find(boards.orin_nano(tmp_path))]
    assert names == [f"ina3221 {n}" for n in ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")]


def test_rails_that_are_not_known_to_add_up_have_no_total(tmp_path: Path) -> None:
    boards.hwmon_ina3221(tmp_path, "1-0040", {"VDD_MYSTERY": (5000, 100), "VDD_GPU_SOC": (5000, 100)})
    assert [s.scope for s in sensors.find(tmp_path)] == ["rail", "rail"]


def test_the_period_is_the_monitors_own(tmp_path: Path) -> None:
    assert total(boards.orin_nano(tmp_path)).period == pytest.approx(0.002)


@pytest.mark.parametrize("content", ["-256", "garbage", "", "99999999", "1e3"])
@pytest.mark.parametrize("file", ["in1_input", "curr1_input"])
def test_a_rail_that_says_nonsense_says_nothing(content: str, file: str, tmp_path: Path) -> None:
    sensor = total(boards.orin_nano(tmp_path))
    (tmp_path / RAIL / file).write_text(content)
    assert sensor.read() is None
    assert not [s for s in sensors.find(tmp_path) if s.scope == "module"]


def test_a_rail_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    sensor = total(boards.orin_nano(tmp_path))
    boards.unreadable(tmp_path, f"{RAIL}/in1_input")
    assert sensor.read() is None


def test_a_supply_that_gives_nothing_is_not_believed_but_an_idle_rail_is(tmp_path: Path) -> None:
    found = {s.name: s for s in sensors.find(boards.orin_nano(tmp_path))}
    for n in (1, 2):
        (tmp_path / RAIL / f"curr{n}_input").write_text("0")
    assert found["ina3221 VDD_IN"].read() is None
    assert found["ina3221 VDD_CPU_GPU_CV"].read() == 0.0


def test_a_sum_with_an_unreadable_part_is_no_sum(tmp_path: Path) -> None:
    sensor = total(boards.agx_orin(tmp_path))
    boards.unreadable(tmp_path, "sys/bus/i2c/devices/1-0040/hwmon/hwmon4/curr2_input")
    assert sensor.read() is None


def energy_file(root: Path, zone: str = "intel-rapl:0") -> Path:
    return root / f"sys/class/powercap/{zone}/energy_uj"


def test_rapl_counts_both_packages_and_neither_their_parts_nor_a_package_twice(tmp_path: Path) -> None:
    sensor = total(boards.xeon(tmp_path))
    assert (sensor.name, sensor.scope, sensor.kind) == ("rapl package-0+package-1", "package", "counter")
    before = sensor.read()
    energy_file(tmp_path).write_text("3000000\n")
    energy_file(tmp_path, "intel-rapl:1").write_text("2500000\n")
    energy_file(tmp_path, "intel-rapl:0:0").write_text("900000000\n")
    after = sensor.read()
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(2.0 + 0.5)


def test_rapl_goes_on_counting_when_the_counter_wraps(tmp_path: Path) -> None:
    sensor = rapl.find(boards.xeon(tmp_path))[0]
    energy_file(tmp_path).write_text("262143328000\n")
    before = sensor.read()
    energy_file(tmp_path).write_text("149150\n")
    after = sensor.read()
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(0.15)


def test_rapl_is_silent_about_counters_that_stand_at_zero_or_cannot_be_read(tmp_path: Path) -> None:
    sensor = rapl.find(boards.xeon(tmp_path))[0]
    assert sensor.read() == 0.0
    energy_file(tmp_path).write_text("0\n")
    assert sensor.read() is None
    boards.unreadable(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj")
    assert sensor.read() is None
    assert sensors.find(tmp_path) == ()


def test_rapl_does_not_guess_at_a_counter_that_fell_without_a_known_range(tmp_path: Path) -> None:
    boards.xeon(tmp_path)
    (tmp_path / "sys/class/powercap/intel-rapl:0/max_energy_range_uj").unlink()
    sensor = rapl.find(tmp_path)[0]
    sensor.read()
    energy_file(tmp_path).write_text("5\n")
    assert sensor.read() is None


def test_pi5_adds_up_what_has_both_a_voltage_and_a_current(tmp_path: Path) -> None:
    sensor = total(boards.pi5(tmp_path))
    assert (sensor.scope, sensor.kind) == ("soc", "power")
    wanted = 0.09759316 * 3.71935200 + 0.04879658 * 3.31087800 + 0.75196 * 0.7201099
    assert sensor.read() == pytest.approx(wanted)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "error=1 error_msg=Command not registered",
        "VDD_CORE_V volt(15)=0.72V",
        "VDD_CORE_A current(7)=0.75A",
        "VDD_CORE_A current(7)=x.yA\nVDD_CORE_V volt(15)=0.72V",
        "VDD_CORE_A current(7)=0.0A\nVDD_CORE_V volt(15)=0.72V",
        "VDD_CORE_A current(7)=nanA\nVDD_CORE_V volt(15)=0.72V",
    ],
)
def test_a_pi_without_whole_rails_has_no_meter(output: str, tmp_path: Path) -> None:
    assert raspberry_pi.watts(output) is None
    assert sensors.find(boards.pi5(tmp_path, pmic=output)) == ()


def test_a_broken_vcgencmd_is_no_meter(tmp_path: Path) -> None:
    boards.pi5(tmp_path)
    (tmp_path / "usr/bin/vcgencmd").write_text("#!/bin/sh\nexit 255\n")
    assert sensors.find(tmp_path) == ()
    (tmp_path / "usr/bin/vcgencmd").chmod(0o644)
    assert sensors.find(tmp_path) == ()


class FakeNvml:
    """An NVML with two boards, of which the second has no counter."""

    def __init__(self, init: int = 0) -> None:
        self.init = init
        self.millijoules = 5000

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self.init

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:  # noqa: N802
        device._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, energy: Any) -> int:  # noqa: N802
        energy._obj.value = self.millijoules
        return 0 if device.value == 1 else 3


def test_nvml_counts_joules_of_the_boards_that_have_the_counter() -> None:
    library = FakeNvml()
    (sensor,) = nvml.find(library=library)
    assert (sensor.name, sensor.scope, sensor.read()) == ("nvml GPU 0", "gpu", 5.0)
    library.millijoules = 7500
    assert sensor.read() == 7.5
    library.millijoules = 0
    assert sensor.read() is None


def test_a_machine_without_nvml_or_with_a_broken_one_has_no_such_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nvml.find(library=FakeNvml(init=9)) == ()
    assert nvml.find(library=object()) == ()
    assert nvml.find(tmp_path) == ()
    monkeypatch.setattr(nvml, "LIBRARY", "libno-such-library.so.1")
    assert nvml.find() == ()


def test_a_profile_narrows_the_meters(tmp_path: Path) -> None:
    boards.xeon(boards.orin_nano(tmp_path))
    assert {s.kind for s in sensors.find(tmp_path)} == {"counter", "power"}
    assert {s.kind for s in sensors.find(tmp_path, names=("ina3221",))} == {"power"}


def test_an_empty_machine_has_no_meter(tmp_path: Path) -> None:
    assert sensors.find(tmp_path) == ()


@settings(deadline=None)  # other work on the machine is no failure
@given(st.binary(max_size=20), st.binary(max_size=20))
def test_no_content_makes_a_reader_raise(tmp_path_factory: pytest.TempPathFactory, a: bytes, b: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "orin and xeon"
    if not root.exists():
        boards.xeon(boards.orin_nano(root))
    (root / RAIL / "in1_input").write_bytes(a)
    energy_file(root).write_bytes(b)
    for sensor in (*ina3221.find(root), *rapl.find(root)):
        value = sensor.read()
        assert value is None or 0 <= value < 1e9


def test_the_energy_of_a_window() -> None:
    assert sensors.joules("counter", [(0.0, 5.0), (10.0, 55.0)]) == 50.0
    assert sensors.joules("power", [(0.0, 2.0), (1.0, 4.0), (3.0, 4.0)]) == pytest.approx(3.0 + 8.0)


@pytest.mark.parametrize("kind", ["counter", "power"])
@pytest.mark.parametrize(
    "readings",
    [[], [(0.0, 1.0)], [(0.0, 1.0), (1.0, None), (2.0, 3.0)], [(0.0, 7.0), (1.0, 7.0), (2.0, 7.0)]],
)
def test_a_window_with_a_hole_or_a_meter_that_stands_still_has_no_energy(
    kind: sensors.Kind, readings: list[tuple[float, float | None]]
) -> None:
    assert sensors.joules(kind, readings) is None


def test_a_counter_that_fell_has_no_energy() -> None:
    assert sensors.joules("counter", [(0.0, 1.0), (1.0, 0.5), (2.0, 3.0)]) is None


def log(path: Path, text: str) -> MeterCsv:
    path.write_text(text)
    return MeterCsv(path)


def test_a_meters_log_is_cut_by_the_window(tmp_path: Path) -> None:
    rows = "\n".join(f"{1000 + t},{10 + t}" for t in range(11))
    meter = log(tmp_path / "m.csv", "time,watts,note\n" + rows + "\n\n")
    assert (meter.scope, meter.period) == ("wall", 1.0)
    assert meter.joules(1000, 1010) == pytest.approx(150.0)
    assert meter.joules(1002.5, 1003.5) == pytest.approx(13.0)
    assert meter.joules(1002.25, 1002.75) == pytest.approx(12.5 * 0.5)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_the_unit_of_the_time_is_told_by_its_size(unit: int, tmp_path: Path) -> None:
    begin = 1_795_493_593
    meter = log(tmp_path / "m.csv", "\n".join(f"{(begin + t) * unit},{10 + t}" for t in range(11)))
    assert meter.period == pytest.approx(1.0)
    assert meter.joules(begin, begin + 10) == pytest.approx(150.0)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.floats(0, 99), st.floats(0.1, 99), st.floats(0.1, 0.9))
def test_a_window_is_the_sum_of_its_parts(
    tmp_path_factory: pytest.TempPathFactory, start: float, length: float, part: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "whole.csv"
    if not path.exists():
        path.write_text("\n".join(f"{t / 2},{(t * 37) % 11}" for t in range(401)))
    meter = MeterCsv(path)
    middle, end = start + part * length, start + length
    assert meter.joules(start, middle) + meter.joules(middle, end) == pytest.approx(meter.joules(start, end))


@pytest.mark.parametrize("window", [(999.9, 1005), (1005, 1010.1), (0, 1), (2000, 2001)])
def test_a_window_that_is_not_covered_is_refused(window: tuple[float, float], tmp_path: Path) -> None:
    meter = log(tmp_path / "m.csv", "\n".join(f"{1000 + t},5" for t in range(11)))
    with pytest.raises(DataError, match="not the whole window"):
        meter.joules(*window)


def test_a_window_with_a_hole_is_refused_and_one_beside_it_is_not(tmp_path: Path) -> None:
    meter = log(tmp_path / "m.csv", "\n".join(f"{1000 + t},5" for t in range(40) if not 10 < t < 20))
    with pytest.raises(DataError, match=r"hole of 10\.0 s"):
        meter.joules(1005, 1015)
    assert meter.joules(1001, 1009) == pytest.approx(40.0)
    assert meter.joules(1021, 1029) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "fewer than two"),
        ("time,watts\n1000,5\n", "fewer than two"),
        ("1000,5\n1001,x\n", "Row 2"),
        ("1000,5\n1001\n", "Row 2"),
        ("1000,5\n1000,6\n", "not later"),
        ("1000,5\n1001,nan\n", "Row 2"),
        ("\xff\x00", "no CSV text|fewer than two"),
    ],
)
def test_a_log_that_is_none_is_refused_with_its_row(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=said):
        MeterCsv(path)


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        MeterCsv(tmp_path / "none.csv")


TOTALS: dict[str, tuple[str, str, float] | None] = {
    "nano": ("ina3221 POM_5V_IN", "module", 2.540),
    "tx2": ("ina3221 VDD_IN", "module", 2.934),
    "agx_xavier": ("ina3221 GPU + CPU + SOC + CV + VDDRQ + SYS5V", "module", 19.0 * 0.230 + 5.0 * 0.3),
    "xavier_nx": ("ina3221 VDD_IN", "module", 3.620),
    "orin_nano": ("ina3221 VDD_IN", "module", 4.912 * 1.104),
    "agx_orin": ("ina3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", "module", 10.0),
    "agx_thor": ("ina238 VIN", "carrier", 31.5),
    "pi4": None,
    "pi5": ("raspberry-pi pmic", "soc", 0.09759316 * 3.719352 + 0.04879658 * 3.310878 + 0.75196 * 0.7201099),
    "rk3588": None,
    "meteor_lake": ("rapl package-0", "package", 0.0),
    "phone": None,
    "xeon": ("rapl package-0+package-1", "package", 0.0),
}
"""The meter of all of a board, its scope, and its watts (a counter begins at no joules); None where there is no meter."""


@pytest.mark.parametrize("name", sorted(more_boards.BOARDS))
def test_the_total_of_every_board(name: str, tmp_path: Path) -> None:
    expected = TOTALS[name]
    found = [s for s in sensors.find(more_boards.BOARDS[name](tmp_path)) if s.scope != "rail"]
    if expected is None:
        assert found == [], "no meter, no number"
    else:
        (meter,) = found
        assert (meter.name, meter.scope) == expected[:2]
        assert meter.read() == pytest.approx(expected[2])


@pytest.mark.parametrize("name", sorted(more_boards.BOARDS))
@pytest.mark.parametrize("answer", ["-256", "", "garbage", "9" * 30])
def test_no_meter_of_any_board_raises_or_lies(name: str, answer: str, tmp_path: Path) -> None:
    root = more_boards.BOARDS[name](tmp_path)
    meters = sensors.find(root)
    power = ("_input", "energy_uj")
    for path in [p for p in root.rglob("*") if p.is_file() and (p.name.endswith(power) or "in_power" in p.name)]:
        path.write_text(f"{answer}\n")
    by_file = [meter for meter in meters if not isinstance(meter, raspberry_pi.Pmic)]
    assert [meter.read() for meter in by_file] == [None] * len(by_file)
    assert all(isinstance(s, raspberry_pi.Pmic) for s in sensors.find(root))


def test_a_sensor_that_a_profile_asks_for_and_the_machine_lacks_is_named(tmp_path: Path) -> None:
    assert sensors.missing(("ina3221", "raspberry-pi"), boards.orin_nano(tmp_path)) == ["raspberry-pi"]
    assert sensors.missing((), tmp_path) == []


def test_a_run_warns_of_the_sensor_that_was_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "find", lambda *_: ())
    assert ensemble._meterless(("ina3221",)) == [
        "The sensor ina3221, which the device's profile asks for, was not found."
    ]
