"""Methods and recipes are checked whole without any framework; a stranger's method is as good as ours."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgebench import toml
from edgebench.cli import cli
from edgebench.codec import Options
from edgebench.compress import methods
from edgebench.compress.pruning.prune import Prune
from edgebench.compress.quantization.quantize import Quantize
from edgebench.compress.training.distill import Distill
from edgebench.compress.training.train import Finetune, Train
from edgebench.errors import PlanError
from edgebench.schema import Recipe, Step

STUDENT = "edgebench.zoo:digits_student"


def step(method: str, **options: Any) -> Step:
    return Step(method=method, options=Options(options))


def recipe(*steps: Step) -> Recipe:
    return Recipe(name="mine", steps=steps)


def test_every_method_is_parsed_from_its_step() -> None:
    assert methods.parse(step("train", epochs=3)) == Train(epochs=3)
    assert methods.parse(step("finetune", lr=1)) == Finetune(lr=1.0)
    made = methods.parse(step("distill", student=STUDENT, student_options={"width": 4}))
    assert made == Distill(student=STUDENT, student_options=Options(width=4))
    assert methods.parse(step("prune", macs=0.5, importance="l1")) == Prune(macs=0.5, importance="l1")
    assert methods.parse(step("quantize", ranges="entropy")) == Quantize(ranges="entropy")
    assert isinstance(methods.parse(step("finetune", lr=1)).__getattribute__("lr"), float)


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (step("prunes", macs=0.5), 'no method "prunes".*Did you mean "prune"'),
        (step("prune", mac=0.5), 'no option "mac".*Did you mean "macs"'),
        (step("prune"), 'needs the option "macs"'),
        (step("prune", macs="half"), "cannot be 'half'.*Give a number"),
        (step("prune", macs=1), "macs .*cannot be 1.0.*between 0 and 1"),
        (step("prune", macs=0.0), "between 0 and 1"),
        (step("prune", macs=float("nan")), "cannot be nan"),
        (step("prune", macs=0.5, importance="l3"), "cannot be 'l3'"),
        (step("prune", macs=0.5, round_to=0), "round_to .* from 1 up"),
        (step("train", epochs=0), "epochs .*cannot be 0.*from 1 up"),
        (step("train", epochs=2.5), "Give a whole number"),
        (step("train", epochs=True), "cannot be True"),
        (step("train", lr=0), "Give a number above 0"),
        (step("train", lr=float("inf")), "Give a number above 0"),
        (step("train", batch_size=1), "from 2 up"),
        (step("train", label_smoothing=0.6), "from 0 to 0.5"),
        (step("finetune", epochs=-1), '"finetune" cannot be -1'),
        (step("distill"), 'needs the option "student"'),
        (step("distill", student="no_entry"), "python entry"),
        (step("distill", student=STUDENT, losses={"hinton": {"temperature": 0}}), "temperature"),
        (step("distill", student=STUDENT, losses={"hintn": {}}), 'Did you mean "hinton"'),
        (step("distill", student=STUDENT, losses=3), "Give a table"),
        (step("distill", student=STUDENT, losses={"hinton": {}}, teachers={"frist": {}}), 'Did you mean "first"'),
        (step("distill", student=STUDENT, student_options=3), "Give a table"),
        (step("quantize", samples=0), "samples"),
        (step("quantize", ranges="entropie"), 'Did you mean "entropy"'),
        (step("quantize", per_channel=1), "Give true or false"),
    ],
)
def test_a_wrong_step_is_refused_in_two_sentences(made: Step, match: str) -> None:
    with pytest.raises(PlanError, match=match) as caught:
        methods.parse(made)
    assert caught.value.problem.endswith(".")
    assert caught.value.fix.endswith((".", "?", "}."))


def test_quantize_must_be_last() -> None:
    train, prune, quantize = step("train"), step("prune", macs=0.5), step("quantize")
    methods.check_recipe(recipe())
    methods.check_recipe(recipe(quantize))
    methods.check_recipe(recipe(train, prune, step("finetune"), quantize))
    for wrong in (recipe(quantize, prune), recipe(train, quantize, step("finetune")), recipe(quantize, quantize)):
        with pytest.raises(PlanError, match=r'network in int8 can be neither.*Make "quantize" the last step'):
            methods.check_recipe(wrong)


def test_what_would_undo_a_mask_is_refused() -> None:
    fours, half = step("mask", pattern="2:4"), step("mask", sparsity=0.5)
    more = step("mask", sparsity=0.8, retrain=Options(epochs=1))
    less = step("mask", sparsity=0.3, retrain=Options(epochs=1))
    peer = step("peer-torch-pruning")
    for fine in (
        (step("prune", macs=0.5), fours),
        (half, step("prune", macs=0.5)),
        (half, more),
        (fours, more),
        (less, half),
    ):
        methods.check_recipe(recipe(*fine))
    for prunes in (step("prune", macs=0.5), step("prune", latency=0.5, backend="onnxruntime"), peer):
        with pytest.raises(
            PlanError, match=r'after "mask", which takes channels out of its groups of four.*Put "mask" behind'
        ):
            methods.check_recipe(recipe(fours, prunes))
    iterative = step("prune", macs=0.5, steps=2, between=Options(epochs=1))
    for fills in (step("finetune"), step("factorize", energy=0.5), iterative, less, step("distill", student="m:make")):
        with pytest.raises(PlanError, match=r"fill its zeros again.*option retrain"):
            methods.check_recipe(recipe(half, fills))
    with pytest.raises(PlanError, match="fill its zeros"):
        methods.check_recipe(recipe(half, step("mask", pattern="2:4", retrain=Options(epochs=1))))


def test_the_catalogue_is_plain_json() -> None:
    found = {m["name"]: m for m in json.loads(json.dumps(methods.describe()))}
    assert {"train", "finetune", "distill", "prune", "quantize"} <= set(found)
    options = {o["name"]: o for o in found["distill"]["options"]}
    assert options["student"] == {"name": "student", "type": "a text", "default": None, "required": True}
    assert options["losses"]["default"] == {"hinton": {}}
    losses = {loss["name"]: loss for loss in found["distill"]["tables"]["losses"]}
    assert set(losses) == {"hinton", "logit_std", "dkd", "dist", "fitnet", "attention", "rkd"}
    assert {"name": "beta", "type": "a number", "default": 8.0, "required": False} in losses["dkd"]["options"]
    assert found["quantize"]["precision"] == "int8"
    compresses = {m for m in found if found[m]["compresses"]}
    assert {"distill", "prune", "factorize", "quantize", "qat", "fp16"} <= compresses
    assert not {"train", "finetune"} & compresses
    assert "arXiv" in found["distill"]["summary"]
    assert found["prune"]["summary"].count("\n") == 0


def test_the_listing_of_a_method_is_a_plan_s_own_toml() -> None:
    said = CliRunner().invoke(cli, ["methods", "distill"]).output
    assert "student   (a text, required)" in said
    assert "momentum   (a number, none by default)" in said
    options = said.partition("losses.")[0].splitlines()
    lines = [line.strip().partition("   (")[0] for line in options if line.startswith(" " * 6)]
    given = toml.parse("\n".join(line for line in lines if " = " in line), "listing").data
    methods.parse(Step(method="distill", options=Options({"student": "m:make", **given})))
    assert "prune:" not in said
    unknown = CliRunner().invoke(cli, ["methods", "distil"])
    assert isinstance(unknown.exception, PlanError)
    assert "distill" in unknown.exception.fix


def test_every_example_is_a_step_that_a_plan_may_have() -> None:
    found = methods.describe()
    for method in found:
        options = toml.parse(f"step = {method['example']}", "listing").data["step"]
        assert options.pop("method") == method["name"]
        methods.parse(step(method["name"], **options))
    tables = {name: entries for method in found for name, entries in method.get("tables", {}).items()}
    assert set(tables) == {"losses", "teachers", "augment"}
    for option, entry in ((option, entry) for option, entries in tables.items() for entry in entries):
        given = toml.parse(entry["example"], "listing").data
        assert set(given) == {option}
        assert entry["name"] in ("", "NAME", *given[option])
        methods.parse(step("train", **given, **({"losses": {"hinton": {}}} if option == "teachers" else {})))
    said = CliRunner().invoke(cli, ["methods", "prune"]).output
    assert '    like: { method = "prune", macs = 0.5' in said


def test_checking_recipes_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from edgebench.compress import methods, pipeline\n"
        "from edgebench.codec import Options\n"
        "from edgebench.schema import Recipe, Step\n"
        "steps = [Step(method='train'), Step(method='prune', options=Options(macs=0.5)), Step(method='quantize')]\n"
        "methods.check_recipe(Recipe(name='r', steps=tuple(steps)))\n"
        "methods.describe()\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'torchao', 'torch_pruning', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method in a package of its own, as pip would have left it."""
    info = tmp_path / "acme_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edgebench.methods]\nround = acme_methods:Round\nhollow = acme_methods:Hollow\ngone = acme_gone:Gone\n"
    )
    (tmp_path / "acme_methods.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Round:\n"
        '    """Round every weight to so many digits."""\n'
        "    name: ClassVar[str] = 'round'\n"
        "    precision: ClassVar[str | None] = None\n"
        "    compresses: ClassVar[bool] = True\n"
        "    digits: int = 3\n"
        "    def apply(self, model, context):\n"
        "        return model\n"
        "class Hollow: pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


@pytest.mark.usefixtures("stranger")
def test_a_strangers_method_is_found_and_checked_as_ours() -> None:
    assert vars(methods.parse(step("round", digits=2))) == {"digits": 2}
    with pytest.raises(PlanError, match=r'Did you mean "digits"'):
        methods.parse(step("round", digit=2))
    methods.check_recipe(recipe(step("round"), step("quantize")))
    with pytest.raises(PlanError, match=r'"hollow" of acme-methods 1.0 lacks name|is no dataclass'):
        methods.parse(step("hollow"))
    found = {m["name"]: m for m in methods.describe()}
    assert found["round"]["summary"] == "Round every weight to so many digits."
    assert "does not import" in found["gone"]["summary"]
