"""Isolation rungs: which are offered, that they isolate, and that nothing of ours stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgebench.devices import cgroups, isolation
from edgebench.devices.isolation import Autogroup, Rung, WeightGroup

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards

SPIN = "import os\nos.sched_setaffinity(0, {%d})\nprint(flush=True)\nwhile True: pass"
OFFERED = isolation.available()


def ours() -> list[Path]:
    """Groups of this process in the real hierarchies."""
    mounts = [g.mount for g in cgroups.groups() if "cpu" in g.controllers]
    return [p for mount in mounts for p in mount.glob(f"{isolation.PREFIX}{os.getpid()}")]


@pytest.fixture
def spinners() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three processes, each in its own session, that fight for one CPU."""
    code = SPIN % min(os.sched_getaffinity(0))
    found = [
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE) for _ in range(3)
    ]
    try:
        for process in found:
            assert process.stdout is not None
            process.stdout.readline()
        yield found
    finally:
        for process in found:
            process.kill()
            process.communicate()


def share_of_first(spinners: list[subprocess.Popen[bytes]]) -> float:
    """Of the CPU time that the three got, taken until it is enough to tell: others may be at work here too."""

    def ran() -> list[int]:
        return [int(Path(f"/proc/{p.pid}/schedstat").read_text().split()[0]) for p in spinners]

    before = took = ran()
    for _ in range(50):
        time.sleep(0.1)
        took = [b - a for a, b in zip(before, ran(), strict=True)]
        if sum(took) > 250_000_000:
            break
    return took[0] / sum(took)


def test_the_best_rung_here_isolates(spinners: list[subprocess.Popen[bytes]]) -> None:
    rung = isolation.choose()
    try:
        if not rung.name.startswith("R2"):
            pytest.skip(f"this machine offers {rung.name}: {rung.reason}")
        assert share_of_first(spinners) < 0.7
        rung.adopt(spinners[0].pid)
        assert rung.name.startswith("R2"), rung.reason
        assert share_of_first(spinners) > 0.85
    finally:
        rung.close()
    assert ours() == []
    assert share_of_first(spinners) < 0.7 or "autogroup" in rung.name, "close lets its processes go"


@pytest.mark.skipif(
    "R2 autogroup -20" not in OFFERED or os.geteuid() != 0, reason="no autogroup, or no right to raise it"
)
def test_an_autogroup_isolates(spinners: list[subprocess.Popen[bytes]]) -> None:
    rung = Autogroup()
    rung.adopt(spinners[0].pid)
    assert rung.name == "R2 autogroup -20", rung.reason
    assert share_of_first(spinners) > 0.85


def test_our_own_session_is_never_raised() -> None:
    before = Path("/proc/self/autogroup").read_text() if Path("/proc/self/autogroup").exists() else ""
    rung = Autogroup()
    rung.adopt(os.getpid())
    assert rung.name == "R1 none"
    assert "session" in rung.reason
    if before:
        assert Path("/proc/self/autogroup").read_text() == before


def test_nothing_is_left_when_the_process_forgets_to_close() -> None:
    code = "from edgebench.devices import isolation; import os; print(isolation.choose().name, os.getpid())"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    name, _, pid = done.stdout.strip().rpartition(" ")
    assert name in isolation.available()
    for group in cgroups.groups():
        assert not (group.mount / f"{isolation.PREFIX}{pid}").exists()


def ended_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.skipif(not any(n.startswith("R2 cgroup") for n in OFFERED), reason="no cpu cgroup that we may write to")
def test_the_groups_of_killed_campaigns_are_swept_and_those_of_living_ones_are_not() -> None:
    mount = next(g.mount for g in cgroups.groups() if "cpu" in g.controllers)
    dead, alive = (mount / f"{isolation.PREFIX}{pid}" for pid in (ended_pid(), os.getppid()))
    try:
        dead.mkdir()
        alive.mkdir()
        isolation.choose().close()
        assert not dead.exists()
        assert alive.exists()
    finally:
        for group in (dead, alive):
            if group.exists():
                group.rmdir()


