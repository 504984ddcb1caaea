"""The suite cifar10 as it is shipped, on made-up pictures in its archive's form: every kind of recipe runs."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebench import suites
from edgebench.codec import Options
from edgebench.compress import pipeline
from edgebench.data import DataSet, load
from edgebench.errors import DataError
from edgebench.plan import Plan
from edgebench.schema import Recipe, Step

VARIABLE = "EDGEBENCH_CIFAR10"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures of each class, in class folders and sorted by class, as JPEG."""
    image = pytest.importorskip("PIL.Image")
    random, path = np.random.RandomState(0), tmp_path_factory.mktemp("pictures") / "cifar10-train.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        for number, name in enumerate(CLASSES):
            for i in range(20):
                pixels = (random.rand(32, 32, 3) * 60 + 19 * number).astype(np.uint8)
                file = io.BytesIO()
                image.fromarray(pixels).save(file, "JPEG", quality=95)
                member = tarfile.TarInfo(f"train/{name}/{i:04}.jpg")
                member.size = file.tell()
                file.seek(0)
                made.addfile(member, file)
    return path


@pytest.fixture
def plan() -> Plan:
    return suites.read("cifar10")


def loaded(plan: Plan, archive: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    monkeypatch.setenv(VARIABLE, str(archive))
    return load(plan.data, plan.data_options, Path())


def test_the_suite_says_what_it_needs_when_it_is_missing(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(DataError, match=rf"variable {VARIABLE}, which is to name the data, is not set\. Set it to"):
        load(plan.data, plan.data_options, Path())
    monkeypatch.setenv(VARIABLE, "nowhere.tar.gz")
    with pytest.raises(DataError, match=r"There is no folder or archive nowhere.tar.gz\. Check the path\."):
        load(plan.data, plan.data_options, Path())


def test_the_last_tenth_of_each_class_is_held_out(plan: Plan, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = loaded(plan, archive, monkeypatch)
    assert data.evaluation.labels is not None
    assert sorted(data.evaluation.labels) == sorted(list(range(10)) * 2)
    assert data.classes == tuple(CLASSES)
    splits = [{row.tobytes() for row in s.inputs} for s in (data.train, data.calibration, data.evaluation)]
    assert len(set.union(*splits)) == sum(map(len, splits)) == 200


def test_students_differ_by_their_losses_and_seeds_only(plan: Plan) -> None:
    """What is claimed of distillation is claimed against the same student, the same batches, the same epochs."""
    by_name = {recipe.name: recipe.steps for recipe in plan.recipes}
    students = {name: steps[-1].options for name, steps in by_name.items() if steps[-1].method == "distill"}
    assert len({steps[:-1] for name, steps in by_name.items() if name in students}) == 1
    same = {Options({k: v for k, v in o.items() if k not in ("losses", "seed")}) for o in students.values()}
    assert len(same) == 1
    found = {(name.rpartition("-")[0], o["seed"], tuple(o["losses"])) for name, o in students.items()}
    wanted = {("labels", ()), ("hinton", ("hinton",)), ("dist", ("dist",))}
    assert found == {(name, seed, losses) for name, losses in wanted for seed in range(3)}


def test_ours_and_what_it_is_held_against_differ_by_one_step_only(plan: Plan) -> None:
    by_name = {recipe.name: recipe.steps for recipe in plan.recipes}
    for ours, peers in {
        "pruned": ["pruned-peer"],
        "teacher-int8": ["teacher-int8-peer-onnxruntime", "teacher-int8-peer-nncf"],
    }.items():
        for peer in peers:
            differ = [(a.method, b.method) for a, b in zip(by_name[ours], by_name[peer], strict=True) if a != b]
            assert len(differ) == 1
            assert differ[0][1].startswith("peer-")
            assert not differ[0][0].startswith("peer-")


def test_the_network_that_int8_hurts_is_trained_for_as_long_either_way(plan: Plan) -> None:
    mobile = {r.name: r.steps for r in plan.recipes if r.model}
    assert {sum(s.options.get("epochs", 0) for s in steps) for steps in mobile.values()} == {12}


def shortened(step: Step) -> Step:
    """The step with one epoch of few batches."""
    if "epochs" not in step.options:
        return step
    return replace(step, options=Options({**step.options, "epochs": 1}))


def test_every_kind_of_recipe_of_the_suite_runs(
    plan: Plan, archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """But for those that measure: `test_stopwatch` has them."""
    data = loaded(plan, archive, monkeypatch)
    for model in {recipe.model or plan.model for recipe in plan.recipes}:
        own = [recipe for recipe in plan.recipes if (recipe.model or plan.model) == model]
        pipeline.check(model, data, base=tmp_path, recipes=own)
    kinds = {
        tuple((s.method, tuple(s.options.get("losses", ()))) for s in r.steps): r
        for r in plan.recipes
        if not any("latency" in step.options for step in r.steps)
    }
    other_seed = next(r for r in plan.recipes if r.name == "labels-0")
    assert {r.name for r in kinds.values()} >= {"labels-2", "hinton-2", "dist-2", "pruned-peer", "small-int8"}
    seeds: set[str] = set()
    for recipe in (*kinds.values(), other_seed):
        short = Recipe(name=recipe.name, steps=tuple(shortened(step) for step in recipe.steps))
        made = pipeline.build(
            recipe.model or plan.model, short, (), data, base=tmp_path, cache=tmp_path / "cache", seed=plan.seed
        )
        assert made.facts["parameters"] > 0
        if recipe.name.startswith("labels"):
            seeds.add(made.data.sha256)
    assert len(seeds) == 2, "each seed gives another student"
