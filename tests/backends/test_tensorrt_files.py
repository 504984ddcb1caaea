"""Plans with their sidecars, the inspector's JSON in both styles, and trtexec's files and options. Texts are as NVIDIA's
programs write them (8.6, 10.3, 11.1); the trtexec here is a stand-in that writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgebench_tensorrt import layers, plan_file, timing, trtexec
from edgebench_tensorrt.trtexec import Program

from edgebench.backend import EdgebenchError, ModelError

HERE = {"product": "TensorRT", "version": "10.3.0", "sm": "87", "l4t": "R36.4.3"}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    plan_file.save(tmp_path / "net.engine", b"ftrt" + b"\0" * 60, {**HERE, "precision": "fp16"})
    return tmp_path / "net.engine"


def test_the_plan_is_only_the_plan(plan: Path) -> None:
    assert plan.read_bytes()[:4] == b"ftrt"
    content, facts = plan_file.load(plan)
    assert (content, facts["plan_bytes"], facts["precision"]) == (plan.read_bytes(), 64, "fp16")
    plan_file.check(facts, HERE, plan)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("version", "10.7.0", "built by version 10.3.0, and here it is 10.7.0"),
        ("sm", "90", "built for compute capability 87, and here it is 90"),
        ("l4t", "", r"built under L4T R36\.4\.3, and here it is none"),
        ("product", "TensorRT-RTX", "built of TensorRT, and here it is TensorRT-RTX"),
    ],
)
def test_a_plan_of_another_place_is_refused(plan: Path, name: str, value: str, words: str) -> None:
    facts = plan_file.load(plan)[1]
    with pytest.raises(ModelError, match=f"{words}. Build it again on this device"):
        plan_file.check(facts, {**HERE, name: value}, plan)


def test_a_plan_without_sidecar_is_taken_as_it_is(plan: Path) -> None:
    plan_file.sidecar(plan).unlink()
    assert plan_file.load(plan) == (plan.read_bytes(), {})


def test_a_cut_plan_is_found_out_by_its_sidecar(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:30])
    with pytest.raises(ModelError, match="was cut or replaced"):
        plan_file.load(plan)


def test_metadata_in_front_is_taken_off_and_told(plan: Path) -> None:
    whole, text = plan.read_bytes(), json.dumps({"names": {0: "person"}}).encode()
    plan_file.sidecar(plan).unlink()
    plan.write_bytes(len(text).to_bytes(4, "little") + text + whole)
    assert plan_file.load(plan) == (whole, {"prefix_bytes": 4 + len(text)})
    assert plan_file.prefix(whole) == 0
    assert plan_file.prefix(b"\x05\0\0\0{nope") == 0


def test_missing_and_empty_plans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        plan_file.load(tmp_path / "none.plan")
    (tmp_path / "empty.plan").touch()
    with pytest.raises(ModelError, match="is empty"):
        plan_file.load(tmp_path / "empty.plan")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag "
         "does not match. Note: Current Version: 240, Serialized Engine Version: 239)", "was made by another version"),
        ("Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed. (cudaError 35)", "malformed"),
        ("The engine plan file is generated on an incompatible device, expecting compute 8.7 got compute 8.9, please "
         "rebuild.", "was made for another GPU"),
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)", "does not fit into the device's memory"),
        ("Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", "needs an NVIDIA driver and GPU"),
        ("", "malformed"),
    ],
)  # fmt: skip
def test_what_tensorrt_says_of_a_plan_is_explained(words: str, wanted: str) -> None:
    error = plan_file.refused(Path("net.plan"), words, "TensorRT")
    assert wanted in error.problem
    assert words.rstrip(". ")[:40] in error.problem
    assert error.fix


def test_the_key_of_an_engine_depends_on_every_part() -> None:
    keys = {plan_file.key(onnx="a", place=HERE), plan_file.key(onnx="b", place=HERE)}
    keys |= {plan_file.key(onnx="a", place={**HERE, name: "other"}) for name in HERE}
    assert len(keys) == 6
    assert plan_file.key(a=1, b=2) == plan_file.key(b=2, a=1)


TEN = {
    "Layers": [
        {"Name": "Reformatting CopyNode for Input Tensor 0", "LayerType": "Reformat",
         "Inputs": [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Row major linear FP32"}],
         "Outputs": [{"Name": "q", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]},
        {"Name": "conv1 + relu", "LayerType": "CaskConvolution", "ParameterType": "Convolution",
         "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
         "Outputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
        {"Name": "fc", "LayerType": "gemm", "Inputs": [{"Format/Datatype": "Row major linear FP16 format"}],
         "Outputs": [{"Format/Datatype": "Row major linear FP16 format"}]},
        {"Name": "{ForeignNode[conv3]}", "LayerType": "DLA",
         "Metadata": "[ONNX Layer: conv3]", "Inputs": [{"Format/Datatype": "DLA Linear FP16 format"}]},
    ],
    "Bindings": ["x", "y"],
}  # fmt: skip
ELEVEN = {
    "Layers": [
        {"Name": "conv1", "LayerType": "CaskConvolution",
         "Inputs": [{"Name": "q", "Format": "kCHW32", "DataType": "Int8"}, {"Format": "kLINEAR", "DataType": "Half"}]},
        {"Name": "__myl_MatMul", "LayerType": "kgen", "Metadata": "MatMul", "Inputs": [{"DataType": "BFloat16"}]},
    ],
    "I/O Tensors": [{"Name": "x"}],
}  # fmt: skip


def test_the_layers_of_a_report_in_the_style_of_10() -> None:
    found = layers.read(TEN)
    assert [layer["precision"] for layer in found] == ["fp32", "int8", "fp16", "fp16"]
    assert [layer["device"] for layer in found] == ["gpu", "gpu", "gpu", "dla"]
    assert layers.summary(found) == {
        "engine_layers": 4, "int8_ops": 1, "float_ops": 2, "moving_layers": 1, "dla_share_found": 0.25,
        "precision": "fp16",
    }  # fmt: skip


def test_the_layers_of_a_report_in_the_style_of_11() -> None:
    found = layers.read(ELEVEN)
    assert [layer["precision"] for layer in found] == ["int8", "bf16"]
    assert [bool(layer["heavy"]) for layer in found] == [True, True]


def test_a_report_of_names_only_claims_no_precision() -> None:
    found = layers.summary(layers.read({"Layers": ["conv1", "conv2"], "Bindings": []}))
    assert "precision" not in found
    assert (found["engine_layers"], found["int8_ops"], found["float_ops"]) == (2, 0, 0)


HELP = {
    "8.5": "--onnx --fp16 --int8 --noTF32 --noDataTransfers --useCudaGraph --exportTimes --exportProfile --separateProfileRun",
    "10.3": "--onnx --fp16 --int8 --noTF32 --stronglyTyped --noDataTransfers --useCudaGraph --separateProfileRun",
    "11.1": "--onnx --noTF32 --includeDataTransfers --noCudaGraph --separateProfileRun",
}
TIMES = [
    {"startEnqMs": 1, "endEnqMs": 1.1, "startH2dMs": 10 * i, "endH2dMs": 10 * i + 1, "startComputeMs": 10 * i + 1,
     "endComputeMs": 10 * i + 5, "startD2hMs": 10 * i + 5, "endD2hMs": 10 * i + 7, "h2dMs": 1.0, "computeMs": 4.0,
     "d2hMs": 2.0, "latencyMs": 7.0}
    for i in range(3)
]  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Any:
    """Makes a stand-in for a trtexec: its help, and its files."""

    def make(version: str, banner: str = "", status: int = 0) -> Program:
        times, script = tmp_path / "times-source.json", tmp_path / f"trtexec-{version}"
        times.write_text(json.dumps(TIMES))
        profile = tmp_path / "profile-source.json"
        profile.write_text(
            json.dumps([{"count": 9}, {"name": "conv", "timeMs": 9.0, "averageMs": 3.0, "percentage": 75.0}])
        )
        script.write_text(
            f'#!/bin/sh\nfor a in "$@"; do case "$a" in --help) echo "{HELP[version]}"; exit 0;;\n'
            f'--exportTimes=*) cp {times} "${{a#*=}}";; --exportProfile=*) cp {profile} "${{a#*=}}";; esac; done\n'
            f'echo "[11/24/2026-03:00:00] [I] {banner}"\n'
            'echo "[11/24/2026-03:00:00] [I] [TRT] Total Weights Memory: 7168 bytes"\n'
            'echo "[11/24/2026-03:00:00] [E] Engine could not be created from network" >&2\n'
            f"exit {status}\n"
        )
        script.chmod(0o755)
        return Program.find(str(script))

    return make


@pytest.mark.parametrize(
    ("version", "precision", "there", "absent"),
    [
        ("8.5", "int8", ["--int8", "--fp16", "--noTF32"], ["--stronglyTyped"]),
        ("8.5", "fp32", ["--noTF32"], ["--fp16"]),
        ("10.3", "fp16", ["--stronglyTyped"], ["--fp16"]),
        ("11.1", "int8", ["--noTF32"], ["--int8", "--stronglyTyped"]),
    ],
)
def test_a_command_uses_what_that_trtexec_has(
    program: Any, version: str, precision: str, there: list[str], absent: list[str], tmp_path: Path
) -> None:
    line = program(version).command(tmp_path / "n.onnx", tmp_path, precision=precision, shapes={"x": [1, 3, 8, 8]})
    assert set(there) <= set(line)
    assert not set(absent) & set(line)
    assert f"--onnx={tmp_path / 'n.onnx'}" in line
    assert "--shapes=x:1x3x8x8" in line


def test_an_engine_is_loaded_and_not_typed(program: Any, tmp_path: Path) -> None:
    line = program("10.3").command(tmp_path / "n.plan", tmp_path, precision="fp16")
    assert f"--loadEngine={tmp_path / 'n.plan'}" in line
    assert "--stronglyTyped" not in line


@pytest.mark.parametrize(
    ("version", "definition", "wanted"),
    [
        ("10.3", "trtexec10", []), ("11.1", "trtexec10", ["--includeDataTransfers", "--noCudaGraph"]),
        ("10.3", "trtexec11", ["--noDataTransfers", "--useCudaGraph"]), ("11.1", "trtexec11", []),
        ("10.3", "gpu_compute", ["--noDataTransfers", "--exposeDMA"]),
    ],
)  # fmt: skip
def test_each_definition_can_be_asked_of_each_version(
    program: Any, version: str, definition: str, wanted: list[str], tmp_path: Path
) -> None:
    line = program(version).command(tmp_path / "n.plan", tmp_path, definition=definition)
    named = {o for text in HELP.values() for o in text.split()} | {"--exposeDMA"}
    asked = [o for o in line if o in named - {"--separateProfileRun"}]
    assert asked == wanted
    with pytest.raises(EdgebenchError, match="no definition of latency"):
        program(version).command(tmp_path / "n.plan", tmp_path, definition="mean")


def test_a_run_is_read_and_can_be_imported(program: Any, tmp_path: Path) -> None:
    from edgebench.imports import trtexec as importer
    from edgebench.imports.foreign import Source

    tool = program("10.3", banner="=== TensorRT.trtexec [TensorRT v100300] === Running")
    found = trtexec.run(tool.command(tmp_path / "n.plan", tmp_path / "out"), tmp_path / "out")
    assert found["latency"] == pytest.approx([7e-3] * 3)
    assert timing.median(found["compute"]) == pytest.approx(4e-3)
    assert found["throughput"] == pytest.approx(3 / 27e-3)
    assert found["layers"] == [("conv", pytest.approx(3e-3))]
    assert found["version"] == "10.3.0"
    assert found["memory"] == {"weights_memory": 7168}
    times = tmp_path / "out" / "times.json"
    source = Source(path=times, text=times.read_text())
    assert importer.recognizes(source)
    [row] = importer.read(source)
    figure = row.get("latency")
    assert figure is not None
    assert figure.value == pytest.approx(7e-3)


def test_a_failed_run_says_why_in_trtexecs_words(program: Any, tmp_path: Path) -> None:
    tool = program("8.5", status=1)
    with pytest.raises(ModelError, match="trtexec failed: Engine could not be created from network"):
        trtexec.run(tool.command(tmp_path / "n.onnx", tmp_path / "out"), tmp_path / "out")


@pytest.mark.parametrize(
    ("banner", "wanted"), [("v8502", "8.5.2"), ("v8602", "8.6.2"), ("v100300", "10.3.0"), ("v110400", "11.4.0")]
)
def test_versions_are_read_from_the_banner(banner: str, wanted: str) -> None:
    assert trtexec.version(f"&&&& RUNNING TensorRT.trtexec [TensorRT {banner}] # trtexec") == wanted


def test_without_trtexec_the_way_to_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trtexec.machine, "trtexec", lambda: "")
    assert trtexec.main([str(tmp_path / "n.onnx"), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("trtexec is not here. On a Jetson TensorRT comes with JetPack")
