"""Files from torch: right, with a free batch, silent, and the same bytes every time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compress_helpers import network, stripes
from torch import nn

from edgebench.compress.cache import sha256
from edgebench.compress.load_model import tensor
from edgebench.compress.lowering import export
from edgebench.compress.lowering.culprit import culprit
from edgebench.errors import ModelError

EXAMPLE = tensor(stripes().evaluation.inputs[:4])
EXPORTS = {"onnx": export.export_onnx, "pt2": export.export_pt2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("export")
    for kind, write in EXPORTS.items():
        write(network(), EXAMPLE, folder / f"model.{kind}")
    return {kind: folder / f"model.{kind}" for kind in EXPORTS}


def test_the_onnx_file_answers_as_torch_does_for_any_batch(files: dict[str, Path]) -> None:
    session = export.open_session(files["onnx"])
    assert [i.name for i in session.get_inputs()] == ["input"]
    assert [o.name for o in session.get_outputs()] == ["output"]
    for count in (1, 3, 48):
        samples = stripes().evaluation.inputs[:count]
        wanted = network()(tensor(samples)).detach().numpy()
        assert np.abs(session.run(None, {"input": samples})[0] - wanted).max() < 1e-4


def test_the_exported_program_answers_as_torch_does_for_any_batch(files: dict[str, Path]) -> None:
    program = torch.export.load(files["pt2"]).module()
    for count in (1, 3, 48):
        samples = tensor(stripes().evaluation.inputs[:count])
        assert torch.equal(program(samples), network()(samples))


def test_the_onnx_file_holds_everything_and_tells_nothing_of_this_machine(files: dict[str, Path]) -> None:
    model = onnx.load(files["onnx"], load_external_data=False)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", export.OPSET)]
    assert {p.name for p in files["onnx"].parent.iterdir()} == {"model.onnx", "model.pt2"}
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    here = str(Path(__file__).parents[2]).encode()
    for path in files.values():
        assert here not in path.read_bytes()
        assert b".py" not in path.read_bytes()
        assert path.stat().st_size < 200_000, "weights and nothing more"
    with zipfile.ZipFile(files["pt2"]) as archive:
        assert archive.read("archive/data/sample_inputs/model.pt") == b"", "a pickle in a file is one too many"


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes_in_another_process(files: dict[str, Path], tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_compress_export import EXAMPLE, EXPORTS, network\n"
        "for kind, write in EXPORTS.items(): write(network(), EXAMPLE, Path(sys.argv[2], f'other.{kind}'))\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    for kind, path in files.items():
        assert sha256(tmp_path / f"other.{kind}") == sha256(path)


class Branches(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.flatten(1) if x.sum() > 0 else x.flatten(1) * 2


class FixedBatch(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(4, 144)


@pytest.mark.parametrize("kind", list(EXPORTS))
@pytest.mark.parametrize("model", [Branches(), FixedBatch()], ids=lambda m: type(m).__name__)
def test_what_cannot_be_exported_is_said_in_two_sentences(
    kind: str, model: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"cannot be exported as a graph: .*branches on values"):
        EXPORTS[kind](model, EXAMPLE, tmp_path / f"model.{kind}")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().out == ""


def test_a_file_that_answers_otherwise_is_refused(files: dict[str, Path]) -> None:
    wanted = export.eager(network(), EXAMPLE)
    export.check_parity(files["onnx"], EXAMPLE, wanted)
    with pytest.raises(ModelError, match=r"differs from torch by 1\.0e-02"):
        export.check_parity(files["onnx"], EXAMPLE, wanted + 0.01)
    with pytest.raises(ModelError, match=r"differs from torch by nan"):
        export.check_parity(files["onnx"], EXAMPLE, wanted * float("nan"))


class Gate(nn.Module):
    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return x * scale if x.mean() > 0 else x


class Deep(nn.Module):
    """The module that branches is in a list, in a module that is called by keyword, beside others that do not."""

    def __init__(self, keyword: bool) -> None:
        super().__init__()
        self.keyword = keyword
        self.blocks = nn.ModuleList([nn.Identity(), nn.Sequential(nn.Flatten(), Gate())])

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(input=x) if self.keyword else block(x)
        return x


@pytest.mark.parametrize("keyword", [False, True])
def test_the_module_that_cannot_be_exported_is_named(keyword: bool, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"as a graph, because of its module blocks\.1\.1 \(Gate\): .*branches on values"
    ):
        export.export_pt2(Deep(keyword), EXAMPLE, tmp_path / "model.pt2")


def test_no_module_is_blamed_for_a_network_that_fails_as_a_whole() -> None:
    class Broken(nn.Module):
        def forward(self, x: Any) -> Any:
            raise RuntimeError("always")

    assert culprit(Broken(), EXAMPLE) == ""
    assert culprit(nn.Sequential(nn.Flatten()), EXAMPLE) == ""
