"""What the contract cannot know of torch: pickles in a file, packed weights, and bf16 by casting."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgebench_torch import TorchBackend, TorchSession

from edgebench.backend import ModelError, Session
from edgebench.testing import Case

torch = pytest.importorskip("torch")


def opened(case: Case, **changed: Any) -> Session:
    return TorchBackend().open(case.artifact, case.asked(**changed))


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickled_code_in_a_file_is_not_run(torch_case: Case, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(((Bomb(tmp_path / "exploded"),), {}), buffer)
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(torch_case.artifact.path) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = buffer.getvalue() if "sample_inputs" in name else old.read(name)
            new.writestr(name, content)
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    case = replace(torch_case, artifact=replace(torch_case.artifact, path=str(path)))
    with pytest.raises(ModelError, match=r"cannot load .*(?i:weights.only)"):
        opened(case)
    assert not (tmp_path / "exploded").exists()
    assert os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD") == before


def test_weights_are_packed_once_when_opened(torch_int8_case: Case) -> None:
    session = opened(torch_int8_case)
    assert isinstance(session, TorchSession)
    targets = [str(node.target) for node in session._module.graph.nodes if node.op == "call_function"]
    assert not [t for t in targets if "prepack" in t]
    found = session.effective()
    assert (found["precision"], found["int8_ops"], found["float_ops"]) == ("int8", 2, 0)


def test_a_float_program_asked_for_as_int8_is_found_out(torch_case: Case) -> None:
    found = opened(torch_case, precision="int8").effective()
    assert (found["precision"], found["int8_ops"], found["float_ops"]) == ("fp32", 0, 2)


def test_bf16_needs_a_program_that_does_not_insist_on_float32(torch_case: Case, tmp_path: Path) -> None:
    class Insists(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, input: Any) -> Any:
            return input.mean((2, 3)).to(torch.float32)

    program = torch.export.export(Insists(), (torch.from_numpy(torch_case.feeds["input"]),))
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    case = replace(torch_case, artifact=replace(torch_case.artifact, path=str(path)))
    with pytest.raises(ModelError, match=r"cannot run in bf16: its operator .* asks for float32"):
        opened(case, precision="bf16")
    assert opened(case).run(case.feeds)[0].shape == (2, 3)


def test_a_fixed_batch_is_named_when_another_comes(torch_case: Case, torch_net: Any, tmp_path: Path) -> None:
    program = torch.export.export(torch_net, (torch.zeros(1, 3, 12, 12),))
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    case = replace(torch_case, artifact=replace(torch_case.artifact, path=str(path)))
    with pytest.raises(ModelError, match=r"\[1, 3, 12, 12\] and is float32\[2, 3, 12, 12\]"):
        opened(case).run(case.feeds)
