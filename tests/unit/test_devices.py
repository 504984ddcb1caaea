"""Device profiles, the two transports, and which board this is."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from edgebench import ready
from edgebench.devices import profiles
from edgebench.devices.local import LocalDevice
from edgebench.devices.ssh import SshDevice
from edgebench.errors import EdgebenchError, PlanError
from edgebench.schema import Artifact, Care, DeviceProfile

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own profiles, empty at first."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config/edgebench/devices"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """An x86 machine that is none of the boards."""
    return boards.xeon(tmp_path / "machine")


def test_the_shipped_profiles_are_all_right() -> None:
    names = ("local", "android", "generic-arm64", "intel-npu", "jetson", "raspberry-pi")
    assert profiles.names() == names
    for name in names:
        profile = profiles.find(name)
        assert profile.name == name
        assert profile.description


def test_an_unknown_device_is_told_with_the_nearest_name() -> None:
    with pytest.raises(EdgebenchError) as caught:
        profiles.find("jetsno")
    assert caught.value.problem == 'There is no device "jetsno".'
    assert caught.value.fix == 'Did you mean "jetson"?'


def test_an_address_in_the_place_of_a_name_is_told_how_to_become_one() -> None:
    with pytest.raises(EdgebenchError) as caught:
        profiles.find("root@10.0.0.7")
    assert caught.value.fix == "Give it a name first: edgebench device add NAME root@10.0.0.7"


def test_local_is_this_machine(machine: Path) -> None:
    device = profiles.resolve("local", machine)
    assert isinstance(device, LocalDevice)
    assert device.python == sys.executable
    assert device.command(["a", "b c"]) == ["a", "b c"]
    assert device.check().ok


@pytest.mark.parametrize(
    ("python", "setup", "words"),
    [
        ("/gone/python", (), "There is no /gone/python on this machine"),
        ("/gone/python", ("true",), "/gone/python does not start on this machine after the profile's setup lines"),
        ("python3", ("nosuchcommand",), "nosuchcommand"),
    ],
)
def test_a_python_that_is_not_here_is_told_before_anything_is_made(
    python: str, setup: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    device = LocalDevice(DeviceProfile(name="odd", python=python, setup=setup))
    with pytest.raises(EdgebenchError, match=words):
        device.furnish({}, tmp_path)
    LocalDevice(DeviceProfile(name="even", setup=("true",))).furnish({}, tmp_path)


def test_a_board_that_is_neither_here_nor_addressed_is_one_clear_error(machine: Path, config: Path) -> None:
    with pytest.raises(EdgebenchError) as caught:
        profiles.resolve("jetson", machine)
    assert caught.value.problem == 'This machine is not a Jetson and no address is configured for device "jetson".'
    assert caught.value.fix == ("Run edgebench on the board itself, or add it: edgebench device add jetson user@host")
    with pytest.raises(EdgebenchError, match="not an Intel NPU machine and no address"):
        profiles.resolve("intel-npu", machine)


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("jetson", boards.orin_nano),
        ("jetson", boards.nano),
        ("raspberry-pi", boards.pi5),
        ("generic-arm64", boards.pi5),
    ],
)
def test_on_the_board_itself_the_device_is_local_under_its_own_name(name: str, board: object, tmp_path: Path) -> None:
    assert callable(board)
    device = profiles.resolve(name, board(tmp_path / "board"))
    assert isinstance(device, LocalDevice)
    assert (device.name, device.profile.transport) == (name, "local")


def test_a_profile_without_an_address_is_not_this_machine(config: Path) -> None:
    (config / "lab-9.toml").write_text('workdir = "/tmp"\n')
    with pytest.raises(EdgebenchError, match="lab-9"):
        profiles.resolve("lab-9")


def test_an_address_of_the_user_is_taken_even_on_a_board_of_that_kind(config: Path, tmp_path: Path) -> None:
    (config / "jetson.toml").write_text('address = "me@orin"\nworkdir = "/data/eb"')
    device = profiles.resolve("jetson", boards.orin_nano(tmp_path / "board"))
    assert isinstance(device, SshDevice)
    assert device.profile.compatible == ("nvidia,tegra*",), "the shipped profile's other keys stay"
    assert device.profile.workdir == "/data/eb"


def test_a_new_file_is_a_new_device(config: Path) -> None:
    (config / "bench-7.toml").write_text('address = "b7"\npython = "/opt/eb/bin/python"')
    assert "bench-7" in profiles.names()
    device = profiles.resolve("bench-7")
    assert isinstance(device, SshDevice)
    assert device.python == "/opt/eb/bin/python"


def test_a_wrong_profile_tells_every_mistake_with_its_line(config: Path) -> None:
    (config / "jetson.toml").write_text('adress = "x"\npython = 3\nsetup = ["a", 1]\naddress = "-oProxyCommand=x"\n')
    with pytest.raises(PlanError) as caught:
        profiles.find("jetson")
    lines = [line.strip().removeprefix(str(config)) for line in caught.value.problem.splitlines()[1:]]
    assert lines == [
        '/jetson.toml:1: unknown key "adress" at the top level. Did you mean "address"?',
        "/jetson.toml:2: python must be text in quotes, not 3.",
        "/jetson.toml:3: setup holds texts in quotes, not 1.",
        "/jetson.toml:4: an address cannot begin with a dash: ssh would take it for an option.",
    ]


def test_a_runtime_or_a_meter_that_there_is_not_is_a_mistake(config: Path) -> None:
    (config / "lab.toml").write_text('address = "x"\nbackends = ["onnxruntme"]\nsensors = ["rapl", "ina"]\n')
    with pytest.raises(PlanError) as caught:
        profiles.find("lab")
    lines = [line.strip().removeprefix(str(config)) for line in caught.value.problem.splitlines()[1:]]
    assert lines == [
        '/lab.toml:2: backends holds "onnxruntme", which there is not. Did you mean "onnxruntime"?',
        '/lab.toml:3: sensors holds "ina", which there is not. Did you mean "ina3221"?',
    ]


def test_of_another_machine_its_profile_says_which_runtimes_a_file_is_measured_on(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.touch()
    there = DeviceProfile(name="lab", transport="ssh", address="x", backends=("onnxruntime", "tensorrt", "litert"))
    assert ready.backends_for(model, there) == ("onnxruntime", "tensorrt"), "LiteRT opens no ONNX file"
    assert ready.entry_backends(there) == there.backends
    assert "tensorrt" not in ready.backends_for(model), "here they are those that can run here"


def test_a_transport_that_nobody_installed_is_named(config: Path) -> None:
    (config / "odd.toml").write_text('address = "R5CT"\ntransport = "smoke"')
    with pytest.raises(PlanError, match='No transport "smoke" is installed'):
        profiles.resolve("odd")


@pytest.mark.parametrize(
    ("text", "said"),
    [('addres = "me@h"\n', 'Did you mean "address"'), ("address = \n", "lab-9.toml:1"), ("[[recipe]]\n", "no device")],
)
def test_a_profile_that_is_none_for_its_mistakes_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "lab-9.toml").write_text(text)
    with pytest.raises(EdgebenchError) as caught:
        profiles.resolve("lab-9", beside=tmp_path)
    assert said in str(caught.value)


def test_a_profile_beside_the_plan_counts_for_that_plan_only(config: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    (plans / "devices").mkdir(parents=True)
    (plans / "my.toml").write_text('name = "my"\n[model]\nsource = "x"\n')
    (plans / "broken.toml").write_text("= no TOML")
    (plans / "lab-7.toml").write_text('address = "b7"\n')
    (plans / "devices/lab-8.toml").write_text('address = "b8"\nprice = 99\n[care]\ncool_to = 45\n')
    (config / "lab-7.toml").write_text('address = "elsewhere"\nworkdir = "/w"\n')
    assert {"lab-7", "lab-8"} <= set(profiles.names(plans))
    assert {"my", "broken"}.isdisjoint(profiles.names(plans))
    assert "lab-8" not in profiles.names()
    near, far = profiles.find("lab-7", plans), profiles.find("lab-7")
    assert (near.address, near.workdir, far.address) == ("b7", "/w", "elsewhere")
    found = profiles.find("lab-8", plans)
    assert (found.price, found.care) == (99, Care(cool_to=45))
    assert isinstance(profiles.resolve("lab-8", beside=plans), SshDevice)
    with pytest.raises(EdgebenchError, match='no device "lab-8"'):
        profiles.resolve("lab-8")


def test_care_of_several_files_is_put_together(config: Path, tmp_path: Path) -> None:
    (config / "b.toml").write_text("[care]\ncool_to = 45.5\nlock_clocks = true\n")
    (tmp_path / "b.toml").write_text('transport = "local"\n[care]\ncool_to = 40\ncool_seconds = 9\n')
    assert profiles.find("b").care == Care(cool_to=45.5, lock_clocks=True)
    assert profiles.find("b", tmp_path).care == Care(cool_to=40, cool_seconds=9, lock_clocks=True)


def test_values_that_make_no_sense_are_told_with_their_line(config: Path) -> None:
    text = "price = -1\n[care]\ncool_to = 400\ncool_seconds = -3\nlock_clock = true\n"
    (config / "b.toml").write_text(text)
    with pytest.raises(PlanError) as caught:
        profiles.find("b")
    lines = [line.strip().removeprefix(str(config)) for line in caught.value.problem.splitlines()[1:]]
    assert lines == [
        "/b.toml:1: price is what one costs in US dollars, not -1.",
        "/b.toml:3: cool_to must be -40 to 150 degrees Celsius, not 400.",
        "/b.toml:4: cool_seconds must be 0 to 86400 seconds, not -3.",
        '/b.toml:5: unknown key "lock_clock" in [care]. Did you mean "lock_clocks"?',
    ]


def test_setup_lines_run_before_the_command() -> None:
    device = LocalDevice(DeviceProfile(name="x", setup=("export EB_TEST='a b'", "true")))
    done = subprocess.run(device.command(["sh", "-c", 'printf %s "$EB_TEST$1"', "-", "$c;"]), capture_output=True)
    assert done.stdout == b"a b$c;"


def artifact(path: Path, content: bytes = b"model") -> Artifact:
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(format="onnx", path=str(path), sha256=digest, size=len(content))


def test_a_local_push_checks_the_file_and_leaves_it(tmp_path: Path) -> None:
    device = profiles.resolve("local")
    given = artifact(tmp_path / "m.onnx")
    assert device.push(given) == given
    (tmp_path / "m.onnx").write_bytes(b"other")
    with pytest.raises(EdgebenchError, match="has changed"):
        device.push(given)
    (tmp_path / "m.onnx").unlink()
    with pytest.raises(EdgebenchError, match="cannot be read"):
        device.push(given)
