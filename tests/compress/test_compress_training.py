"""Training, fine-tuning and distillation on a set that is learnt in a second."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from compress_helpers import ENTRY, context, network, stripes
from torch import nn

from edgebench.compress.distill import Distill, hinton
from edgebench.compress.load_model import tensor
from edgebench.compress.train import Finetune, Train
from edgebench.compress.training import outputs_of
from edgebench.data import Split
from edgebench.errors import DataError, ModelError
from edgebench.schema import Options


def accuracy(model: nn.Module) -> float:
    held_out = stripes().evaluation
    assert held_out.labels is not None
    return float((outputs_of(model, tensor(held_out.inputs)).argmax(1).numpy() == held_out.labels).mean())


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return Train(epochs=4, batch_size=16, lr=0.005).apply(network(), context())


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_training_learns_and_says_how_far_it_is(teacher: nn.Module) -> None:
    assert accuracy(teacher) > 0.9 > accuracy(network())
    assert not teacher.training
    said: list[tuple[str, int, int, str]] = []
    where = context()
    where.progress = lambda *line: said.append(line)
    Finetune(epochs=2, batch_size=16).apply(network(), where)
    assert [line[:3] for line in said] == [("test", 1, 2), ("test", 2, 2)]
    assert said[-1][3] == f"loss {where.facts['loss']:.3f}"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    states, random = [], torch.get_rng_state()
    for seed in (0, 0, 1):
        where = context()
        where.seed = seed
        states.append(state(Train(epochs=1, batch_size=32).apply(network(), where)))
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(torch.equal(states[0][k], states[2][k]) for k in states[0])
    assert torch.equal(torch.get_rng_state(), random)


def test_one_batch_of_everything_is_enough_to_train_on() -> None:
    Train(epochs=1, batch_size=1000).apply(network(), context())


def test_a_loss_that_is_no_number_stops_training() -> None:
    model = network()
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"stopped being a number in epoch 1 of test.*Lower lr"):
        Train(epochs=2).apply(model, context())


def test_without_labels_there_is_nothing_to_learn_from() -> None:
    data = replace(stripes(), train=Split(stripes().train.inputs, None))
    with pytest.raises(DataError, match=r"no labelled training samples"):
        Train(epochs=1).apply(network(), context(data))


def test_label_smoothing_changes_the_loss() -> None:
    losses = []
    for smoothing in (0.0, 0.3):
        where = context()
        Train(epochs=1, label_smoothing=smoothing).apply(network(), where)
        losses.append(where.facts["loss"])
    assert losses[0] != losses[1]


def test_the_loss_of_hinton_against_a_value_by_hand() -> None:
    student, teacher, temperature = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 2.0
    p = 1 / (1 + np.e)  # softmax([0, 1])[0]
    wanted = temperature**2 * (p * np.log(p / (1 - p)) + (1 - p) * np.log((1 - p) / p))
    assert float(hinton(student, teacher, temperature)) == pytest.approx(wanted)
    assert float(hinton(teacher, teacher, temperature)) == pytest.approx(0, abs=1e-6)
    twice = hinton(student.repeat(2, 1), teacher.repeat(2, 1), temperature)
    assert float(twice) == pytest.approx(wanted)


def test_the_gradient_of_hinton_hardly_depends_on_the_temperature() -> None:
    sizes = []
    for temperature in (10.0, 40.0):
        student = torch.tensor([[0.3, -0.1, 0.2]], requires_grad=True)
        hinton(student, torch.tensor([[1.0, 0.0, -1.0]]), temperature).backward()  # type: ignore[no-untyped-call]
        sizes.append(float(student.grad.norm()))  # type: ignore[union-attr]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_a_student_learns_from_its_teacher_alone(teacher: nn.Module) -> None:
    """With alpha = 1 no label is looked at."""
    before = state(teacher)
    data = stripes()
    wrong = replace(data, train=Split(data.train.inputs, np.zeros(len(data.train), np.int64)))
    where = context(wrong)
    options = Options(classes=3, in_channels=1, width=4)
    step = Distill(student=ENTRY, student_options=options, alpha=1.0, epochs=6, batch_size=16, lr=0.01)
    student = step.apply(teacher, where)
    assert accuracy(student) > 0.8
    assert sum(p.numel() for p in student.parameters()) < sum(p.numel() for p in teacher.parameters()) / 3
    assert (where.architecture.entry, where.architecture.options) == (ENTRY, options)
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())


def test_a_student_with_other_classes_is_refused(teacher: nn.Module) -> None:
    step = Distill(student=ENTRY, student_options=Options(classes=5, in_channels=1, width=4))
    with pytest.raises(ModelError, match=r"answers \[5\], its teacher \[3\].*student_options"):
        step.apply(teacher, context())
    with pytest.raises(ModelError, match=r"does not import"):
        Distill(student="nowhere:net").apply(teacher, context())
