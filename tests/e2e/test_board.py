"""The light base install, as on a board: Python 3.10, one runtime, no torch, no pandas."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python310() -> str:
    candidates = [shutil.which("python3.10"), *map(str, Path.home().glob(".pyenv/versions/3.10.*/bin/python"))]
    for found in candidates:
        if found and subprocess.run([found, "-c", "import ensurepip"], capture_output=True).returncode == 0:
            return found
    pytest.skip("there is no Python 3.10 with venv here")


@pytest.mark.slow
def test_a_board_with_python_310_and_one_runtime_measures(
    tmp_path: Path, tiny_onnx: Path, environment: dict[str, str]
) -> None:
    subprocess.run([python310(), "-m", "venv", tmp_path / "venv"], check=True)
    pip = [tmp_path / "venv/bin/pip", "install", "-qq", "--disable-pip-version-check", f"{ROOT}[onnxruntime]"]
    subprocess.run(pip, check=True, cwd=tmp_path)
    command = [str(tmp_path / "venv/bin/edgebench")]
    installed = subprocess.run([tmp_path / "venv/bin/pip", "list"], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "pandas", "onnx"} & {line.split()[0] for line in installed.splitlines()}
    bench = ["bench", str(tiny_onnx), "--backend", "onnxruntime", "--quick", "--json"]
    done = subprocess.run([*command, *bench], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    (row,) = json.loads(done.stdout)["rows"]
    assert row["status"] == "ok"
    refused = subprocess.run([*command, "run"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert refused.returncode == 2
    assert "edgebench[" in refused.stderr
