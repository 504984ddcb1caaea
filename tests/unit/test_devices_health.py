"""How a board fares: health before and after, and cooling down."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.devices import android, files, health, heat
from edgebench.devices.health import Watch, changes, snapshot
from edgebench.schema import Care

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards
import more_boards


def test_a_look_at_an_orin_nano(tmp_path: Path) -> None:
    found = snapshot(boards.orin_nano(tmp_path))
    assert found == {
        "temperatures": {"cpu-thermal": 51.25, "tj-thermal": 52.968},
        "khz": [1_344_000] * 6,
        "throttle": {"soctherm_oc1_events": 0, "soctherm_oc3_events": 27390, "cooling_device1 cpufreq-cpu0": 0},
        "power_mode": "MAXN_SUPER (2)",
        "clocks_locked": False,
        "gpu": {"khz": 624_750, "load": 0.421},
    }


def test_a_look_at_an_npu_and_at_a_phone(tmp_path: Path) -> None:
    laptop = snapshot(more_boards.meteor_lake(tmp_path / "laptop"))
    assert laptop["npu"] == {"busy_s": 1.5, "khz": 1_400_000, "memory": 4096}
    assert laptop["temperatures"] == {"x86_pkg_temp": 52.0}, "a zone that says 0 is none"
    phone = snapshot(more_boards.phone(tmp_path / "phone"))
    expected = {"thermal_status": 0, "battery_celsius": 31.2, "battery_level": 0.84, "plugged": True}
    assert phone["android"] == expected


def test_constants_and_unwired_zones_are_no_temperatures(tmp_path: Path) -> None:
    assert snapshot(more_boards.tx2(tmp_path / "tx2"))["temperatures"] == {
        "BCPU-therm": 34.5, "GPU-therm": 32.0, "thermal-fan-est": 33.6,
    }  # fmt: skip
    assert set(snapshot(more_boards.agx_xavier(tmp_path / "x"))["temperatures"]) == {"CPU-therm", "AO-therm"}


@pytest.mark.parametrize("name", sorted(more_boards.BOARDS))
@pytest.mark.parametrize("answer", ["EAGAIN", "-256", "-256000", "", "garbage", "9" * 30])
def test_no_sensor_of_any_board_raises_or_lies(
    name: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number that a board gives is replaced by what broken sensors say: then nothing is known of it."""
    root = more_boards.BOARDS[name](tmp_path / "board")
    for path in [p for p in root.rglob("*") if p.is_file() and files.integer(p) is not None]:
        path.write_text("EAGAIN" if answer == "EAGAIN" else f"{answer}\n")
    if answer == "EAGAIN":
        monkeypatch.setattr(files, "text", lambda path: None if (t := _text(path)) == "EAGAIN" else t)
    found = snapshot(root)
    assert all(-40 <= celsius <= 150 for celsius in found.get("temperatures", {}).values())
    assert not found.get("temperatures"), "none of these is a temperature"
    assert 0 <= found.get("gpu", {}).get("load", 0) <= 1
    assert "load" not in found.get("gpu", {})
    told = found.get("throttle", {})
    assert not heat.throttled(told, told), "a broken sensor is no throttling"
    if answer != "9" * 30:  # a count may stand anywhere; a state and a bit may not
        assert not told, "unreadable is no 0: it would look like health"
    assert list(changes(found, found)) == []


_text = files.text


def test_a_read_that_answers_eagain_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real descriptor that answers EAGAIN, where a regular file cannot: an empty pipe that does not block."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(Path, "open", lambda self, mode, buffering=-1: os.fdopen(reading, mode, buffering))
    assert files.text(Path("temp")) is None
    os.close(writing)


def test_a_count_of_which_a_part_is_unreadable_for_a_moment_is_no_throttling(tmp_path: Path) -> None:
    parts = [tmp_path / "cpu0", tmp_path / "cpu1"]
    parts[1].write_text("1000\n")
    assert heat.throttle({"core_throttle_count": parts}) == {}
    parts[0].write_text("5\n")
    assert heat.throttle({"core_throttle_count": parts}) == {"core_throttle_count": 1005}


def test_a_state_beyond_its_own_most_is_none(tmp_path: Path) -> None:
    device = tmp_path / "sys/class/thermal/cooling_device0"
    boards.put(device, {"type": "cpufreq-cpu0", "max_state": "10", "cur_state": "3"})
    sources = heat.throttle_files(tmp_path)
    assert heat.throttle(sources) == {"cooling_device0 cpufreq-cpu0": 3}
    boards.put(device, {"cur_state": "11"})
    assert heat.throttle(sources) == {}


