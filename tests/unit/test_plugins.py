"""The catalogue: strangers are found, and their mistakes stay their own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from edgebench import plugins, ready
from edgebench.errors import EdgebenchError, MissingRuntime

GROUP = "edgebench.backends"
GOOD = """
from edgebench.backend import Availability, Backend
class Good(Backend):
    name = "good"
    accepts = frozenset({"onnx"})
    def probe(self): return Availability(ok=True, version="1")
    def open(self, artifact, options): raise NotImplementedError
"""


class Install(Protocol):
    def __call__(self, name: str, entries: str, module: str | None = None, requires: str = "") -> None: ...


def test_what_only_the_harness_asks_for_is_offered_to_nobody() -> None:
    with pytest.raises(EdgebenchError) as said:
        plugins.backend("zzzz")
    assert "onnxruntime" in said.value.fix
    assert plugins.FLOOR not in said.value.fix
    assert plugins.backend(plugins.FLOOR).name == plugins.FLOOR


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a distribution as pip would have left it: metadata, entry points and a module named after it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, entries: str, module: str | None = None, requires: str = "") -> None:
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{requires}")
        (info / "entry_points.txt").write_text(entries)
        if module is not None:
            (tmp_path / f"{name}.py").write_text(module)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_strangers_backend_is_listed_and_made(install: Install) -> None:
    install("acme", f"[{GROUP}]\ngood = acme:Good\n", GOOD)
    assert "good" in plugins.names(GROUP)
    assert plugins.backend("good").probe().ok
    assert plugins.origin(GROUP, "good") == "acme 1.2"


def test_names_are_sorted_and_only_of_the_group(install: Install) -> None:
    install("acme", f"[{GROUP}]\nzz = acme:Good\naa = acme:Good\n[edgebench.metrics]\nmm = acme:Good\n")
    found = plugins.names(GROUP)
    assert list(found) == sorted(found)
    assert {"aa", "zz"} <= set(found)
    assert "mm" not in found


def test_an_unknown_name_gets_the_nearest(install: Install) -> None:
    install("acme", f"[{GROUP}]\nquicksilver = acme:Good\n")
    with pytest.raises(EdgebenchError) as caught:
        plugins.load(GROUP, "quicksilvr")
    assert caught.value.problem == "There is no backend called 'quicksilvr'."
    assert caught.value.fix == 'Did you mean "quicksilver"?'


def test_an_unknown_group_is_our_mistake() -> None:
    with pytest.raises(ValueError, match=r"edgebench\.backend"):
        plugins.names("edgebench.backend")


@pytest.mark.parametrize(
    "entries", ["no equals sign here\n", f"[{GROUP}]\n= \n", f"[{GROUP}]\nbroken\n", "\udcff"], ids=range(4)
)
def test_unreadable_metadata_costs_only_itself(install: Install, tmp_path: Path, entries: str) -> None:
    install("acme", f"[{GROUP}]\ngood = acme:Good\n", GOOD)
    broken = tmp_path / "broken-1.dist-info"
    broken.mkdir()
    (broken / "entry_points.txt").write_bytes(entries.encode("utf-8", "surrogateescape"))
    assert "good" in plugins.names(GROUP)
    assert plugins.backend("good").name == "good"


@pytest.mark.parametrize("body", ["1 / 0", "raise SystemExit(3)", "import acme_missing_part"])
def test_a_plug_in_that_does_not_import_names_its_distribution(install: Install, body: str) -> None:
    install("bad", f"[{GROUP}]\nbad = bad:Bad\n", body)
    install("acme", f"[{GROUP}]\ngood = acme:Good\n", GOOD)
    assert {"bad", "good"} <= set(plugins.names(GROUP))
    with pytest.raises(MissingRuntime, match=r"'bad' of bad 1\.2 does not import"):
        plugins.load(GROUP, "bad")
    assert plugins.backend("good").name == "good"


def test_what_to_install_is_the_missing_module_or_the_extra_that_brings_it(install: Install) -> None:
    install("bad", f"[{GROUP}]\nbad = bad:Bad\n", "import acme_part")
    install(
        "good",
        f"[{GROUP}]\ngood = good:Good\n",
        "import acme_part.deep",
        'Requires-Dist: acme-part>=2; extra == "gpu"\n',
    )
    with pytest.raises(MissingRuntime, match=r'pip install "acme_part"$'):
        plugins.load(GROUP, "bad")
    with pytest.raises(MissingRuntime, match=r'pip install "good\[gpu\]"$'):
        plugins.load(GROUP, "good")


def test_a_wrong_entry_point_is_mended_by_its_distribution(install: Install) -> None:
    install("bad", f"[{GROUP}]\nbad = bad:Missing\n", "")
    with pytest.raises(MissingRuntime, match=r"no attribute 'Missing'.* pip install --upgrade bad$"):
        plugins.load(GROUP, "bad")


def test_two_distributions_with_one_name_are_both_named(install: Install) -> None:
    install("acme", f"[{GROUP}]\ngood = acme:Good\n", GOOD)
    install("bolt", f"[{GROUP}]\ngood = bolt:Good\n", GOOD)
    assert plugins.names(GROUP).count("good") == 1
    with pytest.raises(EdgebenchError, match="both register 'good'") as caught:
        plugins.load(GROUP, "good")
    assert "acme 1.2" in caught.value.problem
    assert "bolt 1.2" in caught.value.problem
    assert set(plugins.origin(GROUP, "good").split(" and ")) == {"acme 1.2", "bolt 1.2"}


def test_an_older_copy_further_down_the_path_is_not_a_second_owner(install: Install, tmp_path: Path) -> None:
    install("acme", f"[{GROUP}]\ngood = acme:Good\n", GOOD)
    old = tmp_path / "old" / "Acme-1.0.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme\nVersion: 1.0\n")
    (old / "entry_points.txt").write_text(f"[{GROUP}]\ngood = acme:Good\n")
    sys.path.append(str(old.parent))
    try:
        assert plugins.origin(GROUP, "good") == "acme 1.2"
    finally:
        sys.path.remove(str(old.parent))


@pytest.mark.parametrize("target", ["acme:Good.name", "acme:Half"])
def test_what_is_no_backend_is_refused(install: Install, target: str) -> None:
    install("acme", f"[{GROUP}]\nodd = {target}\n", GOOD + "\nclass Half(Backend):\n    name = 'half'\n")
    with pytest.raises(EdgebenchError, match=r"'odd' of acme 1\.2 is no edgebench\.backend\.Backend"):
        plugins.backend("odd")


def test_a_file_format_of_a_strangers_own_is_known_by_its_ending(install: Install, tmp_path: Path) -> None:
    own = GOOD.replace('frozenset({"onnx"})', 'frozenset({"acme-net"})\n    endings = {".acme": "acme-net"}')
    install("acme", f"[{GROUP}]\ngood = acme:Good\n", own)
    install("rotten", f"[{GROUP}]\nbad = rotten:Bad\n", "import nowhere")
    assert plugins.endings().items() >= {".acme": "acme-net", ".onnx": "onnx", ".ncnn": "ncnn"}.items()
    path = tmp_path / "net.ACME"
    path.write_bytes(b"compiled")
    assert ready.check_file(path) == ()
    assert ready.backends_for(path) == ("good",)
    assert ready.artifact_of(path).format == "acme-net"
    assert ready.file_format(ready.bench_plan(str(path), ("good",))) == "acme-net"
