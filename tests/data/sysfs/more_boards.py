"""More synthetic trees: see boards.py and README.md. Written from documented formats, not recorded on a board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boards
from boards import arm, devfreq, hwmon_ina3221, iio_ina3221, policy, put, tree


def zones(root: Path, readings: dict[str, str]) -> None:
    """Thermal zones by type, in thousandths of a degree, as text: some sensors answer what is no number."""
    for n, (kind, value) in enumerate(readings.items()):
        folder = f"sys/class/thermal/thermal_zone{n}"
        put(root, {f"{folder}/type": kind, f"{folder}/temp": value})


def program(root: Path, name: str, answers: dict[str, str]) -> None:
    """A program that answers its first argument; anything else is an error."""
    cases = "\n".join(f"{word}) cat <<'END'\n{text}\nEND\n;;" for word, text in answers.items())
    put(root, {name: f'#!/bin/sh\ncase "$1" in\n{cases}\n*) exit 1 ;;\nesac'})
    (root / name).chmod(0o755)


def tx2(root: Path) -> Path:
    """Jetson TX2, JetPack 4: two kinds of cores, two monitors, and a module named by its boot file only."""
    tree(root, "nvidia,quill", "nvidia,tegra186")
    arm(root, {"0x41/0xd07": 4, "0x4e/0x003": 2})
    base = "sys/firmware/devicetree/base"
    source = "/dvs/git/dirty/hardware/nvidia/platform/t18x/quill/kernel-dts/tegra186-quill-p3310-1000-c03-00-base.dts"
    put(root, {f"{base}/nvidia,dtsfilename": f"{source}\0", f"{base}/model": "quill\0"})
    put(root, {"etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64"})
    zones(root, {"BCPU-therm": "34500", "GPU-therm": "32000", "PMIC-Die": "100000", "thermal-fan-est": "33600"})
    iio_ina3221(root, "0-0040", {"VDD_SYS_GPU": 152, "VDD_SYS_SOC": 534, "VDD_4V0_WIFI": 19})
    iio_ina3221(root, "0-0041", {"VDD_IN": 2934, "VDD_SYS_CPU": 382, "VDD_SYS_DDR": 611}, 1)
    devfreq(root, "17000000.gp10b", "gp10b", (114_750_000, 114_750_000, 1_300_500_000), load=0)
    return root


def agx_xavier(root: Path) -> Path:
    """Jetson AGX Xavier, JetPack 5: no rail for the module, six that add up to it, and an unwired zone."""
    tree(root, "nvidia,p2972-0000", "nvidia,p2888-0001", "nvidia,tegra194")
    arm(root, {"0x4e/0x004": 8})
    put(root, {"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: generic"})
    zones(root, {"CPU-therm": "41000", "GPU-therm": "-256000", "AO-therm": "40500"})
    hwmon_ina3221(root, "1-0040", {"GPU": (19000, 100), "CPU": (19000, 50), "SOC": (19000, 60)}, 2)
    hwmon_ina3221(root, "1-0041", {"CV": (19000, 0), "VDDRQ": (19000, 20), "SYS5V": (5000, 300)}, 3)
    devfreq(root, "17000000.gv11b", "gv11b", (114_750_000, 318_750_000, 1_377_000_000), load=1000)
    return root


def pi4(root: Path) -> Path:
    """Raspberry Pi 4: throttle bits in a file of the firmware driver, and no meter."""
    tree(root, "raspberrypi,4-model-b", "brcm,bcm2711")
    arm(root, {"0x41/0xd08": 4})
    with (root / "proc/cpuinfo").open("a") as cpuinfo:
        cpuinfo.write("Hardware\t: BCM2835\nRevision\t: c03114\nSerial\t\t: 10000000deadbeef\n")
    put(root, {"sys/firmware/devicetree/base/model": "Raspberry Pi 4 Model B Rev 1.4\0"})
    put(root, {"sys/devices/platform/soc/soc:firmware/get_throttled": "0"})
    zones(root, {"cpu-thermal": "48686"})
    policy(root, 0, (600_000, 1_500_000, 1_800_000), "ondemand", 4)
    return put(root, {"sys/class/hwmon/hwmon1/name": "rpi_volt", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0"})


def rk3588(root: Path) -> Path:
    """A board of another maker: four small and four big cores, each kind with its own clock."""
    tree(root, "radxa,rock-5b", "rockchip,rk3588")
    arm(root, {"0x41/0xd05": 4, "0x41/0xd0b": 4})
    put(root, {"sys/firmware/devicetree/base/model": "Radxa ROCK 5B\0"})
    zones(root, {"soc-thermal": "45307", "bigcore0-thermal": "46230"})
    policy(root, 0, (408_000, 408_000, 1_800_000), "schedutil", 4)
    policy(root, 4, (408_000, 2_304_000, 2_304_000), "schedutil", 4)
    return put(root, {"proc/meminfo": "MemTotal:       16218564 kB"})


def meteor_lake(root: Path) -> Path:
    """An Intel laptop: RAPL, two kinds of cores, and an NPU with the intel_vpu driver."""
    block = "processor\t: {}\nmodel name\t: Intel(R) Core(TM) Ultra 7 155H\nflags\t\t: fpu avx2 avx_vnni"
    cpu = "sys/devices/system/cpu"
    put(root, {"proc/cpuinfo": "\n\n".join(block.format(n) for n in range(4)), f"{cpu}/online": "0-3"})
    put(root, {"sys/devices/cpu_core/cpus": "0-1", "sys/devices/cpu_atom/cpus": "2-3"})
    put(root, {f"{cpu}/cpu{n}/cpufreq/cpuinfo_max_freq": str(4_800_000 if n < 2 else 3_800_000) for n in range(4)})
    put(root, {"proc/sys/kernel/arch": "x86_64", "proc/self/status": "Cpus_allowed_list:\t0-3"})
    put(root, {"sys/class/dmi/id/sys_vendor": "Acme", "sys/class/dmi/id/product_name": "Book 14"})
    folder = "sys/class/powercap/intel-rapl:0"
    put(root, {f"{folder}/name": "package-0", f"{folder}/energy_uj": "123000000"})
    put(root, {f"{folder}/max_energy_range_uj": "262143328850"})
    npu = "sys/class/accel/accel0/device"
    put(
        root, {f"{npu}/vendor": "0x8086", f"{npu}/npu_busy_time_us": "1500000", f"{npu}/npu_memory_utilization": "4096"}
    )
    put(root, {f"{npu}/npu_current_frequency_mhz": "1400", f"{npu}/npu_max_frequency_mhz": "1400"})
    driver = root / "sys/bus/pci/drivers/intel_vpu"
    driver.mkdir(parents=True)
    (root / npu / "driver").symlink_to(driver)
    zones(root, {"x86_pkg_temp": "52000", "acpitz": "0"})
    return root


BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  health: 2
  present: true
  level: 84
  scale: 100
  voltage: 4210
  temperature: 312
  technology: Li-ion"""

