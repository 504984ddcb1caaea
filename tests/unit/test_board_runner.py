"""The board's runner, run here as it is on a board: through its loader, by the wire of the host."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgebench.devices import cpu, push, receive
from edgebench.devices.link import RemoteError, Wire, loader

DONE = 'print(\'{"event":"done"}\')'


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board of the test's own: its workdir, and its lock."""
    monkeypatch.setenv("EDGEBENCH_LOCK_FOLDER", str(tmp_path))
    return tmp_path / "work dir"


def wire(board: Path, request: dict[str, Any], python: str = sys.executable) -> Wire:
    return Wire(loader(python), str(board), request)


def ask(board: Path, **request: Any) -> dict[str, Any]:
    opened = wire(board, request)
    (answer,) = opened.answers()
    opened.close()
    return answer


def campaign(board: Path, program: str, job: str = "job 1", lines: bytes = b"\n", **more: Any) -> Wire:
    """A run whose campaign is `program`, its input sent."""
    request = {"do": "run", "job": job, "digest": program, "controller": "c", "who": "me@here", "seconds": 60}
    request |= {"lease": 30, "argv": ["-c", program], "paths": [], "files": []}
    opened = wire(board, request | more)
    opened.send(lines)
    return opened


def events(opened: Wire) -> list[dict[str, Any]]:
    found = list(opened.answers())
    opened.close()
    return found


@contextlib.contextmanager
def sleeping(board: Path, **more: Any) -> Iterator[tuple[Wire, int, int]]:
    """A campaign that sleeps with a child of its own, in another process group: (wire, its pid, its child's pid)."""
    child = "subprocess.Popen(['sleep', '60'], start_new_session=True)"
    program = (
        f"import json, os, subprocess, sys, time; c = {child}; print(json.dumps([os.getpid(), c.pid]), flush=True)"
    )
    program = program.replace(
        "json.dumps([os.getpid(), c.pid])", "json.dumps({'event': 'x', 'pids': [os.getpid(), c.pid]})"
    )
    opened = campaign(board, program + "; time.sleep(60)", **more)
    first = next(opened.answers())
    yield opened, *first["pids"]
    opened.close()


def gone(pid: int, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("path", [Path(receive.__file__), *sorted(push.RUNNER.glob("*.py"))], ids=lambda p: p.name)
def test_the_runner_is_of_python_36_and_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 6))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    assert {name.split(".")[0] for name in found} <= sys.stdlib_module_names
    assert "time" not in found


def test_the_runner_is_small_and_always_the_same() -> None:
    assert len(push.runner()) < 20_000
    first = push.runner()
    push.runner.cache_clear()
    assert push.runner() == first


def old_pythons() -> list[str]:
    """This Python, and of each older one that is at hand one of its kind."""
    installed = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    system = [
        found for minor in (6, 7, 8, 9, 10) if (found := shutil.which(f"python3.{minor}")) and "shims" not in found
    ]
    return [sys.executable, *system, *map(str, installed)]


@pytest.mark.parametrize("python", old_pythons())
def test_a_board_says_what_decides_its_wheels(board: Path, python: str) -> None:
    opened = wire(board, {"do": "hello", "modules": ["json", "no.such"]}, python)
    (found,) = opened.answers()
    opened.close()
    version = subprocess.run([python, "-c", "import platform; print(platform.python_version())"], capture_output=True)
    assert found["python"] == version.stdout.decode().strip()
    assert (found["machine"], found["libc"][0]) == (os.uname().machine, "glibc")
    assert found["modules"] == {"json": True, "no.such": False}
    assert found["workdir"] == str(board)
    assert found["emulator"] == ""
    assert set(cpu.facts()["flags"]) <= set(found["flags"])
    assert "stock" not in found


def test_the_hello_answers_which_trees_are_there_with_the_rest(board: Path) -> None:
    opened = wire(board, {"do": "hello", "modules": ["json"], "trees": ["0" * 64]})
    (found,) = opened.answers()
    opened.close()
    assert found["modules"] == {"json": True}
    assert found["stock"]["trees"] == [None]


def test_a_workdir_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    opened = wire(tmp_path / "file", {"do": "hello"})
    assert not events(opened)
    assert "cannot be written" in opened.said


