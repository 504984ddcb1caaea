"""Android over adb, with a stand-in for the adb program: it really runs the commands and copies the files, here."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgebench.cli.app import cli
from edgebench.codec import SCHEMA
from edgebench.devices import cpu, profiles, survey
from edgebench.devices.adb import AdbDevice
from edgebench.errors import EdgebenchError
from edgebench.schema import Artifact, DeviceProfile

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import more_boards

STAND_IN = """\
#!/bin/sh
# A stand-in for adb: one device, R5CT, whose shell is this machine's and whose getprop is synthetic.
printf '%s\\n' "$@" >> "$EB_LOG"
[ "$1" = -s ] || { echo "error: more than one device/emulator" >&2; exit 1; }
[ "$2" = R5CT ] || { echo "error: device '$2' not found" >&2; exit 1; }
[ ! -e "$EB_PHONE/unauthorized" ] || { echo "error: device unauthorized." >&2; exit 1; }
shift 2
case "$1" in
get-state) echo device ;;
push) cp "$2" "$3" && { [ ! -e "$EB_PHONE/damage" ] || echo x >> "$3"; } ;;
shell) cd "$EB_PHONE" && PATH="$EB_PHONE/system/bin:$PATH" exec sh -c "$3" ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root, programs = more_boards.phone(tmp_path / "phone"), tmp_path / "bin"
    programs.mkdir()
    (programs / "adb").write_text(STAND_IN)
    (programs / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("EB_PHONE", str(root))
    monkeypatch.setenv("EB_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    return root


def device(phone: Path, **changed: str) -> AdbDevice:
    values = {"address": "R5CT", "python": sys.executable, "workdir": f"{phone}/data/eb", **changed}
    return AdbDevice(DeviceProfile(name="phone", transport="adb", **values))  # type: ignore[arg-type]


def artifact(path: Path, content: bytes) -> Artifact:
    path.write_bytes(content)
    return Artifact(format="tflite", path=str(path), sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def test_commands_run_with_their_arguments_as_they_are(phone: Path) -> None:
    nasty = ["printf", "%s|", "a b", "$HOME", "`id`", "';rm x;'", "é"]
    done = subprocess.run(device(phone).command(nasty), capture_output=True, check=True)
    assert done.stdout.decode() == "a b|$HOME|`id`|';rm x;'|é|"


def test_the_processor_is_the_phone_s(phone: Path) -> None:
    told = device(phone).processor()
    assert told == {"machine": os.uname().machine, "flags": cpu.facts()["flags"]}


def test_a_command_has_stdin_its_own_folder_and_its_exit_status(phone: Path) -> None:
    argv = ["sh", "-c", 'read x; echo "$x" "$PWD" "$TMPDIR"; exit 7']
    done = subprocess.run(device(phone).command(argv), input=b"job\n", capture_output=True)
    assert done.returncode == 7
    assert done.stdout.decode() == f"job {phone}/data/eb {phone}/data/eb\n"


def test_push_brings_a_file_once_under_its_hash(phone: Path, tmp_path: Path) -> None:
    given = artifact(tmp_path / "my net.tflite", os.urandom(100_000))
    there = device(phone).push(given)
    assert there.path == f"{phone}/data/eb/store/{given.sha256}/my net.tflite"
    assert Path(there.path).read_bytes() == Path(given.path).read_bytes()
    log = Path(os.environ["EB_LOG"])
    assert log.read_text().splitlines().count("push") == 1
    assert device(phone).push(given) == there
    assert log.read_text().splitlines().count("push") == 1, "it was there already"


def test_a_file_that_arrives_damaged_is_never_there_by_its_name(phone: Path, tmp_path: Path) -> None:
    (phone / "damage").touch()
    given = artifact(tmp_path / "m.tflite", b"model")
    with pytest.raises(EdgebenchError, match="arrived on R5CT damaged"):
        device(phone).push(given)
    assert not (phone / f"data/eb/store/{given.sha256}/m.tflite").exists()


def test_check_says_that_edgebench_is_there_or_what_is_wrong(phone: Path) -> None:
    found = device(phone).check()
    assert found.ok, found.reason
    assert found.details["schema"] == SCHEMA
    missing = device(phone, python="/no/such/python").check()
    assert not missing.ok
    assert "There is no such program on R5CT" in missing.reason
    assert "'R9' not found" in device(phone, address="R9").check().reason
    (phone / "unauthorized").touch()
    assert device(phone).check().reason == "R5CT does not trust this machine."


def test_a_machine_without_adb_is_told(phone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device(phone).check().reason == "There is no adb on this machine."


@pytest.mark.parametrize("address", ["", "-s", "a b", "adb:", "x;y"])
def test_an_address_that_is_no_serial_number_is_refused(address: str, phone: Path) -> None:
    with pytest.raises(EdgebenchError, match="is no serial number"):
        device(phone, address=address).command(["true"])


def test_a_phone_is_added_by_its_serial_number_and_recognised(phone: Path) -> None:
    done = CliRunner().invoke(cli, ["device", "add", "pixel", "adb:R5CT"])
    assert done.exit_code == 0, done.output
    made = profiles.find("pixel")
    assert (made.transport, made.address, made.description) == ("adb", "R5CT", "Google Pixel 8, Tensor G3")
    assert made.workdir == "/data/local/tmp/edgebench"
    assert "SECRET" not in (profiles.user_folder() / "pixel.toml").read_text()
    found = next(d for d in survey.devices() if d["name"] == "pixel")
    assert found["reachable"]
    assert found["is"] == "Google Pixel 8, Tensor G3, Android 15"
    assert json.dumps(found)


def test_a_phone_may_be_called_android_and_not_jetson(phone: Path) -> None:
    assert CliRunner().invoke(cli, ["device", "add", "android", "adb:R5CT"]).exit_code == 0
    assert profiles.find("android").address == "R5CT"
    done = CliRunner().invoke(cli, ["device", "add", "jetson", "adb:R5CT"])
    assert isinstance(done.exception, EdgebenchError)
    assert 'the name "jetson" does not stand for' in done.exception.problem
