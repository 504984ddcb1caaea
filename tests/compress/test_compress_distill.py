"""Distillation: one or several teachers, layers named or paired, inside fine-tuning, cached where samples stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import ENTRY, SPEC, context, network, stripes
from safetensors.torch import save_file
from torch import Tensor, nn

from edgebench.codec import Options
from edgebench.compress import pipeline
from edgebench.compress.context import Context
from edgebench.compress.load_model import tensor
from edgebench.compress.training import teaching
from edgebench.compress.training.criterion import cross_entropy
from edgebench.compress.training.distill import Distill
from edgebench.compress.training.learning import Learning
from edgebench.compress.training.loop import fit, outputs_of
from edgebench.compress.training.losses.dkd import Dkd
from edgebench.compress.training.losses.hinton import Hinton
from edgebench.compress.training.pairing import heard_of_all, paired
from edgebench.compress.training.train import Finetune, Train
from edgebench.data import Split
from edgebench.errors import ModelError
from edgebench.schema import Recipe, Step

SMALL = Options(classes=3, in_channels=1, width=4)
LAYERED = ("fitnet", "attention", "rkd")


def accuracy(model: nn.Module) -> float:
    held_out = stripes().evaluation
    assert held_out.labels is not None
    return float((outputs_of(model, tensor(held_out.inputs)).argmax(1).numpy() == held_out.labels).mean())


def state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return Train(epochs=4, batch_size=16, lr=0.005).apply(network(), context())


def distill(**options: Any) -> Distill:
    given: dict[str, Any] = {"student_options": SMALL, "epochs": 3, "batch_size": 16, "lr": 0.01, **options}
    return Distill(student=ENTRY, **given)


def unlabelled() -> Context:
    """All labels say the same: whoever looks at them learns nothing."""
    data = stripes()
    return context(replace(data, train=Split(data.train.inputs, np.zeros(len(data.train), np.int64))))


@pytest.mark.parametrize("loss", ["hinton", "logit_std", "dist"])
def test_a_student_learns_from_its_teacher_alone(loss: str, teacher: nn.Module) -> None:
    """With labels = 0 no label is looked at."""
    before, where = state(teacher), unlabelled()
    student = distill(losses=Options({loss: {}}), labels=0.0, epochs=6).apply(teacher, where)
    assert accuracy(student) > 0.8
    assert sum(p.numel() for p in student.parameters()) < sum(p.numel() for p in teacher.parameters()) / 3
    assert (where.architecture.entry, where.architecture.options) == (ENTRY, SMALL)
    assert same(before, state(teacher))
    assert where.facts["loss"] >= 0


@pytest.mark.parametrize("loss", ["hinton", "logit_std", "dkd", "dist", *LAYERED])
def test_every_loss_trains_a_student_and_changes_it(loss: str, teacher: nn.Module) -> None:
    alone = distill(losses=Options()).apply(teacher, context())
    taught = distill(losses=Options({loss: {}}), epochs=6).apply(teacher, context())
    assert accuracy(taught) > 0.6
    assert not same(state(alone), state(taught))


def test_without_losses_the_labels_alone_are_learnt() -> None:
    """The baseline of every claim: the same student, the same batches, no teacher, who may be anything."""
    alone = distill(losses=Options()).apply(nn.Identity(), context())
    small = pipeline_module(SMALL)
    plain = fit(small, context(), lambda o, y, i: cross_entropy(o, y, 0.0), epochs=3, batch_size=16, lr=0.01)
    assert same(state(alone), state(plain))


def pipeline_module(options: Options) -> nn.Module:
    from edgebench.compress.load_model import load_module

    return load_module(replace(SPEC, options=options), Path())


def first_loss(how: Learning, student: nn.Module, where: Context, count: int = 8) -> float:
    """What the criterion says of the first samples."""
    inputs, labels = tensor(where.data.train.inputs)[:count], torch.from_numpy(where.data.train.labels)[:count]
    index = torch.arange(count)
    with torch.no_grad(), teaching.criterion(how, student.eval(), where) as criterion:
        criterion.see(inputs, index)
        return criterion(student(inputs), labels, index).item()


def test_the_whole_loss_is_the_weighted_sum(teacher: nn.Module) -> None:
    student, where = pipeline_module(SMALL), replace(context(), ancestors={"parent": lambda: teacher})
    how = Train(labels=0.5, losses=Options(hinton={"weight": 2.0}, dkd={"weight": 3.0, "beta": 2.0}))
    inputs, labels = tensor(stripes().train.inputs)[:8], torch.from_numpy(stripes().train.labels)[:8]
    with torch.no_grad():
        s, t = student(inputs), teacher(inputs)
        wanted = (
            0.5 * cross_entropy(s, labels, 0.0) + 2 * Hinton().of(s, t, labels) + 3 * Dkd(beta=2.0).of(s, t, labels)
        )
    assert first_loss(how, student, where) == pytest.approx(wanted.item(), rel=1e-5)


def test_several_teachers_share_the_loss(teacher: nn.Module) -> None:
    student, other = pipeline_module(SMALL), network()
    both = replace(context(), ancestors={"parent": lambda: teacher, "first": lambda: other})
    values = {
        name: first_loss(Train(labels=0.0, losses=Options(hinton={}), teachers=Options(teachers)), student, both)
        for name, teachers in {
            "one": {"parent": {}},
            "two": {"first": {}},
            "even": {"parent": {}, "first": {}},
            "uneven": {"parent": {"share": 3}, "first": {"share": 1}},
        }.items()
    }
    assert values["even"] == pytest.approx((values["one"] + values["two"]) / 2, rel=1e-5)
    assert values["uneven"] == pytest.approx((3 * values["one"] + values["two"]) / 4, rel=1e-5)


def test_a_teacher_of_ones_own_comes_with_its_weights(teacher: nn.Module, tmp_path: Path) -> None:
    save_file(state(teacher), tmp_path / "big.safetensors")
    own = {"source": ENTRY, "options": dict(SPEC.options), "weights": "big.safetensors"}
    how = distill(teachers=Options(big=own), labels=0.0)
    where = replace(unlabelled(), base=tmp_path)
    assert (how.entries, how.files) == ((ENTRY, ENTRY), ("big.safetensors",))
    untrained = network()
    by_own = state(how.apply(untrained, where))
    assert same(by_own, state(distill(labels=0.0).apply(teacher, unlabelled()))), "the untrained parent is not asked"
    how.check_teachers(tmp_path, compressed=True)
    (tmp_path / "big.safetensors").unlink()
    with pytest.raises(ModelError, match=r'big.safetensors of the teacher "big" are not there'):
        how.check_teachers(tmp_path, compressed=True)


@contextmanager
def counting(model: nn.Module) -> Iterator[list[int]]:
    """How many samples a network was asked each time."""
    asked: list[int] = []
    hook = model.register_forward_hook(lambda _, given, __: asked.append(len(given[0])))
    try:
        yield asked
    finally:
        hook.remove()


@pytest.mark.parametrize("loss", ["hinton", "fitnet"])
def test_the_teacher_is_asked_once_unless_samples_change(loss: str, teacher: nn.Module) -> None:
    samples = len(stripes().train)
    for augment, least, most in ((Options(), samples, samples + 8), (Options(flip=True), 3 * samples, 3 * samples + 8)):
        with counting(teacher) as asked:
            distill(losses=Options({loss: {}}), augment=augment).apply(teacher, context())
        assert least <= sum(asked) <= most


@pytest.mark.parametrize("loss", ["hinton", "attention"])
def test_answers_that_are_kept_are_those_that_would_be_given(
    loss: str, teacher: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = distill(losses=Options({loss: {}}))
    kept = state(how.apply(teacher, context()))
    monkeypatch.setattr(teaching, "CACHED", 0)
    asked = state(how.apply(teacher, context()))
    assert all(torch.allclose(kept[key].float(), asked[key].float(), atol=1e-3) for key in kept)


def test_an_augmented_sample_is_what_the_teacher_sees_too(teacher: nn.Module) -> None:
    """A teacher that says how much ink is on the left: its answer must be to the mirrored picture."""

    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(x)
            return x.flatten(1)[:, :3]

    left, where = Left(), context()
    student = pipeline_module(SMALL)
    how = Train(epochs=1, batch_size=120, losses=Options(hinton={}), augment=Options(crop=2, flip=True))
    fed: list[Tensor] = []
    hook = student.register_forward_hook(lambda network, given, _: fed.append(given[0]) if network.training else None)
    how.learn(student, replace(where, ancestors={"parent": lambda: left}))
    hook.remove()
    assert torch.equal(left.seen[-1], fed[-1])
    assert not torch.equal(fed[-1].sum(), tensor(stripes().train.inputs).sum())


# Layers.


class Plain(nn.Module):
    """Other layers, other names, other widths than ResNet-8, and no 12x12 but 6x6 and 3x3."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.Conv2d(1, 5, 3, 2, 1), nn.ReLU())
        self.more = nn.Conv2d(5, 7, 3, 2, 1)
        self.end = nn.Linear(7, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.more(self.start(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Pictures as 9 tokens of 6 numbers."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.patch, self.mix, self.end = nn.Linear(16, width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        cut = x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(len(x), 9, 16)
        return self.end(self.mix(self.patch(cut).relu()).mean(1))  # type: ignore[no-any-return]


def learn(student: nn.Module, big: nn.Module, **options: Any) -> Context:
    where = replace(context(), ancestors={"parent": lambda: big}, facts={})
    Train(epochs=1, batch_size=16, **options).learn(student, where)
    return where


def test_layers_are_paired_by_their_resolution(teacher: nn.Module) -> None:
    where = learn(Plain(), teacher, losses=Options(fitnet={}, attention={}, rkd={}))
    pairs = where.facts["layers"]
    assert pairs["fitnet"] == pairs["attention"] == "start=blocks.1 more=blocks"
    assert pairs["rkd"] == "more=blocks", "relations are those of the deepest layers"
    shapes = heard_of_all(teacher, torch.zeros(2, 1, 12, 12))
    assert [tuple(shapes[name].shape[2:]) for name in ("blocks.1", "blocks")] == [(6, 6), (3, 3)]


def test_layers_are_chosen_by_the_user(teacher: nn.Module) -> None:
    chosen = {"layers": {"start.0": "blocks.2", "more": "stem"}}  # other resolutions: the finer one is averaged down
    where = learn(Plain(), teacher, losses=Options(fitnet=chosen, attention={"layers": {"more": "blocks"}}))
    assert where.facts["layers"] == {"fitnet": "start.0=blocks.2 more=stem", "attention": "more=blocks"}


def test_tokens_learn_from_tokens_of_another_width() -> None:
    where = learn(Tokens(), Tokens(10), losses=Options(fitnet={}, attention={}, rkd={}))
    assert where.facts["layers"]["fitnet"] == "mix=mix"


@pytest.mark.parametrize("loss", LAYERED)
@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ({"blocks.3": "blocks.2"}, r'student of the loss .* no layer "blocks.3".*Did you mean "blocks.\d'),
        ({"blocks.1": "blok.2"}, r'teacher parent|teacher of the loss .* no layer "blok.2".*Did you mean'),
    ],
)
def test_a_layer_that_is_not_there_is_said(loss: str, layers: dict[str, str], match: str, teacher: nn.Module) -> None:
    with pytest.raises(ModelError, match=match):
        distill(losses=Options({loss: {"layers": layers}})).apply(teacher, context())


def test_networks_without_a_common_resolution_cannot_be_paired(teacher: nn.Module) -> None:
    with pytest.raises(ModelError, match=r'loss "attention" has nothing to pair.*Name the layers'):
        learn(Tokens(), teacher, losses=Options(attention={}))


def test_a_layer_that_runs_twice_counts_when_it_last_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.conv = nn.ReLU(), nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(self.act(x)))  # type: ignore[no-any-return]

    heard = heard_of_all(Twice(), torch.zeros(1, 1, 4, 4))
    assert list(heard) == ["conv", "act"]
    assert paired({}, heard, heard, "fitnet") == (("act", "act"),)