def test_a_damaged_runner_is_not_run(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(Wire):
        def send(self, data: bytes) -> None:
            super().send(data.replace(b"PK", b"KP"))

    opened = Damaged(loader(sys.executable), str(board), {"do": "hello"})
    assert not events(opened)
    assert "not what was sent" in opened.said
    assert not board.exists()


def test_a_job_sent_twice_runs_once_and_tells_the_same(board: Path, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\nprint('{{\"event\":\"record\",\"n\":1}}')\n{DONE}"
    first, second = events(campaign(board, program)), events(campaign(board, program))
    assert [e.get("event") for e in first] == ["record", "done", None]
    assert second == first[:2]
    assert (tmp_path / "runs").read_text() == "x"
    events(campaign(board, program, digest="changed"))
    assert (tmp_path / "runs").read_text() == "xx", "the same id with other work is another job"


def test_a_campaign_that_was_cut_off_is_run_again(board: Path, tmp_path: Path) -> None:
    program = f"import sys; open({str(tmp_path / 'runs')!r}, 'a').write('x'); print('{{}}'); sys.exit(3)"
    for n in (1, 2):
        assert events(campaign(board, program))[-1]["code"] == 3
        assert (tmp_path / "runs").read_text() == "x" * n


def test_a_campaign_gets_its_input_its_packages_and_keeps_its_last_words(board: Path) -> None:
    program = "import json, os, sys; print(json.dumps({'event': sys.stdin.read(), 'path': os.environ['PYTHONPATH']}))"
    program += "; print('oh', file=sys.stderr); os.kill(os.getpid(), 11)"
    told, ended = events(campaign(board, program, lines=b"one\ntwo\n\n", paths=["/a b", "/c"]))
    assert told["event"] == "one\ntwo\n\n"
    assert told["path"].startswith("/a b:/c")
    assert (ended["code"], ended["stderr"]) == (-signal.SIGSEGV, "oh")


def test_only_one_campaign_at_a_time(board: Path, tmp_path: Path) -> None:
    with sleeping(board):
        (busy,) = events(campaign(tmp_path / "another workdir", DONE, job="job 2"))
        assert busy["runner"] == "busy"
        assert (busy["holder"]["job"], busy["holder"]["who"]) == ("job 1", "me@here")
    assert events(campaign(board, DONE, job="job 2"))[0] == {"event": "done"}


@pytest.mark.parametrize("end", ["hang up", "lease", "deadline"])
def test_everything_ends_with_its_controller(board: Path, end: str) -> None:
    limits = {"lease": {"lease": 0.5}, "deadline": {"seconds": 1}}.get(end, {})
    with sleeping(board, **limits) as (opened, own, child):
        if end == "hang up":
            opened.close()
        assert gone(own)
        assert gone(child), "what it started in a group of its own ends too"
    assert events(campaign(board, DONE, job="job 2"))[0] == {"event": "done"}, "the lock is free"


def test_a_controller_that_lives_is_not_cut_off(board: Path) -> None:
    opened = campaign(board, f"import time; time.sleep(1.5); {DONE}", lease=0.7)
    for _ in range(7):
        time.sleep(0.2)
        opened.send(b"\n")
    assert events(opened)[0] == {"event": "done"}


def test_the_same_controller_takes_over_what_its_lost_link_left(board: Path) -> None:
    with sleeping(board) as (_, own, child):
        assert events(campaign(board, DONE))[0] == {"event": "done"}
        assert gone(own)
        assert gone(child)


def test_another_controller_of_the_same_job_gets_its_events(board: Path, tmp_path: Path) -> None:
    program = f"import time; open({str(tmp_path / 'runs')!r}, 'a').write('x'); time.sleep(1); {DONE}"
    first, second = campaign(board, program), campaign(board, program, controller="d")
    assert events(second)[0] == events(first)[0] == {"event": "done"}
    assert (tmp_path / "runs").read_text() == "x"


def test_a_file_that_changed_after_it_was_pushed_is_not_used(board: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("other")
    files = [{"path": str(tmp_path / "m.onnx"), "sha256": "0" * 64}]
    assert events(campaign(board, DONE, files=files)) == [{"runner": "wrong", "path": str(tmp_path / "m.onnx")}]


def test_what_a_shell_prints_is_told_apart(board: Path) -> None:
    command = ["sh", "-c", 'echo Welcome; printf "no end of line"; exec "$@"', "sh", *loader(sys.executable)]
    opened = Wire(command, str(board), {"do": "hello"})
    assert events(opened)[0]["workdir"] == str(board)


def tree(folder: Path) -> str:
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("one")
    (folder / "sub/b").write_text("two")
    return push.manifest(folder)


def test_a_tree_is_checked_whole_and_then_by_size_and_time(board: Path) -> None:
    incoming = Path(ask(board, do="ask")["incoming"])
    digest = tree(incoming / "x")
    (incoming / "x").rename(incoming / digest)
    assert ask(board, do="ask", trees=[digest])["trees"] == [None]
    path = ask(board, do="take", tree=digest)["path"]
    assert ask(board, do="ask", trees=[digest])["trees"] == [path]
    (Path(path) / "a").write_text("ONE")
    assert ask(board, do="ask", trees=[digest])["trees"] == [None]


def test_a_tree_that_is_not_whole_or_wrong_is_refused(board: Path) -> None:
    incoming = Path(ask(board, do="ask")["incoming"])
    for damage in ("missing", "changed", "manifest"):
        digest = tree(incoming / "x")
        staged = (incoming / "x").rename(incoming / digest)
        if damage == "missing":
            (staged / "a").unlink()
        else:
            name = push.MANIFEST if damage == "manifest" else "sub/b"
            (staged / name).write_text(json.dumps({"a": [3, "0" * 64]}))
        assert ask(board, do="take", tree=digest) == {"wrong": True}
        assert not staged.exists()
        assert ask(board, do="ask", trees=[digest])["trees"] == [None]


def test_an_unknown_program_is_one_clear_error(board: Path) -> None:
    with pytest.raises(RemoteError, match="no ssh"):
        Wire(["no-such-program"], str(board), {"do": "hello"})
