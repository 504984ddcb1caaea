"""Write what the emulated board shows as /sys and /proc/cpuinfo: a Raspberry Pi 5 of four Cortex-A76. Synthetic.

Without it the emulated programs see the /sys of the x86 host, or none, and the runtimes crash at import or hang: they need
the whole topology, a node0 and midr_el1.
"""

from __future__ import annotations

import sys
from pathlib import Path

CORES = 4
MIDR = 0x414FD0B1  # Arm, Cortex-A76 r4p1
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CACHES = (("Data", 1, "64K"), ("Instruction", 1, "64K"), ("Unified", 2, "512K"))


def main(folder: Path) -> None:
    sys_, everyone = folder / "sys", f"0-{CORES - 1}"
    put(folder / "proc/cpuinfo", "\n".join(map(cpuinfo, range(CORES))) + "\nRevision\t: d04170")
    put(sys_ / "firmware/devicetree/base/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0", end="")
    put(sys_ / "firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0", end="")
    put(sys_ / "devices/platform/soc/soc:firmware/get_throttled", "0")
    put(sys_ / "class/thermal/thermal_zone0/type", "cpu-thermal")
    put(sys_ / "class/thermal/thermal_zone0/temp", "48300")
    put(sys_ / "fs/cgroup/cgroup.controllers", "")
    cpus = sys_ / "devices/system/cpu"
    for name in ("online", "present", "possible"):
        put(cpus / name, everyone)
    put(sys_ / "devices/system/node/node0/cpulist", everyone)
    put(sys_ / "devices/system/node/node0/cpumap", f"{(1 << CORES) - 1:x}")
    put(sys_ / "devices/system/node/node0/distance", "10")
    put(sys_ / "devices/system/node/node0/meminfo", "Node 0 MemTotal:        8245248 kB")
    for name in ("online", "possible", "has_cpu", "has_memory"):
        put(sys_ / "devices/system/node" / name, "0")
    for n in range(CORES):
        core(cpus / f"cpu{n}", n)


def core(folder: Path, n: int) -> None:
    everyone, mask, own = f"0-{CORES - 1}", f"{(1 << CORES) - 1:x}", f"{1 << n:x}"
    topology = {
        "core_id": n, "physical_package_id": 0, "cluster_id": 0, "thread_siblings_list": n, "thread_siblings": own,
        "core_siblings_list": everyone, "core_siblings": mask, "core_cpus": own, "core_cpus_list": n,
        "package_cpus": mask, "package_cpus_list": everyone, "cluster_cpus": mask, "cluster_cpus_list": everyone,
    }  # fmt: skip
    for name, value in topology.items():
        put(folder / "topology" / name, str(value))
    put(folder / "regs/identification/midr_el1", f"{MIDR:#018x}")
    put(folder / "online", "1")
    put(folder / "cpu_capacity", "1024")
    clocks = {"cpuinfo_min_freq": 1_500_000, "cpuinfo_max_freq": 2_400_000, "scaling_cur_freq": 2_400_000}
    for name, value in {**clocks, "scaling_governor": "ondemand"}.items():
        put(folder / "cpufreq" / name, str(value))
    for i, (kind, level, size) in enumerate(CACHES):
        facts = {"type": kind, "level": level, "size": size, "shared_cpu_list": n, "shared_cpu_map": own}
        for name, value in {**facts, "coherency_line_size": 64, "id": n}.items():
            put(folder / f"cache/index{i}" / name, str(value))


def cpuinfo(n: int) -> str:
    lines = {"processor": n, "BogoMIPS": "108.00", "Features": FEATURES, "CPU implementer": "0x41"}
    lines |= {"CPU architecture": 8, "CPU variant": "0x4", "CPU part": "0xd0b", "CPU revision": 1}
    return "".join(f"{key}\t: {value}\n" for key, value in lines.items())


def put(path: Path, content: str, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content + end)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
