"""On the board: read the files by which it tells who it is and how it is, and answer with one line of JSON.

The text of this file is sent over stdin and run there, before anything of edgebench is needed: standard library,
Python >= 3.6. The host lays the files out as a tree and reads that tree with the same code that runs on the board
itself, so that both ways give one identity. Files are named by patterns, never found by walking: /sys has links
that lead back. Nothing that names a person, a network or one single board is read (serial numbers, addresses, host
names, keys); a serial number inside /proc/cpuinfo is blanked.
"""

import errno
import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any, Iterable  # noqa: UP035  (Python 3.6)

SENTINEL = "edgebench-board:"
"""Begins the line of the answer: a shell's start-up files may print lines of their own before it."""

MOST_BYTES = 1 << 18
"""Of one file. The largest is /proc/cpuinfo of a server."""

CPU = "sys/devices/system/cpu"
PATTERNS = (
    "sys/firmware/devicetree/base/{compatible,model,nvidia,boardids,nvidia,dtsfilename}",
    "sys/class/dmi/id/{sys_vendor,product_name,board_name}",
    "etc/{nv_tegra_release,nvpmodel.conf,os-release}",
    "var/lib/nvpmodel/status",
    "proc/{cpuinfo,meminfo,loadavg}",
    "proc/sys/kernel/{arch,osrelease}",
    CPU + "/{online,smt/active,intel_pstate/no_turbo,cpufreq/boost}",
    CPU + "/cpu[0-9]*/cpu_capacity",
    CPU + "/cpu[0-9]*/regs/identification/midr_el1",
    CPU + "/cpu[0-9]*/cpufreq/{cpuinfo_max_freq,scaling_cur_freq,scaling_min_freq,scaling_max_freq,scaling_governor}",
    CPU + "/cpu[0-9]*/cpufreq/{scaling_driver,scaling_available_governors}",
    CPU + "/cpu[0-9]*/thermal_throttle/{core,package}_throttle_count",
    CPU + "/cpufreq/policy*/{affected_cpus,scaling_governor,scaling_min_freq,scaling_max_freq,scaling_cur_freq}",
    "sys/devices/{cpu_core,cpu_atom}/cpus",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc@*/*firmware*/get_throttled",
    "sys/class/thermal/thermal_zone*/{type,temp}",
    "sys/class/thermal/cooling_device*/{type,cur_state,max_state}",
    "sys/class/hwmon/hwmon*/{name,temp1_input,in0_lcrit_alarm,oc*_event_cnt,oc*_throt_en}",
    "sys/bus/i2c/devices/*/name",
    "sys/bus/i2c/devices/*/hwmon/hwmon*/{name,update_interval,samples,in*_label,in*_input,curr*_input,curr*_max}",
    "sys/bus/i2c/devices/*/hwmon/hwmon*/{curr*_crit,power*_input}",
    "sys/bus/i2c/devices/*/iio:device*/{rail_name_*,in_power*_input,in_voltage*_input,in_current*_input}",
    "sys/class/devfreq/*/{cur_freq,min_freq,max_freq,governor,device/load,device/of_node/name}",
    "sys/class/powercap/intel-rapl*/{name,energy_uj,max_energy_range_uj}",
    "sys/class/accel/accel*/device/{vendor,device,npu_busy_time_us,npu_current_frequency_mhz}",
    "sys/class/accel/accel*/device/{npu_max_frequency_mhz,npu_memory_utilization}",
    "sys/class/power_supply/*/{type,status,capacity,temp,online}",
)
LINKS = ("sys/class/accel/accel*/device/driver",)
"""Links whose target's name is what counts."""

PROGRAMS = (("vcgencmd", "get_throttled"), ("vcgencmd", "pmic_read_adc"), ("nvpmodel", "-q"))

RUNTIMES = (
    "onnxruntime", "onnxruntime-gpu", "openvino", "ai-edge-litert", "tflite-runtime", "executorch", "ncnn", "torch",
    "tensorrt", "numpy",
)  # fmt: skip
PACKAGES = re.compile(r"nvidia-l4t-core|nvidia-jetpack|tensorrt|libnvinfer\d*|libnvinfer-bin|cuda-cudart-[\d-]+")
"""Of all the packages that are installed, only these are told."""


def spread(pattern: str) -> "list[str]":
    """ "a/{b,c}" -> ["a/b", "a/c"]. A device tree's own commas ("nvidia,boardids") stay together."""
    match = re.search(r"\{([^}]*)\}", pattern)
    if not match:
        return [pattern]
    words = re.sub(r"nvidia,", "nvidia\0", match.group(1)).split(",")
    return [pattern[: match.start()] + word.replace("\0", ",") + pattern[match.end() :] for word in words]


