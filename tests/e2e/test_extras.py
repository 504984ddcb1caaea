"""One runtime alone is enough for its files: `pip install edgebench[litert]`, without torch, can bench a .tflite; so for each.

pip itself is asked once. For every runtime its extra is resolved as pip would, from what the packages say they need, into an
environment that has these packages and no other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

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


ENDINGS = {
    "onnxruntime": "onnx", "openvino": "xml", "litert": "tflite", "executorch": "pte", "ncnn": "ncnn", "torch": "pt2",
}  # fmt: skip
BRING_TORCH = {"executorch", "torch"}


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ENDINGS)
def test_the_extra_of_a_runtime_is_enough_to_bench_its_files(
    runtime: str, request: pytest.FixtureRequest, tiny_onnx: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    file = _file(runtime, request, tiny_onnx, tmp_path)
    needed = _closure("edgebench", runtime)
    assert ("torch" in needed) == (runtime in BRING_TORCH)
    assert not {"onnx", "pandas", "torchao", "litert-torch", "nncf"} & (needed - _closure(*_owner(runtime)))
    python = _environment_of(needed, tmp_path / "venv")

    def alone(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-m", "edgebench", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    told = {b["name"]: b["ok"] for b in json.loads(alone("backends", "--json").stdout)}
    assert [name for name, here in told.items() if here] == sorted({runtime, *(["torch"] if "torch" in needed else [])})
    done = alone("bench", str(file), "--quick", "--generations", "1", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["status"], row["cell"]["backend"]) == ("ok", runtime), row
    assert {"load", "latency", "throughput"} <= {m["metric"] for m in row["measurements"]}


def test_where_only_the_tensorrt_extra_is_the_fix_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    python = _environment_of(_closure("edgebench", "tensorrt"), tmp_path / "venv")
    (tmp_path / "net.plan").write_bytes(b"plan")
    command = [str(python), "-m", "edgebench", "bench", "net.plan"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "No runtime here opens tensorrt-plan files" in done.stderr
    assert "tensorrt" in done.stderr.partition("Fix:")[2]


def _file(runtime: str, request: pytest.FixtureRequest, tiny_onnx: Path, folder: Path) -> Path:
    """A file of the runtime's own format, made where everything is installed."""
    path = folder / f"net.{ENDINGS[runtime]}"
    if runtime == "onnxruntime":
        path.write_bytes(tiny_onnx.read_bytes())
    elif runtime == "openvino":
        code = "import sys, openvino as ov; ov.save_model(ov.Core().read_model(sys.argv[1]), sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, tiny_onnx, path], check=True)
    else:
        (folder / "nets.py").write_text(NETWORK)
        warm = request.getfixturevalue("warm")  # only here: it starts a process with torch
        made = warm("convert", "nets:make", "--to", runtime, "--shape", "x=1x1x32x32", "--out", path)
        assert made.returncode == 0, made.stderr
    return path


def _owner(runtime: str) -> tuple[str, ...]:
    """The package of the runtime itself, whose needs are not ours to choose."""
    names = {"litert": "ai-edge-litert"}
    return (names.get(runtime, runtime),)


def _closure(name: str, *extras: str) -> set[str]:
    """The packages that pip would install for `name[extras]`, of those that are here, by their normalized names."""
    found: set[tuple[str, str]] = set()
    left = [(name, extra) for extra in ("", *extras)]
    while left:
        package, extra = left.pop()
        if (package, extra) in found:
            continue
        found.add((package, extra))
        for line in metadata.requires(package) or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                try:
                    metadata.version(need.name)
                except metadata.PackageNotFoundError:
                    continue  # a runtime of which this machine has no wheel
                left += [(need.name, more) for more in ("", *need.extras)]
    return {_normalized(package) for package, _ in found}


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _environment_of(packages: set[str], folder: Path) -> Path:
    """The python of a fresh environment that has these packages, as links to where they are installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    for distribution in metadata.distributions():
        if _normalized(distribution.metadata["Name"]) not in packages:
            continue
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            target = Path(str(distribution.locate_file(top)))
            if target.suffix != ".pth" and target.exists() and not (site / top).exists():
                (site / top).symlink_to(target)
    for own in (ROOT / "edgebench", *(ROOT / "backends").glob("edgebench_*")):
        if not (site / own.name).exists():
            (site / own.name).symlink_to(own)
    return folder / "bin/python"
