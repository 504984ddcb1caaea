"""A worker that was forked from a nursery tells what one that was started from nothing tells."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from edgebench import plugins
from edgebench.codec import Options, to_json
from edgebench.devices import pages
from edgebench.lines import Child
from edgebench.metrics.memory import status
from edgebench.nursery import Crew, imports_of
from edgebench.schema import Artifact, Cell, Protocol, Work
from edgebench.testing import fake_artifact

RANDOM = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))


def test_a_fork_that_touches_the_pages_of_its_parent_holds_them_too() -> None:
    had = pages.resident()
    before = status()["RssFile"]
    assert 0.8 * before < len(had) * os.sysconf("SC_PAGE_SIZE") < 1.1 * before
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        fresh = status()["RssFile"]
        pages.touch(had)
        os.write(writing, f"{fresh} {status()['RssFile']}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    fresh, touched = map(int, os.read(reading, 100).split())
    assert fresh < 0.6 * before  # or there would be nothing to do
    assert abs(touched - before) < 0.03 * before


def test_devices_and_what_is_shared_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text(
        "1000-3000 r-xp 00000000 fe:00 77    /usr/lib/libc.so\n"
        "3000-4000 r--p 00000000 fe:00 0 \n"
        "4000-5000 r--p 00000000 fe:00 5    /dev/nvidia0\n"
        "5000-6000 rw-s 00000000 fe:00 6    /tmp/shared\n"
        "6000-7000 ---p 00000000 fe:00 77    /usr/lib/libc.so\n"
    )
    size = os.sysconf("SC_PAGE_SIZE")
    entry = (pages.PRESENT | pages.OF_FILE).to_bytes(8, "little")
    (tmp_path / "pagemap").write_bytes(b"\0" * (0x1000 // size * 8) + entry + b"\0" * 8 + entry * 20)
    assert list(pages.resident(tmp_path)) == [0x1000]


def told(child: Child, work: Work) -> dict[str, Any]:
    child.send({"do": "prepare", "work": to_json(work), "protocol": to_json(Protocol())})
    found = child.receive(60)
    found |= child.ask({"do": "open", "expected": "", "check": True}, 60)
    child.ask({"do": "close"}, 60)
    assert child.close() == 0
    return found


@pytest.mark.parametrize("cores", [1, 2])
def test_forked_workers_tell_the_import_and_the_memory_of_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    made = Work(
        cell=Cell(model="fake", recipe="net", backend="fake", device="local"),
        artifact=fake_artifact(tmp_path, {"memory": 20_000_000}),
        data=RANDOM,
    )
    adopted: list[int] = []
    crew = Crew(random.Random(0), adopted.append, None)
    try:
        alone = told(crew.start("fake"), made)
        crew.open_nurseries(["fake", "fake"])
        forked = [told(crew.start("fake"), made) for _ in range(2)]
        crew.end_generation()
        crew.open_nurseries(["fake", "fake"], more=False)
        forked.append(told(crew.start("fake"), made))
    finally:
        crew.close()
    assert len(adopted) == len(set(adopted)) == 4 + 2  # the workers and their nurseries: a spare one is used
    for found in forked:
        assert found["import_s"] > 0
        assert abs(found["memory"]["peak"] / alone["memory"]["peak"] - 1) < 0.03
        above = [m["peak"] - m["baseline"] for m in (found["memory"], alone["memory"])]
        assert abs(above[0] - above[1]) < 1e6
    assert forked[0]["import_s"] == forked[1]["import_s"] != forked[2]["import_s"]


def test_one_worker_alone_needs_no_nursery() -> None:
    crew = Crew(random.Random(0), lambda pid: None, None)
    crew.open_nurseries(["fake"])
    assert not crew._open
    crew.close()


def test_where_pages_are_not_told_every_worker_is_started_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "can_tell", lambda: False)
    crew = Crew(random.Random(0), lambda pid: None, None)
    crew.open_nurseries(["fake", "fake"])
    assert not crew._open
    crew.close()


def test_a_runtime_that_may_not_be_forked_is_imported_by_each_worker() -> None:
    assert imports_of("onnxruntime") == "numpy"
    assert imports_of("openvino") == plugins.backend("openvino").module == "openvino"