def test_throttle_bits_of_a_pi_without_a_file_come_from_its_program(tmp_path: Path) -> None:
    root = more_boards.pi4(tmp_path)
    (root / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    assert heat.firmware_throttle(root) == {}, "unreadable is no 0"
    more_boards.program(root, "usr/bin/vcgencmd", {"get_throttled": "throttled=0x50005"})
    assert heat.firmware_throttle(root) == {"get_throttled": 0x50005}
    assert snapshot(root)["throttle"]["get_throttled"] == 0x50005
    more_boards.program(root, "usr/bin/vcgencmd", {"get_throttled": "VCHI initialization failed"})
    assert heat.firmware_throttle(root) == {}


def test_what_changed_between_two_looks_is_said() -> None:
    before = {"temperatures": {"a": 40.0}, "throttle": {"oc3_events": 5}, "power_mode": "15W (0)"}
    after = {
        "temperatures": {"a": 55.0},
        "throttle": {"oc3_events": 9},
        "power_mode": "MAXN (2)",
        "gpu_users": [{"pid": 7, "name": "Xorg"}],
        "android": {"thermal_status": 2},
    }
    assert changes(before, after) == (
        "The hardware was slowed down while it was measured: oc3_events 4.",
        "The power mode changed from 15W (0) to MAXN (2).",
        "The hottest thermometer rose from 40 to 55 °C: earlier cells ran cooler.",
        "Other programs had the GPU or an accelerator open: Xorg (7).",
        "Android reported the thermal status moderate.",
    )
    assert changes(before, before) == ()
    assert changes({}, {}) == ()


def test_other_programs_on_the_gpu_are_found_and_our_own_are_not(tmp_path: Path) -> None:
    def process(pid: int, parent: int, name: str, *open_files: str) -> None:
        boards.put(tmp_path, {f"proc/{pid}/comm": name, f"proc/{pid}/status": f"Name:\t{name}\nPPid:\t{parent}"})
        (tmp_path / f"proc/{pid}/fd").mkdir()
        for n, target in enumerate(open_files):
            (tmp_path / f"proc/{pid}/fd/{n}").symlink_to(target)

    process(100_001, 1, "Xorg", "/dev/null", "/dev/dri/renderD128")
    process(100_002, 1, "bash", "/dev/tty")
    process(100_003, 1, "jupyter", "/dev/nvhost-gpu")
    process(os.getpid(), 1, "campaign")
    process(100_004, os.getpid(), "nursery")
    process(100_005, 100_004, "worker", "/dev/nvidia0", "/dev/accel/accel0")
    found = health.gpu_users(tmp_path)
    assert found == [{"pid": 100_001, "name": "Xorg"}, {"pid": 100_003, "name": "jupyter"}]


class Heater:
    """A board that cools by one degree a look, and a clock that its pauses move."""

    def __init__(self, root: Path, celsius: int) -> None:
        self.now, self.celsius, self.root = 100.0, celsius, root
        self._write()

    def _write(self) -> None:
        more_boards.zones(self.root, {"cpu-thermal": str(self.celsius * 1000), "PMIC-Die": "100000"})

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.celsius -= 1
        self._write()

    def watch(self, **care: Any) -> Watch:
        return Watch(Care(**care), self.root, pause=self.pause, clock=lambda: self.now, state=self.root / "state")


def test_a_board_is_cooled_to_its_temperature(tmp_path: Path) -> None:
    watch = Heater(tmp_path, 60).watch(cool_to=45.0)
    watch.cool()
    assert watch.facts["cooled"] == {"times": 1, "from": 60.0, "to": 45.0, "seconds": 15.0}
    watch.cool()
    assert watch.facts["cooled"] == {"times": 2, "from": 60.0, "to": 45.0, "seconds": 15.0}
    assert watch.warnings == []


def test_a_board_that_does_not_cool_is_measured_all_the_same_and_that_is_said(tmp_path: Path) -> None:
    heater = Heater(tmp_path, 60)
    watch = heater.watch(cool_to=45.0, cool_seconds=5.0)
    watch.cool()
    assert watch.facts["cooled"] == {"times": 1, "from": 60.0, "to": 55.0, "seconds": 5.0}
    assert watch.warnings == ["The device was to cool to 45 °C and was at 55 °C after 5 s."]
    heater.celsius = 58
    heater._write()
    watch.cool()
    assert watch.facts["cooled"]["seconds"] == 8.0, "no more is waited for than was reached before"
    assert len(watch.warnings) == 1


def test_cooling_without_a_thermometer_or_unasked_waits_for_nothing(tmp_path: Path) -> None:
    def never(seconds: float) -> None:
        raise AssertionError("waited")

    silent = Watch(Care(cool_to=45.0), tmp_path, pause=never, clock=lambda: 0.0, state=tmp_path / "s")
    silent.cool()
    silent.cool()
    assert silent.warnings == ["A temperature to cool down to was set, and this device has no thermometer."]
    unasked = Watch(Care(), boards.orin_nano(tmp_path / "o"), pause=never, clock=lambda: 0.0, state=tmp_path / "s")
    unasked.cool()
    assert "cooled" not in unasked.facts


def test_a_phone_cools_by_its_battery(tmp_path: Path) -> None:
    root = more_boards.phone(tmp_path / "phone")
    times = iter(range(100))
    care = Care(cool_to=30.0, cool_seconds=3.0)
    watch = Watch(care, root, pause=lambda s: None, clock=lambda: float(next(times)), state=tmp_path / "s")
    watch.cool()
    assert watch.facts["cooled"]["from"] == watch.facts["cooled"]["to"] == 31.2
    assert watch.warnings == ["The device was to cool to 30 °C and was at 31 °C after 3 s."]


def test_android_texts() -> None:
    assert android.thermal("Thermal Status: 3\n") == {"thermal_status": 3}
    assert android.thermal("Thermal Status: 9\n") == {}
    assert android.battery("  temperature: 0\n  level: 50\n") == {}, "no scale, and a sensor that says 0"
    assert android.battery("  level: 50\n  scale: 200\n  AC powered: true\n") == {
        "battery_level": 0.25,
        "plugged": True,
    }


@given(st.text())
def test_no_text_of_an_android_service_raises(text: str) -> None:
    android.thermal(text)
    android.battery(text)
    android.properties(text)
