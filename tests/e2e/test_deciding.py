"""compare, choose and history as a user runs them, on the published run and on changed copies of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PUBLISHED = Path(__file__).parents[2] / "results/published/local/quick"
Edgebench = Callable[..., subprocess.CompletedProcess[str]]
Change = Callable[[dict[str, Any]], None]


def copy(folder: Path, id: str, change: Change | None = None, started: str = "20261124T000000Z") -> Path:
    """A copy of the published run under another name, with a change made to each of its results."""
    path = folder / id
    path.mkdir(parents=True)
    run = json.loads((PUBLISHED / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**run, "id": id, "started": started}))
    results = [json.loads(line) for line in (PUBLISHED / "results.jsonl").read_text().splitlines()]
    for result in results:
        if change is not None:
            change(result)
    (path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in results))
    shutil.copy(PUBLISHED / "samples.jsonl.gz", path)
    return path


def tight(factor: float) -> Change:
    """The latency of every cell times a factor, its processes within 0.1 % of each other."""

    def change(result: dict[str, Any]) -> None:
        m = next(m for m in result["measurements"] if m["metric"] == "latency")
        if "value" not in m:  # one of the fifteen was withheld
            m["value"] = 4e-5
            result["noise"]["state"] = "valid"
        m["value"] *= factor
        m["samples"] = [m["value"] * (1 + 0.0005 * i) for i in (-2, -1, 0, 1, 2)]
        m["interval"] = {"low": m["value"] * 0.9985, "high": m["value"] * 1.0015}

    return change


def other_threads(result: dict[str, Any]) -> None:
    result["cell"]["threads"] = 2
    result["effective"]["threads"] = 2


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert "\n  Fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stdout == ""


def test_a_run_compared_with_itself_is_the_same_everywhere(edgebench: Edgebench) -> None:
    done = edgebench("compare", PUBLISHED, PUBLISHED, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert {f["verdict"] for row in answer["rows"] for f in row["figures"]} == {"same"}
    assert len(answer["rows"]) == 15


def test_a_slow_down_of_three_percent_is_slower(warm: Edgebench, tmp_path: Path) -> None:
    a, b = copy(tmp_path, "a", tight(1.0)), copy(tmp_path, "b", tight(1.03))
    done = warm("compare", a, b, "--json")
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer["counts"]["latency"] == {"slower": 15}
    assert answer["comparable"]
    assert warm("compare", b, a).returncode == 0
    told = warm("compare", a, b, "--markdown")
    assert told.returncode == 1
    assert told.stdout.startswith(
        "**B is a regression: over all 15 pairs it is 1.03x slower (1.03–1.03), and 15 of 60 figures"
    )


def test_other_threads_are_named_not_comparable(warm: Edgebench, tmp_path: Path) -> None:
    b = copy(tmp_path, "b", other_threads)
    done = warm("compare", PUBLISHED, b)
    assert done.returncode == 4
    assert "not comparable" in done.stdout
    assert "threads: 1 in A, 2 in B" in done.stdout
    refused(warm("compare", PUBLISHED, b, "--strict"), "not comparable", "threads is 1 in", "and 2 in b")


def test_a_choice_in_text_and_in_json(warm: Edgebench) -> None:
    asked = ("choose", PUBLISHED, "--max-latency-p99", "60us", "--min-accuracy", "97%", "--max-memory", "64MiB")
    done = warm(*asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Ship distilled-int8 on openvino, int8: 31.1 µs")
    answer = json.loads(warm(*asked, "--json").stdout)
    assert answer["choice"] == "20261123T213304Z-local:digits/distilled-int8/int8/openvino@local/b1t1"
    assert answer["counts"] == {"pass": 2, "undecided": 1, "fail": 12}


@pytest.mark.parametrize(
    ("limits", "code", "words"),
    [
        (["--max-latency", "1us", "--runtime", "openvino"], 3, "No row keeps to the limits: all 5 fail."),
        (["--max-latency", "1us"], 4, "no row surely keeps to the limits, and 1 of 15 rows may."),
        (["--max-energy", "1J"], 4, "--metric energy"),
        (["--max-price", "100"], 4, "write the price of the device into its profile"),
        (["--runtime", "torch", "--minimize", "size"], 0, "Ship distilled-int8 on torch, int8: 180 kB"),
        (["--min-fps", "30000", "--evidence", "measured"], 0, "evidence measured only"),
        (["--max-accuracy-drop", "1.5%"], 0, "accuracy drop ≤ 1.5%"),
        (["--max-latency-p90", "33us"], 0, "p90 ≤ 33us"),
        (["--max-size", "100kB"], 3, "--max-size raised to 102 kB lets in"),
    ],
)
def test_exit_codes_and_reasons(warm: Edgebench, limits: list[str], code: int, words: str) -> None:
    done = warm("choose", PUBLISHED, *limits)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-latency", "5"], "has no unit"), (["--max-memory", "64mb"], 'Did you mean "MB"'),
        (["--runtime", "openvin"], 'Did you mean "openvino"'), (["--minimize", "latencies"], 'Did you mean "latency"'),
        (["--evidence", "measurd"], 'Did you mean "measured"'), (["--max-latncy", "5ms"], "--max-latency"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(warm: Edgebench, arguments: list[str], words: str) -> None:
    refused(warm("choose", PUBLISHED, *arguments), words)


def test_runs_that_are_none(warm: Edgebench, tmp_path: Path) -> None:
    refused(warm("choose", tmp_path / "nowhere"), "There is no results folder")
    refused(warm("compare", PUBLISHED, "nowhere"), "nowhere")
    empty = copy(tmp_path, "empty")
    (empty / "results.jsonl").write_text("")
    refused(warm("choose", empty), "There is no row")
    refused(warm("compare", PUBLISHED, empty), "empty has no result")


def failed(result: dict[str, Any]) -> None:
    result.update(status="failed", reason="The worker was killed.", measurements=[])


def test_a_run_in_which_all_cells_failed(warm: Edgebench, tmp_path: Path) -> None:
    path = copy(tmp_path, "broken", failed)
    done = warm("choose", path)
    assert done.returncode == 3
    assert "It failed: The worker was killed." in done.stdout
    assert warm("compare", PUBLISHED, path).returncode == 1
    assert warm("compare", path, path).returncode == 4


def test_a_history_with_a_change(warm: Edgebench, tmp_path: Path) -> None:
    for i in range(10):
        copy(tmp_path / "results", f"r{i}", tight((1 + i % 2 / 500) * (1.0 if i < 5 else 1.1)), f"20261124T00000{i}Z")
    done = warm("history", "teacher/fp32/onnxruntime", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [c["run"] for c in answer["changes"]] == ["r5"]
    assert answer["changes"][0]["ratio"] == pytest.approx(1.1, rel=0.01)
    assert "10.0 % slower" in warm("history", "teacher/fp32/onnxruntime").stdout
    assert warm("history").stdout.startswith("15 cells of 15 changed over the runs.")
    refused(warm("history", "teacher"), "is a part of 6 cells")
    refused(warm("history", "--results", tmp_path / "nowhere"), "There is no folder")
