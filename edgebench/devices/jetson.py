"""What NVIDIA calls its Jetson parts: modules, releases, chips, and the power mode that is in force.

Sources: NVIDIA's L4T and JetPack release notes, module part numbers, nvpmodel's own files. L4T is the truth: lists of
JetPack releases contradict one another, so a JetPack number is a hint and no key. Experimental on boards that have
not been at hand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgebench.devices import files

CAPABILITY = {"tegra210": "5.3", "tegra186": "6.2", "tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
"""CUDA compute capability of each Tegra."""

_MODULES = {
    "p3448": "Jetson Nano", "p2180": "Jetson TX1", "p3310": "Jetson TX2", "p3489": "Jetson TX2 4GB or TX2i",
    "p3636": "Jetson TX2 NX", "p2888": "Jetson AGX Xavier", "p3668": "Jetson Xavier NX",
    "p3767-0000": "Jetson Orin NX 16GB", "p3767-0001": "Jetson Orin NX 8GB", "p3767-0003": "Jetson Orin Nano 8GB",
    "p3767-0004": "Jetson Orin Nano 4GB", "p3767-0005": "Jetson Orin Nano 8GB (developer kit)",
    "p3701": "Jetson AGX Orin", "p3834": "Jetson Thor",
}  # fmt: skip
"""Module part number, whole or its family, -> the name that a person knows."""

_FAMILIES = {part.partition("-")[0] for part in _MODULES}

_JETPACK = {
    "32.4.3": "4.4", "32.4.4": "4.4.1", "32.5.0": "4.5", "32.5.1": "4.5.1", "32.6.1": "4.6", "32.7.1": "4.6.1",
    "32.7.2": "4.6.2", "32.7.3": "4.6.3", "32.7.4": "4.6.4", "34.1.0": "5.0", "34.1.1": "5.0.1", "35.1.0": "5.0.2",
    "35.2.1": "5.1", "35.3.1": "5.1.1", "35.4.1": "5.1.2", "35.5.0": "5.1.3", "35.6.0": "5.1.4", "36.2.0": "6.0",
    "36.3.0": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1",
}  # fmt: skip
_JETPACK_MAJOR = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7", "39": "7"}


def facts(root: Path, names: tuple[str, ...], trees: tuple[Path, ...]) -> dict[str, Any]:
    """`soc`, `module`, `module_name`, `l4t`, `jetpack_hint`, `compute_capability`, `tensorrt`; {} on another board.

    `names` are the device tree's compatible strings, `trees` the places where it may lie.
    """
    tegra = next((n for n in names if n.startswith("nvidia,tegra")), "")
    if not tegra:
        return {}
    soc, part, release = tegra.removeprefix("nvidia,"), module(names, trees), l4t(root)
    return {
        "kind": "jetson",
        "soc": soc,
        "module": part,
        "module_name": _MODULES.get(part, _MODULES.get(part.partition("-")[0], "")),
        "l4t": release,
        "jetpack_hint": jetpack_hint(release),
        "compute_capability": CAPABILITY.get(soc, ""),
        "tensorrt": _package(root, r"tensorrt|libnvinfer\d*"),
    }


def module(names: tuple[str, ...], trees: tuple[Path, ...]) -> str:
    """The compute module, "p3767-0005". Model texts change from release to release; this does not."""
    ids = files.first(*(tree / "nvidia,boardids" for tree in trees)).replace(":", " ").split()
    source = files.first(*(tree / "nvidia,dtsfilename" for tree in trees)).rpartition("/")[2]
    texts = (*(n.removeprefix("nvidia,") for n in names if n.startswith("nvidia,p")), *ids, source)
    # "p3768-0000+p3767-0003" is the carrier and the module; a developer kit has a number of its own before both.
    found = [f"p{part}" for text in texts for part in reversed(re.findall(r"p?(\d{4}-\d{4})", text))]
    return next((part for part in found if part.partition("-")[0] in _FAMILIES), found[0] if found else "")


def l4t(root: Path = Path("/")) -> str:
    """NVIDIA's Linux for Tegra release, "36.4.3"; "" where there is none."""
    line = files.text(root / "etc/nv_tegra_release") or ""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", line)
    if match:
        return f"{match[1]}.{match[2]}"
    # Containers and newer images lack that file; the package that carries it is still known to dpkg.
    return _package(root, "nvidia-l4t-core")


def jetpack_hint(release: str) -> str:
    """The JetPack that this L4T is believed to be part of: "6.2", or "6.x" for a release that is not known."""
    known = _JETPACK.get(release) or _JETPACK.get(f"{release}.0")
    major = _JETPACK_MAJOR.get(release.partition(".")[0])
    return known or (f"{major}.x" if major else "")


def _package(root: Path, name: str) -> str:
    """The upstream version of the first installed Debian package of that name (a regular expression)."""
    status = files.text(root / "var/lib/dpkg/status") or ""
    pattern = rf"^Package: (?:{name})\n(?:.+\n)*?Version: (\d+(?:\.\d+)*)"
    match = re.search(pattern, status, re.MULTILINE)
    return match[1] if match else ""


def power_mode(root: Path = Path("/")) -> str:
    """NVIDIA's power mode by its name in /etc/nvpmodel.conf, with its id ("MAXN_SUPER (2)"); "" elsewhere."""
    config = files.text(root / "etc/nvpmodel.conf") or ""
    status = re.search(r"pmode:(\d+)", files.text(root / "var/lib/nvpmodel/status") or "")
    default = re.search(r"<\s*PM_CONFIG\s+DEFAULT=(\d+)", config)
    found = status or default
    if not found:
        return ""
    mode = int(found[1])
    name = re.search(rf"<\s*POWER_MODEL\s+ID=0*{mode}\s+NAME=([^\s>]+)", config)
    return f"{name[1]} ({mode})" if name else str(mode)
