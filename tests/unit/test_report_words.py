"""What the sections of a report say of settings, machines and commands: in words, whole, and so that it can be run again."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from click.testing import CliRunner
from test_report_html import RUN, result

from edgebench.cli import cli
from edgebench.codec import Options
from edgebench.report import html, text
from edgebench.report.sections import sections
from edgebench.report.table import Source, Table, build, build_all
from edgebench.schema import DeviceProfile, Run


def section(table: Table, key: str) -> Any:
    return next(s for s in sections(table) if s.key == key)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": 1, "b": {}, "c": None, "d": False, "e": ""}, "a 1, d no"),
        ({"placement": {"CPU": 21, "GPU": 2}, "one": {"x": 0.123456789}}, "placement (CPU 21, GPU 2), one x 0.123457"),
        ([{"core": "A76", "cpus": [0, 1]}, 3], "(core A76, cpus (0, 1)), 3"),
        (True, "yes"), (None, "–"), ({}, "–"), ([], "–"), ("", "–"), (12345678901, "12345678901"),
    ],
)  # fmt: skip
def test_any_value_in_words(value: object, said: str) -> None:
    assert text.told(value) == said


def test_a_list_of_words_ends_behind_a_word() -> None:
    assert text.ended("one 1, two 2, three 3", 18) == "one 1, two 2, …"
    assert text.ended("one 1, two 2", 18) == "one 1, two 2"
    assert text.ended("x" * 30, 10) == "x" * 9 + "…"


def test_what_is_in_force_is_said_whole_and_once() -> None:
    found = {
        "precision": "fp32", "threads": 1, "providers": ["CPUExecutionProvider"], "provider_options": {},
        "placement": {"CPUExecutionProvider": 21}, "repeating": {"value": 1.01, "low": 1.0, "high": 1.02}, "spinning": True,
    }  # fmt: skip
    (row,) = section(build(RUN, [result(effective=Options(found))]), "placement").rows
    assert row[3] == "CPUExecutionProvider"
    assert row[-1] == "placement CPUExecutionProvider 21, spinning yes"


def test_facts_with_parts_are_compared_part_by_part() -> None:
    def side(name: str, version: str) -> Source:
        environment = {"identity": {"cpu": "A76", "memory": 8}, "runtimes": {"onnxruntime": version, "numpy": "2"}}
        run = Run(
            id=name, device=DeviceProfile(name=name), plan=Options(), versions=Options(), host=Options(), started=""
        )
        return Source(run=run, results=[result(device=name, environment=Options(environment))])

    rows = section(build_all([side("a", "1.31"), side("b", "1.32")]), "environment").rows
    assert ("runtimes: onnxruntime", "1.31", "1.32") in rows
    assert {row[0] for row in rows} == {"device", "runtimes: onnxruntime"}


def test_nothing_is_said_of_how_the_device_of_others_was_reached() -> None:
    def facts(**plan: Any) -> dict[str, str]:
        run = Run(
            id="r", device=DeviceProfile(name="d"), plan=Options(plan), versions=Options(), host=Options(), started=""
        )
        return dict(section(build(run, [result()]), "environment").rows)

    assert facts()["transport"] == "local"
    assert "transport" not in facts(imported={"format": "csv"})


def command(**plan: Any) -> str:
    made = Run(
        id="r",
        started="",
        versions=Options(),
        plan=Options(plan),
        device=DeviceProfile(name="my board"),
        host=Options(),
    )
    return dict(section(build(made, [result()]), "reproduce").rows)["measure it again"]


QUICK = {
    "name": "quick", "backends": ["onnxruntime", "openvino", "torch"],
    "recipes": [{"name": n} for n in ("teacher", "distilled", "pruned", "teacher-int8", "distilled-int8")],
}  # fmt: skip


def test_the_command_that_measures_again_asks_for_what_was_measured() -> None:
    assert command(**QUICK) == "edgebench run quick --device 'my board'"
    narrowed = command(**{**QUICK, "backends": ["torch"], "threads": [2, 4], "protocol": {"trust": "precise"}})
    assert narrowed == "edgebench run quick --device 'my board' --backend torch --threads 2 --threads 4 --precise"
    assert command(**{**QUICK, "recipes": [{"name": "teacher"}]}).endswith("--recipe teacher")
    bench = {"name": "bench", "model": {"source": "a b.onnx"}, "recipes": [{"name": "as given"}], "batches": [8]}
    assert command(**bench) == "edgebench bench 'a b.onnx' --device 'my board' --batch 8"
    assert command(name="mine", backends=["torch"]) == "edgebench run PLAN.toml --device 'my board' (the plan mine)"


@pytest.mark.parametrize("verb", ["run", "bench"])
def test_its_options_exist(verb: str) -> None:
    own = {"recipe": "--recipe"} if verb == "run" else {}
    said = CliRunner().invoke(cli, [verb, "--help"]).output
    for option in (
        *own.values(),
        "--device",
        "--backend",
        "--batch",
        "--threads",
        "--precision",
        "--quick",
        "--precise",
    ):
        assert option in said
    assert shlex.split(command(**QUICK))[:3] == ["edgebench", "run", "quick"]


def test_each_of_several_answers_is_a_lead_and_long_words_have_a_column_of_their_own() -> None:
    runs = [
        Run(id=n, device=DeviceProfile(name=n), plan=Options(), versions=Options(), host=Options(), started="")
        for n in "ab"
    ]
    table = build_all(
        [Source(run=run, results=[result("x", device=run.id), result("y", device=run.id)]) for run in runs]
    )
    answer = section(table, "answer")
    assert [answer.words[i].split(",")[0] for i in answer.leads] == ["For net on a", "For net on b"]
    page = html.render(table)
    assert page.count("<p class=lead>") == 2
    assert '<td class="said">' in page