def read(path: str) -> bytes:
    """The content, as one read gives it. Raises OSError: EAGAIN too, which Python's own `open().read()` swallows."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        parts = []  # type: list[bytes]
        while sum(map(len, parts)) < MOST_BYTES:
            part = os.read(handle, 1 << 16)
            if not part:
                break
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def without_secrets(name: str, content: str) -> str:
    """The content as it may leave the board."""
    if name == "proc/cpuinfo":
        return re.sub(r"(?m)^(Serial\s*:).*$", r"\1 0", content)
    return content


def collect(root: str) -> "tuple[dict[str, str], dict[str, str]]":
    """(path below the root -> content, path -> the name of the error that reading it gave)."""
    files = {}  # type: dict[str, str]
    errors = {}  # type: dict[str, str]
    for pattern in (single for group in PATTERNS for single in spread(group)):
        for path in sorted(glob.glob(os.path.join(glob.escape(root), pattern))):
            name = os.path.relpath(path, root)
            try:
                files[name] = without_secrets(name, read(path).decode("utf-8", "surrogateescape"))
            except OSError as error:
                errors[name] = errno.errorcode.get(error.errno or 0, "EIO")
    packages = installed(root)
    if packages:
        files["var/lib/dpkg/status"] = packages
    return files, errors


def installed(root: str) -> str:
    """Those parts of dpkg's status that name NVIDIA's releases, with package, status and version only."""
    try:
        with open(os.path.join(root, "var/lib/dpkg/status"), encoding="utf-8", errors="replace") as file:
            stanzas = file.read().split("\n\n")
    except OSError:
        return ""
    kept = []
    for stanza in stanzas:
        lines = [line for line in stanza.splitlines() if line.startswith(("Package:", "Status:", "Version:"))]
        if lines and PACKAGES.fullmatch(lines[0].partition(":")[2].strip()):
            kept.append("\n".join(lines))
    return "\n\n".join(kept) + "\n" if kept else ""


def links(root: str) -> "dict[str, str]":
    found = {}
    for pattern in LINKS:
        for path in glob.glob(os.path.join(glob.escape(root), pattern)):
            if os.path.exists(path):
                found[os.path.relpath(path, root)] = os.path.basename(os.path.realpath(path))
    return found


def runtimes(folders: "Iterable[str]") -> "dict[str, str]":
    """Runtime -> its version, by the names of the `.dist-info` folders: nothing is imported (PEP 376)."""
    found = {}  # type: dict[str, str]
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            match = re.match(r"(.+?)-([^-]+)\.(?:dist|egg)-info$", name)
            if match:
                runtime = re.sub(r"[-_.]+", "-", match.group(1)).lower()
                if runtime in RUNTIMES:
                    found.setdefault(runtime, match.group(2))
    return found


def programs(root: str) -> "dict[str, str]":
    """What the board's own programs say, where it has them."""
    said = {}
    for argv in PROGRAMS:
        places = [os.path.join(root, place, argv[0]) for place in ("usr/bin", "usr/sbin", "opt/vc/bin")]
        for place in [p for p in places if os.access(p, os.X_OK)][:1]:
            try:
                done = subprocess.run(
                    [place] + list(argv[1:]),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    timeout=5,
                )
            except (OSError, subprocess.SubprocessError):
                continue
            if done.returncode == 0:
                said[" ".join(argv)] = done.stdout.decode("utf-8", "replace")
    return said


def pythons() -> "dict[str, str]":
    """The Pythons of the PATH by their minor version, "3.11" -> "/usr/bin/python3.11"."""
    found = {}  # type: dict[str, str]
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "python3.[0-9]*"))):
            match = re.search(r"python(3\.\d+)$", path)
            if match and os.access(path, os.X_OK):
                found.setdefault(match.group(1), path)
    return found


def emulator() -> str:
    """ "qemu-aarch64-static" where that runs this very program; "" on a real processor."""
    try:
        name = os.path.basename(os.readlink("/proc/thread-self/exe"))
    except OSError:
        return ""
    return name if name.startswith("qemu-") else ""


def tell(root: str) -> "dict[str, Any]":
    files, errors = collect(root)
    return {
        "files": files,
        "errors": errors,
        "links": links(root),
        "programs": programs(root),
        "machine": os.uname().machine,
        "emulator": emulator(),
        "python": platform.python_version(),
        "pythons": pythons(),
        "runtimes": runtimes(sys.path),
        "rsync": shutil.which("rsync") is not None,
        "trtexec": os.access(os.path.join(root, "usr/src/tensorrt/bin/trtexec"), os.X_OK),
    }


def main(root: str) -> None:
    sys.stdout.write("\n" + SENTINEL + json.dumps(tell(root)) + "\n")
    sys.stdout.flush()
