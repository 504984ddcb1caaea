"""The ssh device, with a program in ssh's place that runs the command here: all but the network is real."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgebench import plugins
from edgebench.devices import board_env, cpu, link, openssh, push, ssh
from edgebench.devices.board import BOOT, ask
from edgebench.devices.ssh import SshDevice
from edgebench.errors import EdgebenchError
from edgebench.lines import ChildDied
from edgebench.schema import Artifact, DeviceProfile, Job

# What sshd does: the words behind the host are joined by blanks and given to the login shell.
FAKE_SSH = """\
#!/bin/sh
printf '%s\\n' "$@" > "$EB_SSH_LOG"
while [ $# -gt 0 ]; do
    case $1 in
        -T) shift ;;
        -o|-p|-l) shift 2 ;;
        --) shift; break ;;
        *) break ;;
    esac
done
shift
cd "$EB_BOARD" && HOME="$EB_BOARD" exec sh -c "$*"
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("rsync") is None:
        pytest.skip("there is no rsync here")
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    fake(programs / "ssh", FAKE_SSH)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("EB_SSH_LOG", str(tmp_path / "argv"))
    monkeypatch.setenv("EB_BOARD", str(home))
    monkeypatch.setenv("EDGEBENCH_LOCK_FOLDER", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(ssh, "BACK_OFF", (0.01, 0.01, 0.01))
    monkeypatch.setattr(openssh, "SOCKET_ROOM", 1000)  # no sockets here, and long names of folders
    return home


def fake(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(stat.S_IRWXU)


def device(**profile: Any) -> SshDevice:
    values = {"address": "me@board:2222", "python": sys.executable, **profile}
    return SshDevice(DeviceProfile(name="board", transport="ssh", **values))


def artifact(path: Path, content: bytes = b"model") -> Artifact:
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(format="onnx", path=str(path), sha256=digest, size=len(content))


def test_ssh_runs_quoted_arguments_and_nothing_else(board: Path) -> None:
    nasty = ["printf", "%s|", "a b", "$HOME", "`id`", "';rm -rf x;'", "\n", "é"]
    done = subprocess.run(device().command(nasty), capture_output=True, check=True)
    assert done.stdout.decode() == "a b|$HOME|`id`|';rm -rf x;'|\n|é|"
    argv = Path(os.environ["EB_SSH_LOG"]).read_text()
    assert "-p\n2222\n--\nme@board\nexec printf" in argv
    wanted = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ServerAliveInterval=5", "ServerAliveCountMax=2")
    for option in (*wanted, "ControlMaster=auto"):
        assert f"-o\n{option}\n" in argv


def test_the_remote_shell_sees_the_same_text_whatever_is_asked(board: Path, tmp_path: Path) -> None:
    seen = set()
    for name in ("a", "$(touch gone)", "'; id; '"):
        device(workdir=f"{tmp_path}/{name}").hello([name])
        seen.add(Path(os.environ["EB_SSH_LOG"]).read_text())
    assert len(seen) == 1
    assert not list(board.iterdir())


@pytest.mark.parametrize(
    "address", ["a b", "host:x", "host:0", "host:99999", "a:1:2", "", "-oProxyCommand=x", "fe80::1"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(EdgebenchError, match="not an SSH address"):
        device(address=address).command(["true"])


@pytest.mark.parametrize(("address", "right"), [("root@::1", "root@[::1]"), ("fe80::1%eth0", "user@[fe80::1%eth0]")])
def test_an_ipv6_address_without_brackets_is_told_with_them(address: str, right: str) -> None:
    with pytest.raises(EdgebenchError) as said:
        device(address=address).command(["true"])
    assert said.value.fix == f'Write it as "{right}" or "{right}:port".'


def test_an_ipv6_address_is_understood(board: Path, tmp_path: Path) -> None:
    assert "me@fe80::1" in device(address="me@[fe80::1]:22").command(["true"])
    there = device(address="me@[fe80::1]:22").push(artifact(tmp_path / "m.onnx"))
    assert Path(there.path).read_bytes() == b"model"


def test_a_folder_of_sockets_that_others_may_read_is_refused(board: Path, tmp_path: Path) -> None:
    (tmp_path / f"edgebench-ssh-{os.getuid()}").mkdir()
    (tmp_path / f"edgebench-ssh-{os.getuid()}").chmod(0o755)
    with pytest.raises(EdgebenchError, match="not a folder of yours alone"):
        device().command(["true"])


def test_sockets_go_where_their_names_are_short_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "a-name-that-is-rather-long-for-the-path-of-a-socket"))
    assert len(f"{openssh.control_folder()}/{'0' * 40}.{'x' * 16}") <= 107


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
    assert not list((board / ".cache/edgebench/incoming").iterdir()), "nothing half-done is left"


def test_a_file_that_many_cells_share_is_asked_for_once(board: Path, tmp_path: Path) -> None:
    given, there = device(), artifact(tmp_path / "data.npz")
    first = given.push(there)
    Path(os.environ["EB_SSH_LOG"]).unlink()
    assert given.push(there) == first
    assert not Path(os.environ["EB_SSH_LOG"]).exists()


def test_push_into_the_profiles_workdir(board: Path, tmp_path: Path) -> None:
    given = artifact(tmp_path / "m.onnx")
    assert device(workdir=f"{tmp_path}/w x").push(given).path.startswith(f"{tmp_path}/w x/store/")


DAMAGE = '#!/bin/sh\n{real} "$@" || exit $?\nfor last; do :; done\n{when}printf x >> "${{last#*:}}"\nexit 0\n'


def test_a_file_that_arrives_damaged_is_never_used(board: Path, tmp_path: Path) -> None:
    real = shutil.which("rsync")
    given = artifact(tmp_path / "m.onnx", b"whole model")
    fake(tmp_path / "bin/rsync", DAMAGE.format(real=real, when=""))
    with pytest.raises(EdgebenchError, match="arrived damaged"):
        device().push(given)
    assert not list((board / ".cache/edgebench").glob("store/*/*"))
    once = f"mkdir {tmp_path}/once 2>/dev/null && "
    fake(tmp_path / "bin/rsync", DAMAGE.format(real=real, when=once))
    assert Path(device().push(given).path).read_bytes() == b"whole model", "once is a bit that flipped on the way"
    assert (tmp_path / "once").exists()


def test_a_link_that_breaks_while_pushing_is_tried_again(board: Path, tmp_path: Path) -> None:
    real = shutil.which("rsync")
    lost = f'#!/bin/sh\nmkdir {tmp_path}/once 2>/dev/null && exit 12\nexec {real} "$@"\n'
    fake(tmp_path / "bin/rsync", lost)
    assert Path(device().push(artifact(tmp_path / "m.onnx")).path).exists()
    fake(tmp_path / "bin/rsync", "#!/bin/sh\necho x >> $EB_SSH_LOG.tries; exit 12\n")
    with pytest.raises(EdgebenchError, match="could not be brought"):
        device().push(artifact(tmp_path / "n.onnx", b"other"))
    assert len(Path(f"{tmp_path}/argv.tries").read_text().splitlines()) == 1 + len(ssh.BACK_OFF)


def test_what_does_not_fit_on_the_disk_is_told_with_its_size_and_nothing_half_brought_is_left(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = artifact(tmp_path / "m.onnx")
    half = board / ".cache/edgebench/incoming" / given.sha256
    half.parent.mkdir(parents=True)
    half.write_bytes(b"mo")
    monkeypatch.setattr(push, "size_of", lambda _: 10**18)
    with pytest.raises(EdgebenchError) as said:
        device().push(given)
    assert said.value.problem.startswith("1000000000000.0 MB do not fit on me@board:2222: ")
    assert f"are free in {board}/.cache/edgebench." in said.value.problem
    assert "workdir = " in said.value.fix
    assert not half.exists()


def test_a_workdir_that_cannot_be_written_is_told(board: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgebenchError, match="cannot be written"):
        device(workdir=str(tmp_path / "file")).push(artifact(tmp_path / "m.onnx"))


CHANGED = "@@@\\nWARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\\n@@@\\nHost key verification failed."
CHECKS = [
    (
        "echo 'ssh: connect to host board port 22: Connection refused' >&2; exit 255",
        "Connection refused",
        "start sshd on it, or write its port in the address",
    ),
    ("echo 'Host key verification failed.' >&2; exit 255", "Host key verification failed", "by hand"),
    (
        f"printf '{CHANGED}' >&2; exit 255",
        "The host key of me@board:2222 has changed",
        'ssh-keygen -R "[board]:2222" && ssh -p 2222 me@board',
    ),
    (
        "echo 'me@board: Permission denied (publickey).' >&2; exit 255",
        "refuses the login",
        "ssh-copy-id -p 2222 me@board",
    ),
    ("exit 127", "There is no", 'python = "'),
    (f"echo 'sh: 1: exec: {sys.executable}: not found' >&2; exit 127", "There is no", 'python = "'),
    (
        "echo 'sh: 1: module: not found' >&2; exit 127",
        "A setup line fails on me@board:2222: sh: 1: module",
        "setup lines",
    ),
    ("echo oops >&2; exit 3", "refused: oops", "setup"),
    ('echo Welcome; echo \'{"python": "3.11"}\'', "refused: exit status 0", "setup"),
    (
        "echo 'ssh: Could not resolve hostname board: Name or service not known' >&2; exit 255",
        "Could not resolve hostname",
        "check its spelling",
    ),
    (
        "echo 'ssh: connect to host board port 22: Connection timed out' >&2; exit 255",
        "Connection timed out",
        "switched on and in a network",
    ),
    (
        "echo 'ssh: connect to host jump port 22: Connection refused' >&2; "
        "echo 'Connection closed by UNKNOWN port 65535' >&2; exit 255",
        "Connection closed by UNKNOWN",
        "start sshd on it",
    ),
    ("echo 'Connection timed out during banner exchange' >&2; exit 255", "banner exchange", "try again later"),
    ("echo 'no mutual signature supported' >&2; exit 255", "no mutual", 'Make "ssh -p 2222 me@board" work by hand'),
]


@pytest.mark.parametrize(
    ("script", "reason", "fix"),
    [
        (CHECKS[2][0], "has changed", 'ssh-keygen -R "[board]:2222"'),
        (CHECKS[3][0], "refuses the login", "ssh-copy-id -p 2222 me@board"),
        (CHECKS[4][0], "no such Python", "ssh -p 2222 me@board sudo apt-get"),
        (CHECKS[6][0], "A setup line fails", "setup lines"),
    ],
)
def test_what_is_wrong_with_a_board_is_said_of_its_question_too(
    script: str, reason: str, fix: str, board: Path, tmp_path: Path
) -> None:
    fake(tmp_path / "bin/ssh", f"#!/bin/sh\n{script}\n")
    there = device()
    with pytest.raises(EdgebenchError, match=reason) as said:
        ask(there.command([there.python, "-c", BOOT]), "me@board:2222", python=there.python)
    assert fix in said.value.fix


@pytest.mark.parametrize(("script", "reason", "fix"), CHECKS)
def test_what_is_wrong_with_a_board_is_said(script: str, reason: str, fix: str, board: Path, tmp_path: Path) -> None:
    fake(tmp_path / "bin/ssh", f"#!/bin/sh\n{script}\n")
    found = device().check()
    assert not found.ok
    assert reason in found.reason
    assert fix in found.fix


def test_a_setup_line_that_ends_the_shell_is_named(board: Path) -> None:
    found = device(setup=("true", "exit 3")).check()
    assert found.reason == 'me@board:2222 refused: exit status 3, after its setup lines "true" and "exit 3".'
    assert "setup lines" in found.fix


def test_a_board_that_does_not_answer_is_unreachable(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CHECK_SECONDS", 0.2)
    fake(tmp_path / "bin/ssh", "#!/bin/sh\nexec sleep 60\n")
    found = device().check()
    assert "no answer within 0.2 s" in found.reason
    assert "busy" in found.fix


def test_a_host_without_ssh_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert device().check().reason == "There is no ssh on this machine."


def test_a_good_board_is_good_even_if_its_shell_talks(board: Path) -> None:
    found = device(setup=("echo Welcome",)).check()
    assert found.ok, found.reason
    assert found.details["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_board_that_has_all_is_furnished_in_one_trip(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    once = SshDevice._ask_once
    monkeypatch.setattr(
        SshDevice, "_ask_once", lambda self, request, t: asked.append(request["do"]) or once(self, request, t)
    )
    backends = {"fake": plugins.backend("fake")}
    trees, trips, told = [], [], list[list[str]]()
    for _ in range(2):
        there, heard = device(), list[str]()
        there.tell = heard.append
        there.furnish(backends, tmp_path / "cache")
        told.append(heard)
        trees.append(there._trees)
        trips.append(asked[:])
        asked.clear()
        assert there.processor()["machine"] == os.uname().machine, "asked for once"
        assert set(cpu.facts()["flags"]) <= set(there.processor()["flags"])
    assert trips == [["hello", "ask", "take"], ["hello"]]
    assert trees[0] == trees[1]
    asked_it = ["asking what it has", "gathering its packages"]
    assert [told[0][:2], told[1]] == [asked_it, asked_it]
    assert re.fullmatch(r"bringing \d+\.\d MB", told[0][2])
    assert told[0][3:] == ["checking what arrived"]
    assert (Path(trees[1][0]) / "edgebench/__init__.py").exists()

    shutil.rmtree(trees[0][0])  # the guess was wrong
    device().furnish(backends, tmp_path / "cache")
    assert asked == ["hello", "ask", "take"]
    assert (Path(trees[1][0]) / "edgebench/__init__.py").exists()


# a campaign: any program in its place, to see what the link makes of it


@pytest.fixture
def program(board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pushed in edgebench's place: its edgebench/campaign.py is what the test writes."""
    folder = tmp_path / "code/edgebench"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(SshDevice, "_trees", (str(folder.parent),))
    return folder / "campaign.py"


SAY = "import json, os, sys\ndef say(**e): print(json.dumps(e, separators=(',', ':')), flush=True)\n"
RECORDS = 'lines = sys.stdin.read().splitlines()[1:-1]\nsay(event="record", record={"n": 1})\n'


def conduct(given: SshDevice, earlier: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    given.conduct(Job(id="j"), earlier, lambda event: told.append(dict(event)))
    return told


def test_a_campaign_whose_link_breaks_goes_on_and_tells_each_thing_once(program: Path, tmp_path: Path) -> None:
    broken = f"import time\nif not lines: time.sleep(0.3); os.kill(int(open({str(tmp_path / 'pid')!r}).read()), 9)\n"
    result = 'say(event="result", result={"cell": 1, "lines": lines})\nsay(event="done")\n'
    program.write_text(SAY + RECORDS + broken + result)
    pid = f'echo $$ > "{tmp_path}/pid"'
    there, heard = device(setup=(pid,)), list[str]()
    there.tell = heard.append
    told = conduct(there)
    assert heard == ["checking the runtimes", "link lost, trying again"]
    assert [e["event"] for e in told] == ["record", "result"]
    assert told[1]["result"]["lines"] == ['{"n":1}'], "the second try was given what the first had told"


def test_what_an_earlier_run_was_told_is_not_told_again(program: Path) -> None:
    program.write_text(SAY + RECORDS + 'say(event="done")\n')
    assert [e["event"] for e in conduct(device())] == ["record"]
    assert conduct(device(), ({"n": 1},)) == []


def test_a_campaign_that_dies_is_told_with_its_reason(program: Path) -> None:
    program.write_text("import os, sys\nprint('last words', file=sys.stderr)\nos.kill(os.getpid(), 11)\n")
    with pytest.raises(ChildDied, match="SIGSEGV") as caught:
        conduct(device())
    assert caught.value.stderr == "last words"


def test_a_campaign_that_says_why_it_cannot_begin(program: Path) -> None:
    program.write_text(SAY + 'say(event="failed", reason="No.", fix="Do.")\n')
    with pytest.raises(EdgebenchError, match=r"No\. Do\."):
        conduct(device())


def test_a_busy_board_is_told_with_who_has_it(program: Path, tmp_path: Path) -> None:
    request = {"do": "run", "job": "other", "digest": "", "controller": "x", "who": "you@there", "seconds": 60}
    request |= {"lease": 30, "paths": [], "files": [], "argv": ["-c", "import time; print('{}'); time.sleep(30)"]}
    first = link.Wire(link.loader(sys.executable), str(tmp_path / "w"), request)
    first.send(b"\n")
    next(first.answers())
    with pytest.raises(EdgebenchError, match="busy: you@there measures other"):
        conduct(device())
    first.close()


def test_a_file_that_changed_on_the_board_stops_the_campaign(program: Path, tmp_path: Path) -> None:
    program.write_text(SAY + 'say(event="done")\n')
    given = device()
    there = given.push(artifact(tmp_path / "m.onnx"))
    Path(there.path).write_bytes(b"rotten")
    with pytest.raises(EdgebenchError, match="not what was pushed"):
        conduct(given)


def test_the_host_says_which_python_is_too_old() -> None:
    with pytest.raises(EdgebenchError, match=r"3\.8\.10, and measuring needs 3\.10"):
        board_env.target({"python": "3.8.10", "machine": "aarch64", "libc": ["glibc", "2.31"]}, "b")
