"""The package that backends/README.md shows, installed from a folder outside the repository, works as printed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgebench import plugins
from edgebench.testing import Case, run_checks

pytest.importorskip("onnx")

README = Path(__file__).parents[2] / "backends" / "README.md"


def examples() -> dict[str, str]:
    """File name -> content of each marked example."""
    return dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", README.read_text(), re.DOTALL))


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the vendor's package was installed into."""
    source, target = tmp_path_factory.mktemp("vendor"), tmp_path_factory.mktemp("site")
    for name, text in examples().items():
        (source / name).write_text(text)
    if {"hatchling", "pip"} <= {d.name for d in importlib.metadata.distributions()}:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-build-isolation",
        ]
        subprocess.run([*command, "--target", str(target), str(source)], check=True)
    else:
        install_by_hand(source, target)
    return target


def install_by_hand(source: Path, target: Path) -> None:
    """What pip would leave behind, for environments where it cannot build."""
    import tomllib

    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    (group, entries), *_ = project["entry-points"].items()
    info = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for module in source.glob("*.py"):
        (target / module.name).write_text(module.read_text())


@pytest.fixture
def installed(vendor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(vendor))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(vendor), os.environ.get("PYTHONPATH", "")]))


def test_it_is_two_files_and_about_40_lines() -> None:
    found = examples()
    assert sorted(found) == ["edgebench_onnxref.py", "pyproject.toml"]
    code = [line for line in found["edgebench_onnxref.py"].splitlines() if line.strip()]
    assert len(code) <= 45


@pytest.mark.usefixtures("installed")
def test_it_is_found_like_a_built_in_one() -> None:
    assert {"onnxref", "onnxruntime", "fake"} <= set(plugins.names("edgebench.backends"))
    assert plugins.origin("edgebench.backends", "onnxref") == "edgebench-onnxref 1.0"
    assert plugins.backend("onnxref").probe().ok


@pytest.mark.usefixtures("installed")
def test_the_command_line_lists_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgebench", "backends", "--json"], capture_output=True, text=True, check=True
    )
    row = next(b for b in json.loads(done.stdout) if b["name"] == "onnxref")
    assert (row["ok"], row["accepts"], row["origin"]) == (True, ["onnx"], "edgebench-onnxref 1.0")


@pytest.mark.usefixtures("installed")
def test_it_keeps_the_contract(onnx_case: Case) -> None:
    found = run_checks(type(plugins.backend("onnxref")), onnx_case)
    assert {name: v.message for name, v in found.items() if v.outcome != "passed"} == {}


@pytest.mark.usefixtures("installed")
def test_every_check_is_in_the_readme() -> None:
    from edgebench.testing.checks import CHECKS

    table = re.findall(r"^\| ([a-z, ]+) \|", README.read_text(), re.MULTILINE)
    named = [name for row in table for name in row.split(", ")]
    assert set(named) - {"check"} == set(CHECKS)


@pytest.mark.usefixtures("installed")
def test_it_is_measured_in_a_run_like_the_built_in_ones(onnx_case: Case, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgebench", "bench", onnx_case.artifact.path, "--quick", "--json"]
    done = subprocess.run(
        [*command, "--backend", "onnxruntime", "--backend", "onnxref"], capture_output=True, text=True, cwd=tmp_path
    )
    rows = {r["cell"]["backend"]: r for r in json.loads(done.stdout)["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {"onnxruntime": "ok", "onnxref": "ok"}
    assert done.returncode == 0
