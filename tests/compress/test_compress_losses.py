"""Each loss of distillation against a value by hand, or a formula that shares no code with it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgebench.compress.training import losses
from edgebench.compress.training.losses import LOSSES, parse
from edgebench.compress.training.losses.attention import Attention, attention
from edgebench.compress.training.losses.dist import Dist
from edgebench.compress.training.losses.dkd import Dkd
from edgebench.compress.training.losses.fitnet import FitNet
from edgebench.compress.training.losses.hinton import Hinton, LogitStd, softened
from edgebench.compress.training.losses.maps import as_maps, same_size
from edgebench.compress.training.losses.rkd import Rkd, angles, distances
from edgebench.compress.training.losses.standardize import standardized
from edgebench.errors import PlanError

LOGITS = ("hinton", "logit_std", "dkd", "dist")


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape) * 2)


def softmax(row: Any) -> Any:
    return np.exp(row) / np.exp(row).sum()


def divergence(p: Any, q: Any) -> float:
    """KL(p || q), by its definition."""
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    return some(5, 4), some(5, 4, seed=1), torch.tensor([0, 3, 1, 1, 2])


def test_hinton_by_hand() -> None:
    student, teacher, temperature = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 2.0
    p = 1 / (1 + np.e)  # softmax([0, 1])[0]
    wanted = temperature**2 * (p * np.log(p / (1 - p)) + (1 - p) * np.log((1 - p) / p))
    assert float(softened(student, teacher, temperature)) == pytest.approx(wanted)
    twice = softened(student.repeat(2, 1), teacher.repeat(2, 1), temperature)
    assert float(twice) == pytest.approx(wanted), "the mean over the batch"


def test_hinton_from_the_definition(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = batch
    wanted = np.mean(
        [9 * divergence(softmax(t / 3), softmax(s / 3)) for s, t in zip(student.numpy(), teacher.numpy(), strict=True)]
    )
    assert float(Hinton(temperature=3.0).of(student, teacher, labels)) == pytest.approx(wanted)


def test_the_gradient_of_hinton_hardly_depends_on_the_temperature() -> None:
    sizes = []
    for temperature in (10.0, 40.0):
        student = torch.tensor([[0.3, -0.1, 0.2]], requires_grad=True)
        softened(student, torch.tensor([[1.0, 0.0, -1.0]]), temperature).backward()  # type: ignore[no-untyped-call]
        sizes.append(float(student.grad.norm()))  # type: ignore[union-attr]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_standardized_logits_by_hand() -> None:
    # mean 2, deviations -1 0 1, sample deviation 1
    found = standardized(torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [7.0, 7.0, 7.0]]))
    assert found.tolist() == [pytest.approx([-1, 0, 1]), pytest.approx([-1, 0, 1]), [0, 0, 0]]


def test_standardization_forgets_scale_and_shift(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = batch
    for loss in (LogitStd(), Dkd(standardize=True), Dist(standardize=True), Hinton(standardize=True)):
        plain, moved = loss.of(student, teacher, labels), loss.of(student * 5 + 2, teacher * 0.2 - 7, labels)
        assert float(plain) == pytest.approx(float(moved), rel=1e-4), loss.name
    alone = softened(standardized(student), standardized(teacher), 2.0)
    assert torch.equal(LogitStd().of(student, teacher, labels), alone)
    with_dkd = Dkd().of(standardized(student), standardized(teacher), labels)
    assert torch.equal(Dkd(standardize=True).of(student, teacher, labels), with_dkd)


def test_dkd_from_the_definition(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """Equations 5 to 7 of the paper, sample by sample."""
    student, teacher, labels = batch
    loss, made = Dkd(alpha=1.5, beta=3.0, temperature=2.0), []
    for s, t, y in zip(student.numpy() / 2, teacher.numpy() / 2, labels.tolist(), strict=True):
        ps, pt = softmax(s), softmax(t)
        target = divergence([pt[y], 1 - pt[y]], [ps[y], 1 - ps[y]])
        others = divergence(softmax(np.delete(t, y)), softmax(np.delete(s, y)))
        made.append(4 * (1.5 * target + 3.0 * others))
    assert float(loss.of(student, teacher, labels)) == pytest.approx(np.mean(made))


def test_dkd_is_hinton_where_beta_is_the_teachers_doubt(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """KD = TCKD + (1 - p_t) NCKD: equation 8 of the paper, for one sample."""
    student, teacher, labels = (x[:1] for x in batch)
    doubt = 1 - float((teacher / 4).softmax(1)[0, labels[0]])
    found = Dkd(alpha=1.0, beta=doubt).of(student, teacher, labels)
    assert float(found) == pytest.approx(float(softened(student, teacher, 4.0)))


def test_dist_from_numpys_correlation(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, labels = batch
    s, t = ((x / 3).softmax(1).numpy() for x in (student, teacher))
    inter = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(s, t, strict=True)])
    intra = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(s.T, t.T, strict=True)])
    found = Dist(beta=1.5, gamma=0.5, temperature=3.0).of(student, teacher, labels)
    assert float(found) == pytest.approx(9 * (1.5 * inter + 0.5 * intra))


def test_fitnet_by_hand() -> None:
    student = torch.tensor([[[[1.0, 2.0]]]])  # one channel, two places
    teacher = torch.tensor([[[[3.0, 4.0]], [[0.0, 1.0]]]])  # two channels
    loss = FitNet()
    (project,) = loss.learnt([(student, teacher)])
    with torch.no_grad():
        project.weight.copy_(torch.tensor([2.0, -1.0])[:, None, None, None])  # type: ignore[union-attr, operator]
        project.bias.copy_(torch.tensor([0.0, 1.0]))  # type: ignore[union-attr, operator]
    # projected: (2, 4) and (0, -1); differences (-1, 0) and (0, -2)
    assert loss.of(student, teacher, project).item() == pytest.approx((1 + 0 + 0 + 4) / 4)


def test_the_projection_of_fitnet_is_learnt_and_brings_any_channels_together() -> None:
    student, teacher = some(3, 2, 4, 4).float(), some(3, 7, 4, 4, seed=1).float()
    loss = FitNet()
    (project,) = loss.learnt([(student, teacher)])
    loss.of(student, teacher, project).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in project.parameters())


def test_attention_by_hand() -> None:
    student = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]])  # squares summed: 9 and 4
    found = attention(student)
    assert found.tolist()[0] == pytest.approx([9 / math.hypot(9, 4), 4 / math.hypot(9, 4)])
    teacher = torch.tensor([[[[1.0, 0.0]]]])
    wanted = ((9 / math.hypot(9, 4) - 1) ** 2 + (4 / math.hypot(9, 4)) ** 2) / 2
    assert float(Attention().of(student, teacher, None)) == pytest.approx(wanted)
    assert float(Attention().of(teacher * 5, teacher, None)) == pytest.approx(0)


def huber(d: float) -> float:
    return d * d / 2 if abs(d) < 1 else abs(d) - 0.5


def test_rkd_from_loops_over_pairs_and_triples() -> None:
    student, teacher = some(4, 3), some(4, 5, seed=2)
    loss = Rkd(distance=2.0, angle=3.0)

    def relations(points: Any) -> tuple[Any, Any]:
        n = len(points)
        apart = np.array([[np.linalg.norm(points[i] - points[j]) for j in range(n)] for i in range(n)])
        apart = apart / apart[apart > 0].mean()
        corners = []
        for j, i, k in itertools.product(range(n), repeat=3):
            a, b = points[i] - points[j], points[k] - points[j]
            corners.append(0.0 if j in (i, k) else float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
        return apart, np.array(corners)

    (ds, cs), (dt, ct) = relations(student.float().numpy()), relations(teacher.float().numpy())
    wanted = 2 * np.mean([huber(d) for d in (ds - dt).flat]) + 3 * np.mean([huber(d) for d in cs - ct])
    assert float(loss.of(student, teacher, None)) == pytest.approx(wanted, rel=1e-5)


def test_rkd_has_a_slope_where_samples_coincide() -> None:
    student = torch.ones(3, 2, requires_grad=True)
    Rkd().of(student, some(3, 2).float(), None).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())
    assert distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 1], [1, 0]]
    right = angles(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    assert float(right[0, 1, 2]) == 0
    assert float(right[1, 0, 2]) == pytest.approx(1 / math.sqrt(5))


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name: str) -> None:
    loss = LOSSES[name]()
    if isinstance(loss, losses.LogitLoss):
        logits = some(6, 5)
        assert float(loss.of(logits, logits, torch.arange(6) % 5)) == pytest.approx(0, abs=1e-9)
        return
    maps = some(6, 3, 4, 4).float()
    own = torch.nn.Identity() if name == "fitnet" else None
    assert float(loss.of(maps, maps, own)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_pulls_the_student_towards_its_teacher(name: str) -> None:
    loss, labels = LOSSES[name](), torch.tensor([0, 1, 2, 3, 0, 1])
    shape = (6, 4) if name in LOGITS else (6, 4, 3, 3)
    student, teacher = some(*shape).float().requires_grad_(), some(*shape, seed=3).float()
    own = torch.nn.Identity() if name == "fitnet" else None
    values = []
    for _ in range(30):
        value = (
            loss.of(student, teacher, labels) if isinstance(loss, losses.LogitLoss) else loss.of(student, teacher, own)
        )
        (slope,) = torch.autograd.grad(value, student)
        values.append(value.item())
        with torch.no_grad():
            student -= 0.3 * slope / slope.norm()
    assert values[-1] < 0.8 * values[0]


def test_any_output_becomes_maps_of_one_size() -> None:
    assert as_maps(torch.zeros(2, 5)).shape == (2, 5, 1, 1)
    assert as_maps(torch.zeros(2, 9, 5)).shape == (2, 5, 9, 1)
    assert as_maps(torch.zeros(2, 5, 3, 4)).shape == (2, 5, 3, 4)
    small, shrunk = same_size(torch.zeros(1, 1, 2, 2), torch.arange(16.0).reshape(1, 1, 4, 4))
    assert (small.shape, shrunk.shape) == ((1, 1, 2, 2), (1, 1, 2, 2))
    assert shrunk.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_names_its_paper(name: str) -> None:
    assert "arXiv:" in (LOSSES[name].__doc__ or "")


def test_a_table_names_losses_with_their_options() -> None:
    made = parse({"dkd": {"beta": 4, "standardize": True}, "attention": {"layers": {"a": "b"}}})
    assert made == (Dkd(beta=4.0, standardize=True), Attention(layers=made[1].layers))  # type: ignore[union-attr]
    assert parse({}) == ()


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"dkt": {}}, 'no loss "dkt".*Did you mean "dkd"'),
        ({"dkd": 3}, 'options of the loss "dkd" cannot be 3.*weight = 1.0'),
        ({"dkd": {"bta": 3}}, 'loss "dkd" has no option "bta".*Did you mean "beta"'),
        ({"hinton": {"temperature": 0}}, "temperature.*above 0"),
        ({"rkd": {"weight": -1.0}}, "weight.*above 0"),
        ({"fitnet": {"layers": {"a": 3}}}, "layers .*a = 3.*in quotes"),
        ({"dist": {"standardize": 1}}, "true or false"),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        parse(table)
