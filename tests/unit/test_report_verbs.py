"""The verbs `report` and `import` from the command line: one run, several, pictures, and other tools' files."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgebench import runner, store
from edgebench.cli import cli
from edgebench.cli.app import main
from edgebench.cli.results import finish
from edgebench.devices import profiles
from edgebench.errors import EdgebenchError, Interrupted
from edgebench.plan import Plan

PUBLISHED = Path(__file__).parents[2] / "results/published/local/quick"
SAMPLES = [{"latencyMs": 1.2}, {"latencyMs": 1.3}, {"latencyMs": 1.25}]


def call(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(a) for a in arguments], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a person's own: the published one without its samples, which would take time to read."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "results.jsonl"):
        shutil.copy(PUBLISHED / name, folder)
    return folder


def test_a_whole_run_goes_on_with_nothing_and_imports_no_framework(run: Path) -> None:
    """Its results are held against its plan; nothing is trained, lowered or tried to see that."""
    code = (
        "import sys; from pathlib import Path\n"
        "from edgebench import runner, store; from edgebench.devices import profiles\n"
        "runner.resume(store.open_run(Path(sys.argv[1])), profiles.resolve('local'))\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'openvino', 'sklearn'} & set(sys.modules)))"
    )
    before = (run / "results.jsonl").read_bytes()
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
    assert (run / "results.jsonl").read_bytes() == before


def test_a_run_that_lacks_a_row_is_prepared_whole(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (run / "results.jsonl").read_bytes().splitlines(keepends=True)
    (run / "results.jsonl").write_bytes(b"".join(lines[:-1]))
    asked: list[Plan] = []
    monkeypatch.setattr(runner, "prepare", lambda plan, device: asked.append(plan))
    monkeypatch.setattr(runner, "fill", lambda folder, prepared, progress: folder)
    runner.resume(store.open_run(run), profiles.resolve("local"))
    assert [plan.name for plan in asked] == ["quick"]


def test_ctrl_c_while_the_tables_are_made_names_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(folder: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgebench.cli.results.tabled", stopped)
    with pytest.raises(Interrupted) as caught:
        call("run", "--resume", run)
    assert caught.value.fix == f"For its tables: edgebench report {run}"
    assert str(run) in caught.value.problem


def test_ctrl_c_before_a_run_began_names_no_other_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgebench.preparing.prepare", stopped)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--results", str(run.parent)])
    assert ended.value.code == 2
    assert "--resume" not in capsys.readouterr().err


def test_twice_the_same_bytes(run: Path) -> None:
    assert "Kept in" in call("report", run)
    first = {path.name: path.read_bytes() for path in run.iterdir() if path.name != ".lock"}
    call("report", run)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name != ".lock"} == first
    assert {"table.md", "table.csv", "table.json", "latency.svg"} <= set(first)


def test_a_file_of_another_tool_stands_beside_ours_with_its_mark(run: Path, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text(json.dumps(SAMPLES))
    said = call(
        "import", tmp_path / "times.json", "--model", "digits", "--device", "orin", "--out", tmp_path / "results"
    )
    assert "1.25 ms †" in said
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.endswith("-imported-trtexec")
    assert store.open_run(folder).results()[0].get("latency").grade == "published"  # type: ignore[union-attr]
    call("report", run, folder, "--out", tmp_path / "both")
    data = json.loads((tmp_path / "both/table.json").read_text())
    assert len(data["rows"]) == 16
    assert [run["id"] for run in data["runs"]] == ["20261123T213304Z-local", folder.name]
    assert "† Published, not measured here" in (tmp_path / "both/table.md").read_text()
    assert not (tmp_path / "both/run.json").exists()


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["ok"], 0), (["ok", "skipped"], 0), (["ok", "failed"], 1), (["skipped"], 1), (["skipped", "failed"], 1)],
)
def test_a_run_that_measured_nothing_did_not_go_well(run: Path, statuses: list[str], code: int) -> None:
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()[: len(statuses)]]
    said = [{**row, "status": status, "reason": "so it is"} for row, status in zip(rows, statuses, strict=True)]
    (run / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    with pytest.raises(SystemExit) as ended:
        finish(store.open_run(run), as_json=True)
    assert ended.value.code == code


def test_pictures_for_a_paper(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    call("report", run, "--figures", tmp_path / "figures")
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {
        "accuracy-latency.svg",
        "accuracy-latency.png",
        "speedup.svg",
        "speedup.png",
        "latency.png",
        "memory.svg",
    } <= made
    assert (tmp_path / "figures/speedup.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "figures/speedup.svg").read_text()
    assert drawn.startswith("<svg")
    assert "var(--" not in drawn
    assert "fill: #0f5c8c" in drawn


def test_a_run_without_figures_has_no_pictures(run: Path, tmp_path: Path) -> None:
    (run / "results.jsonl").write_text("")
    assert "There is no result yet" in call("report", run)
    with pytest.raises(EdgebenchError, match="nothing to draw"):
        call("report", run, "--figures", tmp_path / "figures")


def test_a_format_that_is_not_told_or_not_known(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(EdgebenchError, match="no known format"):
        call("import", tmp_path / "x.txt")
    assert not (tmp_path / "results").exists()


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder, as on a medium that can only be read (the superuser may write where nobody may)."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(store, "_write_whole", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)


@pytest.mark.usefixtures("unwritable")
def test_a_folder_that_can_only_be_read_is_reported_all_the_same(run: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(run)])
    assert done.exit_code == 0
    assert "teacher-int8" in done.stdout
    assert "Kept in" not in done.stdout
    assert f"Not kept: {run} cannot be written: Read-only file system" in done.stderr
    assert f"edgebench report {run} --out FOLDER" in done.stderr
    assert "--resume" not in done.output
    printed = CliRunner().invoke(cli, ["report", str(run), "--format", "json"])
    assert len(json.loads(printed.stdout)["rows"]) == 15
    assert "Not kept" in printed.stderr


@pytest.mark.usefixtures("unwritable")
def test_where_writing_was_asked_for_it_has_to_be_done(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(run), "--out", str(tmp_path / "there")], standalone_mode=False)
    assert "teacher-int8" in done.stdout
    assert isinstance(done.exception, EdgebenchError)
    assert f"{tmp_path / 'there'} cannot be written" in done.exception.problem


def test_a_hint_names_the_run_by_a_path_where_its_id_would_not_find_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (run / "results.jsonl").read_text().splitlines(keepends=True)
    (run / "results.jsonl").write_text("".join(lines[:9]))
    whole = tmp_path / "whole"
    shutil.copytree(PUBLISHED, whole)
    for said in (call("report", run), call_failing("compare", whole, run, "--strict"), call_failing("choose", run)):
        assert f"edgebench run --resume {run}" in " ".join(said.split())
    usual = tmp_path / "results" / store.open_run(run).run.id
    usual.parent.mkdir()
    run.rename(usual)
    monkeypatch.chdir(tmp_path)
    assert f"edgebench run --resume {usual.name}" in " ".join(call("report", usual.name).split())


def call_failing(*arguments: object) -> str:
    """What is said by a command that may end with an error or another exit code."""
    done = CliRunner().invoke(cli, [str(a) for a in arguments], standalone_mode=False)
    return f"{done.output} {done.exception}"


@pytest.mark.parametrize("verb", ["report", "choose"])
def test_the_same_run_given_twice_counts_once(run: Path, tmp_path: Path, verb: str) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(run, copy)
    once = CliRunner().invoke(cli, [verb, str(run)])
    done = CliRunner().invoke(cli, [verb, str(run), "run", str(copy), "--results", str(tmp_path)])
    assert done.stdout == once.stdout
    assert [f"{name} is the same run as {run}" in done.stderr for name in ("run", copy)] == [True, True]
    assert done.exit_code == once.exit_code
