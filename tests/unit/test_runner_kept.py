"""A run whose device is gone midway says what is kept, and the command that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgebench import making
from edgebench.cli.app import cli
from edgebench.devices.link import LinkLost, RemoteError
from edgebench.devices.local import LocalDevice
from edgebench.errors import EdgebenchError
from edgebench.lines import ChildDied
from edgebench.testing import fake_artifact


@pytest.mark.parametrize(
    ("step", "error", "problem", "fix"),
    [
        ("push", LinkLost("board is gone.", "Switch it on."), "board is gone.", "Switch it on."),
        ("conduct", RemoteError("board is busy.", "Wait."), "board is busy.", "Wait."),
        ("conduct", ChildDied("hung", "last words"), "The campaign on local hung. last words", ""),
    ],
)
def test_a_device_that_is_gone_leaves_the_folder_and_the_command(
    step: str, error: Exception, problem: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise error

    monkeypatch.setattr(LocalDevice, step, gone)
    network = fake_artifact(tmp_path, {}, name="net").path
    done = CliRunner().invoke(cli, ["bench", network, "--backend", "fake", "--results", str(tmp_path / "results")])
    (folder,) = (tmp_path / "results").iterdir()
    assert isinstance(done.exception, EdgebenchError)
    assert done.exception.problem.startswith(problem)
    assert f"0 of 1 cells are measured and kept in {folder}." in done.exception.problem
    assert done.exception.fix.startswith(fix)
    assert done.exception.fix.endswith(f"go on with: edgebench run --resume {folder}")


def test_a_board_that_is_gone_in_a_latency_search_costs_no_rows() -> None:
    def make(_: Any) -> None:
        raise LinkLost("board is gone.", "Switch it on.")

    with pytest.raises(LinkLost):
        making._attempt([], make)


def test_going_on_without_a_path_is_with_the_latest_run_that_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "results"
    network = fake_artifact(tmp_path, {}, name="net").path
    bench = ["bench", network, "--backend", "fake", "--quick", "--results", str(root)]
    with monkeypatch.context() as patch:

        def lost(*_: Any) -> None:
            raise LinkLost("board is gone.", "Switch it on.")

        patch.setattr(LocalDevice, "conduct", lost)
        CliRunner().invoke(cli, bench)
    (cut,) = root.iterdir()
    assert CliRunner().invoke(cli, bench).exit_code == 0
    (later,) = set(root.iterdir()) - {cut}
    (tmp_path / "results/20010101T000000Z-odd").mkdir()
    (tmp_path / "results/20010101T000000Z-odd/run.json").write_text("{")
    assert CliRunner().invoke(cli, ["run", "--resume", "--results", str(root)]).exit_code == 0
    assert (cut / "results.jsonl").read_text()
    again = CliRunner().invoke(cli, ["run", "--resume", "--results", str(root)])
    assert f"Nothing was left to do in {later}: every run in {root} is finished" in again.output
