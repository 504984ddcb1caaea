"""The environment of a board: which requirements and which wheels, made on the host."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from edgebench import plugins
from edgebench.backend import Backend
from edgebench.devices import board_env, push
from edgebench.devices.board_env import Target
from edgebench.errors import EdgebenchError

ORIN = Target(python="3.10.12", machine="aarch64", glibc="2.35")


def test_the_wheels_are_those_of_the_boards_own_libc_and_machine() -> None:
    tags = ORIN.platforms
    assert tags[0] == "manylinux_2_35_aarch64"
    assert "manylinux_2_17_aarch64" in tags
    assert "manylinux2014_aarch64" in tags
    assert not [t for t in tags if "_2_36" in t or "_2_16" in t or "x86" in t]
    assert "manylinux1_x86_64" in Target(python="3.12.1", machine="x86_64", glibc="2.39").platforms


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"python": "3.9.2", "libc": ["glibc", "2.31"], "implementation": "cpython"}, "needs 3.10"),
        ({"python": "3.12.1", "libc": ["musl", "1.2"], "implementation": "cpython"}, "neither glibc nor"),
        ({"python": "3.12.1", "libc": [], "implementation": "cpython"}, "neither glibc nor"),
        ({"python": "3.11.1", "libc": ["glibc", "2.31"], "implementation": "pypy"}, "neither glibc nor"),
    ],
)
def test_a_board_for_which_there_are_no_wheels_is_told(found: dict[str, object], why: str) -> None:
    with pytest.raises(EdgebenchError, match=why):
        board_env.target({"machine": "aarch64", **found}, "board")


def test_markers_are_those_of_the_board_and_not_of_this_host() -> None:
    lines = [
        'a==1; python_version < "3.11"',
        'b==1; platform_machine == "x86_64"',
        'c==1; extra == "x" and platform_machine == "aarch64"',
        'd==1; sys_platform == "win32"',
        "e>=2",
    ]
    assert board_env.needed(lines, set(), ORIN) == ["a==1", "e>=2"]
    assert board_env.needed(lines, {"x"}, ORIN) == ["a==1", "c==1", "e>=2"]


def runtimes(*names: str) -> list[Backend]:
    return [plugins.backend(name) for name in names]


def test_an_older_python_gets_the_runtime_that_it_can_have() -> None:
    wanted = board_env.requirements(runtimes("onnxruntime"), {}, ORIN)
    assert [w.split("=")[0].rstrip("<>,0123456789.") for w in wanted] == ["numpy", "onnxruntime"]
    assert "onnxruntime==1.23.2" in wanted
    newer = Target(python="3.12.3", machine="aarch64", glibc="2.39")
    assert "onnxruntime==1.32.0" in board_env.requirements(runtimes("onnxruntime"), {}, newer)


def test_what_the_boards_own_python_has_is_not_pushed() -> None:
    own = {"onnxruntime": True, "numpy": True}
    assert board_env.requirements(runtimes("onnxruntime"), own, ORIN) == []
    with_another = board_env.requirements(runtimes("onnxruntime", "openvino"), own, ORIN)
    assert [w.partition("=")[0].partition("<")[0].partition(">")[0] for w in with_another] == ["numpy", "openvino"]
    assert board_env.requirements(runtimes("fake"), {"numpy": True}, ORIN) == []


def wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_wheel_is_unpacked_as_a_path_needs_it(tmp_path: Path) -> None:
    files = {"a/__init__.py": "1", "a-1.data/platlib/a/x.so": "2", "a-1.data/scripts/run": "3", "a-1.dist-info/M": "4"}
    board_env.unpack(wheel(tmp_path / "a-1-py3-none-any.whl", files), tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"a/__init__.py", "a/x.so", "a-1.dist-info/M"}


def test_a_wheel_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgebenchError, match="outside of itself"):
        board_env.unpack(wheel(tmp_path / "a-1.whl", {"../x": "1"}), tmp_path / "out")
    assert not (tmp_path / "x").exists()


def test_a_package_that_nobody_publishes_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EdgebenchError, match=r"No packages for Python 3\.10 on aarch64 with glibc 2\.35"):
        board_env.wheels(["no-such-runtime==1"], ORIN, tmp_path)
    assert not list(tmp_path.glob("boards/env-*"))


def test_edgebench_itself_is_pushed_with_the_backends_that_are_used(tmp_path: Path) -> None:
    folder = board_env.code(["fake"], tmp_path)
    assert (folder / "edgebench/campaign.py").read_bytes() == (
        Path(plugins.__file__).parent / "campaign.py"
    ).read_bytes()
    assert [p.name for p in folder.glob("edgebench_*")] == ["edgebench_fake"]
    (info,) = folder.glob("*.dist-info")
    assert "fake = edgebench_fake:FakeBackend" in (info / "entry_points.txt").read_text()
    assert board_env.code(["fake"], tmp_path) == folder
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")], "nothing half-made is left"


def test_a_tree_is_named_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    first = push.manifest(tmp_path)
    assert first == push.manifest(tmp_path) == push.digest_of(tmp_path)
    assert json.loads((tmp_path / push.MANIFEST).read_text()) == {"a": [3, hashlib.sha256(b"one").hexdigest()]}
    (tmp_path / "a").write_text("two")
    assert push.manifest(tmp_path) != first
