"""The README is true: its files are complete, its commands run, its names are those that exist."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import tomllib

from edgebench import plugins, runner, store
from edgebench.cli import cli
from edgebench.codec import Options
from edgebench.compress import methods
from edgebench.devices import profiles
from edgebench.schema import Care, Step

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
HELD_ELSEWHERE = {"run", "selfcheck", "bench", "inspect", "convert", "device"}
"""Commands of minutes, or of files: tests of their own run them (test_quick, test_bench, test_inspect, ...)."""


def examples() -> dict[str, str]:
    return dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL))


def commands() -> list[str]:
    """Every `edgebench ...` line of an indented block, without its comment."""
    found = re.findall(r"^    (?:scripts/)?(edgebench .*?)(?:\s{2,}#.*)?$", README, re.MULTILINE)
    return [line.strip() for line in found]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    for name, text in examples().items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_example_plan_runs_with_every_row_ok(mine: Path, edgebench: Callable[..., Any]) -> None:
    done = edgebench("run", "my.toml", "--quick", "--json")
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    rows = json.loads(done.stdout)["rows"]
    assert {r["status"] for r in rows} == {"ok"}
    cells = {(r["cell"]["recipe"], r["cell"]["precision"], r["cell"]["backend"]) for r in rows}
    assert len(cells) == 2 * 2 * 2
    accuracy = [m["value"] for r in rows for m in r["measurements"] if m["metric"] == "accuracy"]
    assert min(accuracy) > 0.8
    narrowed = edgebench(
        *shlex.split("run my.toml --recipe half --backend onnxruntime --batch 1 --batch 8 --quick --json")
    )
    assert narrowed.returncode == 0
    assert [r["cell"]["batch"] for r in json.loads(narrowed.stdout)["rows"]] == [1, 8, 1, 8]
    made = edgebench("compress", "my.toml", "--json")
    assert made.returncode == 0
    assert all((mine / m["path"]).stat().st_size == m["size"] for m in json.loads(made.stdout))


@pytest.mark.parametrize(
    "line", sorted({c for c in commands() if shlex.split(c)[1] not in HELD_ELSEWHERE | {"report", "compress"}})
)
def test_the_short_commands_run(edgebench: Callable[..., Any], line: str) -> None:
    done = edgebench(*shlex.split(line)[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_step_that_is_shown_is_one() -> None:
    shown = re.search(r"<!-- steps -->\n```toml\n(.*?)```", README, re.DOTALL)
    assert shown
    steps = tomllib.loads(
        "steps = [" + ",\n".join(re.sub(r"\s+#.*", "", line) for line in shown[1].splitlines()) + "]"
    )["steps"]
    assert len(steps) >= 7
    for step in steps:
        methods.parse(Step(method=step.pop("method"), options=Options(step)))


def test_the_profile_that_is_shown_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.search(r"<!-- profile -->\n```toml\n(.*?)```", README, re.DOTALL)
    assert shown
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    profiles.user_folder().mkdir(parents=True)
    (profiles.user_folder() / "shown.toml").write_text(shown[1])
    found = profiles.find("shown")
    unsaid = {"name", "transport", "description", "compatible"}
    untouched = {f.name for f in fields(found) if getattr(found, f.name) == f.default}
    assert untouched <= unsaid, "each key of a profile is shown"
    assert found.care == Care(cool_to=45, lock_clocks=True)


def test_every_command_has_a_verb_and_options_that_exist() -> None:
    assert len(commands()) >= 8
    for line in commands():
        verb, *arguments = shlex.split(line)[1:]
        command = cli.commands[verb]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {a for a in arguments if a.startswith("--")} <= known, line


def test_every_verb_metric_and_entry_point_group_is_named() -> None:
    for verb in cli.commands:
        assert f"`{verb}" in README, verb
    for group in plugins.GROUPS:
        assert f"`{group}`" in README, group
        assert entry_points(group=group)
    for metric in plugins.names("edgebench.metrics"):
        assert metric in README, metric


def test_the_tables_and_pictures_are_those_of_the_published_run(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from tests import tables

    again = "write it again with scripts/tables"
    assert tables.with_tables(README, "--out", str(tmp_path)) == README, again
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"report.html", "table.json", "latency.svg"} <= made.keys()
    assert made == {name: (ROOT / tables.RUN / name).read_bytes() for name in made}, again
    for picture in ("latency.svg", "report.png"):
        assert f"({tables.RUN}/{picture})" in README
        assert (ROOT / tables.RUN / picture).exists()


@pytest.mark.parametrize("name", ["backends", "backends-avx2", "cifar10", "cifar10-again", "cifar10-avx2", "quick"])
def test_published_figures_follow_from_the_samples_beside_them(name: str) -> None:
    folder = store.open_run(ROOT / "results/published/local" / name)
    assert runner.rebuild(folder) == folder.results(), "write them again with scripts/tables"


def test_the_tables_of_the_bars_are_those_of_their_files() -> None:
    sys.path.insert(0, str(ROOT))
    from tests import tables

    assert (tables.BARS / "README.md").read_text() == tables.bars_table(), "write it again with scripts/tables"
    if tables.CIFAR10.exists():
        assert tables.CIFAR10_TABLE.read_text() == tables.cifar10_table(json.loads(tables.CIFAR10.read_text()))
    if tables.NATIVE.exists():
        assert tables.NATIVE_TABLE.read_text() == tables.native_table(json.loads(tables.NATIVE.read_text()))
