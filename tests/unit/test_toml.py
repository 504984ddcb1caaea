"""TOML files: values, the line of every key, and mistakes that a person can mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebench import toml
from edgebench.errors import PlanError
from edgebench.toml import Problems, check_table

TEXT = '''\
# a comment with a = sign and a [bracket]
name = "plan" # and another

[model]
source = "net.py:make"
shape = [1,
  3,  # channels ]
  224]
notes = """
[[recipe]]
fake = 1 \\"""
"""
size.width = 3
size . "in height" = 4

[[recipe]]
name = 'a [[b]] # c'

[[recipe]]
name = "b"
steps = [
    # first
    { method = "train", epochs = 8 },
    { method = "prune", by.macs = 0.5, shape = [1, 2] }, { method = "quantize" },
]
[recipe.extra]
when = 1979-05-27 07:32:00
[[recipe.part]]
x = 1
[[recipe.part]]
x = 2

[deep.er]
y = \'\'\'
deep = 1\'\'\'
[deep]
z = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("model",), 4),
        (("model", "source"), 5),
        (("model", "shape"), 6),
        (("model", "shape", 0), 6),
        (("model", "shape", 2), 8),
        (("model", "notes"), 9),
        (("model", "size", "width"), 13),
        (("model", "size", "in height"), 14),
        (("recipe",), 16),
        (("recipe", 0, "name"), 17),
        (("recipe", 1), 19),
        (("recipe", 1, "name"), 20),
        (("recipe", 1, "steps"), 21),
        (("recipe", 1, "steps", 0, "epochs"), 23),
        (("recipe", 1, "steps", 1, "by", "macs"), 24),
        (("recipe", 1, "steps", 1, "shape", 1), 24),
        (("recipe", 1, "steps", 2), 24),
        (("recipe", 1, "extra", "when"), 27),
        (("recipe", 1, "part", 1, "x"), 31),
        (("deep", "er"), 33),
        (("deep", "er", "y"), 34),
        (("deep",), 36),
        (("deep", "z"), 37),
    ],
)
def test_every_key_and_item_has_its_line(path: tuple[str | int, ...], line: int) -> None:
    assert toml.parse(TEXT, "plan.toml").line(*path) == line


def test_a_line_is_none_for_what_is_not_there() -> None:
    document = toml.parse(TEXT, "plan.toml")
    assert document.line("recipe", 2) is None
    assert document.line("model", "sources") is None


def test_windows_line_ends_count_as_one(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes("\ufeff".encode() + TEXT.replace("\n", "\r\n").encode())
    assert toml.read(path).line("deep", "z") == 37


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=6)
SCALARS = st.one_of(
    st.integers(-(2**40), 2**40).map(str),
    st.booleans().map(lambda b: str(b).lower()),
    st.sampled_from(
        ["''", '"\\""', "'''\n'a\n'''", '"""x\\\n  y""""', "1979-05-27 07:32:00", "0x1F", "-inf", "'# ]}'"]
    ),
)


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(SCALARS)
    inner = draw(st.lists(values(depth - 1), max_size=3))
    if draw(st.booleans()):
        gap = draw(st.sampled_from(["", " ", "\n", " # no ]\n"]))
        return "[" + ",".join(gap + item for item in inner) + gap + "]"
    keys = draw(st.lists(KEYS, min_size=len(inner), max_size=len(inner), unique=True))
    return "{" + ", ".join(f"{quoted(k)} = {v}" for k, v in zip(keys, inner, strict=True)) + "}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    rows = []
    for name in draw(st.lists(st.sampled_from(["[a]", "[b.c]", "[[d]]", "[d.e]", "[[d.f]]"]), max_size=5)):
        if name in rows and not name.startswith("[["):
            continue
        if name in ("[d.e]", "[[d.f]]") and "[[d]]" not in rows:
            continue
        rows.append(name)
        for key in draw(st.lists(KEYS, max_size=3, unique=True)):
            rows.append(f"{quoted(key)} = {draw(values())}")
            rows += draw(st.sampled_from([[], ["# c = 1"], [""]]))
    return "\n".join(rows)


def paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in items for p in ((*at, k), *paths(v, (*at, k)))]


@settings(deadline=None)  # other work on the machine is no failure
@given(documents())
def test_the_scanner_knows_exactly_the_paths_that_tomllib_knows(text: str) -> None:
    try:
        document = toml.parse(text, "x")
    except PlanError:
        return  # the strategy repeats a table now and then
    found = paths(document.data)
    assert set(document._lines) == set(found)
    rows = text.split("\n")
    for path in found:
        line = document.line(*path)
        assert line is not None
        key = path[-1]
        if isinstance(key, str):
            assert key in rows[line - 1] or quoted(key) in rows[line - 1]


