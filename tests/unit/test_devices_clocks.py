"""Clocks that are locked while we measure, and put back however that ends; on files that really change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgebench.devices import clocks
from edgebench.devices.clocks import Lock
from edgebench.devices.health import Watch
from edgebench.schema import Care

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards

POLICY = "sys/devices/system/cpu/cpufreq/policy0"
GPU = "sys/class/devfreq/17000000.gpu"


def read(root: Path, *names: str) -> list[str]:
    return [(root / name).read_text().strip() for name in names]


LOCKED = (f"{POLICY}/scaling_governor", f"{POLICY}/scaling_min_freq", f"{GPU}/min_freq")
BEFORE, DURING = ["schedutil", "729600", "306000000"], ["performance", "1728000", "1020000000"]


def test_clocks_are_locked_and_put_back(tmp_path: Path) -> None:
    root, state = boards.orin_nano(tmp_path / "board"), tmp_path / "clocks.json"
    lock = Lock(root, state)
    assert read(root, *LOCKED) == BEFORE
    assert lock.take() == ""
    assert read(root, *LOCKED) == DURING
    assert state.exists()
    assert Lock(root, state).take() == "another run on this machine holds them"
    assert not Lock(root, state).mend(), "nor does another run put back what is held"
    assert read(root, *LOCKED) == DURING
    lock.give_back()
    assert read(root, *LOCKED) == BEFORE
    assert not state.exists()


HOLD = """\
import sys, time
from pathlib import Path
from edgebench.devices.clocks import Lock
print(repr(Lock(Path(sys.argv[1]), Path(sys.argv[2])).take()), flush=True)
time.sleep(60)
"""


def held(root: Path, state: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLD, str(root), str(state)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "''\n"
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def until(condition: Any) -> bool:
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_clocks_are_put_back_when_the_campaign_and_its_group_are_killed(tmp_path: Path) -> None:
    root, state = boards.orin_nano(tmp_path / "board"), tmp_path / "clocks.json"
    process = held(root, state)
    assert read(root, *LOCKED) == DURING
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    assert until(lambda: not state.exists()), "the guard lives in a session of its own"
    assert read(root, *LOCKED) == BEFORE


def test_what_even_the_guard_could_not_put_back_the_next_run_does(tmp_path: Path) -> None:
    root, state = boards.orin_nano(tmp_path / "board"), tmp_path / "clocks.json"
    process = held(root, state)
    os.kill(json.loads(state.read_text())["guard"], signal.SIGKILL)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    assert read(root, *LOCKED) == DURING
    watch = Watch(Care(), root, state=state)
    assert read(root, *LOCKED) == BEFORE
    assert watch.warnings == ["The clocks that a killed run had set were put back first."]
    assert not state.exists()


def test_what_was_left_before_a_restart_is_forgotten(tmp_path: Path) -> None:
    root, state = boards.orin_nano(tmp_path / "board"), tmp_path / "clocks.json"
    boards.put(root, {"proc/sys/kernel/random/boot_id": "now"})
    state.write_text(json.dumps({"boot": "before", "files": [[str(root / LOCKED[0]), "x"]], "commands": []}))
    assert not Lock(root, state).mend()
    assert read(root, LOCKED[0]) == ["schedutil"]
    assert not state.exists()


def test_a_clock_that_cannot_be_set_changes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, state = boards.orin_nano(tmp_path / "board"), tmp_path / "clocks.json"
    really = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: GPU not in str(path) and really(path, mode))
    watch = Watch(Care(lock_clocks=True), root, state=state)
    assert "may be written by root only" in watch.facts["clocks"]
    assert watch.warnings[0].startswith("The clocks were to be locked and are not: ")
    assert read(root, *LOCKED) == BEFORE
    watch.close()


def test_a_failure_half_way_puts_back_what_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, state = boards.orin_nano(tmp_path / "board"), tmp_path / "clocks.json"
    really = Path.write_text

    def write(path: Path, text: str) -> int:
        if GPU in str(path):
            raise OSError(22, "Invalid argument")
        return really(path, text)

    monkeypatch.setattr(Path, "write_text", write)
    assert "Invalid argument" in Lock(root, state).take()
    assert read(root, *LOCKED) == BEFORE


def test_a_machine_without_clocks_to_set_says_so(tmp_path: Path) -> None:
    assert Lock(tmp_path, tmp_path / "s").take() == "this system lets nobody set them"
    assert clocks.locked(tmp_path) is None


JETSON_CLOCKS = """\
#!/bin/sh
cd "$(dirname "$0")"
case "$1" in
--store) cp now "$2" ;;
--restore) cp "$2" now ;;
*) echo highest > now ;;
esac
"""


def test_a_jetson_is_locked_by_its_own_program(tmp_path: Path) -> None:
    """A stand-in for jetson_clocks with its three commands, which changes a file."""
    root = boards.orin_nano(tmp_path / "board")
    boards.put(root, {"usr/bin/now": "usual"})
    tool = root / clocks.JETSON_CLOCKS
    tool.write_text(JETSON_CLOCKS)
    tool.chmod(0o755)
    lock = Lock(root, tmp_path / "clocks.json")
    assert lock.take() == ""
    assert read(root, "usr/bin/now") == ["highest"]
    lock.give_back()
    assert read(root, "usr/bin/now") == ["usual"]
    tool.write_text("#!/bin/sh\necho 'Error: must be root.' >&2\nexit 1\n")
    assert lock.take() == "jetson_clocks refused: Error: must be root"


def test_locked_means_no_room_for_any_clock(tmp_path: Path) -> None:
    root = boards.orin_nano(tmp_path)
    assert clocks.locked(root) is False
    for cpu in range(6):
        boards.put(root, {f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_min_freq": "1728000"})
    assert clocks.locked(root) is False, "the graphics clock still moves"
    boards.put(root, {f"{GPU}/min_freq": "1020000000"})
    assert clocks.locked(root) is True