def test_nothing_listens_after_training(teacher: nn.Module) -> None:
    student = distill(losses=Options(fitnet={}, rkd={})).apply(teacher, context())
    for model in (student, teacher):
        assert not any(module._forward_hooks for module in model.modules())


# Inside other steps, and what cannot be.


def test_finetuning_after_pruning_learns_from_what_was_pruned(tmp_path: Path) -> None:
    """The same losses behind another method; the teacher is the network before the last compressing step."""
    train = Step(method="train", options=Options(epochs=2, batch_size=16, lr=0.005))
    prune = Step(method="prune", options=Options(macs=0.5))
    repair = {"epochs": 1, "batch_size": 16}
    taught = Step(method="finetune", options=Options({**repair, "losses": {"hinton": {}}, "labels": 0.0}))
    plain = Step(method="finetune", options=Options(repair))

    def made(*steps: Step) -> pipeline.Variant:
        recipe = Recipe(name="r", steps=steps)
        pipeline.check(SPEC, stripes(), base=tmp_path, recipes=[recipe])
        return pipeline.build(SPEC, recipe, ("pt2",), stripes(), base=tmp_path, cache=tmp_path / "cache")

    one, two = made(train, prune, taught), made(train, prune, plain)
    assert one.artifacts["pt2"].sha256 != two.artifacts["pt2"].sha256
    assert one.facts["macs"] == two.facts["macs"]
    assert not (tmp_path / "cache" / "trainings").exists() or not list((tmp_path / "cache" / "trainings").iterdir())


