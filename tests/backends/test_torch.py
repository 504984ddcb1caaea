"""What the contract cannot know of torch: pickles in a file, packed weights, and bf16 by casting."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgebench_torch import TorchBackend, TorchSession

from edgebench.backend import EdgebenchError, MissingRuntime, ModelError, Session
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


@pytest.fixture(scope="module")
def unfused_case(nets: Path, torch_net: Any, torch_case: Case) -> Case:
    """The int8 network as torch's compilers take it."""
    pytest.importorskip("torchao")
    from edgebench.compress.lowering import lower_x86
    from edgebench.compress.quantization.quantize import Quantize

    rng, path = np.random.default_rng(1), nets / "net-qdq.pt2"
    samples = rng.standard_normal((32, 3, 12, 12)).astype(np.float32)
    example = torch.from_numpy(torch_case.feeds["input"])
    facts = lower_x86.quantize(torch_net, example, samples, Quantize(), path, fused=False)
    assert facts["int8_coverage"] == 1.0
    return replace(torch_case, artifact=replace(torch_case.artifact, path=str(path)), precision="int8")


def needs_a_compiler() -> None:
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        pytest.skip("there is no C++ compiler here")


@pytest.mark.parametrize(("mode", "precision"), [("aot", "fp32"), ("aot", "int8"), ("compile", "fp32")])
def test_compiled_it_answers_as_eager_does(
    torch_case: Case, request: pytest.FixtureRequest, tmp_path: Path, mode: str, precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    needs_a_compiler()
    monkeypatch.setenv("EDGEBENCH_CACHE", str(tmp_path))
    case = request.getfixturevalue("unfused_case") if precision == "int8" else torch_case
    backend = TorchBackend()
    asked = case.asked(mode=mode, batch=2)
    assert backend.builds(asked) is (mode == "aot")
    made = backend.build(replace(case.artifact, sha256=precision), asked, tmp_path)
    session = backend.open(made, asked)
    found = session.effective()
    assert (found["mode"], found["precision"], found["threads"]) == (mode, precision, case.threads)
    assert [s.name for s in session.inputs] == ["input"]
    for answer, right in zip(session.run(case.feeds), case.expected, strict=True):
        off = np.linalg.norm(answer - right) / np.linalg.norm(right)
        assert off < 1e-5 if precision == "fp32" else 1e-4 < off < 0.1
    if mode == "aot":
        assert backend.build(replace(case.artifact, sha256=precision), asked, tmp_path) == made
        with pytest.raises(ModelError, match=r"\[2, 3, 12, 12\] and is float32\[1, 3, 12, 12\]"):
            session.run({"input": case.feeds["input"][:1]})


def test_without_a_compiler_the_mode_is_missing(torch_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def none_here() -> str:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none_here)
    with pytest.raises(MissingRuntime, match=r"needs a C\+\+ compiler.*No working.*Install g\+\+"):
        opened(torch_case, mode="compile")


def test_channels_last_reaches_the_weights_and_changes_no_answer(torch_case: Case) -> None:
    session = opened(torch_case, channels_last=True)
    assert isinstance(session, TorchSession)
    weight = next(p for p in session._module.parameters() if p.ndim == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert session.effective()["channels_last"] is True
    for answer, right in zip(session.run(torch_case.feeds), torch_case.expected, strict=True):
        np.testing.assert_allclose(answer, right, rtol=1e-4, atol=1e-5)


def test_a_gpu_that_is_not_there_is_missing_and_one_that_is_gives_the_same(torch_case: Case) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(MissingRuntime, match=r"finds no CUDA GPU here\. Install a driver"):
            opened(torch_case, device="cuda")
        return
    session = opened(torch_case, device="cuda")
    for answer, right in zip(session.run(torch_case.feeds), torch_case.expected, strict=True):
        np.testing.assert_allclose(answer, right, rtol=1e-3, atol=1e-4)


def test_the_file_depends_on_device_and_mode() -> None:
    asked = {"batch": 1, "threads": 1}
    lowering = TorchBackend().lowering
    for flags, bits in ((["avx512_vnni"], ""), (["avx2"], "-s7")):
        there = {**asked, "cpu": {"machine": "x86_64", "flags": flags}}
        assert lowering("int8", there) == f"pt2-int8-x86{bits}"
        assert lowering("int8", {**there, "mode": "aot"}) == f"pt2-int8-qdq{bits}"
    assert (lowering("fp16", asked), lowering("fp16", {**asked, "device": "cuda"})) == (None, "pt2")
    assert lowering("int8", {**asked, "device": "cuda"}) is None


@pytest.mark.parametrize("option", [{"mode": "fast"}, {"channels_last": 1}, {"device": "tpu"}])
def test_an_option_that_means_nothing_is_refused(torch_case: Case, option: dict[str, Any]) -> None:
    with pytest.raises(EdgebenchError, match="cannot be"):
        opened(torch_case, **option)