THERMAL = """\
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 2
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=41.3, mType=0, mName=CPU0, mStatus=0}"""

PROPERTIES = """\
[ro.board.platform]: [zuma]
[ro.build.version.release]: [15]
[ro.product.manufacturer]: [Google]
[ro.product.model]: [Pixel 8]
[ro.serialno]: [SECRET123]
[ro.soc.model]: [Tensor G3]"""


def phone(root: Path) -> Path:
    """An Android phone whose thermal zones may not be read, but whose services answer."""
    arm(root, {"0x41/0xd46": 4, "0x41/0xd4d": 4, "0x41/0xd4e": 1})
    program(root, "system/bin/dumpsys", {"thermalservice": THERMAL, "battery": BATTERY})
    program(root, "system/bin/getprop", {'""': PROPERTIES})
    return root


BOARDS: dict[str, Callable[[Path], Path]] = {
    "nano": boards.nano, "tx2": tx2, "agx_xavier": agx_xavier, "xavier_nx": boards.xavier_nx,
    "orin_nano": boards.orin_nano, "agx_orin": boards.agx_orin, "agx_thor": boards.agx_thor, "pi4": pi4,
    "pi5": boards.pi5, "rk3588": rk3588, "meteor_lake": meteor_lake, "phone": phone, "xeon": boards.xeon,
}  # fmt: skip
