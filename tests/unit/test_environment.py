"""What machine is this: on this one, on synthetic ones, and on one that says nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgebench import environment
from edgebench.devices import cgroups, cpu, files, heat

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards


def told(facts: dict[str, Any], threads: int = 1) -> str:
    return "\n".join(environment.warnings(facts, threads))


def test_this_machine_is_described_as_plain_json() -> None:
    facts = environment.preflight(threads=2)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["cores"] >= 1
    assert facts["memory_total"] > facts["memory_available"] > 0
    assert facts["kernel"]
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment.fingerprint(facts) == environment.fingerprint(environment.preflight(threads=1))


def test_a_machine_that_says_nothing_raises_nothing(tmp_path: Path) -> None:
    facts = environment.preflight(tmp_path)
    assert facts["cpu_model"] == ""
    assert facts["quota"] is None
    assert facts["boost"] is None
    assert environment.warnings(facts, 4) == ()
    assert environment.fingerprint(facts)


def test_a_machine_whose_every_file_is_garbage_raises_nothing(tmp_path: Path) -> None:
    for build in (boards.xeon, boards.orin_nano, boards.pi5):
        build(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name not in ("arch", "vcgencmd"):
            path.write_bytes(b"\xff\x00-: [garbage] 0-x,7\n" * 3)
    facts = environment.preflight(tmp_path)
    json.dumps(facts, allow_nan=False)
    environment.warnings(facts, 1)


def test_an_orin_nano(tmp_path: Path) -> None:
    facts = environment.preflight(boards.orin_nano(tmp_path))
    assert facts["cpu_model"] == "6x Cortex-A78AE"
    assert facts["flags"] == ["asimd", "asimddp", "asimdhp"]
    assert facts["machine"] == "aarch64"
    assert facts["governor"] == "schedutil"
    assert facts["clocksource"] == "arch_sys_counter"
    assert facts["power_mode"] == "MAXN_SUPER (2)"
    assert facts["identity"]["l4t"] == "36.4.3"
    assert facts["temperatures"] == {"cpu-thermal": 51.25, "tj-thermal": 52.968}
    assert facts["throttle"] == {
        "cooling_device1 cpufreq-cpu0": 0,
        "soctherm_oc1_events": 0,
        "soctherm_oc3_events": 27390,
    }
    assert told(facts) == "The CPU frequency governor is schedutil: the clock follows the load."


def test_a_pi_that_is_hot_and_was_short_of_voltage(tmp_path: Path) -> None:
    facts = environment.preflight(boards.pi5(tmp_path))
    assert "cpu-thermal is at 83 °C" in told(facts)
    assert "Since it was started this board has reported: under-voltage, throttled." in told(facts)
    bits = next(tmp_path.glob("sys/devices/platform/*/*/get_throttled"))
    bits.write_text("50005\n")
    assert "The firmware reports: under-voltage, throttled." in told(environment.preflight(tmp_path))
    (tmp_path / "sys/class/hwmon/hwmon1/in0_lcrit_alarm").write_text("1\n")
    assert "slowing the hardware down now: under_voltage" in told(environment.preflight(tmp_path))


def test_throttle_bits_that_cannot_be_read_are_not_called_healthy(tmp_path: Path) -> None:
    bits = next(boards.pi5(tmp_path).glob("sys/devices/platform/*/*/get_throttled"))
    boards.unreadable(tmp_path, str(bits.relative_to(tmp_path)))
    assert "get_throttled" not in environment.preflight(tmp_path)["throttle"]


def test_a_busy_server(tmp_path: Path) -> None:
    boards.put(boards.xeon(tmp_path), {"proc/loadavg": "3.10 2 1 1/9 9", "proc/sys/kernel/randomize_va_space": "0"})
    boards.put(tmp_path, {"proc/meminfo": "MemTotal:       1024 kB\nMemAvailable:     10 kB\nHugePages_Total:   0"})
    facts = environment.preflight(tmp_path)
    assert facts["cpu_model"] == "Intel(R) Xeon(R) 6"
    assert facts["flags"] == ["amx_int8", "avx2", "avx512f"]
    assert (facts["boost"], facts["smt"]) == (True, True)
    assert (facts["memory_total"], facts["memory_available"]) == (1024 * 1024, 10 * 1024)
    assert facts["temperatures"] == {"coretemp": 41.0}
    assert facts["throttle"] == {"core_throttle_count": 6}
    for word in ("hpet", "powersave", "boost", "randomisation", "Hyper-threading", "load is 3.1", "memory"):
        assert word in told(facts)


def test_cores_of_one_kind_with_other_boost_clocks_are_one_cluster(tmp_path: Path) -> None:
    assert len(cpu.facts(boards.xeon(tmp_path))["clusters"]) == 1


def test_big_and_little_cores_are_told_apart(tmp_path: Path) -> None:
    facts = environment.preflight(boards.arm(tmp_path, {"0x41/0xd05": 4, "0x41/0xd0b": 2, "0x41/0xfff": 1}))
    assert facts["cpu_model"] == "4x Cortex-A55 + 2x Cortex-A76 + 1x 0x41/0xfff"
    assert [c["cpus"] for c in facts["clusters"]] == [[0, 1, 2, 3], [4, 5], [6]]
    assert facts["clusters"][1]["max_khz"] == 1_800_000
    assert "different kinds" in told(facts)


def test_performance_and_efficiency_cores_of_a_hybrid_are_told_apart(tmp_path: Path) -> None:
    boards.put(boards.xeon(tmp_path), {"sys/devices/cpu_atom/cpus": "2-3", "sys/devices/cpu_core/cpus": "0-1"})
    assert [c["core"] for c in cpu.facts(tmp_path)["clusters"]] == ["performance core", "efficiency core"]


def test_only_flags_of_every_core_count(tmp_path: Path) -> None:
    boards.put(tmp_path, {"proc/cpuinfo": "processor: 0\nflags: avx2 sse4_2\n\nprocessor: 1\nflags: sse4_2"})
    assert cpu.facts(tmp_path)["flags"] == ["sse4_2"]


def cgroup2(root: Path, own: str = "/user.slice/job") -> Path:
    """A machine with control groups of version 2 that is in the group `own`."""
    mount = root / "sys/fs/cgroup"
    (mount / own.strip("/")).mkdir(parents=True)
    boards.put(root, {"proc/self/cgroup": f"0::{own}", "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory"})
    line = "30 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"
    boards.put(root, {"proc/self/mountinfo": f"23 1 0:1 / /sys rw - sysfs sysfs rw\n{line}"})
    return mount


def cgroup1(root: Path, own: str = "/docker/abc") -> Path:
    """A machine with control groups of version 1, cpu and cpuacct in one hierarchy."""
    mount = root / "sys/fs/cgroup/cpu,cpuacct"
    (mount / own.strip("/")).mkdir(parents=True)
    boards.put(root, {"proc/self/cgroup": f"4:cpu,cpuacct:{own}\n1:name=systemd:/"})
    line = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
    boards.put(root, {"proc/self/mountinfo": line})
    return mount


def test_the_tightest_quota_of_version_2_binds(tmp_path: Path) -> None:
    mount = cgroup2(tmp_path)
    assert cgroups.quota(tmp_path) is None
    (mount / "user.slice/job/cpu.max").write_text("max 100000\n")
    assert cgroups.quota(tmp_path) is None
    (mount / "user.slice/cpu.max").write_text("150000 100000\n")
    assert cgroups.quota(tmp_path) == 1.5
    (mount / "user.slice/job/cpu.max").write_text("50000 100000\n")
    facts = environment.preflight(tmp_path)
    assert facts["quota"] == 0.5
    assert told(facts) == "A control group allows 0.5 CPUs for 1 thread: figures are not valid."
    (mount / "user.slice/cpu.max").write_text("garbage\n")
    assert cgroups.quota(tmp_path) == 0.5


def test_the_quota_of_version_1_binds(tmp_path: Path) -> None:
    mount = cgroup1(tmp_path)
    boards.put(mount / "docker/abc", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"})
    assert cgroups.quota(tmp_path) is None
    boards.put(mount / "docker/abc", {"cpu.cfs_quota_us": "200000"})
    assert cgroups.quota(tmp_path) == 2.0
    assert told(environment.preflight(tmp_path), threads=2) == ""
    assert "figures are not valid" in told(environment.preflight(tmp_path), threads=3)


def test_a_container_that_sees_the_hosts_path_finds_its_own_group(tmp_path: Path) -> None:
    mount = cgroup1(tmp_path, own="/")
    boards.put(tmp_path, {"proc/self/cgroup": "4:cpu,cpuacct:/docker/abc"})
    line = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
    boards.put(tmp_path, {"proc/self/mountinfo": line})
    boards.put(mount, {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"})
    assert cgroups.quota(tmp_path) == 1.0


def test_memory_limit_and_cpuset(tmp_path: Path) -> None:
    mount = cgroup2(tmp_path)
    boards.put(mount / "user.slice/job", {"memory.max": "max", "cpuset.cpus.effective": "2-3"})
    boards.put(mount / "user.slice", {"memory.max": "1048576"})
    facts = environment.preflight(tmp_path)
    assert (facts["memory_limit"], facts["cpuset"]) == (1048576, "2-3")


def test_fewer_cpus_than_threads_is_told(tmp_path: Path) -> None:
    boards.put(boards.xeon(tmp_path), {"proc/self/status": "Cpus_allowed:\tc\nCpus_allowed_list:\t2-3"})
    facts = environment.preflight(tmp_path)
    assert facts["affinity"] == [2, 3]
    assert "Only 2 CPUs may be used for 4 threads" in told(facts, threads=4)


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        ({"sys/hypervisor/type": "xen"}, "xen"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU", "proc/sys/kernel/arch": "aarch64"}, "QEMU"),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "m7g.large"}, "Amazon EC2"),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "m7g.metal"}, ""),
        ({"sys/class/dmi/id/sys_vendor": "Dell Inc."}, ""),
        ({"proc/cpuinfo": "processor: 0\nflags: fpu hypervisor"}, "unknown"),
        (
            {
                "proc/cpuinfo": "processor: 0\nflags: fpu hypervisor",
                "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc kvm-clock",
            },
            "kvm",
        ),
        ({}, ""),
    ],
)
def test_hypervisors_by_their_marks(tree: dict[str, str], name: str, tmp_path: Path) -> None:
    assert environment.hypervisor(boards.put(tmp_path, tree)) == name


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "lxc"}, "lxc"),
        ({"proc/1/environ": "PATH=/bin\0container=lxc\0A=b"}, "lxc"),
        ({"proc/self/cgroup": "0::/kubepods/pod1"}, "kubepods"),
        ({}, ""),
    ],
)
def test_containers_by_their_marks(tree: dict[str, str], name: str, tmp_path: Path) -> None:
    assert environment.container(boards.put(tmp_path, tree)) == name


def test_the_power_mode_without_a_status_is_the_default(tmp_path: Path) -> None:
    boards.orin_nano(tmp_path)
    (tmp_path / "var/lib/nvpmodel/status").unlink()
    assert environment.power_mode(tmp_path) == "15W (0)"
    (tmp_path / "etc/nvpmodel.conf").unlink()
    assert environment.power_mode(tmp_path) == ""


def test_the_fingerprint_follows_the_set_up_and_not_the_weather(tmp_path: Path) -> None:
    facts = environment.preflight(boards.orin_nano(tmp_path))
    same = {**facts, "load": 9.0, "temperatures": {"x": 1.0}, "memory_available": 5, "throttle": {}, "threads": 8}
    assert environment.fingerprint(same) == environment.fingerprint(facts)
    for key, value in (("governor", "performance"), ("power_mode", "15W (0)"), ("kernel", "7"), ("quota", 1.0)):
        assert environment.fingerprint({**facts, key: value}) != environment.fingerprint(facts)


def test_versions_leave_out_what_is_not_installed() -> None:
    found = environment.versions(["numpy", "no-such-distribution"])
    assert list(found) == ["numpy"]
    assert found["numpy"][0].isdigit()


def test_the_source_hash_is_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.source_hash() == environment.source_hash()
    monkeypatch.setattr(environment, "_TREE", tmp_path)
    hashes = [environment.source_hash()]
    (tmp_path / "a.py").write_text("x = 1")
    hashes.append(environment.source_hash())
    (tmp_path / "a.py").write_text("x = 2")
    hashes.append(environment.source_hash())
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    hashes.append(environment.source_hash())
    (tmp_path / "cache.pyc").write_bytes(b"1")
    assert len(set(hashes)) == 4
    assert environment.source_hash() == hashes[-1]


def test_the_commit_of_a_checkout_and_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert environment.commit(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "plan.toml").write_text("a = 1")
    subprocess.run([*git, "init", "-q"], check=True)
    assert environment.commit(tmp_path) == ""
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    head = environment.commit(tmp_path / "plan.toml")
    assert len(head) == 40
    (tmp_path / "plan.toml").write_text("a = 2")
    assert environment.commit(tmp_path) == f"{head}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.commit(tmp_path) == ""


@pytest.mark.parametrize(
    ("content", "cpus"),
    [("0-3,8", (0, 1, 2, 3, 8)), ("5", (5,)), ("", ()), (None, ()), ("x", ()), ("0-x", ()), ("1,,2", (1, 2))],
)
def test_lists_of_cpus(content: str | None, cpus: tuple[int, ...]) -> None:
    assert files.cpu_list(content) == cpus


def test_what_throttled_between_two_readings() -> None:
    before = {"core_throttle_count": 5, "soctherm_oc3_events": 10, "get_throttled": 0x50000, "c cpufreq": 0}
    assert heat.throttled(before, before) == {}, "sticky bits from before say nothing of the time between"
    after = {"core_throttle_count": 7, "soctherm_oc3_events": 10, "get_throttled": 0x70000, "c cpufreq": 3}
    assert heat.throttled(before, after) == {"core_throttle_count": 2, "get_throttled": 0b0010, "c cpufreq": 3}
    assert heat.throttled({}, {"core_throttle_count": 9}) == {}
    assert heat.throttled({"get_throttled": 4}, {"get_throttled": 0x40000}) == {"get_throttled": 4}
