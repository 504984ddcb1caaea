"""The results folder: nothing is lost, nothing is half there, and every mistake has two sentences."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebench import store
from edgebench.codec import SCHEMA, Options, to_json
from edgebench.errors import StoreError
from edgebench.schema import Cell, DeviceProfile, Measurement, Result, Run

RUN = Run(
    id="20261123T193000Z-local", started="20261123T193000Z", versions=Options(edgebench="0.1.0"),
    plan=Options(name="quick"), device=DeviceProfile(name="local"), host=Options(cpu_model="cpu"),
)  # fmt: skip


def result(n: int, status: str = "ok") -> Result:
    latency = Measurement(metric="latency", unit="s", phase="steady", source="clock", value=n / 1e3 + 1e-9)
    cell = Cell(model="net", recipe=f"recipe-{n}", backend="fake", device="local")
    return Result(cell=cell, status=status, measurements=(latency,), stderr="torn \udc80 text\n")  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[store.RunFolder]:
    with store.create(tmp_path / "results", RUN) as made:
        yield made


def reopened(folder: store.RunFolder) -> store.RunFolder:
    folder.close()
    return store.open_run(folder.path)


# what goes in comes out


def test_what_was_written_is_read_back(folder: store.RunFolder) -> None:
    for n in range(3):
        folder.append(result(n))
        folder.append_samples({"cell": f"c{n}", "wall_ns": list(range(n * 1000)), "options": Options(a=1)})
    again = reopened(folder)
    assert again.run == RUN
    assert again.results() == (result(0), result(1), result(2))
    assert [len(r["wall_ns"]) for r in again.samples()] == [0, 1000, 2000]
    assert next(again.samples())["options"] == {"a": 1}
    assert json.loads((folder.path / "run.json").read_text())["schema"] == SCHEMA


def test_an_empty_run_has_nothing(folder: store.RunFolder) -> None:
    assert folder.results() == ()
    assert list(folder.samples()) == []


def test_the_files_are_what_common_tools_read(folder: store.RunFolder) -> None:
    folder.append(result(1))
    folder.append_samples({"n": 1})
    folder.append_samples({"n": 2})
    text = gzip.decompress((folder.path / "samples.jsonl.gz").read_bytes())
    assert [json.loads(line) for line in text.splitlines()] == [{"n": 1}, {"n": 2}]
    lines = (folder.path / "results.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["cell"]["recipe"] for line in lines] == ["recipe-1"]


def test_of_two_results_of_a_cell_the_last_stands_where_the_first_was(folder: store.RunFolder) -> None:
    folder.append(result(1))
    folder.append(result(2))
    folder.append(result(1, "failed"))
    assert folder.results() == (result(1, "failed"), result(2))


def test_every_append_is_on_disk_at_once(folder: store.RunFolder) -> None:
    folder.append(result(1))
    folder.append_samples({"n": 1})
    other = store.open_run(folder.path)  # another reader, while the first still holds the lock
    assert len(other.results()) == len(list(other.samples())) == 1


def test_every_append_waits_for_the_disk(folder: store.RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, []

    def note(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        real(file)

    monkeypatch.setattr(os, "fsync", note)
    folder.append(result(1))
    folder.append_samples({"n": 1})
    assert synced == [(folder.path / name).stat().st_size for name in ("results.jsonl", "samples.jsonl.gz")]


def test_a_number_that_json_has_not_is_refused(folder: store.RunFolder) -> None:
    with pytest.raises(ValueError, match="JSON"):
        folder.append_samples({"temperature": float("nan")})
    assert list(folder.samples()) == []


def test_ids_that_are_taken_get_a_number(tmp_path: Path) -> None:
    made = [store.create(tmp_path, RUN) for _ in range(3)]
    assert [m.path.name for m in made] == [RUN.id, f"{RUN.id}-2", f"{RUN.id}-3"]
    assert [store.open_run(m.path).run.id for m in made] == [m.path.name for m in made]
    for m in made:
        m.close()


# killed between any two bytes


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.integers(0, 2000))
def test_a_torn_last_line_is_dropped_and_cut(tmp_path_factory: pytest.TempPathFactory, lost: int) -> None:
    with store.create(tmp_path_factory.mktemp("torn"), RUN) as folder:
        for n in range(3):
            folder.append(result(n))
    file = folder.path / "results.jsonl"
    data = file.read_bytes()
    keep = max(0, len(data) - lost)
    file.write_bytes(data[:keep])
    whole = data[:keep].count(b"\n")

    assert store.open_run(folder.path).results() == tuple(result(n) for n in range(whole))
    assert len(file.read_bytes()) == keep, "reading must not change the file"
    with store.open_run(folder.path) as again:
        again.append(result(9))
    assert store.open_run(folder.path).results() == (*(result(n) for n in range(whole)), result(9))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.integers(0, 400), junk=st.binary(max_size=20))
def test_a_torn_last_member_is_dropped_and_cut(
    tmp_path_factory: pytest.TempPathFactory, lost: int, junk: bytes
) -> None:
    records = [{"n": n, "samples": [n] * 50} for n in range(3)]
    with store.create(tmp_path_factory.mktemp("torn"), RUN) as folder:
        ends = []
        for record in records:
            folder.append_samples(record)
            ends.append((folder.path / "samples.jsonl.gz").stat().st_size)
    file = folder.path / "samples.jsonl.gz"
    data = file.read_bytes()
    keep = max(0, len(data) - lost)
    file.write_bytes(data[:keep] + (b"\0" + junk if keep in ends else b""))
    whole = sum(end <= keep for end in ends)

    assert list(store.open_run(folder.path).samples()) == records[:whole]
    with store.open_run(folder.path) as again:
        again.append_samples({"n": 9})
        again.append_samples({"n": 10})
    assert list(store.open_run(folder.path).samples()) == [*records[:whole], {"n": 9}, {"n": 10}]


def test_members_longer_than_a_block_are_read(folder: store.RunFolder) -> None:
    noise = os.urandom(200_000).hex()
    for n in range(3):
        folder.append_samples({"n": n, "noise": noise})
    assert [r["n"] for r in folder.samples()] == [0, 1, 2]
    assert all(r["noise"] == noise for r in folder.samples())


def test_a_killed_process_leaves_its_results_and_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgebench import store\n"
        "from edgebench.codec import from_json\nfrom edgebench.schema import Cell, Result, Run\n"
        "run = from_json(Run, __import__('json').loads(sys.argv[2]))\n"
        "folder = store.create(Path(sys.argv[1]), run)\n"
        "for n in range(10**6):\n"
        "    cell = Cell(model='net', recipe=str(n), backend='fake', device='local')\n"
        "    folder.append(Result(cell=cell, status='ok'))\n"
        "    folder.append_samples({'n': n})\n"
        "    print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), json.dumps(to_json(RUN))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        seen = next(int(line) for line in child.stdout if int(line) >= 5)
        with pytest.raises(StoreError, match="Another edgebench is writing"):
            store.open_run(store.latest(tmp_path)).append(result(1))
        child.send_signal(signal.SIGKILL)
    with store.open_run(store.latest(tmp_path)) as folder:
        results = folder.results()
        assert len(results) > seen
        assert [r.cell.recipe for r in results] == [str(n) for n in range(len(results))]
        assert len(list(folder.samples())) > seen
        folder.append(result(1))
        assert len(folder.results()) == len(results) + 1


# two writers


def test_the_lock_is_given_back(folder: store.RunFolder) -> None:
    other = store.open_run(folder.path)
    with pytest.raises(StoreError, match="Another edgebench"):
        other.append(result(1))
    folder.close()
    with other:
        other.append(result(1))
    folder.append(result(2))
    assert len(folder.results()) == 2


# disks that are full or closed


def test_a_full_disk_keeps_what_was_measured(folder: store.RunFolder) -> None:
    folder.append(result(1))
    kept = (folder.path / "results.jsonl").read_bytes()
    (folder.path / "results.jsonl").unlink()
    (folder.path / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(StoreError) as caught:
        folder.append(result(2))
    assert "disk is full" in caught.value.problem
    assert "kept" in caught.value.problem
    assert caught.value.fix == f"Free some space, then go on with: edgebench run --resume {folder.path}"
    (folder.path / "results.jsonl").unlink()
    (folder.path / "results.jsonl").write_bytes(kept)
    folder.append(result(2))
    assert folder.results() == (result(1), result(2))


def test_half_a_line_is_taken_back(folder: store.RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.append(result(1))
    real, calls = os.write, []

    def short(file: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, bytes(data)[:10])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(StoreError, match="disk is full"):
        folder.append(result(2))
    monkeypatch.undo()
    folder.append(result(3))
    assert folder.results() == (result(1), result(3))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_fails_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(file: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError) as caught:
        store.create(tmp_path / "new" / "results", RUN)
    assert ("disk is full" in caught.value.problem) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert "resume" not in caught.value.fix
    assert list(tmp_path.iterdir()) == [], "nothing may be left behind"


def test_a_failed_create_leaves_earlier_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create(tmp_path, RUN).close()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(StoreError):
        store.create(tmp_path, RUN)
    assert [p.name for p in tmp_path.iterdir()] == [RUN.id]
    assert store.latest(tmp_path).name == RUN.id


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    for root in (tmp_path / "results", tmp_path / "results" / "deeper"):
        with pytest.raises(StoreError, match="cannot be written"):
            store.create(root, RUN)


def test_texts_are_replaced_whole(folder: store.RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("table.md", "old – text\n")

    def fail(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="disk is full"):
        folder.write_text("table.md", "new")
    assert (folder.path / "table.md").read_text() == "old – text\n"
    assert not list(folder.path.glob(".*part"))
    monkeypatch.undo()
    folder.write_text("table.md", "new")
    assert (folder.path / "table.md").read_text() == "new"


# folders that are no run


def test_there_is_no_such_folder(tmp_path: Path) -> None:
    store.create(tmp_path, RUN).close()
    with pytest.raises(StoreError) as caught:
        store.open_run(tmp_path / "20261123T193000Z-locol")
    assert caught.value.fix == f'Did you mean "{RUN.id}"?'
    with pytest.raises(StoreError, match="There is no results folder"):
        store.open_run(tmp_path / "no" / "where")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"it has no run\.json"):
        store.open_run(tmp_path)
    store.create(tmp_path, RUN).close()
    with pytest.raises(StoreError) as caught:
        store.open_run(tmp_path)
    assert str(tmp_path / RUN.id) in caught.value.fix


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": 3}', '"run"', "\udcff"])
def test_a_damaged_run_json(folder: store.RunFolder, text: str) -> None:
    (folder.path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StoreError) as caught:
        store.open_run(folder.path)
    assert caught.value.fix


def test_a_newer_schema_is_named(folder: store.RunFolder) -> None:
    data = {**to_json(RUN), "schema": SCHEMA + 1, "what_is_this": 1}
    (folder.path / "run.json").write_text(json.dumps(data))
    with pytest.raises(StoreError, match=rf"run.json: .*schema {SCHEMA + 1}"):
        store.open_run(folder.path)


def test_a_damaged_line_in_the_middle_is_named(folder: store.RunFolder) -> None:
    file = folder.path / "results.jsonl"
    folder.append(result(1))
    file.write_bytes(b"\n" + file.read_bytes() + b'{"cell": 1}\n' + file.read_bytes())
    with pytest.raises(StoreError, match=r"Line 3 of .*results\.jsonl is damaged"):
        folder.results()


@pytest.mark.parametrize("odd", [b"NaN", b"Infinity", b"-Infinity"])
def test_a_number_that_json_has_not_is_a_damaged_line(folder: store.RunFolder, odd: bytes) -> None:
    folder.append(result(1))
    file = folder.path / "results.jsonl"
    line = b'{"cell":{"model":"m","recipe":"r","backend":"b","device":"d"},"status":"ok","noise":{"drift":%s}}\n' % odd
    file.write_bytes(file.read_bytes() + line)
    with pytest.raises(StoreError, match=rf"Line 2 of .* is damaged: {odd.decode()} is no number"):
        folder.results()


@pytest.mark.parametrize("text", [b"{", b"3", b'{"wall_ns":[NaN]}', b"\xff"])
def test_a_damaged_raw_record_is_named(folder: store.RunFolder, text: bytes) -> None:
    folder.append_samples({"n": 1})
    file = folder.path / "samples.jsonl.gz"
    file.write_bytes(file.read_bytes() + gzip.compress(text))
    with pytest.raises(StoreError, match=r"Record 2 of .*samples\.jsonl\.gz is damaged") as refused:
        list(folder.samples())
    assert "results.jsonl" in refused.value.fix


def test_of_many_lines_the_damaged_one_is_named(folder: store.RunFolder) -> None:
    line = b'{"cell":{"model":"m","recipe":"r%d","backend":"b","device":"d"},"status":"ok"}\n'
    lines = [line % i for i in range(2 * store.TOGETHER + 50)]
    (folder.path / store.RESULTS).write_bytes(b"".join(lines))
    assert len(folder.results()) == len(lines)
    for damage in (b"1,2\n", b'{"cell":\n', b"3]\n"):
        broken = [*lines[:150], damage, *lines[150:]]
        (folder.path / store.RESULTS).write_bytes(b"".join(broken))
        with pytest.raises(StoreError, match="Line 151 of"):
            folder.results()


def test_latest_counts_numbers_as_numbers(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no run"):
        store.latest(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="There is no run"):
        store.latest(tmp_path)
    for _ in range(11):
        store.create(tmp_path, RUN).close()
    (tmp_path / "zzz-no-run").mkdir()
    assert store.latest(tmp_path).name == f"{RUN.id}-11"
    later = dataclasses.replace(RUN, id="20261124T000000Z-pi")
    store.create(tmp_path, later).close()
    assert store.latest(tmp_path).name == later.id


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert store.sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    with pytest.raises(StoreError, match="cannot be read"):
        store.sha256(tmp_path / "none")


def test_writing_elsewhere_does_not_speak_of_resuming(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught, store.writing(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "resume" not in str(caught.value)
    with pytest.raises(KeyError), store.writing(tmp_path):
        raise KeyError("not ours")
