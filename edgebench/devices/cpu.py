"""The processor: its model, its instruction sets, its clusters of equal cores, and what sets its clock."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgebench.devices import files

INTERESTING = {
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "neon", "asimd",
    "asimdhp", "asimddp", "fphp", "sve", "sve2", "i8mm", "bf16", "svei8mm", "svebf16", "sme", "sme2",
}  # fmt: skip
"""Instruction sets by which a runtime chooses its kernels, as the kernel writes them (asimddp is dotprod)."""

_PARTS = {
    "0x41/0xd03": "Cortex-A53", "0x41/0xd04": "Cortex-A35", "0x41/0xd05": "Cortex-A55",
    "0x41/0xd07": "Cortex-A57", "0x41/0xd08": "Cortex-A72", "0x41/0xd09": "Cortex-A73",
    "0x41/0xd0a": "Cortex-A75", "0x41/0xd0b": "Cortex-A76", "0x41/0xd0c": "Neoverse-N1",
    "0x41/0xd0d": "Cortex-A77", "0x41/0xd40": "Neoverse-V1", "0x41/0xd41": "Cortex-A78",
    "0x41/0xd42": "Cortex-A78AE", "0x41/0xd44": "Cortex-X1", "0x41/0xd46": "Cortex-A510",
    "0x41/0xd47": "Cortex-A710", "0x41/0xd48": "Cortex-X2", "0x41/0xd49": "Neoverse-N2",
    "0x41/0xd4b": "Cortex-A78C", "0x41/0xd4d": "Cortex-A715", "0x41/0xd4e": "Cortex-X3",
    "0x41/0xd4f": "Neoverse-V2", "0x41/0xd80": "Cortex-A520", "0x41/0xd81": "Cortex-A720",
    "0x41/0xd82": "Cortex-X4", "0x41/0xd83": "Neoverse-V3AE", "0x41/0xd84": "Neoverse-V3",
    "0x41/0xc07": "Cortex-A7", "0x41/0xc09": "Cortex-A9", "0x41/0xc0f": "Cortex-A15",
    "0x4e/0x003": "Denver 2", "0x4e/0x004": "Carmel",
}  # fmt: skip
"""CPU implementer/part -> name (Arm MIDR_EL1; the table of util-linux's lscpu)."""


def facts(root: Path = Path("/")) -> dict[str, Any]:
    """What preflight records of the processor. "" and None stand for what the kernel does not say."""
    blocks = _cpuinfo(root)
    online = files.cpu_list(files.text(root / "sys/devices/system/cpu/online")) or tuple(blocks)
    clusters = _clusters(root, blocks, online)
    return {
        "cpu_model": _model(blocks, clusters),
        "flags": _flags(blocks),
        "cores": len(online),
        "affinity": list(allowed(root) or online),
        "clusters": clusters,
        "governor": _agreed(root, "scaling_governor"),
        "clock_driver": _agreed(root, "scaling_driver"),
        "boost": _boost(root),
        "smt": _yes_no(files.integer(root / "sys/devices/system/cpu/smt/active")),
    }


def allowed(root: Path = Path("/")) -> tuple[int, ...]:
    """The CPUs that this process may run on."""
    status = files.text(root / "proc/self/status") or ""
    match = re.search(r"^Cpus_allowed_list:\s*(\S+)", status, re.MULTILINE)
    return files.cpu_list(match[1]) if match else ()


def hypervisor_bit(root: Path = Path("/")) -> bool:
    """Whether the processor itself says that it is a virtual one (x86 only)."""
    return any("hypervisor" in block.get("flags", "").split() for block in _cpuinfo(root).values())


def flags_of(cpuinfo: str) -> list[str]:
    """The interesting flags of a text of /proc/cpuinfo."""
    return _flags(_blocks(cpuinfo))


def _cpuinfo(root: Path) -> dict[int, dict[str, str]]:
    return _blocks(files.text(root / "proc/cpuinfo") or "")


def _blocks(cpuinfo: str) -> dict[int, dict[str, str]]:
    """CPU number -> its lines of /proc/cpuinfo. Lines of no CPU (a Pi's Revision) go with the last."""
    blocks: dict[int, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            current = blocks.setdefault(int(value), {})
        elif key:
            current[key] = value
    return blocks


def _part(block: dict[str, str]) -> str:
    code = f"{block.get('CPU implementer', '').lower()}/{block.get('CPU part', '').lower()}"
    return "" if code == "/" else _PARTS.get(code, code)


def _model(blocks: dict[int, dict[str, str]], clusters: list[dict[str, Any]]) -> str:
    """The name that x86 kernels give; on Arm the cores by name, "4x Cortex-A55 + 4x Cortex-A76"."""
    name = next((b["model name"] for b in blocks.values() if b.get("model name")), "")
    if name and not any(_part(b) for b in blocks.values()):
        return name
    cores = [f"{len(c['cpus'])}x {c['core']}" for c in clusters if c["core"]]
    return " + ".join(cores) or name


def _flags(blocks: dict[int, dict[str, str]]) -> list[str]:
    """Only what every core has counts: a thread may land on any."""
    words = [set((b.get("flags") or b.get("Features") or "").split()) for b in blocks.values()]
    return sorted(set.intersection(*words) & INTERESTING) if words else []


def _clusters(root: Path, blocks: dict[int, dict[str, str]], online: tuple[int, ...]) -> list[dict[str, Any]]:
    """Cores that are alike, the weakest cluster first: [{"core", "cpus", "capacity", "max_khz"}]."""
    cpus = root / "sys/devices/system/cpu"
    atoms = files.cpu_list(files.text(root / "sys/devices/cpu_atom/cpus"))
    groups: dict[tuple[Any, ...], list[int]] = {}
    for cpu in online:
        part = _part(blocks.get(cpu, {}))
        capacity = files.integer(cpus / f"cpu{cpu}/cpu_capacity")
        khz = files.integer(cpus / f"cpu{cpu}/cpufreq/cpuinfo_max_freq")
        # Some x86 cores of one kind may boost a little higher than others: that makes no cluster.
        groups.setdefault((capacity, khz if part else None, cpu in atoms, part), []).append(cpu)
    out = []
    for (capacity, _, atom, part), members in groups.items():
        khz = files.integer(cpus / f"cpu{members[0]}/cpufreq/cpuinfo_max_freq")
        kind = part or ("efficiency core" if atom else "performance core" if atoms else "")
        out.append({"core": kind, "cpus": members, "capacity": capacity, "max_khz": khz})
    return sorted(out, key=lambda c: (c["capacity"] or 0, c["max_khz"] or 0))


def _agreed(root: Path, name: str) -> str:
    """What all clock domains say, joined if they differ."""
    found = {files.text(p) for p in files.matches(root / "sys/devices/system/cpu", f"cpu[0-9]*/cpufreq/{name}")}
    return ", ".join(sorted(f for f in found if f))


def _boost(root: Path) -> bool | None:
    no_turbo = files.integer(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == 0
    return _yes_no(files.integer(root / "sys/devices/system/cpu/cpufreq/boost"))


def _yes_no(value: int | None) -> bool | None:
    return None if value is None else value == 1