def test_a_syntax_error_names_its_place_and_shows_the_line() -> None:
    with pytest.raises(PlanError) as caught:
        toml.parse('a = 1\n\tb = = "x"\n', "plan.toml")
    assert caught.value.problem.splitlines() == [
        "plan.toml:2:6 is not TOML: invalid value.",
        '     b = = "x"',
        "         ^",
    ]
    assert caught.value.fix


@pytest.mark.parametrize("text", ["a = [1,\n", 'a = "', "[a", "a = 1\na = 2", "a = 1 b = 2", "= 1", "\x01"])
def test_every_broken_text_is_a_plan_error(text: str) -> None:
    with pytest.raises(PlanError, match=r"^p:\d+:\d+ is not TOML"):
        toml.parse(text, "p")


def test_a_text_nested_beyond_reason_is_refused() -> None:
    with pytest.raises(PlanError):
        toml.parse("a = " + "[" * 100_000, "p")


def test_files_that_are_no_toml_get_two_sentences(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x0a\x00" * 9999)
    (tmp_path / "latin.toml").write_bytes("a = 'é'".encode("latin-1"))
    cases = {
        "plna.toml": 'Did you mean "plan.toml"?',
        "no/such/folder": "Check the path.",
        "net.onnx": "Give a TOML file.",
    }
    cases |= {"latin.toml": "Give a TOML file.", ".": "Name a TOML file in it."}
    for name, fix in cases.items():
        with pytest.raises(PlanError) as caught:
            toml.read(tmp_path / name)
        assert caught.value.fix == fix


def test_an_unreadable_file_is_a_plan_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, who may read everything
    with pytest.raises(PlanError) as caught:
        toml.read(tmp_path / "plan.toml")
    assert caught.value.problem.endswith("cannot be read: Permission denied.")


def mistakes(text: str, **spec: Any) -> list[str]:
    document = toml.parse(text, "plan.toml")
    problems = Problems(document)
    check_table(document, (), document.data, spec, problems, required=("name",))
    for i, table in enumerate(document.data.get("recipe", [])):
        check_table(document, ("recipe", i), table, {"epochs": int, "rate": float, "on": bool}, problems)
    try:
        problems.raise_if_any()
    except PlanError as error:
        lines = error.problem.splitlines()
        return lines if len(lines) == 1 else [line.strip() for line in lines[1:]]
    return []


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines() -> None:
    text = '[[recipe]]\nepochs = 1\n[[recipe]]\nepoch = 8\nepochs = "8"\non = 1\n[rnu]\n'
    assert mistakes(text, name=str, recipe=list, run=dict) == [
        'plan.toml: there is no "name" at the top level.',
        'plan.toml:4: unknown key "epoch" in [[recipe]]. Did you mean "epochs"?',
        'plan.toml:5: epochs must be a whole number, not "8".',
        "plan.toml:6: on must be true or false, not 1.",
        'plan.toml:7: unknown key "rnu" at the top level. Did you mean "run"?',
    ]


def test_one_mistake_is_one_line() -> None:
    assert mistakes("nmae = 1", name=str) != mistakes("name = 1", name=str)
    assert mistakes("name = 1", name=str) == ["plan.toml:1: name must be text in quotes, not 1."]
    assert mistakes("name = [1]", name=(int, float)) == [
        "plan.toml:1: name must be a whole number or a number, not a list."
    ]


def test_numbers_are_taken_as_toml_means_them() -> None:
    assert mistakes("name = ''\n[[recipe]]\nrate = 1", name=str, recipe=list) == []
    assert mistakes("name = ''\n[[recipe]]\nepochs = true", name=str, recipe=list) == [
        "plan.toml:3: epochs must be a whole number, not true."
    ]
    assert mistakes("name = ''\n[[recipe]]\nepochs = 1.0", name=str, recipe=list) != []


def test_a_mistake_at_a_missing_key_is_told_at_the_table_around_it() -> None:
    document = toml.parse("\n[run]\n", "p")
    problems = Problems(document)
    problems.add(("run", "batch", 3), "batch is wrong")
    with pytest.raises(PlanError, match=r"^p:2: batch is wrong\. Correct"):
        problems.raise_if_any()


VALUES = st.recursive(
    st.text() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    try:
        text = toml.written(value)
    except UnicodeEncodeError:
        return
    assert toml.parse(f"v = {text}\n", "x").data["v"] == value
