"""The contract on ncnn, and what it cannot know: two files, inputs without a shape, and the reasons that ncnn prints."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgebench_ncnn import NcnnBackend

from edgebench.backend import EdgebenchError, ModelError, Session
from edgebench.schema import Artifact
from edgebench.testing import BackendContract, Case

torch = pytest.importorskip("torch")
pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


def made(nets: Path, net: Any, precision: str) -> Case:
    from edgebench.compress.lowering import lower_ncnn

    feeds = {"in0": np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)}
    example, path = torch.from_numpy(feeds["in0"]), nets / f"net-{precision}.ncnn"
    lower_ncnn.convert(net, example, path, half=precision == "fp16")
    with torch.inference_mode():
        expected = [a.numpy() for a in net(example)]
    return Case(artifact=artifact(path), feeds=feeds, expected=expected, precision=precision)


def artifact(path: Path) -> Artifact:
    return Artifact(format="ncnn", path=str(path), sha256="", size=path.stat().st_size)


@pytest.fixture(scope="module")
def fp32(nets: Path, torch_net: Any) -> Case:
    return made(nets, torch_net, "fp32")


@pytest.fixture(scope="module")
def fp16(nets: Path, torch_net: Any) -> Case:
    return made(nets, torch_net, "fp16")


@pytest.fixture
def pair(fp32: Case, tmp_path: Path) -> Case:
    """The network as pnnx leaves it: two files, and no word of any shape."""
    with zipfile.ZipFile(fp32.artifact.path) as archive:
        lines = archive.read("model.param").decode().splitlines()
        (tmp_path / "net.bin").write_bytes(archive.read("model.bin"))
    words = [" ".join(w for w in line.split(" ") if not w.startswith("-23330=")) for line in lines]
    (tmp_path / "net.param").write_text("\n".join([*words, ""]))
    return replace(fp32, artifact=artifact(tmp_path / "net.param"))


def opened(case: Case, **changed: Any) -> Session:
    return NcnnBackend().open(case.artifact, case.asked(**changed))


class TestContract(BackendContract):
    backend = NcnnBackend

    @pytest.fixture(scope="class", params=["fp32", "fp16"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        found: Case = request.getfixturevalue(request.param)
        return found


def test_it_tells_every_setting(fp32: Case, fp16: Case) -> None:
    assert opened(fp32, threads=2).effective() == {
        "precision": "fp32", "threads": 2, "weights": "fp32", "arithmetic": "fp32", "light_mode": True,
        "openmp_blocktime_ms": 20, "int8_ops": 0, "float_ops": 2, "shapes": {"in0": [1, 3, 12, 12]},
    }  # fmt: skip
    found = opened(fp16).effective()
    assert (found["precision"], found["weights"]) == ("fp16", "fp16")


def test_half_weights_asked_for_as_fp32_are_found_out(fp16: Case) -> None:
    assert opened(fp16, precision="fp32").effective()["precision"] == "fp16"


def test_a_batch_is_refused(fp32: Case) -> None:
    with pytest.raises(EdgebenchError, match=r"one sample at a time, not 8\. Ask for batch = 1"):
        opened(fp32, batch=8)


def test_a_pair_of_files_without_shapes_gets_them_from_its_first_convolution(pair: Case) -> None:
    session = opened(pair)
    assert session.inputs[0].shape == (1, 3, None, None)
    assert [len(spec.shape) for spec in session.outputs] == [2, 2]
    for found, wanted in zip(session.run(pair.feeds), pair.expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    with pytest.raises(ModelError, match=r"must be float32\[1, 3, None, None\] and is float32\[1, 4, 12, 12\]"):
        session.run({"in0": np.zeros((1, 4, 12, 12), np.float32)})  # ncnn itself would answer


def test_an_input_of_unknown_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.param").write_text("7767517\n2 2\nInput in0 0 1 in0\nReLU relu 1 1 in0 out0\n")
    (tmp_path / "net.bin").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"does not say the shape of its input in0\. Say it: --shape in0=1x3x224x224, or add"
    ):
        NcnnBackend().open(artifact(tmp_path / "net.param"), {"threads": 1, "batch": 1, "precision": "fp32"})


OPTIONS = {"threads": 1, "batch": 1, "precision": "fp32"}


def write_relu(folder: Path, hint: str) -> Path:
    (folder / "net.param").write_text(f"7767517\n2 2\nInput in0 0 1 in0 {hint}\nReLU relu 1 1 in0 out0\n")
    (folder / "net.bin").write_bytes(b"")
    return folder / "net.param"


@pytest.mark.parametrize(
    ("hint", "shape"),
    [
        ("0=7 1=5 2=3", (1, 3, 5, 7)),
        ("0=7 1=5", (1, 5, 7)),
        ("0=7", (1, 7)),
        ("0=0 1=0 2=3", (1, 3, None, None)),
        ("-23330=4,3,8,8,2 0=7 1=5 2=3", (1, 2, 8, 8)),
    ],
)
def test_the_hint_of_ncnns_own_converters_is_read_as_inspect_reads_it(
    tmp_path: Path, hint: str, shape: tuple[int | None, ...]
) -> None:
    from edgebench.inspect import look

    path = write_relu(tmp_path, hint)
    session = NcnnBackend().open(artifact(path), OPTIONS)
    assert session.inputs[0].shape == look(path, "ncnn").inputs[0].shape == shape
    x = np.random.default_rng(0).standard_normal([size or 4 for size in shape]).astype(np.float32)
    np.testing.assert_array_equal(session.run({"in0": x})[0], np.maximum(x, 0))


def test_a_file_without_a_hint_takes_the_shape_that_is_given(tmp_path: Path) -> None:
    asked = {**OPTIONS, "shapes": {"in0": [1, 3, 5, 7]}}
    session = NcnnBackend().open(artifact(write_relu(tmp_path, "")), asked)
    assert session.inputs[0].shape == (1, 3, 5, 7)
    assert session.outputs[0].shape == (1, None, None, None)


def test_a_given_shape_that_a_convolution_does_not_take_is_refused(pair: Case) -> None:
    with pytest.raises(ModelError, match=r"takes \[1, 3, None, None\] as in0, and \[1, 4, 12, 12\] was given"):
        NcnnBackend().open(pair.artifact, {**OPTIONS, "shapes": {"in0": [1, 4, 12, 12]}})


@pytest.mark.parametrize("shapes", ["1x3", {"in0": "1x3"}, {"in0": [2, 3]}, {"in0": [1]}, {"in0": [1, 0, 3]}])
def test_shapes_that_mean_nothing_are_refused(shapes: Any) -> None:
    with pytest.raises(EdgebenchError, match="shapes cannot be"):
        NcnnBackend().check({"shapes": shapes})


def test_bench_hands_the_shape_to_the_runtime_whose_file_does_not_say_it(tmp_path: Path) -> None:
    from edgebench import ready

    plan = ready.bench_plan(str(write_relu(tmp_path, "")), ["ncnn"], shapes={"in0": [1, 3, 5, 7]})
    assert plan.backend_options["ncnn"]["shapes"]["in0"] == [1, 3, 5, 7]


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: b"\x89PNG\r\n" + data[:200]])
def test_a_broken_zip_of_ours_is_told_as_such(fp32: Case, tmp_path: Path, damage: Any) -> None:
    from edgebench.inspect import look

    path = tmp_path / "net.ncnn"
    path.write_bytes(damage(Path(fp32.artifact.path).read_bytes()))
    for opening in (lambda: NcnnBackend().open(artifact(path), OPTIONS), lambda: look(path, "ncnn")):
        with pytest.raises(ModelError, match=r"no zip of a \.param and a \.bin, or is cut short\. Copy it again whole"):
            opening()


def test_a_layer_in_place_leaves_the_input_alone(tmp_path: Path) -> None:
    (tmp_path / "net.param").write_text("7767517\n2 2\nInput in0 0 1 in0 -23330=4,3,5,5,3\nReLU r 1 1 in0 out0\n")
    (tmp_path / "net.bin").write_bytes(b"")
    options = {"threads": 1, "batch": 1, "precision": "fp32"}
    session = NcnnBackend().open(artifact(tmp_path / "net.param"), options)
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float32)
    kept, call = x.copy(), session.bind({"in0": x})
    for _ in range(2):
        np.testing.assert_array_equal(call()[0], np.maximum(kept, 0))
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.with_suffix(".bin").unlink(), r"No such file.*net\.bin.*keep the \.bin beside"),
        (lambda p: p.with_suffix(".bin").write_bytes(b"\0" * 50), "ModelBin read"),
        (
            lambda p: p.write_text(p.read_text().replace("InnerProduct ", "OuterProduct ")),
            "layer OuterProduct not exists",
        ),
    ],
)
def test_what_is_wrong_with_the_files_is_said_in_ncnns_words(pair: Case, damage: Any, words: str) -> None:
    damage(Path(pair.artifact.path))
    with pytest.raises(ModelError, match=words):
        opened(pair)


def test_a_plan_that_asks_for_int8_is_told_why_not() -> None:
    from edgebench.plan import Plan
    from edgebench.schema import ModelSpec, Recipe
    from edgebench.squares import expand

    asked = Plan(
        name="p", model=ModelSpec(name="m", source="m:m"), data="digits", recipes=(Recipe(name="r"),),
        backends=("ncnn",), precisions=("fp16", "int8"), base="",
    )  # fmt: skip
    half, int8 = expand(asked, "local", {"ncnn": NcnnBackend()}, lambda recipe: None)
    assert (half.lowering, half.skip) == ("ncnn-fp16", "")
    assert int8.skip == (
        "ncnn has no int8: no wheel carries ncnn's quantization tools, ncnn2table and ncnn2int8; it has fp32, fp16."
    )
