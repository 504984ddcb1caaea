"""Evidence per sample and per slice: what the kernel says of the disturbance."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from edgebench.devices.evidence import Canaries, SampleEvidence, SliceEvidence

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards

needs_schedstat = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this kernel has no /proc/<pid>/schedstat"
)


def waited() -> int:
    """run_delay of all threads of this process, by the plain way."""
    return sum(int(p.read_text().split()[1]) for p in Path("/proc/self/task").glob("*/schedstat"))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@needs_schedstat
def test_a_read_is_three_totals_that_never_fall() -> None:
    evidence = SampleEvidence()
    assert evidence.sees_delay
    before = evidence.read()
    assert before[0] >= 0
    sum(range(300_000))
    after = evidence.read()
    assert len(after) == 3
    assert all(b >= a for a, b in zip(before, after, strict=True))
    evidence.close()


@needs_schedstat
def test_being_made_to_wait_is_seen() -> None:
    """Two busy processes on one CPU: each waits while the other runs."""
    allowed = os.sched_getaffinity(0)
    one = {min(allowed)}
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, one)
        while True:
            pass
    try:
        os.sched_setaffinity(0, one)
        evidence, outer = SampleEvidence(), waited()
        before = evidence.read()
        inner = waited()
        n = 0
        while evidence.read()[1] - before[1] < 3 and n < 3_000_000:
            n += 1
        least = waited() - inner
        after = evidence.read()
        most = waited() - outer  # it may be made to wait between two looks too
        delay, switches, _ = (b - a for a, b in zip(before, after, strict=True))
        fresh = SampleEvidence().read()[0]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.sched_setaffinity(0, allowed)
    assert switches >= 3
    assert delay > 1_000_000, "three times a scheduler's slice, in nanoseconds"
    assert least * 0.8 <= delay <= most * 1.2
    assert fresh < delay, "what was waited before a thread was followed is not counted"


@needs_schedstat
def test_threads_come_and_go_without_a_fall_or_a_leak() -> None:
    evidence = SampleEvidence()
    totals, files, threads = [evidence.read()[0]], open_files(), len(os.listdir("/proc/self/task"))
    for _ in range(3):
        stop = threading.Event()
        workers = [threading.Thread(target=stop.wait) for _ in range(4)]
        for worker in workers:
            worker.start()
        evidence.refresh()
        totals.append(evidence.read()[0])
        assert open_files() >= files + 4
        stop.set()
        for worker in workers:
            worker.join()
        for _ in range(500):  # joined, but not yet out of the kernel
            if len(os.listdir("/proc/self/task")) <= threads:
                break
            time.sleep(0.01)
        totals.append(evidence.read()[0])
    assert totals == sorted(totals)
    assert open_files() == files
    evidence.close()


@needs_schedstat
def test_close_gives_every_file_back() -> None:
    files = open_files()
    evidence = SampleEvidence()
    assert open_files() > files
    evidence.close()
    assert open_files() == files


def test_a_kernel_without_schedstat_is_not_taken_for_a_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", refuse)
    evidence = SampleEvidence()
    assert not evidence.sees_delay
    assert evidence.read()[0] == 0


def test_a_slice_on_this_machine() -> None:
    evidence = SliceEvidence()
    before = evidence.snapshot()
    sum(range(100_000))
    found = evidence.difference(before, evidence.snapshot())
    assert set(found) == {"steal_s", "others_s", "pressure_us", "khz", "celsius", "throttle"}
    assert found["others_s"] is None or found["others_s"] >= 0


def test_the_canaries_do_some_work_and_not_much() -> None:
    canaries = Canaries()
    sung = [canaries.sing(time.perf_counter_ns) for _ in range(20)]
    assert min(s["hash_ns"] for s in sung) > 10_000
    assert 100_000 < min(s["copy_ns"] for s in sung) < 50_000_000


def stat(root: Path, busy: int, steal: int, pressure: int) -> None:
    """/proc/stat in ticks and /proc/pressure/cpu in microseconds."""
    boards.put(root, {"proc/stat": f"cpu  {busy} 0 0 999 5 0 0 {steal} 0 0\ncpu0 1 1 1"})
    line = f"some avg10=0.84 avg60=0.42 avg300=0.15 total={pressure}\nfull avg10=0.00 avg60=0 avg300=0 total=7"
    boards.put(root, {"proc/pressure/cpu": line})


def test_a_slice_on_a_jetson_that_ran_into_its_current_limit(tmp_path: Path) -> None:
    evidence = SliceEvidence(boards.orin_nano(tmp_path))
    stat(tmp_path, 1000, 3, 500)
    before = evidence.snapshot()
    stat(tmp_path, 1000 + 7 * os.sysconf("SC_CLK_TCK"), 3 + os.sysconf("SC_CLK_TCK"), 900)
    (tmp_path / "sys/class/hwmon/hwmon2/oc3_event_cnt").write_text("27402\n")
    (tmp_path / "sys/class/thermal/cooling_device0/cur_state").write_text("5\n")
    found = evidence.difference(before, evidence.snapshot())
    assert found["steal_s"] == pytest.approx(1.0)
    assert found["others_s"] == pytest.approx(7.0, abs=0.5)
    assert found["pressure_us"] == 400
    assert found["khz"] == [1_344_000] * 6
    assert found["celsius"] == 52.968
    assert found["throttle"] == {"soctherm_oc3_events": 12}, "a faster fan is no throttling"


def test_a_machine_that_says_nothing_leaves_no_numbers(tmp_path: Path) -> None:
    evidence = SliceEvidence(tmp_path)
    found = evidence.difference(evidence.snapshot(), evidence.snapshot())
    nothing = {"steal_s": None, "others_s": None, "pressure_us": None, "khz": [], "celsius": None, "throttle": {}}
    assert found == nothing