def cgroup_tree(root: Path, version: int, own: str = "/", cpu: str = "cpuset cpu") -> Path:
    """A synthetic machine with a cpu hierarchy, autogroups on, that is in the group `own`."""
    mount = root / "sys/fs/cgroup"
    (mount / own.strip("/")).mkdir(parents=True)
    boards.put(root, {"proc/sys/kernel/sched_autogroup_enabled": "1"})
    if version == 2:
        boards.put(
            root, {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu", "sys/fs/cgroup/cgroup.subtree_control": cpu}
        )
        boards.put(root, {"proc/self/mountinfo": "30 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"})
        boards.put(root, {"proc/self/cgroup": f"0::{own}"})
    else:
        boards.put(root, {"proc/self/mountinfo": "30 23 0:28 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu"})
        boards.put(root, {"proc/self/cgroup": f"4:cpu:{own}"})
    return mount


V1, V2, AUTO, NONE = "R2 cgroup v1 cpu.shares", "R2 cgroup v2 cpu.weight", "R2 autogroup -20", "R1 none"


def test_version_1_and_2_are_offered_by_their_names(tmp_path: Path) -> None:
    cgroup_tree(tmp_path / "one", 1)
    cgroup_tree(tmp_path / "two", 2)
    assert isolation.available(tmp_path / "one") == [V1, AUTO, NONE]
    assert isolation.available(tmp_path / "two") == [V2, AUTO, NONE]
    assert isolation.available(tmp_path / "nothing") == [NONE]


def test_autogroups_do_not_count_inside_a_group_that_has_a_weight(tmp_path: Path) -> None:
    cgroup_tree(tmp_path / "one", 1, own="/docker/a")
    cgroup_tree(tmp_path / "two", 2, own="/user.slice")
    cgroup_tree(tmp_path / "three", 2, own="/user.slice", cpu="memory")
    assert isolation.available(tmp_path / "one") == [V1, NONE]
    assert isolation.available(tmp_path / "two") == [V2, NONE]
    assert isolation.available(tmp_path / "three") == [AUTO, NONE], "no weights are handed down: autogroups rank"


def test_a_group_with_a_limit_is_not_left(tmp_path: Path) -> None:
    mount = cgroup_tree(tmp_path, 2, own="/app")
    (mount / "app/cpu.max").write_text("50000 100000\n")
    assert isolation.available(tmp_path) == [NONE]
    (mount / "app/cpu.max").write_text("max 100000\n")
    (mount / "app/memory.max").write_text("1000000\n")
    assert isolation.available(tmp_path) == [NONE]
    (mount / "app/memory.max").write_text("max\n")
    assert isolation.available(tmp_path) == [V2, NONE]


def test_isolated_cpus_are_for_one_thread(tmp_path: Path) -> None:
    boards.put(tmp_path, {"sys/devices/system/cpu/isolated": "2-3"})
    assert isolation.available(tmp_path, threads=1) == ["R3 isolated CPUs 2,3", NONE]
    assert isolation.available(tmp_path, threads=2) == [NONE]
    assert isolation.available(tmp_path) == [NONE], "unless we know that there is one only"
    mount = cgroup_tree(tmp_path, 2)
    (mount / "cpuset.cpus.isolated").write_text("5\n")
    assert isolation.available(tmp_path, threads=1)[0] == "R3 isolated CPUs 2,3,5"


def test_r3_pins_to_the_isolated_cpus(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    boards.put(tmp_path, {"sys/devices/system/cpu/isolated": str(cpu)})
    rung = isolation.choose(tmp_path, threads=1)
    assert rung.name == f"R3 isolated CPUs {cpu}"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        rung.adopt(child.pid)
        assert os.sched_getaffinity(child.pid) == {cpu}


def test_isolated_cpus_that_we_may_not_use_degrade_with_the_reason(tmp_path: Path) -> None:
    boards.put(tmp_path, {"sys/devices/system/cpu/isolated": "1000"})
    rung = isolation.choose(tmp_path, threads=1)
    assert rung.name == NONE
    assert "R3 isolated CPUs 1000: invalid argument" in rung.reason


def test_a_group_gets_the_greatest_weight_and_the_worker(tmp_path: Path) -> None:
    for version, file, weight in ((2, "cpu.weight", "10000"), (1, "cpu.shares", "262144")):
        mount = tmp_path / f"v{version}"
        mount.mkdir()
        rung = WeightGroup(mount, version)
        group = mount / f"{isolation.PREFIX}{os.getpid()}"
        rung.adopt(os.getpid())
        assert (group / file).read_text() == weight
        assert (group / "cgroup.procs").read_text() == str(os.getpid())
        for path in group.iterdir():
            path.unlink()  # a real hierarchy has no files that stand in the way of rmdir
        rung.close()
        assert not group.exists()
        rung.close()


def test_what_cannot_be_made_degrades_to_none_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup_tree(tmp_path, 2, own="/user.slice")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    rung = isolation.choose(tmp_path)
    assert (rung.name, rung.reason) == (NONE, f"{V2}: permission denied")


def test_a_group_without_its_weight_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        WeightGroup(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_rung_that_loses_a_worker_no_longer_claims_its_name(tmp_path: Path) -> None:
    rung = WeightGroup(tmp_path, 2)
    rung.adopt(ended_pid())
    assert rung.name == V2, "a worker that is gone needs no isolation"
    for path in (tmp_path / f"{isolation.PREFIX}{os.getpid()}").iterdir():
        path.unlink()
    rung.close()
    rung.adopt(os.getpid())
    assert rung.name == NONE
    assert rung.reason == f"{V2}: no such file or directory"


def test_none_does_nothing() -> None:
    rung = Rung()
    rung.adopt(ended_pid())
    rung.close()
    assert rung.name == NONE
