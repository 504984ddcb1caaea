"""The rules of the house (DESIGN 4 and 9): who may import whom, who may read a clock or print."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "edgebench"

# Each layer may import itself and the layers before it.
LAYERS = [
    {
        "codec",
        "schema",
        "errors",
        "stats",
        "robust",
        "stopping",
        "states",
        "measure",
        "toml",
        "lines",
        "blocks",
        "entries",
        "layouts",
        "quantities",
        "scaled",
    },
    {"plan", "plan_file", "squares", "plugins", "backend"},
    {"metrics", "devices", "store", "report", "environment", "suites", "figures"},
    {"decide", "imports"},
    {"notebook"},
    {"feeding"},
    {"worker"},
    {"nursery", "track"},
    {"ensemble"},
    {"sampling"},
    {"campaign"},
    {"inspect"},
    {"parts", "ready", "given", "fitting", "listing", "asked", "stopwatch", "opening"},
    {"preparing"},
    {"making"},
    {"runner"},
    {"metered"},
    {"selfcheck", "convert"},
    {"cli", "__main__"},
]
ASIDE = {"compress", "data", "zoo"}
"""May be reached by the runner's and the command line's build steps only, and know nouns and errors only."""
HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "torchao",
    "torch_pruning",
    "pandas",
    "sklearn",
    "rich",
    "matplotlib",
}


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Every module that a file imports, in full ("edgebench.metrics.latency")."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def rooms(path: Path) -> set[str]:
    """The rooms of the core that a file imports from."""
    return {parts[1] for name in imports(path) if (parts := name.split("."))[0] == "edgebench" and len(parts) > 1}


def room_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


CORE_FILES = sorted(p for p in CORE.rglob("*.py") if room_of(p) not in {"__init__", "testing"})


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_imports_go_downwards_only(path: Path) -> None:
    room = room_of(path)
    known = {m.name.removesuffix(".py") for m in CORE.iterdir()}
    used = rooms(path) & known - {room}
    if room in ASIDE:
        allowed = {"codec", "schema", "errors", "entries"} | ASIDE
        if room == "compress":
            allowed.add("plugins")
    else:
        level = next(i for i, layer in enumerate(LAYERS) if room in layer)
        allowed = set().union(*LAYERS[: level + 1])
        if room in {
            "preparing",
            "making",
            "ready",
            "given",
            "convert",
            "cli",
            "suites",
            "inspect",
            "stopwatch",
            "parts",
        }:
            allowed |= ASIDE
    assert used <= allowed, f"{room} must not import {sorted(used - allowed)}"


@pytest.mark.parametrize("path", sorted((ROOT / "backends").rglob("*.py")), ids=lambda p: p.parent.name)
def test_a_backend_imports_the_plug_in_surface_only(path: Path) -> None:
    assert rooms(path) <= {"backend"}


def test_every_room_has_a_layer() -> None:
    assert {room_of(p) for p in CORE_FILES} <= set().union(*LAYERS) | ASIDE


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_only_measure_and_worker_read_a_clock(path: Path) -> None:
    if room_of(path) not in {"measure", "worker"}:
        assert not imports(path) & {"time", "datetime"}


@pytest.mark.parametrize("path", sorted((ROOT / "backends").rglob("*.py")), ids=lambda p: p.parent.name)
def test_backends_read_no_clock_and_print_nothing(path: Path) -> None:
    assert not imports(path) & {"time", "datetime"}
    calls = [
        n.func.id
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    assert "print" not in calls


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    if room_of(path) not in ASIDE:
        assert not {name.split(".")[0] for name in imports(path, top_level=True)} & HEAVY


def test_the_command_line_loads_no_framework() -> None:
    code = f"import sys, edgebench.cli; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_decides_by_the_name_of_a_backend() -> None:
    names = {"onnxruntime", "openvino", "torch", "tensorrt", "litert", "executorch", "ncnn"}
    for path in CORE_FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                words = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
                assert not words & names, f"{path.name}:{node.lineno} compares with {words & names}"
