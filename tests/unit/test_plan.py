"""Plans: every mistake at once with its line, and every square of the comparison in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from edgebench import plan as plans
from edgebench import plan_file, plugins, toml
from edgebench.backend import Availability, Backend, Session
from edgebench.codec import Options
from edgebench.compress.methods import check_recipe
from edgebench.errors import EdgebenchError, PlanError
from edgebench.quantities import duration, size
from edgebench.schema import Artifact, ModelSpec, Recipe, Step
from edgebench.squares import check_backend_options, check_options, expand

GOOD = """
name = "mine"

[model]
source = "my_model:make"

[data]
source = "digits"

[run]
backends = ["alpha", "beta"]
batch = [1, 4]
threads = 1
precisions = ["fp32", "int8"]

[backends.beta]
hint = "f32"

[budget]
time = "2m"

[[recipe]]
name = "plain"

[[recipe]]
name = "pruned"
steps = [{ method = "train", epochs = 2 }, { method = "prune", macs = 0.5 }]
"""


class Alpha(Backend):
    name = "alpha"
    accepts = frozenset({"onnx"})

    def probe(self) -> Availability:
        return Availability(ok=True)

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        raise AssertionError("a plan opens nothing")


class Beta(Alpha):
    name = "beta"
    precisions = {"fp32": "onnx"}
    options = {"hint": "a hint", "full": "all of it"}

    def check(self, options: Mapping[str, Any]) -> None:
        if options.get("hint", "f32") != "f32":
            raise EdgebenchError(f"hint cannot be {options['hint']!r}.", "Give f32.")
        if len(options) > 1:
            raise EdgebenchError("hint and full do not go together.", "Give one.")


BACKENDS: dict[str, Backend] = {"alpha": Alpha(), "beta": Beta()}


def read(text: str, backends: Mapping[str, Backend] = BACKENDS) -> plans.Plan:
    known = {"backends": backends, "metrics": ("latency",)}
    document = toml.parse(text, "plan.toml")
    return plan_file.from_document(document, check_recipe, ".", known, lambda name, o: check_options(backends[name], o))


def problems(text: str) -> str:
    with pytest.raises(PlanError) as caught:
        read(text)
    return f"{caught.value.problem} {caught.value.fix}"


def own_precision(recipe: Recipe) -> str | None:
    return "int8" if any(s.method == "quantize" for s in recipe.steps) else None


def test_a_good_plan_is_read_whole() -> None:
    plan = read(GOOD)
    assert plan.model.name == "my_model"
    assert plan.protocol.budget_seconds == 120
    assert plan.backend_options == {"beta": {"hint": "f32"}}
    assert [r.name for r in plan.recipes] == ["plain", "pruned"]


def test_unknown_backends_and_metrics_are_told_with_all_the_other_mistakes() -> None:
    text = GOOD.replace('["alpha", "beta"]', '["alpha", "bta"]\nmetrics = ["latncy"]').replace(
        "[backends.beta]", "[backends.alpa]"
    )
    said = problems(text.replace("batch = [1, 4]", "batch = 0"))
    assert 'plan.toml:11: There is no backend "bta". Did you mean "beta"?' in said
    assert 'There is no metric "latncy". Did you mean "latency"?' in said
    assert 'There is no backend "alpa". Did you mean "alpha"?' in said
    assert "batch must be a whole number" in said


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("threads = 1", 'threads = "1"'), 'plan.toml:13: threads must be a whole number or a list, not "1".'),
        (("threads = 1", "threads = 1.5"), "plan.toml:13: threads must be a whole number or a list, not 1.5."),
        (("[1, 4]", "[1,\n0]"), "plan.toml:13: batch must be a whole number from 1 up, not 0."),
        (('time = "2m"', 'generations = "5"'), 'plan.toml:20: generations must be a whole number, not "5".'),
        (('time = "2m"', "generations = true"), "plan.toml:20: generations must be a whole number, not true."),
        (('time = "2m"', "generations = 0"), "plan.toml:20: generations must be a whole number from 1 up, not 0."),
        (('time = "2m"', "trust = 3"), "plan.toml:20: trust must be text in quotes, not 3."),
        (('["fp32", "int8"]', "[32]"), "plan.toml:14: precisions holds names in quotes, not 32."),
        (('[data]\nsource = "digits"', "[data]"), "plan.toml:7: [data] needs a source"),
        (
            ('[[recipe]]\nname = "plain"', '[[recipe]]\nname = "plain"\nmodel = "x"'),
            "plan.toml:24: model must be a table",
        ),
        (
            ('[[recipe]]\nname = "plain"', '[[recipe]]\nname = "plain"\ndata = "x"'),
            "plan.toml:24: data must be a table",
        ),
    ],
)
def test_one_mistake_is_told_once(change: tuple[str, str], line: str) -> None:
    assert change[0] in GOOD
    said = problems(GOOD.replace(*change))
    assert said.startswith(line), said
    assert "mistakes" not in said


@pytest.mark.parametrize(
    ("name", "mended"),
    [("../../half", "half"), ("a/b", "a-b"), ("..", "my-recipe"), (".hidden", "hidden"), ("-v", "v"), ("???", "my-recipe"),
     ("a\\\\b", "a-b"), ("a\\tb", "a-b")],
)  # fmt: skip
def test_a_name_that_cannot_be_a_file_name_is_refused_with_one_that_can(name: str, mended: str) -> None:
    said = problems(GOOD.replace('"pruned"', f'"{name}"'))
    assert said.startswith("plan.toml:26: ")
    assert "cannot be the name of a file" in said
    assert f"'{mended}'" in said
    assert "mistakes" not in said
    plan = read(GOOD)
    with pytest.raises(PlanError, match="cannot be the name of a file"):
        plans.check_names((plan.recipes[0], Recipe(name=name.replace("\\\\", "\\").replace("\\t", "\t"))))


def test_recipes_whose_files_would_have_one_name_are_refused() -> None:
    said = problems(GOOD.replace('"pruned"', '"my plain"').replace('"plain"', '"my-plain"'))
    assert 'the recipes "my-plain" and "my plain" would both be called my-plain. Rename one.' in said
    read(GOOD.replace('"pruned"', '"half of it, ½"'))


@pytest.mark.parametrize("key", ["model", "data", "recipe"])
def test_a_table_that_is_none_is_one_mistake(key: str) -> None:
    tables = {
        "model": '[model]\nsource = "m:n"\n',
        "data": '[data]\nsource = "x"\n',
        "recipe": '[[recipe]]\nname = "a"\n',
    }
    del tables[key]
    said = problems(f"{key} = 3\n{''.join(tables.values())}")
    assert said.startswith(f"plan.toml:1: {key} must be ")
    assert "mistakes" not in said


def test_squares_come_in_the_order_of_the_plan_and_the_impossible_ones_keep_their_reason() -> None:
    squares = expand(read(GOOD), "local", BACKENDS, own_precision)
    assert len(squares) == 2 * 2 * 2 * 2
    assert [s.cell.recipe for s in squares] == ["plain"] * 8 + ["pruned"] * 8
    skipped = [s for s in squares if s.skip]
    assert {(s.cell.backend, s.cell.precision) for s in skipped} == {("beta", "int8")}
    assert "beta has no int8" in skipped[0].skip
    assert len({s.cell.id for s in squares}) == len(squares)


def test_int8_of_a_float_recipe_is_the_recipe_with_a_quantize_step() -> None:
    squares = expand(read(GOOD), "local", BACKENDS, own_precision)
    made = next(s for s in squares if s.cell.recipe == "pruned" and s.cell.precision == "int8" and not s.skip)
    assert [s.method for s in made.recipe.steps] == ["train", "prune", "quantize"]
    assert made.lowering == "onnx-u8s8"


def test_a_lowering_is_chosen_for_the_processor_of_the_device() -> None:
    seen = []

    class Choosy(type(BACKENDS["alpha"])):  # type: ignore[misc]
        def lowering(self, precision: str, options: Mapping[str, Any]) -> str | None:
            seen.append(options["cpu"])
            return "onnx"

    expand(read(GOOD), "local", {**BACKENDS, "alpha": Choosy()}, own_precision, cpu={"machine": "riscv64"})
    assert seen
    assert all(cpu == {"machine": "riscv64"} for cpu in seen)


def test_a_recipe_that_quantizes_is_not_multiplied_by_the_precisions() -> None:
    text = GOOD.replace('name = "plain"', 'name = "plain"\nsteps = [{ method = "quantize" }]')
    squares = expand(read(text), "local", BACKENDS, own_precision)
    assert {s.cell.precision for s in squares if s.cell.recipe == "plain"} == {"int8"}


def test_the_baseline_is_the_first_variant_on_the_same_runtime_batch_and_threads() -> None:
    squares = expand(read(GOOD), "local", BACKENDS, own_precision)
    by_id = {s.cell.id: s.cell for s in squares}
    for square in squares:
        if not square.skip:
            base = by_id[square.baseline or ""]
            assert (base.recipe, base.precision) == ("plain", "fp32")
            assert (base.backend, base.batch) == (square.cell.backend, square.cell.batch)


def test_a_file_format_that_a_backend_does_not_open_is_a_skipped_square() -> None:
    squares = expand(read(GOOD), "local", BACKENDS, own_precision, "tflite")
    assert all("does not open tflite" in s.skip for s in squares if s.cell.precision == "fp32")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[run]", "[rum]"), '"rum"'),
        (('backends = ["alpha"', 'backend = ["alpha"'), 'Did you mean "backends"'),
        (('backends = ["alpha"', 'devices = ["jetson"]\nbackends = ["alpha"'), "Name it with: --device NAME"),
        (("batch = [1, 4]", "batch = [0]"), "batch must be a whole number from 1 up, not 0"),
        (("threads = 1", "threads = -2"), "threads must be a whole number from 1 up, not -2"),
        (("threads = 1", "threads = []"), "threads is empty"),
        (('"int8"]', '"int9"]'), 'Did you mean "int8"'),
        (('time = "2m"', 'time = "2"'), "not a length of time"),
        (('time = "2m"', 'memory = "2"'), "not a size"),
        (('method = "prune"', 'method = "prunes"'), 'Did you mean "prune"'),
        (("macs = 0.5", "mac = 0.5"), 'Did you mean "macs"'),
        (("macs = 0.5", "macs = 1.5"), "macs"),
        (('name = "pruned"', 'name = "plain"'), 'two recipes are named "plain"'),
        (('name = "pruned"', 'name = " "'), "a recipe needs a name"),
        (('source = "my_model:make"', ""), "source"),
        (('backends = ["alpha", "beta"]', "backends = []"), "backends is empty"),
    ],
)
def test_each_mistake_is_named(change: tuple[str, str], said: str) -> None:
    assert change[0] in GOOD
    assert said in problems(GOOD.replace(*change))


def test_all_mistakes_are_told_at_once_with_their_lines() -> None:
    text = (
        GOOD.replace("batch = [1, 4]", "batch = [0]")
        .replace("macs = 0.5", "mac = 0.5")
        .replace('time = "2m"', 'tame = "2m"')
    )
    said = problems(text)
    lines = text.splitlines()
    for wrong in ("batch = [0]", "mac = 0.5", 'tame = "2m"'):
        number = next(i for i, line in enumerate(lines, 1) if wrong in line)
        assert f"plan.toml:{number}:" in said


def test_the_command_line_narrows_a_plan() -> None:
    plan = plans.narrow(read(GOOD), backends=["alpha"], recipes=["pruned"], batches=[8])
    assert (plan.backends, [r.name for r in plan.recipes], plan.batches, plan.threads) == (
        ("alpha",),
        ["pruned"],
        (8,),
        (1,),
    )
    with pytest.raises(PlanError, match='Did you mean "pruned"'):
        plans.narrow(plan, recipes=["prund"])
    with pytest.raises(PlanError, match="from 1 up, not 0"):
        plans.narrow(plan, batches=[0])


def test_options_that_a_backend_does_not_have_are_refused() -> None:
    check_backend_options(read(GOOD), BACKENDS)
    with pytest.raises(PlanError, match=r'no option "hnt".*Did you mean "hint"'):
        check_backend_options(replace(read(GOOD), backend_options=Options({"beta": {"hnt": 1}})), BACKENDS)


def test_wrong_options_of_backends_are_told_with_their_lines() -> None:
    """Each with its own, among all the other mistakes; and what is no table at all."""
    text = GOOD.replace('hint = "f32"', 'hnt = "f32"\nhint = "f13"\n[backends.alpha]\nx = 1').replace(
        '["fp32", "int8"]', '["fp31"]'
    )
    said = problems(text)
    assert 'plan.toml:17: Backend "beta" has no option "hnt". Did you mean "hint"?' in said
    assert "plan.toml:18: hint cannot be 'f13'." in said
    assert 'plan.toml:20: Backend "alpha" has no option "x".' in said
    assert "has 4 mistakes" in said
    said = problems(GOOD.replace('[backends.beta]\nhint = "f32"', "[backends]\nbeta = 3"))
    assert "plan.toml:17: the options of a backend are a table: write [backends.beta]." in said


def test_options_that_do_not_go_together_are_told_with_their_table() -> None:
    said = problems(GOOD.replace('hint = "f32"', 'hint = "f32"\nfull = true'))
    assert "plan.toml:16: hint and full do not go together." in said


def test_a_value_that_means_nothing_is_refused_where_the_runtime_need_not_be_there() -> None:
    for name, options, words in (
        ("onnxruntime", {"provider": "gpu"}, "provider cannot be 'gpu'"),
        ("openvino", {"streams": -1}, "streams cannot be -1"),
        ("litert", {"delegate": ["none"]}, r"delegate cannot be \['none'\]"),
        ("executorch", {"max_fallback": 2}, "max_fallback cannot be 2"),
        ("torch", {"mode": "fast"}, "mode cannot be 'fast'"),
        ("tensorrt", {"dla": "x"}, "dla cannot be 'x'"),
    ):
        made = plugins.backend(name)
        made.check({})
        plan = replace(read(GOOD), backend_options=Options({name: options}))
        with pytest.raises(EdgebenchError, match=words):
            check_backend_options(plan, {name: made})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("250ms", 0.25)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("512 MiB", 1 << 29), ("2GB", 2_000_000_000), ("1.5 kB", 1500)])
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "5", "-1 MiB", "0 GB", "3 mb", "2 GiBs"])
def test_sizes_without_a_right_unit_are_refused(text: str) -> None:
    with pytest.raises(PlanError):
        size(text)


@pytest.mark.parametrize(
    ("text", "hint"), [("3 mb", '"3 MB"'), ("500KB", '"500kB"'), ("0 GB", "512 MiB"), ("5", "512 MiB")]
)
def test_a_size_in_other_letters_is_told_the_right_ones(text: str, hint: str) -> None:
    with pytest.raises(PlanError) as refused:
        size(text)
    assert hint in refused.value.fix


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "0s", "5 parsecs"])
def test_durations_without_a_right_unit_are_refused(text: str) -> None:
    with pytest.raises(PlanError):
        duration(text)


def test_a_plan_survives_json() -> None:
    from edgebench.codec import from_json, to_json

    plan = read(GOOD)
    assert from_json(plans.Plan, to_json(plan)) == plan


OWN = GOOD.replace(
    'name = "plain"',
    'name = "other"\nmodel = { source = "zoo:other", options = { width = 2 } }\ndata = { source = "x.npz" }\n\n'
    '[[recipe]]\nname = "plain"',
)


def test_a_recipe_may_bring_a_model_and_data_and_is_compared_within_its_model() -> None:
    squares = expand(read(OWN), "local", BACKENDS, own_precision)
    recipe = squares[0].recipe
    assert recipe.model == ModelSpec(name="other", source="zoo:other", options=Options(width=2))
    assert recipe.data == {"source": "x.npz"}
    cells = {s.cell.id: s.cell for s in squares}
    assert {c.model for c in cells.values()} == {"other", "my_model"}
    for square in squares:
        if not square.skip:
            assert cells[square.baseline or ""].model == square.cell.model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('source = "zoo:other"', 'name = "zoo"'), 'there is no "source"'),
        (('source = "zoo:other"', 'source = "zoo:other", sauce = 1'), 'Did you mean "source"'),
        (('data = { source = "x.npz" }', "data = { size = 8 }"), "[data] needs a source"),
        (('data = { source = "x.npz" }', 'data = "x.npz"'), "data must be a table"),
    ],
)
def test_a_mistake_in_a_recipes_own_model_or_data_is_named(change: tuple[str, str], said: str) -> None:
    assert change[0] in OWN
    assert said in problems(OWN.replace(*change))


def test_the_backend_says_which_file_an_option_or_a_batch_wants() -> None:
    class Gamma(Alpha):
        name = "alpha"
        options = {"int8": "how"}

        def lowering(self, precision: str, options: Mapping[str, Any]) -> str | None:
            return f"{precision}-{options.get('int8', 'plain')}@{options['batch']}"

    text = GOOD.replace('[backends.beta]\nhint = "f32"', '[backends.alpha]\nint8 = "nncf"')
    backends: dict[str, Backend] = {**BACKENDS, "alpha": Gamma()}
    squares = expand(read(text, backends), "local", backends, own_precision)
    assert {s.lowering for s in squares if s.cell.backend == "alpha"} == {
        "fp32-nncf@1", "fp32-nncf@4", "int8-nncf@1", "int8-nncf@4",
    }  # fmt: skip


def test_a_recipe_without_steps_is_the_model_as_it_is() -> None:
    assert read(GOOD).recipes[0].steps == ()
    assert read(GOOD).recipes[1].steps[0] == Step(method="train", options=Options(epochs=2))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("nets:resnet8", "resnet8"),
        ("my_net:make", "my_net"),
        ("pack.my_net:build_model", "my_net"),
        ("/a/b/model v2.onnx", "model-v2"),
    ],
)
def test_a_network_is_called_by_the_word_that_says_something(source: str, name: str) -> None:
    assert plans.model_name(source) == name
