"""Training and fine-tuning on a set that is learnt in a second: what each option does, and going on after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_helpers import SPEC, context, network, stripes
from safetensors.torch import load_file
from torch import nn

from edgebench.codec import Options
from edgebench.compress import pipeline
from edgebench.compress.context import Context
from edgebench.compress.load_model import answer, load_weights, macs, tensor
from edgebench.compress.training import accelerator
from edgebench.compress.training.average import Average
from edgebench.compress.training.criterion import cross_entropy
from edgebench.compress.training.learning import Learning
from edgebench.compress.training.loop import fit, outputs_of
from edgebench.compress.training.schedule import optimizer, rate
from edgebench.compress.training.train import Finetune, Train
from edgebench.data import Split
from edgebench.errors import DataError, EdgebenchError, ModelError, PlanError
from edgebench.schema import Recipe, Step


def accuracy(model: nn.Module) -> float:
    held_out = stripes().evaluation
    assert held_out.labels is not None
    return float((outputs_of(model, tensor(held_out.inputs)).argmax(1).numpy() == held_out.labels).mean())


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


def test_training_learns_and_says_how_far_it_is() -> None:
    said: list[tuple[str, int, int, str]] = []
    where = context()
    where.progress = lambda *line: said.append(line)
    trained = Train(epochs=4, batch_size=16, lr=0.005).apply(network(), where)
    assert accuracy(trained) > 0.9 > accuracy(network())
    assert not trained.training
    assert [line[:3] for line in said] == [("test", step, 28) for step in range(1, 29)]
    assert said[0][3].startswith("loss ")
    assert said[0][3].endswith("%, epoch 1/4")
    last = where.facts
    assert said[-1][3] == f"loss {last['loss']:.3f}, accuracy {last['running_train_accuracy']:.1%}, epoch 4/4"
    assert last["running_train_accuracy"] > 0.9
    if not torch.cuda.is_available():
        assert last["trained_in"] == "float32 on cpu"


def test_bfloat16_is_used_on_a_cpu_where_that_was_asked_for_and_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for has in (True, False):
        monkeypatch.setattr(accelerator, "_cpu_has_bfloat16", lambda has=has: has)
        found = [accelerator.precision(cpu, mixed) for mixed in ("never", "gpu", "always")]
        assert found == ["float32", "float32", "bfloat16" if has else "float32"]


def test_gradients_are_right_in_the_layout_of_this_processor() -> None:
    """Of a strided 1 x 1 convolution: the shortcut of every residual network, with as few channels as pruning leaves."""
    where = accelerator.layout(torch.device("cpu"))
    for channels in (1, 2, 3, 5, 7, 8):
        torch.manual_seed(channels)
        conv = nn.Conv2d(channels, 35, 1, stride=2)
        inputs, found = torch.randn(120, channels, 12, 12), []
        for layout, kind in ((where, torch.float32), (torch.contiguous_format, torch.float64)):  # oneDNN has no float64
            conv.zero_grad()
            conv.to(kind, memory_format=layout)
            conv(inputs.to(kind).contiguous(memory_format=layout)).square().sum().backward()
            found.append(conv.weight.grad.double())
        torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-2)


def test_a_network_trained_in_bfloat16_learns_and_has_float32_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without it computes the same, only slower."""
    monkeypatch.setattr(accelerator, "_cpu_has_bfloat16", lambda: True)
    where = context()
    trained = Train(epochs=4, batch_size=16, lr=0.005, mixed_precision="always", device="cpu").apply(network(), where)
    assert where.facts["trained_in"] == "bfloat16 on cpu"
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
    assert accuracy(trained) > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    states, random = [], torch.get_rng_state()
    for seed, own in ((0, 0), (0, 0), (1, 0), (0, 1)):
        where = context()
        where.seed = seed
        options = Options(crop=1, flip=True)
        states.append(state(Train(epochs=1, batch_size=32, seed=own, augment=options).apply(network(), where)))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])
    assert not same(states[0], states[3])
    assert torch.equal(torch.get_rng_state(), random)