def test_the_recipes_own_teacher_is_the_one_before_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, dict[str, Tensor]]] = []

    def learn(self: Learning, model: nn.Module, where: Context, **more: Callable[..., Any]) -> nn.Module:
        given.append({name: state(make()) for name, make in where.ancestors.items()})
        with torch.no_grad():
            next(model.parameters()).add_(1)
        return model.eval()

    monkeypatch.setattr(Learning, "learn", learn)
    train, finetune = Step(method="train"), Step(method="finetune")
    prune = Step(method="prune", options=Options(macs=0.5))
    student = Step(method="distill", options=Options(student=ENTRY, student_options=dict(SMALL)))
    steps = (train, finetune, student, finetune, prune, finetune)
    pipeline.build(SPEC, Recipe(name="r", steps=steps), (), stripes(), base=tmp_path, cache=tmp_path / "cache")
    widths = [{name: len(kept["classifier.weight"][0]) for name, kept in ancestors.items()} for ancestors in given]
    assert widths == [{}, {}, {"parent": 32, "first": 32}, {"parent": 32, "first": 32}, {"parent": 16, "first": 32}]
    stem = [kept["parent"]["stem.0.weight"] for kept in given[2:]]
    assert torch.equal(stem[0], stem[1]), "fine-tuning a student keeps its teacher"


