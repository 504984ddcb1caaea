"""Device profiles, the two transports, and which board this is."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgebench.devices import profiles, receive, ssh
from edgebench.devices.identity import compatible, identity, l4t
from edgebench.devices.local import LocalDevice
from edgebench.devices.ssh import SshDevice
from edgebench.errors import EdgebenchError, PlanError
from edgebench.schema import Artifact, DeviceProfile

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


def test_local_is_this_machine(machine: Path) -> None:
    device = profiles.resolve("local", machine)
    assert isinstance(device, LocalDevice)
    assert device.python == sys.executable
    assert device.command(["a", "b c"]) == ["a", "b c"]
    assert device.check().ok


def test_a_board_that_is_neither_here_nor_addressed_is_one_clear_error(machine: Path, config: Path) -> None:
    with pytest.raises(EdgebenchError) as caught:
        profiles.resolve("jetson", machine)
    assert caught.value.problem == 'This machine is not a Jetson and no address is configured for device "jetson".'
    assert caught.value.fix == (
        f"Run edgebench on the board itself, or add the board's address in {config}/jetson.toml "
        '(address = "user@host").'
    )
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


def test_an_npu_is_known_by_its_driver(machine: Path) -> None:
    driver = machine / "sys/bus/pci/drivers/intel_vpu"
    driver.mkdir(parents=True)
    accel = machine / "sys/class/accel/accel0/device"
    accel.mkdir(parents=True)
    (accel / "driver").symlink_to(driver)
    assert compatible(machine) == ("arch:x86_64", "accel:intel_vpu")
    assert identity(machine) == {"accelerators": "intel_vpu"}
    assert isinstance(profiles.resolve("intel-npu", machine), LocalDevice)


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


def test_a_transport_that_nobody_installed_is_named(config: Path) -> None:
    (config / "android.toml").write_text('address = "R5CT"')
    with pytest.raises(PlanError, match='No transport "adb" is installed'):
        profiles.resolve("android")


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


def test_identity_of_a_jetson(tmp_path: Path) -> None:
    assert identity(boards.orin_nano(tmp_path)) == {
        "kind": "jetson",
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "module": "p3767-0003",
        "soc": "tegra234",
        "compute_capability": "8.7",
        "l4t": "36.4.3",
    }


def test_l4t_is_found_in_a_container_too(tmp_path: Path) -> None:
    assert l4t(boards.agx_orin(tmp_path)) == "35.4.1"


def test_an_old_jetson_names_its_module_elsewhere(tmp_path: Path) -> None:
    boards.tree(tmp_path, "nvidia,jetson-nano", "nvidia,tegra210")
    boards.put(tmp_path, {"sys/firmware/devicetree/base/nvidia,boardids": "3448:3449"})
    assert "module" not in identity(tmp_path)
    boards.put(tmp_path, {"sys/firmware/devicetree/base/nvidia,boardids": "3448-0000:3449"})
    assert identity(tmp_path)["module"] == "p3448-0000"


def test_identity_of_a_pi_and_of_nothing(tmp_path: Path) -> None:
    found = identity(boards.pi5(tmp_path / "pi"))
    assert (found["kind"], found["revision"], found["soc"]) == ("raspberry-pi", "d04170", "bcm2712")
    assert identity(tmp_path / "nothing") == {}


# SSH, with a program in ssh's place that runs the command here: the quoting is real, the network is not.

FAKE_SSH = """\
#!/bin/sh
printf '%s\\n' "$@" > "$EB_SSH_LOG"
for last; do :; done
cd "$EB_BOARD" && HOME="$EB_BOARD" exec sh -c "$last"
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    fake_ssh(programs, FAKE_SSH)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("EB_SSH_LOG", str(tmp_path / "argv"))
    monkeypatch.setenv("EB_BOARD", str(home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    return home


def fake_ssh(programs: Path, text: str) -> None:
    (programs / "ssh").write_text(text)
    (programs / "ssh").chmod(stat.S_IRWXU)


def device(**profile: str) -> SshDevice:
    values = {"address": "me@board:2222", "python": sys.executable, **profile}
    return SshDevice(DeviceProfile(name="board", transport="ssh", **values))  # type: ignore[arg-type]


def test_ssh_runs_quoted_arguments_and_nothing_else(board: Path) -> None:
    nasty = ["printf", "%s|", "a b", "$HOME", "`id`", "';rm -rf x;'", "\n", "é"]
    done = subprocess.run(device().command(nasty), capture_output=True, check=True)
    assert done.stdout.decode() == "a b|$HOME|`id`|';rm -rf x;'|\n|é|"
    argv = Path(os.environ["EB_SSH_LOG"]).read_text()
    assert "-p\n2222\n--\nme@board\nexec printf" in argv
    for option in (
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=2",
    ):
        assert f"-o\n{option}\n" in argv


@pytest.mark.parametrize("address", ["a b", "host:x", "", "-oProxyCommand=x", "fe80::1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(EdgebenchError, match="not an SSH address"):
        device(address=address).command(["true"])


def test_an_ipv6_address_is_understood() -> None:
    assert "me@fe80::1" in device(address="me@[fe80::1]:22").command(["true"])


def test_push_brings_a_file_once_and_checked(board: Path, tmp_path: Path) -> None:
    given = artifact(tmp_path / "my net.onnx", os.urandom(3_000_000))
    there = device().push(given)
    path = Path(there.path)
    assert path == board / ".cache/edgebench/store" / given.sha256 / "my net.onnx"
    assert path.read_bytes() == Path(given.path).read_bytes()
    assert (there.sha256, there.size) == (given.sha256, given.size)
    first = path.stat().st_ino
    assert device().push(given) == there
    assert path.stat().st_ino == first, "it was there already"
    path.write_bytes(b"rotten")
    assert device().push(given) == there
    assert path.read_bytes() == Path(given.path).read_bytes(), "a changed file is replaced before use"
    assert [p.name for p in path.parent.iterdir()] == ["my net.onnx"], "nothing half-done is left"


def test_push_into_the_profiles_workdir(board: Path, tmp_path: Path) -> None:
    given = artifact(tmp_path / "m.onnx")
    assert device(workdir=f"{tmp_path}/w x").push(given).path.startswith(f"{tmp_path}/w x/store/")


def test_a_file_that_arrives_damaged_is_never_used(board: Path, tmp_path: Path) -> None:
    fake_ssh(
        tmp_path / "bin",
        FAKE_SSH.replace('sh -c "$last"', 'sh -c "head -c 3 | ($last)"').replace("exec sh", "sh"),
    )
    given = artifact(tmp_path / "m.onnx", b"whole model")
    with pytest.raises(EdgebenchError, match="what arrived is not what was sent"):
        device().push(given)
    assert not list((board / ".cache/edgebench/store" / given.sha256).iterdir())


def test_a_workdir_that_cannot_be_written_is_told(board: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgebenchError, match="could not be brought"):
        device(workdir=str(tmp_path / "file")).push(artifact(tmp_path / "m.onnx"))


CHECKS = [
    (
        "echo 'ssh: connect to host board port 22: Connection refused' >&2; exit 255",
        "Connection refused",
        "by hand",
    ),
    ("echo 'Host key verification failed.' >&2; exit 255", "Host key verification failed", "by hand"),
    ("exit 127", "There is no", 'python = "'),
    ("echo oops >&2; exit 3", "refused: oops", "setup"),
    ('echo Welcome; echo \'{"python": "3.11"}\'', "prints text of its own", ".bashrc"),
    ("true", "prints text of its own", ".bashrc"),
    ('echo \'{"python": "3.8.1", "error": "SyntaxError: x"}\'', "does not import", "Install edgebench there"),
    ('echo \'{"python": "3.11", "schema": 0}\'', "another version of edgebench", "same version"),
]


@pytest.mark.parametrize(("script", "reason", "fix"), CHECKS)
def test_what_is_wrong_with_a_board_is_said(script: str, reason: str, fix: str, board: Path, tmp_path: Path) -> None:
    fake_ssh(tmp_path / "bin", f"#!/bin/sh\n{script}\n")
    found = device().check()
    assert not found.ok
    assert reason in found.reason
    assert fix in found.fix


def test_a_board_that_does_not_answer_is_unreachable(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CHECK_SECONDS", 0.2)
    fake_ssh(tmp_path / "bin", "#!/bin/sh\nexec sleep 60\n")
    assert "no answer within 0.2 s" in device().check().reason


def test_a_host_without_ssh_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device().check().reason == "There is no ssh on this machine."


def test_a_good_board_is_good(board: Path) -> None:
    found = device().check()
    assert found.ok, found.reason
    assert found.details["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_receiver_runs_on_old_boards() -> None:
    ast.parse(Path(receive.__file__).read_text(), feature_version=(3, 6))


def test_the_receiver_answers_with_one_line(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"abc").hexdigest()

    def call(verb: str, data: bytes = b"") -> dict[str, object]:
        argv = [sys.executable, receive.__file__, str(tmp_path), digest, "../../x/name", verb]
        done = subprocess.run(argv, input=data, capture_output=True, check=True)
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    assert call("ask") == {"missing": True}
    assert call("take", b"abd") == {"error": "what arrived is not what was sent"}
    assert call("take", b"abc") == {"path": f"{tmp_path}/{digest}/name"}
    assert call("ask") == {"path": f"{tmp_path}/{digest}/name"}
