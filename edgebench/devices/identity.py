"""What board is this: the device tree's word first, the vendors' own files after it.

Sources: Devicetree Specification 2.3.1 (`compatible`), NVIDIA L4T (/etc/nv_tegra_release), Raspberry Pi
revision codes, the kernel's DMI, devfreq and cpufreq. Experimental on boards that have not been at hand.

The same code runs on the board, over SSH, and on the tree that `edgebench device add` brings from a board
(devices/dump.py): one board has one identity.
"""

from __future__ import annotations

import os
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgebench.devices import android, cpu, dump, files, jetson
from edgebench.devices.jetson import l4t as l4t
from edgebench.devices.jetson import power_mode as power_mode

GPU_NODES = ("gpu", "gp10b", "gv11b", "ga10b", "gb10b", "gpu-gpc-0", "mali", "v3d")
"""Names of a graphics processor among the devfreq devices: by its device tree node, or by its own name's end."""


def compatible(root: Path = Path("/")) -> tuple[str, ...]:
    """What a device profile can be matched with.

    The strings of the device tree ("nvidia,tegra234"), the architecture ("arch:aarch64"), and the drivers of
    its accelerators ("accel:intel_vpu").
    """
    # /proc/device-tree is a link to the same place; a container often has only one of the two.
    tree = files.first(*(base / "compatible" for base in _tree(root)))
    accelerators = [_driver(path) for path in files.matches(root / "sys/class/accel", "accel*")]
    found = [*tree.split("\0"), f"arch:{architecture(root)}", *(f"accel:{d}" for d in accelerators if d)]
    return tuple(dict.fromkeys(name for name in found if name))


def matches(patterns: tuple[str, ...], root: Path = Path("/")) -> bool:
    """Whether this machine is what a profile's `compatible` patterns (with * and ?) stand for."""
    here = compatible(root)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in here)


def architecture(root: Path = Path("/")) -> str:
    """ "x86_64", "aarch64", ...: as programs here see it; of another tree, as its kernel said."""
    # A user-space emulator tells programs its own architecture, while /proc is that of the machine below.
    here = root == Path("/")
    return os.uname().machine if here else files.text(root / "proc/sys/kernel/arch") or os.uname().machine


def identity(root: Path = Path("/")) -> dict[str, Any]:
    """The board: `kind`, `model`, `soc`, `cpu`, `clusters`, `memory` in bytes, `power_mode`, `clocks`, `accelerators`.

    For a Jetson also `module`, `module_name`, `l4t`, `jetpack_hint`, `compute_capability`, `tensorrt`; for a Pi
    `revision`. `emulated` names the program that stands in for the processor, if one does. What cannot be read is
    left out: an empty tree has an empty identity.
    """
    names, processor = compatible(root), cpu.facts(root)
    found: dict[str, Any] = {
        "kind": _kind(names),
        "model": files.first(*(base / "model" for base in _tree(root))) or _product(root),
        **jetson.facts(root, names, _tree(root)),
        **android.here(root),
        "cpu": processor["cpu_model"],
        "clusters": [{"core": c["core"], "cpus": len(c["cpus"])} for c in processor["clusters"]],
        "memory": _memory(root),
        "power_mode": power_mode(root),
        "clocks": clocks(root),
    }
    if found["kind"] == "raspberry-pi":
        revision = re.search(r"^Revision\s*:\s*(\w+)", files.text(root / "proc/cpuinfo") or "", re.MULTILINE)
        found |= {"revision": revision[1] if revision else ""}
        found["soc"] = next((n.removeprefix("brcm,") for n in names if n.startswith("brcm,")), "")
    accelerators = [n.removeprefix("accel:") for n in names if n.startswith("accel:")]
    found["accelerators"] = ", ".join(accelerators)
    found["emulated"] = dump.emulator() if root == Path("/") else ""
    return {key: value for key, value in found.items() if value}


def clocks(root: Path = Path("/")) -> dict[str, list[Any]]:
    """The limits within which clocks may move, [lowest, highest] in kHz: `cpu` a pair for each kind, `gpu` one pair.

    With the release, the module and the power mode's name they are what a Jetson's figures belong to: names of
    modes alone mean different things on different modules.
    """
    folders = files.matches(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq")
    pairs = [(files.integer(f / "scaling_min_freq"), files.integer(f / "scaling_max_freq")) for f in folders]
    found: dict[str, list[Any]] = {"cpu": [list(pair) for pair in dict.fromkeys(pairs) if None not in pair]}
    gpu = gpu_folder(root)
    if gpu is not None:
        limits = [files.integer(gpu / "min_freq"), files.integer(gpu / "max_freq")]
        found["gpu"] = [hz // 1000 for hz in limits if hz is not None] if None not in limits else []
    return {key: value for key, value in found.items() if value}


def gpu_folder(root: Path = Path("/")) -> Path | None:
    """The devfreq folder of the graphics processor, by its device tree node; None where there is none."""
    for folder in files.matches(root / "sys/class/devfreq", "*"):
        node = files.text(folder / "device/of_node/name") or folder.name.rpartition(".")[2]
        if node in GPU_NODES:
            return folder
    return None


def runtimes() -> dict[str, str]:
    """Runtime -> version of this very interpreter, by the names of its installed distributions."""
    return dict(sorted(dump.runtimes(sys.path).items()))


def words(found: dict[str, Any]) -> str:
    """An identity in one line for a table: "Jetson Orin Nano 8GB, tegra234, 6x Cortex-A78AE, L4T 36.4.3, ..."."""
    memory = found.get("memory")
    parts = [
        found.get("module_name") or found.get("model"),
        found.get("module"),
        found.get("soc"),
        found.get("cpu"),
        f"{memory / 2**30:.1f} GiB" if memory else "",
        f"Android {found['release']}" if found.get("release") else "",
        f"L4T {found['l4t']}" if found.get("l4t") else "",
        f"JetPack {found['jetpack_hint']}?" if found.get("jetpack_hint") else "",
        f"compute capability {found['compute_capability']}" if found.get("compute_capability") else "",
        f"power mode {found['power_mode']}" if found.get("power_mode") else "",
        f"accelerator {found['accelerators']}" if found.get("accelerators") else "",
        f"emulated by {found['emulated']}" if found.get("emulated") else "",
    ]
    return ", ".join(str(part) for part in parts if part)


def _kind(names: tuple[str, ...]) -> str:
    if any(n.startswith("nvidia,tegra") for n in names):
        return "jetson"
    return "raspberry-pi" if any(n.startswith("raspberrypi,") for n in names) else ""


def _product(root: Path) -> str:
    """A PC's vendor and product: never its serial number."""
    vendor, product = (files.first(root / f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    return product if product.startswith(vendor) else f"{vendor} {product}"


def _memory(root: Path) -> int | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB$", files.text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _tree(root: Path) -> tuple[Path, Path]:
    return root / "sys/firmware/devicetree/base", root / "proc/device-tree"


def _driver(accelerator: Path) -> str:
    try:
        return (accelerator / "device/driver").resolve(strict=True).name
    except OSError:
        return ""
