"""`edgebench device add`, `devices` and `device dump`, against a real SSH server on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgebench.cli.app import cli
from edgebench.codec import Options
from edgebench.devices import board, identity, introduce, profiles, survey
from edgebench.errors import EdgebenchError
from edgebench.schema import DeviceProfile

sys.path.insert(0, str(Path(__file__).parent))
from ssh_server import Server

PYTHON = sys.executable


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Server(tmp_path / "sshd")
    monkeypatch.setenv("PATH", made.path)
    made.start()
    yield made
    made.stop()


def add(*arguments: str, answer: str = "y\n") -> Result:
    return CliRunner().invoke(cli, ["device", "add", *arguments, "--python", PYTHON], input=answer)


def profile(name: str) -> Path:
    return profiles.user_folder() / f"{name}.toml"


def test_a_board_is_asked_shown_confirmed_and_written(server: Server) -> None:
    done = add("lab-7", "board", "--price", "249.5")
    assert done.exit_code == 0, done.output
    assert f"Its host key is new to this machine: {server.fingerprint()} (ED25519)" in done.output
    assert "Measure on it: edgebench run --device lab-7" in done.output
    made = profiles.find("lab-7")
    assert (made.transport, made.address, made.python, made.price) == ("ssh", "board", PYTHON, 249.5)
    assert made.description == identity.words({k: identity.identity().get(k) for k in introduce.LASTING})
    key = (server.folder / "host.pub").read_text().split()[1]
    assert key in server.known_hosts.read_text(), "the confirmed key is known from now on"
    assert server.known_hosts.stat().st_mode & 0o077 == 0


def test_the_board_is_asked_in_one_connection(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    log = (server.folder / "log").read_text()
    assert log.count("Accepted publickey") == 1


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_a_key_that_is_not_confirmed_leaves_nothing(answer: str, server: Server) -> None:
    done = add("lab-7", "board", answer=answer)
    assert isinstance(done.exception, EdgebenchError)
    assert done.exception.problem == "The host key was not confirmed, and nothing was written."
    assert not profile("lab-7").exists()
    assert not server.known_hosts.exists()


def test_a_script_gives_the_fingerprint_it_expects(server: Server) -> None:
    wrong = add("lab-7", "board", "--fingerprint", "SHA256:wrong", answer="")
    assert isinstance(wrong.exception, EdgebenchError)
    assert "and not SHA256:wrong" in wrong.exception.problem
    assert not profile("lab-7").exists()
    assert not server.known_hosts.exists()
    empty = add("lab-7", "board", "--fingerprint", " ", answer="")
    assert isinstance(empty.exception, EdgebenchError)
    log = server.folder / "log"
    assert "Accepted" not in log.read_text(), "a machine with another key is not logged into"
    right = add("lab-7", "board", "--fingerprint", server.fingerprint(), answer="")
    assert right.exit_code == 0, right.output
    assert profile("lab-7").exists()
    known = add("lab-8", "board", "--fingerprint", "SHA256:wrong", answer="")
    assert "and not SHA256:wrong" in str(known.exception)
    assert log.read_text().count("Accepted publickey") == 1


def test_a_known_key_is_shown_and_not_asked_for_again(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    before = server.known_hosts.read_text()
    again = add("lab-8", "board", answer="")
    assert again.exit_code == 0, again.output
    assert f"Its host key was known already: {server.fingerprint()} (ED25519)" in again.output
    assert server.known_hosts.read_text() == before


def test_a_changed_key_is_refused_with_what_to_do(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    server.stop()
    server.new_key("host")
    server.start()
    done = add("lab-8", "board")
    assert isinstance(done.exception, EdgebenchError)
    assert f"The host key of board has changed: it is {server.fingerprint()} now" in done.exception.problem
    assert f"{server.known_hosts} line 1 holds another" in done.exception.problem
    assert "ssh-keygen -f" in done.exception.fix
    assert not profile("lab-8").exists()


def test_a_profile_is_not_written_over_unasked(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    again = add("lab-7", "board")
    assert isinstance(again.exception, EdgebenchError)
    assert again.exception.fix == "Add --replace to write it anew."
    assert add("lab-7", "board", "--replace").exit_code == 0


def test_a_name_that_stands_for_another_board_is_refused(server: Server) -> None:
    done = add("jetson", "board")
    assert isinstance(done.exception, EdgebenchError)
    assert 'which the name "jetson" does not stand for' in done.exception.problem
    assert not profile("jetson").exists()
    assert not server.known_hosts.exists()


@pytest.mark.parametrize("name", ["local", "../x", "-x", "a b", ""])
def test_a_name_that_cannot_be_one_is_refused(name: str, server: Server) -> None:
    done = CliRunner().invoke(cli, ["device", "add", "--python", PYTHON, "--", name, "board"])
    assert isinstance(done.exception, EdgebenchError)
    assert "cannot be the name of a device" in done.exception.problem


def test_devices_refuses_a_plan_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["devices", "--plan", str(tmp_path / "gone.toml")])
    assert isinstance(done.exception, EdgebenchError)
    assert "There is no file" in done.exception.problem


def test_devices_asks_the_board_and_says_what_it_is(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    found = next(d for d in survey.devices() if d["name"] == "lab-7")
    assert found["reachable"]
    assert found["is"] == identity.words(identity.identity())
    assert found["identity"] == json.loads(json.dumps(identity.identity()))
    assert found["runtimes"] == identity.runtimes()


def test_the_board_over_ssh_and_on_itself_has_one_identity(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    device = profiles.resolve("lab-7")
    there = board.ask(device.command([PYTHON, "-c", board.BOOT]), "board")
    assert dict(there.identity) == identity.identity()
    assert there.compatible == identity.compatible()


def test_the_list_says_what_a_run_brings_and_which_devices_are_not_added(server: Server) -> None:
    (profiles.user_folder()).mkdir(parents=True)
    profile("lab-7").write_text(f'address = "board"\npython = "{PYTHON}"\nbackends = ["onnxruntime", "tensorrt"]\n')
    profile("lab-8").write_text('address = "x"\ntransport = "smoke"\n')
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {(server.folder / 'host.pub').read_text()}")
    done = CliRunner().invoke(cli, ["devices"])
    assert done.exit_code == 0, done.output
    assert "brought with a run: tensorrt" in done.output, "the others are there"
    assert 'lab-8: No transport "smoke" is installed, which device "lab-8" asks for.' in done.output
    assert "Not added: android, generic-arm64, intel-npu, jetson, raspberry-pi." in done.output
    assert "To add one: edgebench device add jetson user@host" in done.output


def test_a_login_that_is_refused_is_told_from_a_board_that_is_away(server: Server) -> None:
    (server.folder / "authorized_keys").write_text("")
    done = add("lab-7", "board")
    assert isinstance(done.exception, EdgebenchError)
    assert "Permission denied" in done.exception.problem
    assert "ssh-copy-id board" in done.exception.fix


def test_a_board_that_lacks_something_is_added_and_told_of_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = board.understand
    monkeypatch.setattr(board, "understand", lambda answer: replace(plain(answer), rsync=False))
    done = add("lab-7", "board")
    assert done.exit_code == 0, done.output
    assert "Before it can be measured: There is no rsync on board" in done.output
    assert "ssh board sudo apt-get install rsync" in done.output


def test_an_old_python_is_told_unless_the_board_has_a_newer_one(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    device = profiles.resolve("lab-7")
    found = replace(board.ask(device.command([PYTHON, "-c", board.BOOT]), "board"), python="3.8.10", rsync=True)
    old = DeviceProfile(name="lab-7", address="board", python="python3")
    (told,) = survey.lacks(old, replace(found, pythons=Options({"3.9.1": "/usr/bin/python3.9"})))
    assert told == {
        "what": "python3 on board is Python 3.8.10, and measuring needs 3.10.",
        "fix": "ssh board sudo apt-get install python3.10",
    }
    newer = replace(found, pythons=Options({"3.11.2": "/opt/python3.11"}))
    (told,) = survey.lacks(old, newer)
    assert told["fix"] == "edgebench device add lab-7 board --python /opt/python3.11 --replace"
    assert survey.lacks(replace(old, python="/opt/python3.11"), newer) == []


def test_devices_says_what_a_silent_board_lacks(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    server.stop()
    found = next(d for d in survey.devices() if d["name"] == "lab-7")
    assert not found["reachable"]
    assert not found["ok"]
    assert "cannot be reached" in found["missing"][0]["what"]


def test_a_board_without_the_python_of_its_profile_has_answered_all_the_same(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    profile("lab-7").write_text(profile("lab-7").read_text().replace(PYTHON, "/gone/python3"))
    found = next(d for d in survey.devices() if d["name"] == "lab-7")
    assert found["reachable"]
    assert not found["ok"]
    assert "no such Python" in found["missing"][0]["what"]


def test_devices_names_the_sensor_that_the_board_does_not_have(server: Server) -> None:
    assert add("lab-7", "board").exit_code == 0
    with profile("lab-7").open("a") as file:
        file.write('sensors = ["ina3221"]\n')
    found = next(d for d in survey.devices() if d["name"] == "lab-7")
    assert found["ok"]
    assert [m["what"] for m in found["missing"]] == ["The sensor ina3221 of its profile was not found."]


def test_a_dump_of_the_board_is_laid_out_again_as_the_same_board(server: Server, tmp_path: Path) -> None:
    assert add("lab-7", "board").exit_code == 0
    out = tmp_path / "b.tar.gz"
    done = CliRunner().invoke(cli, ["device", "dump", "lab-7", "--out", str(out)])
    assert done.exit_code == 0, done.output
    with tarfile.open(out) as packed:
        assert "board.json" in packed.getnames()
    about = board.unpack(out, tmp_path / "again")
    assert identity.identity(tmp_path / "again") == about["identity"] == identity.identity()


@pytest.mark.slow
def test_a_run_over_ssh_and_on_the_board_itself_record_one_identity(
    server: Server, tiny_onnx: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    assert add("lab-7", "board").exit_code == 0
    (profiles.user_folder() / "itself.toml").write_text('transport = "local"\n')
    found = {}
    for name in ("lab-7", "itself"):
        argv = [sys.executable, "-m", "edgebench", "bench", tiny_onnx, "--backend", "onnxruntime", "--quick"]
        settings = {**environment, "PATH": server.path, "XDG_CONFIG_HOME": str(tmp_path / "config")}
        done = subprocess.run([*argv, "--device", name], cwd=tmp_path, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (run,) = (tmp_path / "results").glob(f"*-{name}")
        (line,) = (run / "results.jsonl").read_text().splitlines()
        recorded = json.loads(line)["environment"]
        found[name] = (recorded["identity"], recorded["fingerprint"], recorded["runtimes"])
    assert found["lab-7"] == found["itself"]
