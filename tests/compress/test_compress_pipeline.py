"""Recipes become files: once, resumably, with the same bytes, and with data to check them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
import torch
from compress_helpers import ENTRY, SPEC, network, stripes
from torch import nn

from edgebench import plugins
from edgebench.codec import Options
from edgebench.compress import cache as kept
from edgebench.compress import code, methods, pipeline
from edgebench.compress.load_model import macs, tensor
from edgebench.compress.lowering import export
from edgebench.data import Split
from edgebench.errors import EdgebenchError, ModelError, PlanError, StoreError
from edgebench.schema import ModelSpec, Recipe, Step

TRAIN = Step(method="train", options=Options(epochs=2, batch_size=16, lr=0.005))
PRUNE = Step(method="prune", options=Options(macs=0.5))
FINETUNE = Step(method="finetune", options=Options(epochs=1, batch_size=16))
DISTILL = Step(
    method="distill",
    options=Options(student=ENTRY, student_options={"classes": 3, "in_channels": 1, "width": 4}, epochs=2),
)
QUANTIZE = Step(method="quantize")


def recipe(*steps: Step, name: str = "mine") -> Recipe:
    return Recipe(name=name, steps=steps)


class Work:
    """A cache, and a note of what was really done."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.base = cache.parent
        self.done: list[str] = []

    def __call__(self, made: Recipe, *lowerings: str, spec: ModelSpec = SPEC, data: Any = None) -> pipeline.Variant:
        return pipeline.build(
            spec, made, lowerings, data or stripes(), base=self.base, cache=self.cache, progress=self._progress
        )

    def _progress(self, stage: str, done: int, total: int, note: str) -> None:
        stage = stage.split(": ")[1]
        if not self.done or self.done[-1] != stage:
            self.done.append(stage)

    def taken(self) -> list[str]:
        done, self.done = self.done, []
        return done


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "cache")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A cache in which the trained network is kept."""
    made = Work(tmp_path_factory.mktemp("shared") / "cache")
    made(recipe(TRAIN))
    return made


def arrays(variant: pipeline.Variant) -> dict[str, Any]:
    with np.load(variant.data.path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_recipe_of_everything(shared: Work) -> None:
    shared.taken()
    whole = shared(recipe(TRAIN)).facts["macs"]
    variant = shared(recipe(TRAIN, PRUNE, FINETUNE, QUANTIZE), "onnx-u8s8", "pt2-int8-x86")
    assert shared.taken() == ["prune", "finetune", "onnx-u8s8", "onnx", "onnx-u8s8", "pt2-int8-x86"]
    data, held_out = arrays(variant), stripes().evaluation
    assert list(data) == ["input:input", "labels", "reference", "parent"]
    assert np.array_equal(data["input:input"], held_out.inputs)
    assert data["labels"].tolist() == list(np.arange(48) % 3)
    assert np.array_equal(data["reference"], data["parent"]), "the parent of int8 is the same network in float"
    found = export.open_session(Path(variant.artifacts["onnx-u8s8"].path)).run(None, {"input": held_out.inputs})[0]
    assert np.linalg.norm(found - data["reference"]) / np.linalg.norm(data["reference"]) < 0.1
    for name, artifact in variant.artifacts.items():
        path = Path(artifact.path)
        assert (artifact.sha256, artifact.size) == (kept.sha256(path), path.stat().st_size)
        assert artifact.facts["lowering"] == name
        assert artifact.facts["int8_coverage"] == 1
        assert artifact.facts["macs"] == pytest.approx(whole / 2, rel=0.02)
        assert {"torch", "onnxruntime", "edgebench"} <= set(artifact.made_by)
    assert len({a.parent for a in variant.artifacts.values()}) == 1


def test_facts_and_reference_are_those_of_the_network(work: Work) -> None:
    variant = work(recipe(), "pt2")
    model, held_out = network(), tensor(stripes().evaluation.inputs)
    assert variant.facts["macs"] == macs(model, held_out[:1])
    assert variant.facts["parameters"] == sum(p.numel() for p in model.parameters())
    data = arrays(variant)
    assert np.allclose(data["reference"], model(held_out).detach().numpy(), atol=1e-6)
    assert np.array_equal(data["reference"], data["parent"])
    assert torch.equal(torch.export.load(variant.artifacts["pt2"].path).module()(held_out), model(held_out))


def test_the_parent_is_what_the_last_compressing_step_was_given(shared: Work) -> None:
    trained = arrays(shared(recipe(TRAIN)))
    pruned = arrays(shared(recipe(TRAIN, PRUNE, FINETUNE)))
    distilled = arrays(shared(recipe(TRAIN, DISTILL)))
    for data in (pruned, distilled):
        assert np.array_equal(data["parent"], trained["reference"])
        assert not np.array_equal(data["reference"], data["parent"])
    assert np.array_equal(trained["parent"], trained["reference"])


def test_what_is_kept_is_not_made_again_and_prefixes_are_shared(work: Work) -> None:
    first = work(recipe(TRAIN, PRUNE), "pt2")
    assert work.taken() == ["train", "prune", "pt2"]
    again = work(recipe(TRAIN, PRUNE, name="another name"), "pt2")
    assert work.taken() == []
    assert again.artifacts == first.artifacts
    work(recipe(TRAIN, FINETUNE))
    assert work.taken() == ["finetune"]
    work(recipe(TRAIN), "pt2")
    assert work.taken() == ["pt2"]


def test_what_changes_the_result_makes_it_anew(work: Work) -> None:
    work(recipe(TRAIN))
    work.taken()
    work(recipe(Step(method="train", options=Options({**TRAIN.options, "epochs": 1}))))
    assert work.taken() == ["train"]
    data = stripes()
    work(recipe(TRAIN), data=replace(data, sha256="other", train=Split(data.train.inputs[:60], data.train.labels[:60])))  # type: ignore[index]
    assert work.taken() == ["train"]
    pipeline.build(SPEC, recipe(TRAIN), (), data, base=work.base, cache=work.cache, seed=1, progress=work._progress)
    assert work.taken() == ["train"]
    work(recipe(TRAIN))
    assert work.taken() == []


def test_a_network_whose_code_was_changed_is_made_anew(tmp_path: Path) -> None:
    text = "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(144, 3))\n"
    answers = []
    for name, written in (("before", text), ("after", text.replace("nn.Flatten(),", "nn.Flatten(), nn.ReLU(),"))):
        work = Work(tmp_path / "cache")
        work.base = tmp_path / name
        work.base.mkdir()
        (work.base / "a_net_of_mine.py").write_text(written)
        made = work(recipe(), spec=ModelSpec(name="mine", source="a_net_of_mine:make"))
        answers.append(arrays(made)["reference"])
    assert not np.array_equal(*answers)


@pytest.mark.slow
def test_two_caches_hold_the_same_bytes(work: Work, tmp_path: Path) -> None:
    steps, lowerings = recipe(TRAIN, PRUNE), ("onnx", "pt2")
    one, two = work(steps, *lowerings), Work(tmp_path / "second")(steps, *lowerings)
    for name in lowerings:
        assert one.artifacts[name].sha256 == two.artifacts[name].sha256
        assert one.artifacts[name].parent == two.artifacts[name].parent
    assert one.data.sha256 == two.data.sha256


@dataclass(frozen=True, kw_only=True)
class Killed:
    """A step in which the power fails."""

    name: ClassVar[str] = "killed"
    precision: ClassVar[str | None] = None
    compresses: ClassVar[bool] = False

    def apply(self, model: nn.Module, context: Any) -> nn.Module:
        raise KeyboardInterrupt


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> None:
    names, load = plugins.names, plugins.load
    monkeypatch.setattr(plugins, "names", lambda group: (*names(group), "killed"))
    monkeypatch.setattr(plugins, "load", lambda group, name: Killed if name == "killed" else load(group, name))
    monkeypatch.setattr(plugins, "origin", lambda group, name: "test 1")
    assert methods.parse(Step(method="killed")) == Killed()


@pytest.mark.usefixtures("killed")
def test_a_kill_loses_the_step_in_progress_only(work: Work) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(recipe(TRAIN, Step(method="killed")), "pt2")
    assert work.taken() == ["train"]
    assert not list(work.cache.rglob(".*")), "nothing half-made is left"
    work(recipe(TRAIN), "pt2")
    assert work.taken() == ["pt2"]


def test_a_damaged_file_is_made_again(work: Work) -> None:
    variant = work(recipe(), "pt2")
    path = Path(variant.artifacts["pt2"].path)
    path.write_bytes(path.read_bytes()[:-9])
    work.taken()
    assert work(recipe(), "pt2").artifacts == variant.artifacts
    assert work.taken() == ["pt2"]
    assert kept.sha256(path) == variant.artifacts["pt2"].sha256


@pytest.mark.parametrize(
    ("steps", "lowering", "match"),
    [
        ((), "onnx-u8s8", r"gives a network in fp32, but .* onnx-u8s8 is int8.*Add a quantize step"),
        ((QUANTIZE,), "onnx", r"gives a network in int8, but .* onnx is fp32"),
        ((), "onxx", r'no lowering "onxx".*Did you mean "onnx"'),
        ((QUANTIZE, PRUNE), "onnx", r'Make "quantize" the last step'),
        ((Step(method="fp16"), QUANTIZE), "onnx", r'Leave out one of the two: "fp16" or "quantize"'),
    ],
)
def test_what_cannot_go_together_is_refused(steps: Sequence[Step], lowering: str, match: str, work: Work) -> None:
    with pytest.raises(PlanError, match=match):
        work(recipe(*steps), lowering)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match=r"cannot be written: Not a directory.*EDGEBENCH_CACHE"):
        Work(tmp_path / "file" / "cache")(recipe(), "onnx")


def test_a_network_without_a_weight_to_train_is_refused_where_a_step_trains(tmp_path: Path) -> None:
    layers = "nn.Sequential(nn.Flatten(), nn.Linear(144, 3))"
    text = f"from torch import nn\n\n\ndef make():\n    return {layers}.requires_grad_(False)\n"
    (tmp_path / "a_frozen_net.py").write_text(text)
    spec = ModelSpec(name="frozen", source="a_frozen_net:make")
    pipeline.check(spec, stripes(), base=tmp_path, recipes=[recipe(QUANTIZE)])
    with pytest.raises(ModelError, match=r"train has nothing to train: .* all of them are frozen"):
        pipeline.check(spec, stripes(), base=tmp_path, recipes=[recipe(TRAIN)])


def test_checking_writes_nothing_and_finds_what_does_not_fit(tmp_path: Path) -> None:
    pipeline.check(SPEC, stripes(), base=tmp_path)
    wrong = replace(SPEC, options=Options(classes=3, in_channels=2, width=4))
    with pytest.raises(ModelError, match=r"does not take inputs of shape \[1, 12, 12\]"):
        pipeline.check(wrong, stripes(), base=tmp_path)
    gone = Step(method="distill", options=Options(student="nowhere:net"))
    with pytest.raises(ModelError, match=r"nowhere:net does not import"):
        pipeline.check(SPEC, stripes(), base=tmp_path, recipes=[recipe(TRAIN, gone)])
    pipeline.check(SPEC, stripes(), base=tmp_path, recipes=[recipe(TRAIN, DISTILL, QUANTIZE)])
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    export.export_onnx(network(), tensor(stripes().evaluation.inputs[:4]), path)
    return path.read_bytes()


@pytest.fixture
def onnx_file(exported: bytes, tmp_path: Path) -> Path:
    (tmp_path / "net.onnx").write_bytes(exported)
    return tmp_path / "net.onnx"


def test_a_ready_onnx_file_is_measured_and_quantized_as_it_is(onnx_file: Path, work: Work) -> None:
    spec = ModelSpec(name="net", source=onnx_file.name)
    pipeline.check(spec, stripes(), base=work.base)
    plain, int8 = work(recipe(), "onnx", spec=spec), work(recipe(QUANTIZE), "onnx-u8s8", spec=spec)
    assert Path(plain.artifacts["onnx"].path).read_bytes() == onnx_file.read_bytes()
    assert plain.facts["parameters"] > 4000
    assert int8.artifacts["onnx-u8s8"].facts["int8_coverage"] == 1
    assert int8.artifacts["onnx-u8s8"].facts["calibration_samples"] == 32, "fewer than the 200 that were asked for"
    assert "calibration_samples" not in plain.artifacts["onnx"].facts
    assert int8.artifacts["onnx-u8s8"].parent == kept.sha256(onnx_file)
    data = arrays(int8)
    right = float((data["reference"].argmax(1) == data["labels"]).mean())
    assert int8.artifacts["onnx-u8s8"].facts["float_accuracy"] == plain.facts["float_accuracy"] == right
    assert plain.facts["float_accuracy_samples"] == 48
    unlabelled = replace(stripes(), evaluation=Split(stripes().evaluation.inputs, None), sha256="other")
    assert "float_accuracy" not in work(recipe(), "onnx", spec=spec, data=unlabelled).facts
    assert np.allclose(data["reference"], network()(tensor(stripes().evaluation.inputs)).detach().numpy(), atol=1e-4)
    assert np.array_equal(data["reference"], data["parent"])


def test_weights_beside_an_onnx_file_are_taken_along(onnx_file: Path, work: Work) -> None:
    spec = ModelSpec(name="net", source="ext.onnx")
    model = onnx.load(onnx_file)
    onnx.save_model(
        model, work.base / "ext.onnx", save_as_external_data=True, location="ext.weights", size_threshold=256
    )
    alone, samples = Path(work(recipe(), "onnx", spec=spec).artifacts["onnx"].path), stripes().evaluation.inputs
    assert [p.name for p in alone.parent.iterdir() if "weights" in p.name] == []
    first = export.open_session(alone).run(None, {"input": samples})[0]
    assert np.allclose(first, network()(tensor(samples)).detach().numpy(), atol=1e-4)
    assert work(recipe(QUANTIZE), "onnx-u8s8", spec=spec).artifacts["onnx-u8s8"].facts["int8_coverage"] == 1
    content = bytearray((work.base / "ext.weights").read_bytes())
    content[:400] = bytes(400)
    (work.base / "ext.weights").write_bytes(content)
    other = Path(work(recipe(), "onnx", spec=spec).artifacts["onnx"].path)
    assert not np.allclose(export.open_session(other).run(None, {"input": samples})[0], first, atol=1e-4)


def test_an_onnx_file_with_a_fixed_batch_and_two_outputs(onnx_file: Path, work: Work) -> None:
    model = onnx.load(onnx_file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    model.graph.input[0].name = "pictures"
    for node in model.graph.node:
        node.input[:] = ["pictures" if name == "input" else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node("Softmax", ["output"], ["share"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("share", onnx.TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, onnx_file)
    spec = ModelSpec(name="net", source=onnx_file.name)
    data = arrays(work(recipe(), "onnx", spec=spec))
    assert list(data) == ["input:pictures", "labels", "reference:0", "reference:1", "parent:0", "parent:1"]
    wanted = network()(tensor(stripes().evaluation.inputs)).detach()
    assert np.allclose(data["reference:0"], wanted.numpy(), atol=1e-4)
    assert np.allclose(data["parent:1"], wanted.softmax(1).numpy(), atol=1e-4)
    assert work(recipe(QUANTIZE), "onnx-s8s8", spec=spec).artifacts["onnx-s8s8"].facts["int8_coverage"] == 1


@pytest.mark.parametrize(
    ("steps", "lowering", "error", "match"),
    [
        ((TRAIN,), "onnx", ModelError, r"asks to train an ONNX file, which is a finished graph"),
        ((PRUNE, QUANTIZE), "onnx-u8s8", ModelError, r"asks to prune an ONNX file"),
        ((), "pt2", PlanError, r"pt2 starts from a torch network"),
        ((), "onnx-u8s8", PlanError, r"Add a quantize step"),
    ],
)
def test_what_an_onnx_file_cannot_do(
    steps: Sequence[Step], lowering: str, error: type[EdgebenchError], match: str, onnx_file: Path, work: Work
) -> None:
    with pytest.raises(error, match=match):
        work(recipe(*steps), lowering, spec=ModelSpec(name="net", source=onnx_file.name))


def test_an_onnx_file_that_does_not_take_the_data_is_refused(onnx_file: Path, work: Work) -> None:
    model = onnx.load(onnx_file)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 13
    onnx.save(model, onnx_file)
    with pytest.raises(ModelError, match=r"takes float32 samples of shape \[1, 13, 12\], but stripes has"):
        pipeline.check(ModelSpec(name="net", source=onnx_file.name), stripes(), base=work.base)


def test_an_old_opset_is_converted_before_it_is_quantized(tmp_path: Path, work: Work) -> None:
    shape = stripes().evaluation.inputs.shape[1:]
    weight = np.random.RandomState(0).standard_normal((3, 144)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["x"], ["flat"]),
            onnx.helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
        ],
        "old",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", *shape])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 3])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(np.zeros(3, np.float32), "b")],
    )
    old = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 9)], ir_version=4)
    onnx.save(old, tmp_path / "old.onnx")
    variant = work(recipe(QUANTIZE), "onnx-u8s8", spec=ModelSpec(name="old", source="old.onnx"))
    assert variant.artifacts["onnx-u8s8"].facts["int8_coverage"] == 1


def test_code_is_followed_through_a_users_own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_top.py").write_text("def net():\n    import my_layers.block\n")
    (tmp_path / "my_layers").mkdir()
    (tmp_path / "my_layers" / "__init__.py").write_text("")
    (tmp_path / "my_layers" / "block.py").write_text("from . import base\nimport os, torch\n")
    (tmp_path / "my_layers" / "base.py").write_text("x = 1\n")
    (tmp_path / "unrelated.py").write_text("y = 1\n")
    import my_top  # type: ignore[import-not-found]

    before = code.of(my_top.net)
    (tmp_path / "unrelated.py").write_text("y = 2\n")
    assert code.of(my_top.net) == before
    (tmp_path / "my_layers" / "base.py").write_text("x = 2\n")
    assert code.of(my_top.net) != before
    assert code.of(len) == ""


def test_a_training_is_kept_under_the_code_that_trains() -> None:
    """Nothing that it imports lies in another room, or changes there would leave its old result in force."""
    here = Path(code.__file__).parent
    first = [*(here / "training").rglob("*.py"), here / "checkpoint.py"]
    found = code._followed(first, here.parents[1], lambda name: name.startswith("edgebench.compress."))
    rooms = {p.relative_to(here).parts[0] for p in found if p.parent != here}
    assert rooms == {"training"}
    assert here / "load_model.py" in found
    assert not {here / "build.py", here / "timing.py"} & found
    steps = [methods.parse(Step(method=name)) for name in ("train", "qat")]
    assert code.of_step(steps[0]) == code.of_training() != code.of_step(steps[1]) == code.of_this_package()


def test_imports_for_the_type_checker_alone_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\n"
    )
    assert set(code._imports(tmp_path / "a.py", tmp_path)) == {"typing", "typing.TYPE_CHECKING", "c"}


def test_a_saved_npz_carries_no_time(tmp_path: Path) -> None:
    from edgebench.compress.build import write_npz

    content: dict[str, Any] = {"input:x": np.eye(3, dtype=np.float32)[:, ::-1], "labels": np.arange(3)}
    for name in ("a", "b"):
        write_npz(tmp_path / f"{name}.npz", content)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        assert all(np.array_equal(archive[k], v) for k, v in content.items())
