"""`pip install edgebench[litert]` alone, without torch, can bench and look into a .tflite file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NETWORK = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""


@pytest.mark.slow
def test_one_runtime_alone_is_enough_for_its_files(
    edgebench: Callable[..., Any], tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "nets.py").write_text(NETWORK)
    made = edgebench("convert", "nets:make", "--to", "litert", "--shape", "x=1x1x32x32", "--out", "net.tflite")
    assert made.returncode == 0, made.stderr
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    bin_folder = tmp_path / "venv/bin"
    pip = [bin_folder / "pip", "install", "-qq", "--disable-pip-version-check", f"{ROOT}[litert]"]
    subprocess.run(pip, check=True, cwd=tmp_path)
    installed = subprocess.run([bin_folder / "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "onnx", "onnxruntime", "pandas"} & {line.split()[0] for line in installed.splitlines()}

    def alone(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(bin_folder / "edgebench"), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    done = alone("bench", "net.tflite", "--against", "net.tflite", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["status"], row["cell"]["backend"]) == ("ok", "litert")
    assert next(m["value"] for m in row["measurements"] if m["metric"] == "max_abs_error") == 0
    found = json.loads(alone("inspect", "net.tflite", "--json").stdout)
    assert found["macs"] == 8 * 30 * 30 * 9 + 80
    refused = alone("convert", "nets:make", "--to", "litert", "--shape", "x=1x1x32x32")
    assert refused.returncode == 2
    assert "pip install" in refused.stderr
    assert "Traceback" not in refused.stderr
