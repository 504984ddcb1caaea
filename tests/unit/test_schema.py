"""Records: frozen, exact through JSON, and impossible without what they must have."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebench.codec import SCHEMA, Options, canonical, from_json, to_json
from edgebench.errors import StoreError
from edgebench.schema import Cell, Interval, Job, Measurement, Recipe, Result, Run, Step

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
cells = st.builds(
    Cell,
    model=st.text(max_size=5),
    recipe=st.text(max_size=5),
    backend=st.text(max_size=5),
    device=st.just("local"),
    batch=st.integers(1, 9),
    options=st.dictionaries(st.text(max_size=4), plain, max_size=2).map(Options),
)
measurements = st.builds(
    Measurement,
    metric=st.just("latency"),
    unit=st.just("s"),
    phase=st.just("steady"),
    source=st.just("test"),
    value=st.none() | st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    samples=st.lists(st.floats(0, 9), max_size=3).map(tuple),
    interval=st.none() | st.just(Interval(low=1.0, high=2.0)),
)
results = st.builds(
    Result,
    cell=cells,
    status=st.sampled_from(["ok", "skipped", "failed"]),
    measurements=st.lists(measurements, max_size=2).map(tuple),
)


@given(results)
def test_a_result_survives_json_exactly(result: Result) -> None:
    assert from_json(Result, json.loads(json.dumps(to_json(result)))) == result


@given(st.dictionaries(st.text(max_size=4), plain, max_size=4))
def test_equal_options_hash_alike_whatever_their_order(items: dict[str, object]) -> None:
    shuffled = Options(dict(reversed(list(items.items()))))
    assert hash(Options(items)) == hash(shuffled)
    assert canonical(Options(items)) == canonical(shuffled)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Step(method="prune").method = "distill"  # type: ignore[misc]


def test_the_name_of_a_recipe_is_not_its_identity() -> None:
    steps = (Step(method="prune", options=Options(macs=0.5)),)
    assert Recipe(name="a", steps=steps).id == Recipe(name="b", steps=steps).id
    assert (
        Recipe(name="a", steps=steps).id
        != Recipe(name="a", steps=(Step(method="prune", options=Options(macs=0.4)),)).id
    )


@pytest.mark.parametrize("missing", ["unit", "phase", "source"])
def test_a_figure_without_unit_phase_or_source_cannot_be_made(missing: str) -> None:
    fields = {"metric": "latency", "unit": "s", "phase": "steady", "source": "clock", missing: ""}
    with pytest.raises(ValueError, match=missing):
        Measurement(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_a_figure_its_samples_and_its_interval_are_finite(odd: float) -> None:
    data = {"metric": "x", "unit": "1", "phase": "steady", "source": "clock", "value": 1.0}
    for part in ({"value": odd}, {"samples": [1.0, odd]}, {"interval": {"low": 1.0, "high": odd}}):
        with pytest.raises(StoreError, match=r"cannot be read: .*finite"):
            from_json(Measurement, {**data, **part})
    for ends in ({"low": odd, "high": 1.0}, {"low": 0.0, "high": 1.0, "confidence": odd}):
        with pytest.raises(ValueError, match="finite"):
            Interval(**ends)


def test_cells_that_differ_only_in_options_have_other_ids() -> None:
    cell = Cell(model="m", recipe="r", backend="b", device="d")
    assert cell.id != dataclasses.replace(cell, options=Options(spinning=False)).id


def test_a_newer_schema_is_refused_with_the_fix() -> None:
    with pytest.raises(StoreError) as caught:
        from_json(Job, {"id": "x", "schema": SCHEMA + 1})
    assert "newer" in caught.value.problem
    assert "Update edgebench" in caught.value.fix


@pytest.mark.parametrize(
    "data", [{"id": "x", "surprise": 1}, {}, [], {"id": 3}, {"id": "x", "task": "dance"}, {"id": "x", "work": "abc"}]
)
def test_json_that_does_not_fit_is_refused(data: object) -> None:
    with pytest.raises(StoreError):
        from_json(Job, data)


def test_defaults_are_left_out_of_json_but_not_the_schema() -> None:
    assert to_json(Job(id="x")) == {"id": "x", "schema": SCHEMA}
    assert Run.__dataclass_fields__["schema"].default == SCHEMA


def test_what_is_no_text_is_named_with_its_field() -> None:
    cell = {"model": "m", "recipe": "r", "backend": "b", "device": 3}
    with pytest.raises(StoreError, match="expected str as device, found 3"):
        from_json(Cell, cell)
    with pytest.raises(StoreError, match="Cell has no field 'devise'"):
        from_json(Cell, {**cell, "device": "d", "devise": "d"})


@given(st.lists(st.one_of(st.integers(-9, 9), st.floats(-9, 9)), max_size=6))
def test_samples_are_floats_however_they_are_written(values: list[float]) -> None:
    data = {"metric": "latency", "unit": "1", "phase": "steady", "source": "s", "samples": values}
    found = from_json(Measurement, data).samples
    assert found == tuple(values)
    assert {type(x) for x in found} <= {float}


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=4), st.text(max_size=3))
def test_options_are_the_mapping_they_were_made_from(items: dict[str, int], key: str) -> None:
    options = Options(items)
    assert options == items
    assert dict(options.items()) == items
    assert (options.get(key), options.get(key, 1), key in options) == (items.get(key), items.get(key, 1), key in items)