def test_a_recipe_without_a_network_to_learn_from_is_refused(tmp_path: Path) -> None:
    step = Step(method="train", options=Options(losses={"hinton": {}}))
    with pytest.raises(ModelError, match=r'teacher "parent" of the step "train".*there is none so far.*Put a prune'):
        pipeline.check(SPEC, stripes(), base=tmp_path, recipes=[Recipe(name="r", steps=(step,))])
    with pytest.raises(ModelError, match=r"there is none so far"):
        Finetune(losses=Options(hinton={})).apply(network(), context())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"student_options": {"classes": 5, "in_channels": 1}}, r"answers \[5\] per sample, its teacher parent \[3\]"),
        ({"student_options": {"classes": 2, "in_channels": 1}}, r"answers \[2\] per sample, but stripes has 3 classes"),
        ({"student_options": {"classes": 2, "in_channels": 1}, "losses": {}}, r"answers \[2\] per sample"),
        ({"losses": {"rkd": {"layers": {"blocks.7": "blocks"}}}}, r'no layer "blocks.7"'),
        ({"teachers": {"big": {"source": "nowhere:net"}}}, r"nowhere:net does not import"),
        ({"teachers": {"big": {"source": ENTRY, "options": {"classes": 4, "in_channels": 1}}}}, r"teacher big \[4\]"),
        (
            {"teachers": {"big": {"source": ENTRY, "options": {"classes": 3, "in_channels": 1}}}},
            r'teacher "big" is untrained.*weights = "file\.safetensors"',
        ),
    ],
)
def test_what_cannot_be_distilled_is_found_before_anything_is_trained(
    options: dict[str, Any], match: str, tmp_path: Path
) -> None:
    step = Step(method="distill", options=Options({"student": ENTRY, "student_options": dict(SMALL), **options}))
    with pytest.raises(ModelError, match=match):
        pipeline.check(SPEC, stripes(), base=tmp_path, recipes=[Recipe(name="r", steps=(Step(method="train"), step))])


