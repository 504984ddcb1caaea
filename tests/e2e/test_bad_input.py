"""What users get wrong: two sentences, exit code 2, no traceback, and nothing written or lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PLAN = """
[model]
source = "{source}"
{model}
[data]
source = "{data}"
[run]
backends = ["onnxruntime"]
[[recipe]]
name = "plain"
{recipe}
"""
NET = """
from torch import nn
def make(): return nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
def wide(): return nn.Sequential(nn.Flatten(), nn.Linear(99, 10))
def nothing(): return 3
def broken(): raise RuntimeError("no such thing")
"""
DATA = """
import numpy as np
def none():
    empty, nothing = np.zeros((0, 1, 32, 32), "f4"), np.zeros(0, int)
    return {"x_train": empty, "y_train": nothing, "x_eval": empty, "y_eval": nothing}
def bare():
    x = np.random.default_rng(0).normal(size=(40, 1, 32, 32)).astype("f4")
    return {"x_train": x[:20], "x_eval": x[20:]}
def leaves(): raise SystemExit(0)
"""


def plan(
    folder: Path,
    source: str = "net:make",
    model: str = "",
    data: str = "digits",
    recipe: str = "",
    name: str = "p.toml",
) -> Path:
    (folder / "net.py").write_text(NET)
    (folder / "sets.py").write_text(DATA)
    path = folder / name
    path.write_text(PLAN.format(source=source, model=model, data=data, recipe=recipe))
    return path


def refused(done: subprocess.CompletedProcess[str], *words: str, folder: Path | None = None) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ")
    assert "\n  Fix: " in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
    if folder is not None:
        assert not (folder / "results").exists(), "something was written"


Edgebench = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nope.toml"], ["nope.toml"]),
        (["run", "quik"], ['Did you mean "quick"']),
        (["run", "--backend", "onnxruntme"], ['Did you mean "onnxruntime"']),
        (["run", "--device", "jetso"], ['Did you mean "jetson"']),
        (["run", "--device", "jetson"], ["not a Jetson", "address", "on the board itself"]),
        (["run", "--recipe", "prund"], ['Did you mean "pruned"']),
        (["run", "--batch", "0"], ["batch", "from 1 up, not 0"]),
        (["run", "--threads", "-1"], ["threads", "from 1 up, not -1"]),
        (["run", "--batch", "two"], ["two"]),
        (["run", "--batch", "1" + 20 * "0"], ["batch", "2,147,483,647 or less"]),
        (["run", "--precision", "int9"], ['Did you mean "int8"']),
        (["run", "--budget", "5"], ["not a length of time"]),
        (["run", "--metric", "servr"], ['Did you mean "server"']),
        (["run", "--resume"], ["results"]),
        (["run", "--resume", "nowhere"], ["nowhere"]),
        (["rum"], ["Did you mean"]),
        (["bench", "nope.onnx"], ["There is no file"]),
        (["bench", "."], ["folder"]),
        (["report", "nowhere"], ["nowhere"]),
        (["report"], ["no run in results"]),
        (["run", "--quick", "--precise"], ["one of the two"]),
    ],
    ids=lambda value: (
        "-".join(value) if isinstance(value, list) and value[0] in {"run", "rum", "bench", "report"} else ""
    ),
)
def test_wrong_words_on_the_command_line(
    edgebench: Edgebench, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    refused(edgebench(*arguments), *words, folder=tmp_path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"source": "netz:make"}, ["netz"]),
        ({"source": "net:mak"}, ["mak"]),
        ({"source": "net:nothing"}, ["Module"]),
        ({"source": "net:broken"}, ["no such thing"]),
        ({"source": "net:wide"}, ["shape"]),
        ({"model": 'weights = "w.pt"'}, ["pickle", "safetensors"]),
        ({"model": 'weights = "w.safetensors"'}, ["1.weight"]),
        ({"data": "digts"}, ["digts"]),
        ({"data": "sets:none"}, ["no samples"]),
        ({"data": "sets:absent"}, ["absent"]),
        ({"recipe": 'steps = [{ method = "prune", macs = 2 }]'}, ["p.toml:", "macs"]),
        ({"recipe": 'steps = [{ method = "quantize" }, { method = "train" }]'}, ["p.toml:", "quantize"]),
        ({"recipe": "stepz = []"}, ["p.toml:", 'Did you mean "steps"']),
    ],
    ids=lambda value: str(next(iter(value.items()))) if isinstance(value, dict) else "",
)
def test_wrong_plans(warm: Edgebench, tmp_path: Path, made: dict[str, str], words: list[str]) -> None:
    import torch
    from safetensors.torch import save_file

    torch.save({"1.weight": torch.zeros(3)}, tmp_path / "w.pt")
    save_file({"1.weight": torch.zeros(3, 3), "1.bias": torch.zeros(10)}, tmp_path / "w.safetensors")
    refused(warm("run", plan(tmp_path, **made)), *words, folder=tmp_path)


def test_a_syntax_error_shows_its_line(edgebench: Edgebench, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[model]\nsource = "net:make\n')
    refused(edgebench("run", "bad.toml"), "bad.toml:2:", 'source = "net:make', folder=tmp_path)


def test_a_plan_that_cannot_be_read(edgebench: Edgebench, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    refused(edgebench("run", "folder.toml"), "folder.toml", folder=tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    refused(edgebench("run", "binary.toml"), "binary.toml", folder=tmp_path)


def with_external_data(source: Path, target: Path) -> None:
    import onnx

    onnx.save(onnx.load(str(source)), str(target), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (target.parent / "weights.bin").unlink()


def with_opset(source: Path, target: Path) -> None:
    import onnx

    model = onnx.load(str(source))
    model.opset_import[0].version = 999
    target.write_bytes(model.SerializeToString())


DAMAGE: dict[str, tuple[Callable[[Path, Path], object], list[str]]] = {
    "empty": (lambda source, target: target.write_bytes(b""), ["is empty"]),
    "garbage": (lambda source, target: target.write_bytes(b"\x00garbage" * 99), ["model.onnx"]),
    "truncated": (lambda source, target: target.write_bytes(source.read_bytes()[:-200]), ["model.onnx"]),
    "external data gone": (with_external_data, ["weights.bin"]),
    "opset": (with_opset, ["999"]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_model_files(warm: Edgebench, tmp_path: Path, tiny_onnx: Path, damage: str) -> None:
    spoil, words = DAMAGE[damage]
    spoil(tiny_onnx, tmp_path / "model.onnx")
    refused(warm("bench", "model.onnx"), *words, folder=tmp_path)


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (("x", (4, 3, 9, 9)), [], ["N x 1 x 32 x 32", "4 x 3 x 9 x 9"]),
        (("q", (4, 1, 32, 32)), [], ['wants "x"', '"q"']),
        (None, ["--shape", "q=1x1x32x32"], ["no input 'q'"]),
        (None, ["--shape", "x=8x1x32x32"], ["says a batch of 8", "--batch 8"]),
        (None, ["--shape", "x=1x1x32x32", "--shape", "x=1x1x8x8"], ['Two shapes are given for "x"']),
        (None, ["--data", "gone.npz"], ["There is no file", "gone.npz", "Check the path"]),
        (("x", (4, 1, 32, 32), 10), [], ["labels of the data go up to 10", "10 classes, from 0 to 9"]),
        (None, ["--threads", "9999"], ["9999 threads were asked for"]),
    ],
)
def test_what_a_ready_model_cannot_be_fed_is_refused_before_anything_is_measured(
    warm: Edgebench,
    tmp_path: Path,
    tiny_onnx: Path,
    array: tuple[Any, ...] | None,
    options: list[str],
    words: list[str],
) -> None:
    import numpy as np

    given = []
    if array:
        name, shape, *label = array
        labels = {"labels": np.repeat(label, shape[0])} if label else {}
        np.savez(tmp_path / "d.npz", **{name: np.zeros(shape, np.float32)}, **labels)
        given = ["--data", "d.npz"]
    done = warm("bench", tiny_onnx, "--backend", "onnxruntime", *given, *options)
    refused(done, *words, folder=tmp_path)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('{ method = "train" }', ["asks to train an ONNX file"]),
        ('{ method = "prune", macs = 0.5 }', ["asks to prune an ONNX file"]),
    ],
)
def test_a_recipe_that_changes_a_finished_graph_is_refused_before_anything_is_measured(
    warm: Edgebench, tmp_path: Path, tiny_onnx: Path, step: str, words: list[str]
) -> None:
    path = plan(tmp_path, source=str(tiny_onnx), recipe=f"steps = [{step}]")
    refused(warm("run", path), *words, folder=tmp_path)


def test_a_recipe_that_trains_without_labels_is_refused_before_anything_is_measured(
    warm: Edgebench, tmp_path: Path
) -> None:
    path = plan(tmp_path, data="sets:bare", recipe='steps = [{ method = "train" }]')
    refused(warm("run", path), "no labelled training samples", folder=tmp_path)


def test_a_data_entry_that_exits_is_no_silent_end(warm: Edgebench, tmp_path: Path) -> None:
    refused(warm("run", plan(tmp_path, data="sets:leaves")), "raised SystemExit", folder=tmp_path)


@pytest.mark.parametrize("arguments", [["nosuchplan.toml", "--resume"], ["--resume", "--batch", "8", "--quick"]])
def test_what_a_run_that_goes_on_would_ignore_is_refused(warm: Edgebench, tmp_path: Path, arguments: list[str]) -> None:
    ignored = "nosuchplan.toml" if "nosuchplan.toml" in arguments else "--batch, --quick"
    refused(warm("run", *arguments), "--resume goes on", ignored, folder=tmp_path)


def test_a_backend_that_is_not_installed_names_its_extra(
    environment: dict[str, str], tmp_path: Path, tiny_onnx: Path
) -> None:
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "openvino.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'openvino'\", name='openvino')"
    )
    hidden = {**environment, "PYTHONPATH": str(tmp_path / "hide")}
    command = [sys.executable, "-m", "edgebench", "bench", str(tiny_onnx), "--backend", "openvino"]
    done = subprocess.run(command, capture_output=True, text=True, env=hidden, cwd=tmp_path)
    refused(done, "openvino is not installed", "edgebench[openvino]", folder=tmp_path)


def test_a_results_folder_that_cannot_be_written(edgebench: Edgebench, tmp_path: Path, tiny_onnx: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    refused(edgebench("bench", tiny_onnx, "--results", "taken"), "taken", folder=tmp_path)


def test_a_results_folder_of_a_newer_schema(edgebench: Edgebench, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "20990101T000000Z-local"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"schema": 99, "id": "x"}))
    for arguments in (["report"], ["run", "--resume"]):
        refused(edgebench(*arguments), "99", "newer", "Update edgebench")
    assert json.loads((folder / "run.json").read_text())["schema"] == 99


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("a full disk is simulated with a small tmpfs, which only root may mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_keeps_what_was_measured(edgebench: Edgebench, small_disk: Path, tiny_onnx: Path) -> None:
    done = edgebench("bench", tiny_onnx, "--quick", "--results", small_disk / "results")
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert "full" in done.stderr
    assert "Fix:" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "int8"], ["measures a file as it is", "quantize"]),
        (["--shape", "zz=1x1x32x32"], ["no input 'zz'"]),
        (["--threads", "999"], ["999 threads were asked for", "CPUs may be used"]),
        (["--option", "onnxruntime.spining=true"], ["has no option", 'Did you mean "spinning"', "edgebench backends"]),
        (["--option", "openvino.streams=2"], ["not used here", "--backend openvino"]),
        (["--option", "openvin.streams=2"], ["not used here", "Known: "]),
        (["--option", "onnxruntime.spinning=maybe"], ["spinning cannot be 'maybe'"]),
        (["--option", "onnxruntime.provider=[1]"], ["provider cannot be [1]", "Use one of cpu"]),
    ],
)
def test_what_bench_cannot_do_is_said(
    edgebench: Edgebench, tiny_onnx: Path, arguments: list[str], words: list[str]
) -> None:
    done = edgebench("bench", tiny_onnx, "--backend", "onnxruntime", "--quick", *arguments)
    assert done.returncode == 2
    said = " ".join((done.stdout + done.stderr).split())
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--before", "nowhere:prepare"], ["nowhere:prepare does not import", "Put nowhere.py into"]),
        (["--after", "around:decod"], ["no callable", 'Did you mean "decode"']),
        (["--samples", "around:none"], ["gave no samples"]),
        (["--samples", "around:three", "--before", "around:broken"], ["around:broken raised ZeroDivisionError"]),
        (["--before", "prepare"], ["no python entry", "module:callable"]),
    ],
)
def test_an_application_that_cannot_be_measured_is_refused_before_anything_is(
    warm: Edgebench, tmp_path: Path, tiny_onnx: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "around.py").write_text(
        "def decode(outputs): ...\ndef none(): return []\ndef three(): return [1, 2, 3]\ndef broken(x): return x / 0\n"
    )
    refused(warm("bench", tiny_onnx, *arguments), *words, folder=tmp_path)


def test_what_the_application_does_is_a_part_of_the_table(
    edgebench: Edgebench, tmp_path: Path, tiny_onnx: Path
) -> None:
    (tmp_path / "around.py").write_text("def decode(outputs): return outputs[0].argmax(1)\n")
    options = ("--backend", "onnxruntime", "--quick", "--after", "around:decode")
    done = edgebench("bench", tiny_onnx, *options)
    assert done.returncode == 0, done.stderr
    assert "application after" in done.stdout


def test_a_cache_that_cannot_be_written_is_refused(
    edgebench: Edgebench, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "a file").write_text("")
    environment["EDGEBENCH_CACHE"] = str(tmp_path / "a file" / "cache")
    refused(edgebench("run"), "cannot be written", "EDGEBENCH_CACHE", folder=tmp_path)


def test_a_recipe_that_no_runtime_takes_is_no_empty_table(warm: Edgebench, tmp_path: Path) -> None:
    path = plan(tmp_path, recipe='[[recipe]]\nname = "brain"\nsteps = [{ method = "bf16" }]')
    done = warm("compress", path)
    assert done.returncode == 1, done.stderr
    assert "plain.onnx" in done.stdout
    assert "refused: brain in bf16. onnxruntime has no bf16" in done.stdout
    rows = json.loads(warm("compress", path, "--json").stdout)
    assert [("refused" in row, row["recipe"]) for row in rows] == [(False, "plain"), (True, "brain")]
    assert warm("compress", path, "--recipe", "plain").returncode == 0


def test_a_recipe_that_cannot_be_made_costs_no_other_its_file(warm: Edgebench, tmp_path: Path) -> None:
    path = plan(tmp_path, recipe='[[recipe]]\nname = "dust"\nsteps = [{ method = "prune", macs = 0.0001 }]')
    done = warm("compress", path)
    assert done.returncode == 1, done.stderr
    assert "plain.onnx" in done.stdout
    assert done.stdout.count("refused: dust in fp32. ") == 1
    alone = warm("compress", path, "--recipe", "dust")
    assert alone.returncode == 2, "nothing could be made"
    assert alone.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    "command", [("--help",), ("backends",), ("inspect", "tiny.onnx"), ("inspect", "tiny.onnx", "--json")]
)
def test_a_reader_that_leaves_ends_the_command_quietly(
    environment: dict[str, str], tiny_onnx: Path, command: tuple[str, ...]
) -> None:
    """As `edgebench ... | true`: the status is a program's that SIGPIPE ended, whoever prints (click or rich)."""
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-m", "edgebench", *command]
    done = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, cwd=tiny_onnx.parent, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
