"""Which board is this: on every synthetic tree, on the board itself and from what it sends."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.codec import Options
from edgebench.devices import board, dump, identity, jetson
from edgebench.errors import EdgebenchError
from edgebench.report.facts import facts
from edgebench.schema import Cell, DeviceProfile, Result, Run

sys.path.insert(0, str(Path(__file__).parents[1] / "data/sysfs"))
import boards
import more_boards

EXPECTED: dict[str, dict[str, Any]] = {
    "nano": {"kind": "jetson", "soc": "tegra210", "module": "p3448-0000", "compute_capability": "5.3"},
    "tx2": {
        "kind": "jetson", "model": "quill", "soc": "tegra186", "module": "p3310-1000", "module_name": "Jetson TX2",
        "l4t": "32.7.1", "jetpack_hint": "4.6.1", "compute_capability": "6.2", "cpu": "4x Cortex-A57 + 2x Denver 2",
        "clocks": {"gpu": [114_750, 1_300_500]},
    },
    "agx_xavier": {"module": "p2888-0001", "l4t": "35.4.1", "jetpack_hint": "5.1.2", "compute_capability": "7.2"},
    "xavier_nx": {"module": "p3668-0001", "module_name": "Jetson Xavier NX", "compute_capability": "7.2"},
    "orin_nano": {
        "kind": "jetson", "model": "NVIDIA Jetson Orin Nano Developer Kit", "module": "p3767-0003",
        "module_name": "Jetson Orin Nano 8GB", "soc": "tegra234", "compute_capability": "8.7", "l4t": "36.4.3",
        "jetpack_hint": "6.2", "cpu": "6x Cortex-A78AE", "clusters": [{"core": "Cortex-A78AE", "cpus": 6}],
        "memory": 7802436 * 1024, "power_mode": "MAXN_SUPER (2)",
        "clocks": {"cpu": [[729_600, 1_728_000]], "gpu": [306_000, 1_020_000]},
    },
    "agx_orin": {"module": "p3701-0005", "module_name": "Jetson AGX Orin", "l4t": "35.4.1"},
    "agx_thor": {"module": "p3834-0008", "module_name": "Jetson Thor", "soc": "tegra264", "compute_capability": "11.0"},
    "pi4": {"kind": "raspberry-pi", "soc": "bcm2711", "revision": "c03114", "cpu": "4x Cortex-A72"},
    "pi5": {"kind": "raspberry-pi", "soc": "bcm2712", "revision": "d04170", "model": "Raspberry Pi 5 Model B Rev 1.0"},
    "rk3588": {
        "model": "Radxa ROCK 5B", "cpu": "4x Cortex-A55 + 4x Cortex-A76",
        "clocks": {"cpu": [[408_000, 1_800_000], [408_000, 2_304_000]]},
    },
    "meteor_lake": {"model": "Acme Book 14", "accelerators": "intel_vpu", "cpu": "Intel(R) Core(TM) Ultra 7 155H"},
    "phone": {"kind": "android", "model": "Google Pixel 8", "soc": "Tensor G3", "release": "15"},
    "xeon": {"cpu": "Intel(R) Xeon(R) 6"},
}  # fmt: skip


@pytest.fixture(params=sorted(more_boards.BOARDS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, more_boards.BOARDS[request.param](tmp_path / "board")


def test_every_tree_has_its_expectation() -> None:
    assert set(EXPECTED) == set(more_boards.BOARDS)
    assert len(EXPECTED) >= 10


def test_each_board_is_recognised(made: tuple[str, Path]) -> None:
    name, root = made
    found = identity.identity(root)
    assert {key: found.get(key) for key in EXPECTED[name]} == EXPECTED[name]
    assert all(found.values()), "what is not known is left out"


def test_the_whole_identity_of_an_orin_nano(tmp_path: Path) -> None:
    assert identity.identity(boards.orin_nano(tmp_path)) == EXPECTED["orin_nano"]


def test_what_a_board_sends_gives_the_identity_that_it_has_itself(made: tuple[str, Path]) -> None:
    name, root = made
    there = board.ask([sys.executable, "-c", board.BOOT], "board", str(root))
    own = identity.identity(root)
    if name == "phone":  # asked by its own tools over adb, not by files
        own = {key: value for key, value in own.items() if key not in ("kind", "model", "soc", "release")}
    assert dict(there.identity) == own
    assert [n for n in there.compatible if not n.startswith("arch:")] == [
        n for n in identity.compatible(root) if not n.startswith("arch:")
    ]


def test_nothing_secret_leaves_a_board(tmp_path: Path) -> None:
    root = more_boards.pi4(tmp_path / "pi")
    secrets = {
        "sys/firmware/devicetree/base/serial-number": "deadbeef00",
        "sys/class/net/eth0/address": "dc:a6:32:00:11:22",
        "etc/hostname": "my-home-pi",
        "etc/ssh/ssh_host_ed25519_key": "PRIVATE",
        "var/lib/dpkg/status": "Package: secret-tool\nVersion: 1",
        "sys/class/dmi/id/product_serial": "S3R1AL",
    }
    boards.put(root, secrets)
    sent = json.dumps(dump.tell(str(root)))
    assert '"Serial\\t\\t: 0' in sent or "Serial\\t\\t: 0" in sent
    for secret in ("deadbeef", "dc:a6", "my-home-pi", "PRIVATE", "secret-tool", "S3R1AL"):
        assert secret not in sent


def test_a_dump_is_packed_and_laid_out_again(tmp_path: Path) -> None:
    root = more_boards.meteor_lake(tmp_path / "laptop")
    there = board.ask([sys.executable, "-c", board.BOOT], "board", str(root))
    board.pack(there, tmp_path / "b.tar.gz")
    about = board.unpack(tmp_path / "b.tar.gz", tmp_path / "again")
    assert identity.identity(tmp_path / "again") == identity.identity(root) == about["identity"]
    assert identity.compatible(tmp_path / "again") == identity.compatible(root)
    (tmp_path / "not.tar.gz").write_text("x")
    with pytest.raises(EdgebenchError, match="is no dump of a board"):
        board.unpack(tmp_path / "not.tar.gz", tmp_path / "x")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "", "a\0b"])
def test_a_board_cannot_write_outside_of_its_tree(name: str, tmp_path: Path) -> None:
    answer = {"files": {name: "x"}, "links": {name: "target", "ok": name}}
    board.lay_out(answer, tmp_path / "in" / "tree")
    assert not (tmp_path / "in").exists()
    assert not board.inside(name)


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["sh", "-c", "cat >/dev/null; echo hello; exit 3"], "does not answer the question"),
        (["sh", "-c", "cat >/dev/null; echo no route >&2; exit 255"], "cannot be reached: no route"),
        (["sh", "-c", "cat >/dev/null; exit 127"], "There is no such Python"),
        (["sh", "-c", "cat >/dev/null; echo 'edgebench-board:{}'"], "cannot be read"),
        (["sh", "-c", "cat >/dev/null; echo 'edgebench-board:[1'"], "cannot be read"),
        (["/no/such/program"], "There is no /no/such/program"),
    ],
)
def test_a_board_that_cannot_be_asked_is_one_clear_error(argv: list[str], problem: str) -> None:
    with pytest.raises(EdgebenchError, match=problem):
        board.ask(argv, "board")


def test_start_up_files_that_print_do_not_matter() -> None:
    noisy = f"echo Welcome; printf 'no line end'; {sys.executable} -c \"$1\"; echo Bye"
    assert board.ask(["sh", "-c", noisy, "sh", board.BOOT], "board").machine


def test_the_question_runs_on_old_boards() -> None:
    ast.parse(Path(dump.__file__).read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("root", ["nothing", "garbage"])
def test_a_tree_that_says_nothing_or_nonsense_has_no_identity(root: str, tmp_path: Path) -> None:
    if root == "garbage":
        for pattern in (single for group in dump.PATTERNS for single in dump.spread(group)):
            path = tmp_path / pattern.replace("[0-9]", "0").replace("*", "0")
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                path.write_bytes(b"\xff\xfe-256 nonsense")
    found = identity.identity(tmp_path)
    assert "module" not in found
    assert "l4t" not in found
    assert root == "garbage" or found == {}


def test_l4t_is_found_in_a_container_too(tmp_path: Path) -> None:
    assert identity.l4t(boards.agx_orin(tmp_path)) == "35.4.1"


@pytest.mark.parametrize(
    ("l4t", "hint"),
    [("36.4.3", "6.2"), ("32.7.1", "4.6.1"), ("36.9.9", "6.x"), ("39.2", "7.x"), ("99.1", ""), ("", "")],
)
def test_jetpack_is_a_hint_only(l4t: str, hint: str) -> None:
    assert jetson.jetpack_hint(l4t) == hint


def test_an_old_jetson_names_its_module_elsewhere(tmp_path: Path) -> None:
    boards.tree(tmp_path, "nvidia,jetson-nano", "nvidia,tegra210")
    boards.put(tmp_path, {"sys/firmware/devicetree/base/nvidia,boardids": "3448:3449"})
    assert "module" not in identity.identity(tmp_path)
    boards.put(tmp_path, {"sys/firmware/devicetree/base/nvidia,boardids": "3448-0000:3449"})
    assert identity.identity(tmp_path)["module"] == "p3448-0000"


@given(st.text(max_size=300))
def test_no_release_text_is_too_odd(text: str) -> None:
    assert isinstance(jetson.jetpack_hint(text), str)


def test_the_runtimes_are_read_without_importing_any(tmp_path: Path) -> None:
    for name in ("onnxruntime_gpu-1.20.0.dist-info", "ai_edge_litert-2.3.0.dist-info", "numpy-1.26.dist-info"):
        (tmp_path / name).mkdir()
    (tmp_path / "tensorrt-8.5.2.egg-info").mkdir()
    (tmp_path / "requests-2.dist-info").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old/numpy-1.19.dist-info").mkdir()
    found = dump.runtimes([str(tmp_path), str(tmp_path / "old"), "/no/such/folder"])
    assert found == {"onnxruntime-gpu": "1.20.0", "ai-edge-litert": "2.3.0", "numpy": "1.26", "tensorrt": "8.5.2"}


def test_the_header_of_a_report_names_the_module_and_calls_jetpack_a_guess(tmp_path: Path) -> None:
    environment = Options(identity=identity.identity(boards.orin_nano(tmp_path)), cpu_model="6x Cortex-A78AE")
    cell = Cell(model="m", recipe="r", backend="b", device="jetson")
    result = Result(cell=cell, status="ok", environment=environment)
    profile = DeviceProfile(name="jetson", address="me@orin")
    run = Run(id="x", started="", versions=Options(), plan=Options(), device=profile, host=Options())
    (device,) = (fact.text for fact in facts(run, [result]) if fact.name == "device")
    assert device == (
        "jetson, me@orin, Jetson Orin Nano 8GB, p3767-0003, tegra234, L4T 36.4.3, compute capability 8.7, "
        "probably JetPack 6.2, 6x Cortex-A78AE"
    )