def test_a_finetune_behind_pruning_is_tried_out_too(tmp_path: Path) -> None:
    def check(layers: dict[str, str]) -> None:
        taught = Step(method="finetune", options=Options(losses={"fitnet": {"layers": layers}}))
        steps = (Step(method="prune", options=Options(macs=0.5)), taught)
        pipeline.check(SPEC, stripes(), base=tmp_path, recipes=[Recipe(name="r", steps=steps)])

    check({"blocks.1": "blocks.1"})
    with pytest.raises(ModelError, match=r'no layer "blocks.9"'):
        check({"blocks.1": "blocks.9"})


def test_a_student_with_other_classes_is_refused(teacher: nn.Module) -> None:
    step = Distill(student=ENTRY, student_options=Options(classes=5, in_channels=1, width=4))
    with pytest.raises(ModelError, match=r"answers \[5\] per sample, its teacher parent \[3\].*student_options"):
        step.apply(teacher, context())
    with pytest.raises(ModelError, match=r"does not import"):
        Distill(student="nowhere:net").apply(teacher, context())


def test_a_killed_distillation_goes_on_and_ends_in_the_same_bytes(teacher: nn.Module, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def progress(stage: str, done: int, total: int, note: str) -> None:
        if done == 10:
            raise Killed

    step = distill(losses=Options(fitnet={}, dkd={}), ema=0.5, augment=Options(flip=True))
    whole = state(step.apply(teacher, context()))
    with pytest.raises(Killed):
        step.apply(teacher, replace(context(), scratch=tmp_path, progress=progress))
    assert len(list(tmp_path.iterdir())) == 1
    assert same(whole, state(step.apply(teacher, replace(context(), scratch=tmp_path))))


def test_an_exported_network_learns_by_its_answers_only(teacher: nn.Module) -> None:
    """As in quantization-aware training, where the network is a graph without layers or modes of its own."""
    inputs = tensor(stripes().train.inputs)
    exported: Any = torch.export.export(Plain().train(), (inputs[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    student = exported.module()
    where = replace(context(), ancestors={"parent": lambda: teacher})
    switched: list[bool] = []
    how = Train(epochs=3, batch_size=16, lr=0.02, losses=Options(hinton={}), labels=0.0)
    before = state(student)
    how.learn(student, where, mode=lambda model, on: switched.append(on))
    assert not same(before, state(student))
    assert switched == [True, True, True, False]
    with pytest.raises(ModelError, match=r"exported graph.*Use losses of the answers alone"):
        replace(how, losses=Options(rkd={})).learn(student, where, mode=lambda model, on: None)
