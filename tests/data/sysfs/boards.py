"""Synthetic /proc and /sys trees of machines that are not at hand.

Written from documented formats (the kernel's documentation, NVIDIA's and Raspberry Pi's), not recorded on a
board: they show that the readers understand those formats, and prove nothing about real hardware.
"""

from __future__ import annotations

from pathlib import Path


def put(root: Path, files: dict[str, str]) -> Path:
    """Write files below `root`, each with the line end that the kernel gives."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def unreadable(root: Path, name: str) -> None:
    """A file that is there and answers every read with an error, as a sensor without power does."""
    path = root / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir()  # EISDIR: tests cannot make a regular file answer EAGAIN


def tree(root: Path, *names: str) -> None:
    """The device tree's `compatible`: names separated by NULs."""
    path = root / "sys/firmware/devicetree/base/compatible"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(name.encode() + b"\0" for name in names))


def arm(root: Path, cores: dict[str, int], features: str = "fp asimd asimddp") -> Path:
    """An arm64 machine with so many cores of each part ("0x41/0xd0b"), the weakest named first."""
    lines, n = [], 0
    for rank, (part, count) in enumerate(cores.items(), 1):
        implementer, _, number = part.partition("/")
        for _ in range(count):
            lines += [f"processor\t: {n}", f"Features\t: {features}", f"CPU implementer\t: {implementer}"]
            lines += ["CPU architecture: 8", f"CPU part\t: {number}", ""]
            put(root, {f"sys/devices/system/cpu/cpu{n}/cpu_capacity": str(1024 * rank // len(cores))})
            put(root, {f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": str(900_000 * rank)})
            put(root, {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor": "schedutil"})
            put(root, {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": str(600_000 * rank)})
            n += 1
    put(root, {"proc/cpuinfo": "\n".join(lines), "sys/devices/system/cpu/online": f"0-{n - 1}"})
    put(
        root,
        {
            "proc/self/status": f"Name:\tpython3\nCpus_allowed_list:\t0-{n - 1}",
            "proc/sys/kernel/arch": "aarch64",
        },
    )
    return put(root, {"sys/devices/system/clocksource/clocksource0/current_clocksource": "arch_sys_counter"})


def hwmon_ina3221(root: Path, address: str, rails: dict[str, tuple[int, int]], number: int = 3) -> Path:
    """One monitor in its hwmon form: label -> (mV, mA). Returns the folder of its values."""
    chip = f"sys/bus/i2c/devices/{address}"
    folder = f"{chip}/hwmon/hwmon{number}"
    put(root, {f"{chip}/name": "ina3221", f"{folder}/name": "ina3221", f"{folder}/update_interval": "2"})
    for n, (label, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        put(root, {f"{folder}/in{n}_label": label.partition("#")[0], f"{folder}/in{n}_input": str(millivolts)})
        put(root, {f"{folder}/curr{n}_input": str(milliamperes)})
    put(root, {f"{folder}/in7_label": "sum of shunt voltages", f"{folder}/in7_input": "40"})
    return root / folder


def iio_ina3221(root: Path, address: str, rails: dict[str, int], number: int = 0) -> Path:
    """One monitor in JetPack 4's form: label -> mW. Returns the folder of its values."""
    chip = f"sys/bus/i2c/devices/{address}"
    folder = f"{chip}/iio:device{number}"
    put(root, {f"{chip}/name": "ina3221x"})
    for n, (label, milliwatts) in enumerate(rails.items()):
        put(root, {f"{folder}/rail_name_{n}": label, f"{folder}/in_power{n}_input": str(milliwatts)})
    return root / folder


def devfreq(root: Path, name: str, node: str, hertz: tuple[int, int, int], load: int | None = None) -> Path:
    """A graphics processor with (lowest, current, highest) clock; its load from 0 to 1000 where it tells one."""
    folder = f"sys/class/devfreq/{name}"
    low, now, high = map(str, hertz)
    put(root, {f"{folder}/min_freq": low, f"{folder}/cur_freq": now, f"{folder}/max_freq": high})
    put(root, {f"{folder}/device/of_node/name": f"{node}\0", f"{folder}/governor": "nvhost_podgov"})
    if load is not None:
        put(root, {f"{folder}/device/load": str(load)})
    return root / folder


def policy(root: Path, first: int, khz: tuple[int, int, int], governor: str, cpus: int = 1) -> Path:
    """A clock domain of so many CPUs from `first` on, as a policy and as each CPU's own folder shows it."""
    base = "sys/devices/system/cpu"
    values = {"scaling_min_freq": khz[0], "scaling_cur_freq": khz[1], "scaling_max_freq": khz[2]}
    for folder in (f"{base}/cpufreq/policy{first}", *(f"{base}/cpu{first + n}/cpufreq" for n in range(cpus))):
        put(root, {f"{folder}/{name}": str(value) for name, value in values.items()})
        put(root, {f"{folder}/scaling_governor": governor})
        put(root, {f"{folder}/scaling_available_governors": f"{governor} performance"})
    return root / f"{base}/cpufreq/policy{first}"


def orin_nano(root: Path) -> Path:
    """Jetson Orin Nano 8 GB, JetPack 6: one monitor, whose VDD_IN is the whole module."""
    tree(root, "nvidia,p3768-0000+p3767-0003", "nvidia,p3767-0003", "nvidia,tegra234")
    arm(root, {"0x41/0xd42": 6}, "fp asimd asimdhp asimddp")
    zones = {"cpu-thermal": "51250", "cv0-thermal": "-256", "tj-thermal": "52968", "soc0-thermal": "0"}
    for n, (kind, value) in enumerate(zones.items()):
        put(
            root,
            {
                f"sys/class/thermal/thermal_zone{n}/type": kind,
                f"sys/class/thermal/thermal_zone{n}/temp": value,
            },
        )
    put(root, {"sys/class/thermal/thermal_zone4/type": "gpu-thermal"})
    unreadable(root, "sys/class/thermal/thermal_zone4/temp")
    put(
        root,
        {
            "sys/class/thermal/cooling_device0/type": "pwm-fan",
            "sys/class/thermal/cooling_device0/cur_state": "2",
        },
    )
    put(root, {"sys/class/thermal/cooling_device1/type": "cpufreq-cpu0"})
    put(root, {"sys/class/thermal/cooling_device1/cur_state": "0"})
    put(root, {"sys/class/hwmon/hwmon2/name": "soctherm_oc", "sys/class/hwmon/hwmon2/oc1_event_cnt": "0"})
    put(root, {"sys/class/hwmon/hwmon2/oc3_event_cnt": "27390"})
    put(root, {"sys/firmware/devicetree/base/model": "NVIDIA Jetson Orin Nano Developer Kit\0"})
    put(
        root,
        {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic"},
    )
    put(root, {"var/lib/nvpmodel/status": "pmode:0002"})
    modes = "< PM_CONFIG DEFAULT=0 >\n< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >"
    put(root, {"etc/nvpmodel.conf": modes})
    hwmon_ina3221(root, "1-0040", {"VDD_IN": (4912, 1104), "VDD_CPU_GPU_CV": (4904, 320), "VDD_SOC": (4904, 280)})
    devfreq(root, "17000000.gpu", "gpu", (306_000_000, 624_750_000, 1_020_000_000), load=421)
    policy(root, 0, (729_600, 1_344_000, 1_728_000), "schedutil", 6)
    return put(root, {"proc/meminfo": "MemTotal:        7802436 kB\nMemAvailable:    5000000 kB"})


def agx_orin(root: Path) -> Path:
    """Jetson AGX Orin: two monitors and no rail for the module, three of whose rails add up to it."""
    tree(root, "nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234")
    arm(root, {"0x41/0xd42": 12})
    put(root, {"var/lib/dpkg/status": "Package: nvidia-l4t-core\nStatus: installed\nVersion: 35.4.1-20230801"})
    first = {"VDD_GPU_SOC": (20000, 200), "VDD_CPU_CV": (20000, 100), "VIN_SYS_5V0": (5000, 800)}
    hwmon_ina3221(root, "1-0040", first, 4)
    hwmon_ina3221(root, "1-0041", {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (20000, 50), "NC#2": (0, 0)}, 5)
    return root


def nano(root: Path) -> Path:
    """Jetson Nano, JetPack 4: the iio form, and rails that contain one another."""
    tree(root, "nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210")
    arm(root, {"0x41/0xd07": 4})
    iio_ina3221(root, "6-0040", {"POM_5V_IN": 2540, "POM_5V_GPU": 40, "POM_5V_CPU": 480})
    return root


def xavier_nx(root: Path) -> Path:
    """Jetson Xavier NX, JetPack 4."""
    tree(root, "nvidia,p3509-0000+p3668-0001", "nvidia,p3668-0001", "nvidia,tegra194")
    arm(root, {"0x4e/0x004": 6})
    iio_ina3221(root, "7-0040", {"VDD_IN": 3620, "VDD_CPU_GPU_CV": 530, "VDD_SOC": 900})
    return root


def agx_thor(root: Path) -> Path:
    """Jetson AGX Thor: rails of the module that are not known to add up, and a meter on the carrier board."""
    tree(root, "nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264")
    arm(root, {"0x41/0xd83": 14})
    hwmon_ina3221(root, "2-0040", {"VDD_GPU": (20000, 400), "VDD_CPU_SOC_MSS": (20000, 300)})
    put(root, {"sys/bus/i2c/devices/2-0044/name": "ina238"})
    put(root, {"sys/bus/i2c/devices/2-0044/hwmon/hwmon6/power1_input": "31500000"})
    return root


PMIC = """\
   3V7_WL_SW_A current(0)=0.09759316A
   3V3_SYS_A current(1)=0.04879658A
   VDD_CORE_A current(7)=0.75196000A
   3V7_WL_SW_V volt(8)=3.71935200V
   3V3_SYS_V volt(9)=3.31087800V
   VDD_CORE_V volt(15)=0.72010990V
   EXT5V_V volt(24)=5.15120000V
   BATT_V volt(25)=0.00000000V"""


def pi5(root: Path, pmic: str = PMIC) -> Path:
    """Raspberry Pi 5: throttle bits of the firmware, and a vcgencmd that answers with `pmic`."""
    tree(root, "raspberrypi,5-model-b", "brcm,bcm2712")
    arm(root, {"0x41/0xd0b": 4})
    with (root / "proc/cpuinfo").open("a") as cpuinfo:
        cpuinfo.write("Revision\t: d04170\nSerial\t\t: 1\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n")
    put(root, {"sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    put(root, {"sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "50000"})
    put(
        root,
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": "83400",
        },
    )
    put(root, {"sys/class/hwmon/hwmon1/name": "rpi_volt", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0"})
    put(
        root,
        {"usr/bin/vcgencmd": f"#!/bin/sh\n[ \"$1\" = pmic_read_adc ] || exit 1\ncat <<'END'\n{pmic}\nEND"},
    )
    (root / "usr/bin/vcgencmd").chmod(0o755)
    return root


def xeon(root: Path) -> Path:
    """A server with two sockets: RAPL packages with their parts, and the same package once more by MMIO."""
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:1": "package-1",
        "intel-rapl:0:0": "dram",
        "intel-rapl:2": "psys",
    }
    for n, (zone, name) in enumerate({**zones, "intel-rapl-mmio:0": "package-0"}.items(), 1):
        folder = f"sys/class/powercap/{zone}"
        put(root, {f"{folder}/name": name, f"{folder}/energy_uj": str(n * 1_000_000)})
        put(root, {f"{folder}/max_energy_range_uj": "262143328850"})
    cpu = "sys/devices/system/cpu"
    for n in range(4):
        put(
            root,
            {
                f"{cpu}/cpu{n}/thermal_throttle/core_throttle_count": str(n),
                f"{cpu}/cpu{n}/topology/core_id": "0",
            },
        )
        put(root, {f"{cpu}/cpu{n}/cpufreq/scaling_governor": "powersave"})
        put(root, {f"{cpu}/cpu{n}/cpufreq/cpuinfo_max_freq": str(4_000_000 + 100_000 * (n == 3))})
    block = "processor\t: {}\nmodel name\t: Intel(R) Xeon(R) 6\nflags\t\t: fpu avx2 avx512f amx_int8 ht"
    put(root, {"proc/cpuinfo": "\n\n".join(block.format(n) for n in range(4)), f"{cpu}/online": "0-3"})
    put(
        root,
        {f"{cpu}/intel_pstate/no_turbo": "0", f"{cpu}/smt/active": "1", "proc/sys/kernel/arch": "x86_64"},
    )
    put(root, {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"})
    return put(root, {"sys/class/hwmon/hwmon0/name": "coretemp", "sys/class/hwmon/hwmon0/temp1_input": "41000"})
