"""What machine is this, and what about it makes figures less trustworthy (measurement protocol, item 1).

`preflight` is recorded with every result. Each fact may be missing: "", None and an empty list stand for "the
system does not say"; reading never raises.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from edgebench.codec import digest
from edgebench.devices import cgroups, cpu, files, heat
from edgebench.devices.identity import architecture, identity, power_mode, runtimes
from edgebench.devices.runner.hello import emulator

CLOCKS = ("tsc", "arch_sys_counter", "riscv_clocksource")
"""Clocksources that user space reads without asking the kernel or a hypervisor."""

VOLATILE = frozenset({"temperatures", "throttle", "load", "others", "memory_available", "threads", "runtimes"})
"""Facts that differ from one minute or one request to the next, and versions, which are compared by themselves;
all others make the fingerprint."""

REPEATS = frozenset({"fingerprint", "source_hash", "warnings", "health", "isolation_reason"})
"""What stands in an environment beside the facts and repeats them, or was looked at while measuring."""

HOT = 80.0  # degrees Celsius: boards begin to slow down between 80 and 85

BUSY = 0.2
"""CPUs' worth of other programs beyond which a machine is called busy."""

_TREE = Path(__file__).parent


def preflight(root: Path = Path("/"), threads: int = 1) -> dict[str, Any]:
    """Everything about this machine that a figure may depend on, as plain JSON.

    Sizes in bytes, temperatures in degrees Celsius, quota in CPUs, clocks in kHz; `threads` is what will be
    asked.
    """
    memory = _memory(root)
    return {
        **cpu.facts(root),
        "machine": architecture(root),
        **({"emulated": name} if (name := emulator()) else {}),
        "identity": identity(root),
        "kernel": files.first(root / "proc/sys/kernel/osrelease"),
        "os": _os_release(root),
        "hypervisor": hypervisor(root),
        "container": container(root),
        "quota": cgroups.quota(root),
        "cpuset": cgroups.cpuset(root),
        "clocksource": files.first(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "thp": _chosen(files.text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        "aslr": files.integer(root / "proc/sys/kernel/randomize_va_space"),
        "autogroup": files.integer(root / "proc/sys/kernel/sched_autogroup_enabled"),
        "power_mode": power_mode(root),
        "runtimes": runtimes(),
        "memory_total": memory.get("MemTotal", 0),
        "memory_available": memory.get("MemAvailable", 0),
        "memory_limit": cgroups.memory_limit(root),
        "temperatures": heat.temperatures(root),
        "throttle": heat.throttle(heat.throttle_files(root)),
        "load": _load(root),
        "threads": threads,
        "python": platform.python_version(),
        "libc": _libc(),
    }


def warnings(facts: Mapping[str, Any], threads: int) -> tuple[str, ...]:
    """One sentence for each fact that reduces the trust in figures; empty when no fact does."""
    return (*_limits(facts, threads), *_clock(facts), *_neighbours(facts), *_heat(facts))


def _limits(facts: Mapping[str, Any], threads: int) -> Iterable[str]:
    quota, usable = facts.get("quota"), len(facts.get("affinity") or ())
    asked = f"{threads} threads" if threads > 1 else "1 thread"
    if quota is not None and quota < threads:
        yield f"A control group allows {quota:g} CPUs for {asked}: figures are not valid."
    if 0 < usable < threads:
        yield f"Only {usable} CPUs may be used for {asked}: they wait for one another."
    if len(facts.get("clusters") or ()) > 1:
        yield "The CPUs are of different kinds: figures depend on which of them a thread ran."
    total, free = facts.get("memory_total") or 0, facts.get("memory_available") or 0
    if total and free < 0.1 * total:
        yield f"Only {free / 2**20:.0f} MiB of memory are free: the system may swap or drop caches."


def _clock(facts: Mapping[str, Any]) -> Iterable[str]:
    source, governor = facts.get("clocksource"), facts.get("governor")
    if source and source not in CLOCKS:
        yield f"The clocksource is {source}: reading the time is slow or coarse."
    if governor and governor != "performance":
        yield f"The CPU frequency governor is {governor}: the clock follows the load."
    if facts.get("boost"):
        yield "Frequency boost is on: the clock depends on temperature and on the neighbouring cores."
    if facts.get("aslr") == 0:
        yield "Address randomisation is off: all processes share one memory layout, which may be a lucky one."


def _neighbours(facts: Mapping[str, Any]) -> Iterable[str]:
    if facts.get("hypervisor"):
        yield f"This is a virtual machine ({facts['hypervisor']}): neighbours may take time or cache unseen."
    if facts.get("smt"):
        yield "Hyper-threading is on: two threads of one core slow each other down."
    load, cores, others = facts.get("load"), facts.get("cores") or 1, facts.get("others")
    if others is not None:
        if others > BUSY:
            yield f"The machine is busy: other programs take {others:.1f} of {cores} CPUs."
    elif load is not None and load > max(0.5, 0.25 * cores):
        yield f"The machine is busy: the load is {load:.1f} on {cores} CPUs."


def _heat(facts: Mapping[str, Any]) -> Iterable[str]:
    temperatures = facts.get("temperatures") or {}
    if temperatures and max(temperatures.values()) >= HOT:
        hottest = max(temperatures, key=lambda zone: temperatures[zone])
        yield f"{hottest} is at {temperatures[hottest]:.0f} °C: the hardware may slow down."
    states = dict(facts.get("throttle") or {})
    bits = states.pop("get_throttled", 0)
    now = [name for bit, name in heat.PI_NOW.items() if bits >> bit & 1]
    since = [name for bit, name in heat.PI_NOW.items() if bits >> (bit + 16) & 1]
    if now:
        yield f"The firmware reports: {', '.join(now)}."
    elif since:
        yield f"Since it was started this board has reported: {', '.join(since)}."
    active = heat.throttled({}, states)
    if active:
        yield f"The system is slowing the hardware down now: {', '.join(active)}."


def fingerprint(facts: Mapping[str, Any]) -> str:
    """A hash of the facts that last: another one means another machine, or another set-up of it."""
    return digest({key: value for key, value in facts.items() if key not in VOLATILE})


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution, by name; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_hash() -> str:
    """sha256 over the names and contents of this package's own Python and TOML files."""
    total = hashlib.sha256()
    for path in sorted(p for p in _TREE.rglob("*") if p.suffix in (".py", ".toml")):
        name = path.relative_to(_TREE).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def commit(path: Path) -> str:
    """The commit of the checkout that `path` is in, with "-dirty" if files were changed; "" without git."""
    folder = path if path.is_dir() else path.parent
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    return f"{head}-dirty" if head and _git(folder, "status", "--porcelain", "--untracked-files=no") else head


def _git(folder: Path, *argv: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *argv],
            capture_output=True,
            text=True,
            timeout=10,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def hypervisor(root: Path = Path("/")) -> str:
    """What virtual machine this is ("kvm", "Amazon EC2"); "unknown" if it is some; "" on real hardware."""
    xen = files.text(root / "sys/hypervisor/type")
    vendor = files.first(root / "sys/class/dmi/id/sys_vendor")
    product = files.first(root / "sys/class/dmi/id/product_name")
    # x86 has a bit for it. Arm has none: there the names that virtual boards give themselves must do.
    virtual = re.search(r"virtual|qemu|kvm|vmware|openstack|compute engine", f"{vendor} {product}", re.IGNORECASE)
    amazon = vendor == "Amazon EC2" and not product.endswith(".metal")
    if not (xen or cpu.hypervisor_bit(root) or virtual or amazon):
        return ""
    clocks = files.first(root / "sys/devices/system/clocksource/clocksource0/available_clocksource")
    guess = next((name for name in ("kvm", "hyperv", "xen") if name in clocks), "unknown")
    return xen or vendor or guess


def container(root: Path = Path("/")) -> str:
    """The kind of container that we run in ("docker", "podman", "lxc", ...); "" outside of one."""
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    named = files.text(root / "run/systemd/container")
    if named:
        return named
    init = re.search(r"(?:^|\0)container=([^\0]+)", files.text(root / "proc/1/environ") or "")
    groups = re.search(r"kubepods|docker|lxc", files.text(root / "proc/self/cgroup") or "")
    return init[1] if init else groups[0] if groups else ""


def _memory(root: Path) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", files.text(root / "proc/meminfo") or "", re.MULTILINE)
    return {key: int(kib) * 1024 for key, kib in lines}


def _os_release(root: Path) -> str:
    content = files.first(root / "etc/os-release", root / "usr/lib/os-release")
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', content, re.MULTILINE)
    return match[1] if match else ""


def _load(root: Path) -> float | None:
    """The load average of the last minute."""
    try:
        return float((files.text(root / "proc/loadavg") or "").split()[0])
    except (ValueError, IndexError):
        return None


def _chosen(content: str | None) -> str:
    """ "always [madvise] never" -> "madvise"."""
    match = re.search(r"\[(\w+)\]", content or "")
    return match[1] if match else ""


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return " ".join(platform.libc_ver()).strip()  # musl has no such name


def cache_folder() -> Path:
    """Where compressed networks are kept between runs: $EDGEBENCH_CACHE, else the user's cache folder."""
    given = os.environ.get("EDGEBENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "edgebench"
