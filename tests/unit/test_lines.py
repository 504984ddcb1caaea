"""A child that speaks JSON lines: what it says, and how each kind of end is told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgebench.lines import Child, ChildDied, spawn


def child(code: str, **options: int) -> Child:
    return spawn([sys.executable, "-c", code], **options)  # type: ignore[arg-type]


ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


def test_it_answers() -> None:
    echo = child(ECHO)
    assert echo.ask({"a": [1, "é\n"]}, 10) == {"a": [1, "é\n"]}
    assert echo.close() == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("print('no json', flush=True); input()", "not a JSON object"),
        ("print('[1]', flush=True); input()", "not a JSON object"),
        ("import os, time; os.close(1); time.sleep(60)", "closed its output"),
    ],
)
def test_each_end_is_told_by_its_name(code: str, reason: str) -> None:
    dying = child(code)
    with pytest.raises(ChildDied, match=reason):
        dying.receive(20)
    dying.kill()
    dying.close()


def test_a_hang_ends_at_the_deadline_with_the_last_words() -> None:
    hanging = child("import sys, time; print('last words', file=sys.stderr, flush=True); time.sleep(60)")
    with pytest.raises(ChildDied, match="hung") as caught:
        hanging.receive(1.5)
    assert caught.value.stderr == "last words"
    assert hanging.close() < 0


def test_a_child_over_its_memory_is_stopped() -> None:
    eater = child("import time\nx = bytearray(300 << 20)\ntime.sleep(60)", memory_limit=200 << 20)
    with pytest.raises(ChildDied, match="over the limit"):
        eater.receive(30)
    eater.close()


def test_what_a_child_left_running_ends_with_it() -> None:
    parent = child(
        "import subprocess; p = subprocess.Popen(['sleep', '61']); print('{\"pid\": %d}' % p.pid, flush=True)"
    )
    grandchild = parent.receive(20)["pid"]
    assert parent.close() == 0
    assert gone(grandchild)


def test_killing_takes_its_children_too() -> None:
    parent = child(
        "import subprocess, json; p = subprocess.Popen(['sleep', '60']); print(json.dumps({'pid': p.pid}), flush=True); p.wait()"
    )
    grandchild = parent.receive(20)["pid"]
    parent.kill()
    parent.close()
    assert gone(grandchild)


def gone(pid: int) -> bool:
    for _ in range(100_000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        os.sched_yield()
    return False