def test_one_batch_of_everything_is_enough_to_train_on() -> None:
    Train(epochs=1, batch_size=1000).apply(network(), context())


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.3},
        {"optimizer": "sgd"},
        {"schedule": "constant"},
        {"warmup": 0.0},
        {"ema": 0.5},
        {"augment": Options(crop=2)},
        {"augment": Options(flip=True)},
        {"weight_decay": 0.9},
        {"labels": 0.5},
    ],
    ids=str,
)
def test_every_option_changes_the_result_and_still_learns(options: dict[str, Any]) -> None:
    plain = Train(epochs=4, batch_size=16, lr=0.005)
    changed = replace(plain, **options, **({"lr": 0.05} if "optimizer" in options else {}))
    found = changed.apply(network(), context())
    assert not same(state(found), state(plain.apply(network(), context())))
    assert accuracy(found) > 0.8


def test_momentum_changes_what_sgd_does() -> None:
    plain = Train(epochs=1, batch_size=16, lr=0.01, optimizer="sgd")
    slow = replace(plain, momentum=0.0)
    assert same(
        state(plain.apply(network(), context())), state(replace(plain, momentum=0.9).apply(network(), context()))
    )
    assert not same(state(plain.apply(network(), context())), state(slow.apply(network(), context())))
    kept = optimizer(slow, [nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (kept["momentum"], kept["nesterov"]) == (0.0, False)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    how = Learning(lr=1.0, warmup=0.2)
    rates = [rate(how, step, 100) for step in range(100)]
    assert rates[:20] == pytest.approx([(i + 1) / 20 for i in range(20)])
    assert rates[20:] == pytest.approx([(1 + np.cos(np.pi * i / 80)) / 2 for i in range(80)])
    assert [rate(replace(how, schedule="constant"), s, 100) for s in (0, 19, 20, 99)] == [0.05, 1, 1, 1]
    assert rate(Learning(lr=1.0, warmup=0.0), 0, 1) == 1
    assert rate(Learning(lr=1.0, warmup=1.0), 9, 10) == 1


def test_the_mean_of_the_weights_by_hand() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        model[0].weight.fill_(0)  # type: ignore[union-attr, operator]
    mean = Average(model, 0.15)
    wanted = 0.0
    for step, value in enumerate((10.0, 20.0, 30.0)):
        with torch.no_grad():
            model[0].weight.fill_(value)  # type: ignore[union-attr, operator]
        model[1].num_batches_tracked += 1  # type: ignore[operator, assignment, union-attr]
        mean.update(model, step)
        keep = min(0.15, (1 + step) / (10 + step))  # 0.1, then 0.15
        wanted = keep * wanted + (1 - keep) * value
    assert mean.values["0.weight"].item() == pytest.approx(wanted)
    assert mean.values["1.num_batches_tracked"].item() == 3


def test_label_smoothing_by_hand() -> None:
    outputs, labels = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([2])
    log = np.log(np.exp([1, 2, 4]) / np.exp([1, 2, 4]).sum())
    wanted = -(0.1 / 3) * log[0] - (0.1 / 3) * log[1] - (0.9 + 0.1 / 3) * log[2]
    assert cross_entropy(outputs, labels, 0.1).item() == pytest.approx(wanted)


def test_the_keywords_of_fit_are_the_options_of_a_step() -> None:
    by_keywords = fit(network(), context(), lambda o, y, i: cross_entropy(o, y, 0.0), epochs=1, lr=0.005, batch_size=16)
    step = Train(epochs=1, lr=0.005, batch_size=16).apply(network(), context())
    assert same(state(by_keywords), state(step))


def test_a_penalty_can_be_added_to_the_loss() -> None:
    model = network()
    weight = model.classifier.weight
    Train(epochs=4, batch_size=16).learn(model, context(), extra=lambda: 100 * weight.square().sum())
    plain = Train(epochs=4, batch_size=16).apply(network(), context())
    assert weight.norm().item() < 0.8 * plain.classifier.weight.norm().item()  # type: ignore[union-attr, operator]


def test_augmentation_touches_the_training_samples_only_and_leaves_them_as_they_are() -> None:
    where = context()
    before = {
        name: (split.inputs.copy(), outputs_of(network(), tensor(split.inputs)))
        for name, split in vars(where.data).items()
        if isinstance(split, Split)
    }
    model = network()
    Train(epochs=2, batch_size=16, augment=Options(crop=3, flip=True)).apply(model, where)
    assert set(before) == {"train", "calibration", "evaluation"}
    for name, (inputs, outputs) in before.items():
        assert np.array_equal(inputs, getattr(where.data, name).inputs)
        assert torch.equal(outputs, outputs_of(network(), tensor(getattr(where.data, name).inputs)))
    assert where.data.sha256 == stripes().sha256


# Going on after a kill, and after a loss that is no number.


class Killed(Exception):
    pass


def killed_at(step: int, where: Context) -> Context:
    def progress(stage: str, done: int, total: int, note: str) -> None:
        if done == step:
            raise Killed

    where.progress = progress
    return where


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "sgd", "ema": 0.9, "augment": Options(crop=1, flip=True)}], ids=str
)
def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(options: dict[str, Any], tmp_path: Path) -> None:
    step = Train(epochs=4, batch_size=16, lr=0.005, **options)
    whole = state(step.apply(network(), context()))
    with pytest.raises(Killed):
        step.apply(network(), killed_at(18, replace(context(), scratch=tmp_path)))  # in the third epoch of seven steps
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]
    said: list[int] = []
    again = replace(context(), scratch=tmp_path, progress=lambda stage, done, total, note: said.append(done))
    assert same(whole, state(step.apply(network(), again)))
    assert said == list(range(14, 29)), (
        "it says where it goes on, and the two epochs that were over are not trained again"
    )
    third = replace(context(), scratch=tmp_path, progress=lambda stage, done, total, note: said.append(-done))
    assert same(whole, state(step.apply(network(), third)))
    assert min(said) > 0, "nothing is left to train"
    assert third.facts == again.facts


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from compress_helpers import SPEC, stripes
from edgebench.compress import pipeline
from edgebench.codec import Options
from edgebench.schema import Recipe, Step

