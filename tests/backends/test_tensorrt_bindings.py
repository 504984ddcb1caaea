"""The real bindings of TensorRT 10.3 (JetPack 6), 10.13 (JetPack 7) and 11.4 over stub libraries of ours: the API contract.

Classes, enums and signatures are NVIDIA's; nothing behind them runs.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import edgebench_tensorrt
import pytest
import tensorrt_packages as packages
from edgebench_tensorrt.api import OPTIONAL, REQUIRED

VERSIONS = {"10.3.0": "cu12", "10.13.3.9": "cu12", "11.4.0.106": "cu13"}
BINDINGS = "tensorrt_bindings"
OURS = {"itemsize", "log", "logger", "name", "report_layer_time", "shape", "update", "value"}
"""Names of our own, of numpy and of ctypes, that classes of TensorRT have too."""


@pytest.fixture(scope="module", params=VERSIONS)
def release(request: pytest.FixtureRequest) -> tuple[str, Path]:
    version: str = request.param
    return version, packages.bindings(f"tensorrt-{VERSIONS[version]}-bindings=={version}")


@pytest.fixture(scope="module")
def found(release: tuple[str, Path]) -> dict[str, Any]:
    answer: dict[str, Any] = packages.ask(release[1], "contract", module=BINDINGS)
    return answer


def test_every_name_that_is_used_without_asking_is_there(found: dict[str, Any], release: tuple[str, Path]) -> None:
    assert found["version"] == release[0]
    assert found["missing"] == []
    assert found["product"] == "TensorRT"


def test_the_network_is_strongly_typed(found: dict[str, Any]) -> None:
    assert found["typed"]
    assert found["network_flags"] & found["strongly_typed_bit"]
    # Explicit batch is set exactly where the flag still exists.
    assert (found["network_flags"] != found["strongly_typed_bit"]) == found["optional"][
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH"
    ]


def test_what_11_took_away_is_seen(found: dict[str, Any], release: tuple[str, Path]) -> None:
    gone = {"BuilderFlag.FP16", "BuilderFlag.INT8", "ICudaEngine.device_memory_size"}
    new = release[0].startswith("11")
    assert {name for name in gone if found["optional"][name]} == (set() if new else gone)
    assert found["optional"]["ICudaEngine.device_memory_size_v2"]


def test_no_precision_flag_is_set_on_a_typed_network_and_tf32_is_off(release: tuple[str, Path]) -> None:
    assert packages.ask(release[1], "flags_set", module=BINDINGS) == {"fp32": [], "fp16": [], "int8": []}


def test_dtypes_have_numpys_names(found: dict[str, Any]) -> None:
    assert found["dtypes"] == {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "BOOL": "bool"}


def test_the_logger_keeps_what_matters(release: tuple[str, Path]) -> None:
    assert packages.ask(release[1], "logged", module=BINDINGS) == [
        ["info", "a line of INFO and its end"],
        ["warning", "a line of WARNING and its end"],
        ["error", "a line of ERROR and its end"],
        ["verbose", "Skipping tactic 0x1 for lack of memory"],
    ]


def test_no_other_name_of_tensorrt_is_touched(release: tuple[str, Path]) -> None:
    """Every attribute in the backend's sources that any class of this version has stands in REQUIRED or OPTIONAL."""
    theirs = packages.ask(release[1], "classes", module=BINDINGS)
    known = {name for table in (REQUIRED, OPTIONAL) for names in table.values() for name in names}
    kinds = {*REQUIRED, *OPTIONAL}
    members = {name for kind in theirs if kind in kinds for name in theirs[kind]}
    used = set()
    for path in Path(edgebench_tensorrt.__file__).parent.glob("*.py"):
        used |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert used & members <= known | OURS


def test_building_without_a_driver_is_refused_in_two_sentences(release: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"never read")
    said = packages.ask(release[1], "build", tmp_path / "net.onnx", "fp32", {}, module=BINDINGS)
    assert said["problem"].startswith(f"TensorRT {release[0]} cannot build engines here: ")
    assert said["fix"] == "Run it on a machine with an NVIDIA driver and GPU."
    plan = tmp_path / "net.plan"
    plan.write_bytes(b"x" * 64)
    said = packages.ask(release[1], "load", plan, module=BINDINGS)
    assert "needs an NVIDIA driver and GPU" in said["problem"]
