"""The contract on ExecuTorch, and what it cannot know: delegates, fallbacks, and programs with a free batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgebench_executorch import ExecuTorchBackend

from edgebench.backend import EdgebenchError, ModelError, Session
from edgebench.schema import Artifact
from edgebench.testing import BackendContract, Case

torch = pytest.importorskip("torch")
pytest.importorskip("torchao", exc_type=ImportError)
if not ExecuTorchBackend().probe().ok:
    pytest.skip("ExecuTorch is not here", allow_module_level=True)


def made(nets: Path, net: Any, precision: str) -> Case:
    from edgebench.compress.lowering import lower_executorch
    from edgebench.compress.quantization.quantize import Quantize

    rng = np.random.default_rng(0)
    feeds = {"input": rng.standard_normal((1, 3, 12, 12)).astype(np.float32)}
    example, path = torch.from_numpy(feeds["input"]), nets / f"net-{precision}.pte"
    if precision == "int8":
        samples = rng.standard_normal((32, 3, 12, 12)).astype(np.float32)
        lower_executorch.quantize(net, example, samples, Quantize(), path)
    else:
        lower_executorch.export(net, example, path)
    with torch.inference_mode():
        expected = [a.numpy() for a in net(example)]
    artifact = Artifact(format="pte", path=str(path), sha256="", size=path.stat().st_size)
    return Case(artifact=artifact, feeds=feeds, expected=expected, precision=precision)


@pytest.fixture(scope="module")
def fp32(nets: Path, torch_net: Any) -> Case:
    return made(nets, torch_net, "fp32")


@pytest.fixture(scope="module")
def int8(nets: Path, torch_net: Any) -> Case:
    return made(nets, torch_net, "int8")


def opened(case: Case, **changed: Any) -> Session:
    return ExecuTorchBackend().open(case.artifact, case.asked(**changed))


class TestContract(BackendContract):
    backend = ExecuTorchBackend

    @pytest.fixture(scope="class", params=["fp32", "int8"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        found: Case = request.getfixturevalue(request.param)
        return found


def test_it_tells_where_and_in_which_precision_each_operator_ran(int8: Case) -> None:
    session = opened(int8, threads=2)
    found = session.effective()
    assert (found["precision"], found["threads"], found["int8_ops"], found["float_ops"]) == ("int8", 2, 2, 0)
    assert found["portable_ops"] == 1  # a mean that drops its axes is not XNNPACK's
    assert 0.8 < found["delegated_share"] < 1
    ops = {op["name"]: op for op in session.profile(int8.feeds)}
    convolution = next(op for name, op in ops.items() if name.startswith("Convolution"))
    assert (convolution["precision"], convolution["device"]) == ("int8", "XNNPACK")
    assert ops["mean.out"]["device"] == "portable"
    assert 0 < ops["mean.out"]["seconds"] < 1


def test_more_portable_operators_than_allowed_fail_the_row(int8: Case) -> None:
    found = opened(int8).effective()
    assert 0 < found["fallback_share"] < found["max_fallback"] == 0.5
    with pytest.raises(ModelError, match=r"XNNPACK left \d+% of the operators to its fallback, more than 1%"):
        opened(int8, max_fallback=0.01).effective()
    with pytest.raises(EdgebenchError, match="max_fallback cannot be 'none'"):
        opened(int8, max_fallback="none")


def test_values_in_between_are_not_kept_beside_the_events(nets: Path) -> None:
    """They would fill their room in a program with many operators, and the runtime would end the process."""
    from edgebench.compress.lowering import lower_executorch

    class Deep(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            for _ in range(12):
                x = torch.cumsum(x, 1)  # an operator that XNNPACK does not take
            return x

    path, x = nets / "deep.pte", np.ones((1, 512, 1024), np.float32)  # 2 MiB each
    lower_executorch.export(Deep(), torch.from_numpy(x), path)
    artifact = Artifact(format="pte", path=str(path), sha256="", size=path.stat().st_size)
    asked = {"threads": 1, "batch": 1, "precision": "fp32", "max_fallback": 1.0}
    assert ExecuTorchBackend().open(artifact, asked).effective()["portable_ops"] == 12


def test_a_float_program_asked_for_as_int8_is_found_out(fp32: Case) -> None:
    assert opened(fp32, precision="int8").effective()["precision"] == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_larger_batch_is_a_program_of_its_own(tmp_path: Path, torch_net: Any, precision: str) -> None:
    from edgebench.compress.lowering import lower
    from edgebench.compress.quantization.quantize import Quantize

    name = ExecuTorchBackend().lowering(precision, {"batch": 3, "threads": 1})
    assert name == ("pte-int8@3" if precision == "int8" else "pte@3")
    rng = np.random.default_rng(0)
    x, samples = (rng.standard_normal((n, 3, 12, 12)).astype(np.float32) for n in (3, 32))
    request = lower.Request(
        model=torch_net,
        example=torch.from_numpy(x[:2]),
        calibration=samples,
        onnx=lambda: tmp_path,
        quantize=Quantize(),
    )
    lower.get(name).write(request, tmp_path / "net.pte")
    artifact = Artifact(format="pte", path=str(tmp_path / "net.pte"), sha256="", size=1)
    session = ExecuTorchBackend().open(artifact, {"threads": 1, "batch": 3, "precision": precision})
    with torch.inference_mode():
        wanted = [a.numpy() for a in torch_net(torch.from_numpy(x))]
    for found, right in zip(session.run({"input": x}), wanted, strict=True):
        assert np.linalg.norm(found - right) < (0.1 if precision == "int8" else 1e-5) * np.linalg.norm(right)
    assert session.effective()["precision"] == precision


def test_a_batch_that_the_program_was_not_made_for_is_refused(fp32: Case) -> None:
    with pytest.raises(EdgebenchError, match=r"takes a batch of 1, not 4\. Ask for batch = 1"):
        opened(fp32, batch=4)


def test_a_program_with_a_free_batch_takes_any_but_no_other_shape(nets: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from edgebench.compress.quiet import quiet

    net, path = torch.nn.Conv2d(3, 4, 3).eval(), nets / "free.pte"
    with quiet():
        shapes = ({0: torch.export.Dim("batch", min=1, max=16)},)
        program = torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=shapes)
        made = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(made.buffer)
    artifact = Artifact(format="pte", path=str(path), sha256="", size=path.stat().st_size)
    session = ExecuTorchBackend().open(artifact, {"threads": 1, "batch": 3, "precision": "fp32"})
    assert session.inputs[0].shape == (None, 3, 8, 8)
    assert session.outputs[0].shape == (None, 4, 6, 6)
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    with torch.inference_mode():
        np.testing.assert_allclose(session.run({"input": x})[0], net(torch.from_numpy(x)).numpy(), atol=1e-5)
    with pytest.raises(ModelError, match=r"\[None, 3, 8, 8\] and is float32\[3, 3, 8, 9\]"):
        session.run({"input": np.zeros((3, 3, 8, 9), np.float32)})  # the runtime itself would answer


def test_the_runtime_says_what_is_wrong_with_a_file(fp32: Case, tmp_path: Path) -> None:
    path = tmp_path / "cut.pte"
    path.write_bytes(Path(fp32.artifact.path).read_bytes()[:-100])
    with pytest.raises(ModelError, match="File size is too small"):
        opened(replace(fp32, artifact=replace(fp32.artifact, path=str(path))))


def test_why_a_program_does_not_run_is_said_in_the_runtimes_words(nets: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from edgebench.compress.quiet import quiet

    # Strides of a channels-last example with one channel: XNNPACK takes the program, and fails when it runs.
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
    path = nets / "strange.pte"
    with quiet(), torch.no_grad():
        example = torch.zeros(1, 16, 16, 1).permute(0, 3, 1, 2)
        program = torch.export.export(net, (example,))
        made = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(made.buffer)
    artifact = Artifact(format="pte", path=str(path), sha256="", size=path.stat().st_size)
    session = ExecuTorchBackend().open(artifact, {"threads": 1, "batch": 1, "precision": "fp32"})
    with pytest.raises(ModelError, match=r"cannot run .*xnn_status_invalid_parameter.* Export it again"):
        session.run({"input": np.zeros((1, 1, 16, 16), np.float32)})
