"""What board is this: the device tree's word first, the vendors' own files after it.

Sources: Devicetree Specification 2.3.1 (`compatible`), NVIDIA L4T (/etc/nv_tegra_release), Raspberry Pi
revision codes. Experimental on boards that have not been at hand.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgebench.devices import files

_CAPABILITY = {"tegra210": "5.3", "tegra186": "6.2", "tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
"""CUDA compute capability of each Tegra."""


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
    """ "x86_64", "aarch64", ...: as the kernel says."""
    return files.text(root / "proc/sys/kernel/arch") or os.uname().machine


def identity(root: Path = Path("/")) -> dict[str, Any]:
    """The board: `model`, and for a Jetson `module`, `soc`, `l4t`, `compute_capability`; for a Pi `revision`.

    Empty on a machine without a device tree. Values are text; what cannot be read is left out.
    """
    names = compatible(root)
    found = {"model": files.first(*(base / "model" for base in _tree(root)))}
    tegra = next((n for n in names if n.startswith("nvidia,tegra")), "")
    if tegra:
        soc = tegra.removeprefix("nvidia,")
        found |= {"kind": "jetson", "soc": soc, "module": _module(root, names), "l4t": l4t(root)}
        found["compute_capability"] = _CAPABILITY.get(soc, "")
    elif any(n.startswith("raspberrypi,") for n in names):
        revision = re.search(r"^Revision\s*:\s*(\w+)", files.text(root / "proc/cpuinfo") or "", re.MULTILINE)
        found |= {"kind": "raspberry-pi", "revision": revision[1] if revision else ""}
        found["soc"] = next((n.removeprefix("brcm,") for n in names if n.startswith("brcm,")), "")
    accelerators = [n.removeprefix("accel:") for n in names if n.startswith("accel:")]
    found["accelerators"] = ", ".join(accelerators)
    return {key: value for key, value in found.items() if value}


def l4t(root: Path = Path("/")) -> str:
    """NVIDIA's Linux for Tegra release, "36.4.3"; "" where there is none."""
    line = files.text(root / "etc/nv_tegra_release") or ""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", line)
    if match:
        return f"{match[1]}.{match[2]}"
    # Containers and newer images lack that file; the package that carries it is still known to dpkg.
    status = files.text(root / "var/lib/dpkg/status") or ""
    match = re.search(r"^Package: nvidia-l4t-core\n(?:.+\n)*?Version: (\d+(?:\.\d+)*)", status, re.MULTILINE)
    return match[1] if match else ""


def _module(root: Path, names: tuple[str, ...]) -> str:
    """The compute module, "p3767-0005". Model texts change from release to release; this does not."""
    ids = (files.first(*(base / "nvidia,boardids" for base in _tree(root)))).replace(":", " ").split()
    for text in (*(n.removeprefix("nvidia,") for n in names if n.startswith("nvidia,p")), *ids):
        boards = re.findall(r"p?(\d{4}-\d{4})", text)  # "p3768-0000+p3767-0003": the carrier, the module
        if boards:
            return f"p{boards[-1]}"
    return ""


def _tree(root: Path) -> tuple[Path, Path]:
    return root / "sys/firmware/devicetree/base", root / "proc/device-tree"


def _driver(accelerator: Path) -> str:
    try:
        return (accelerator / "device/driver").resolve(strict=True).name
    except OSError:
        return ""
