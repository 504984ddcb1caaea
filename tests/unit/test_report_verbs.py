"""The verbs `report` and `import` from the command line: one run, several, pictures, and other tools' files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgebench import store
from edgebench.cli import cli
from edgebench.cli.results import finish
from edgebench.errors import EdgebenchError

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