def progress(stage, done, total, note):
    if done == 18:
        os.kill(os.getpid(), signal.SIGKILL)

step = Step(method="train", options=Options(epochs=4, batch_size=16, ema=0.5))
cache = Path(sys.argv[2])
pipeline.build(SPEC, Recipe(name="r", steps=(step,)), (), stripes(), base=cache, cache=cache, progress=progress)
"""


def test_a_process_that_was_killed_leaves_what_the_next_one_needs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    recipe = Recipe(name="r", steps=(Step(method="train", options=Options(epochs=4, batch_size=16, ema=0.5)),))
    said: list[tuple[str, int]] = []

    def made(cache: Path) -> bytes:
        def progress(stage: str, at: int, total: int, note: str) -> None:
            said.append((stage, at))

        pipeline.build(SPEC, recipe, (), stripes(), base=tmp_path, cache=cache, progress=progress)
        (trained,) = [
            p for p in cache.glob("networks/*/network.safetensors") if "loss" in (p.parent / "made.json").read_text()
        ]
        return trained.read_bytes()

    resumed = made(tmp_path)
    assert [at for stage, at in said if stage == "r: train"] == list(range(14, 29))
    assert resumed == made(tmp_path / "from the start")
    assert not list((tmp_path / "trainings").iterdir()), "what has served is cleared away"


def test_the_state_of_another_training_is_not_taken(tmp_path: Path) -> None:
    where = replace(context(), scratch=tmp_path)
    Train(epochs=1, batch_size=16).apply(network(), where)
    (kept,) = tmp_path.iterdir()
    other = Train(epochs=1, batch_size=16, lr=0.009)
    wanted = state(other.apply(network(), context()))
    assert same(wanted, state(other.apply(network(), where)))
    assert len(list(tmp_path.iterdir())) == 2
    kept.write_bytes(kept.read_bytes()[:-7])  # a damaged file is no reason to fail either
    Train(epochs=1, batch_size=16).apply(network(), where)
    (tmp_path / f"{kept.stem}.safetensors").write_bytes(b"")
    Train(epochs=1, batch_size=16).apply(network(), where)


def test_a_loss_that_is_no_number_stops_training() -> None:
    model = network()
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"stopped being a number in epoch 1 of test\. Lower lr \(0.002\)"):
        Train(epochs=2).apply(model, context())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_so_large_that_the_answers_overflow_are_no_network(optimizer: Any) -> None:
    """One step an epoch: its loss was a number, and so are the weights after it."""
    with pytest.raises(ModelError, match=r"stopped being a number in epoch 1 of test\. Lower lr \(1e\+06\)"):
        Train(epochs=1, lr=1e6, warmup=0, batch_size=120, optimizer=optimizer, weight_decay=0).apply(deep(), context())
    for lr in (1e30, float("inf")):
        with pytest.raises(PlanError, match="option lr"):
            Train(lr=lr)


def deep() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 64), *[nn.Linear(64, 64) for _ in range(9)], nn.Linear(64, 3))


def test_a_network_that_works_in_place_leaves_the_samples_as_they_are() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.sub_(1))  # type: ignore[no-any-return]

    samples = tensor(stripes().evaluation.inputs)
    before, model = samples.clone(), Centred().eval()
    for look in (lambda: outputs_of(model, samples), lambda: macs(model, samples[:1]), lambda: answer(model, samples)):
        look()
        assert torch.equal(samples, before)


def test_the_last_good_network_is_kept(tmp_path: Path) -> None:
    where, calls = replace(context(), scratch=tmp_path / "new"), 0

    def loss(outputs: torch.Tensor, labels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(outputs, labels, 0.0) * (float("nan") if calls == 17 else 1)

    options: dict[str, Any] = {"lr": 0.005, "batch_size": 16, "warmup": 1.0, "schedule": "constant"}
    with pytest.raises(
        ModelError, match=r"in epoch 3 of test; the network of epoch 2 is kept in .*last-good"
    ) as caught:
        fit(network(), where, loss, epochs=4, **options)
    path = tmp_path / "new" / "last-good.safetensors"
    assert str(path) in caught.value.problem
    good = network()
    load_weights(good, path)
    assert all(bool(torch.isfinite(v).all()) for v in load_file(path).values())
    calls = -100
    fitted = network()
    with pytest.raises(Killed):
        fit(fitted, killed_at(15, context()), loss, epochs=4, **options)
    assert accuracy(good) > 0.5


def test_weights_that_are_no_numbers_are_not_kept_as_good(tmp_path: Path) -> None:
    """The last step of an epoch can break the weights after the last loss was still a number."""
    where, model, calls = replace(context(), scratch=tmp_path), network(), 0

    def loss(outputs: torch.Tensor, labels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        made = cross_entropy(outputs, labels, 0.0)
        broken = (model.classifier.bias * 0).sum().sqrt()  # its value is 0, its slope is no number
        return made + broken if calls == 7 else made

    with pytest.raises(ModelError, match=r"stopped being a number in epoch 1"):
        fit(model, where, loss, epochs=2, lr=0.005, batch_size=16)
    assert not list(tmp_path.iterdir())


# What cannot be trained.


def test_without_labels_there_is_nothing_to_learn_from() -> None:
    data = replace(stripes(), train=Split(stripes().train.inputs, None))
    with pytest.raises(DataError, match=r"no labelled training samples"):
        Train(epochs=1).apply(network(), context(data))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(PlanError, match=r"torch sees no GPU.*Leave device out"):
        Train(epochs=1, device="cuda").apply(network(), context())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Train(momentum=0.5), 'momentum of "train" is for sgd, not for adamw'),
        (lambda: Train(optimizer="sgd", momentum=1.5), "momentum.*from 0 to 0.9999"),
        (lambda: Train(warmup=1.5), "warmup.*from 0 to 1"),
        (lambda: Train(ema=1.0), "ema"),
        (lambda: Train(seed=-1), "seed"),
        (lambda: Train(labels=0.0), "neither labels nor teachers"),
        (lambda: Train(teachers=Options(parent={})), "no losses to learn from them by"),
        (lambda: Train(losses=Options(dkt={})), 'no loss "dkt"'),
        (lambda: Train(augment=Options(corp=4)), 'augmentation has no option "corp".*Did you mean "crop"'),
        (lambda: Train(augment=Options(crop=-1)), "crop .*cannot be -1"),
        (lambda: Finetune(losses=Options(dkd={}), teachers=Options(big={})), '"big" .*has no python entry'),
        (lambda: Finetune(losses=Options(dkd={}), teachers=Options(big=3)), '"big" .*cannot be 3'),
        (lambda: Finetune(losses=Options(dkd={}), teachers=Options(parent={"source": "a:b"})), "takes no source"),
        (lambda: Finetune(losses=Options(dkd={}), teachers=Options(parent={"share": 0})), "share"),
        (lambda: Finetune(losses=Options(dkd={}), teachers=Options(b={"surce": "a:b"})), 'Did you mean "source"'),
    ],
)
def test_wrong_options_are_refused_in_two_sentences(make: Any, match: str) -> None:
    with pytest.raises(PlanError, match=match) as caught:
        make()
    error: EdgebenchError = caught.value
    assert error.problem.endswith(".")
    assert error.fix.endswith((".", "?"))
