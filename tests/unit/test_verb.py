"""What holds of every verb of the command line: nothing that was asked for twice is settled in silence."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edgebench.asked import asked_for
from edgebench.cli import cli
from edgebench.cli.verb import EXCLUSIVE, Verb
from edgebench.errors import EdgebenchError
from edgebench.suites import read


def refused(*arguments: str) -> EdgebenchError:
    error = CliRunner().invoke(cli, arguments, standalone_mode=False).exception
    assert isinstance(error, EdgebenchError), error
    return error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("report", "--format", "csv", "r", "--format=html"), "--format was given more than once, as csv and html."),
        (("choose", "r", "--max-latency", "1ms", "--max-latency", "2ms"), "--max-latency was given more than once"),
        (("run", "--generations", "1", "--generations", "2"), "--generations was given more than once, as 1 and 2."),
        (("run", "--resume", "r", "--resume"), "--resume was given more than once, as r and its default."),
        (("device", "add", "n", "a@b", "--python", "x", "--python", "y"), "--python was given more than once"),
    ],
)
def test_an_option_of_one_value_that_is_given_two_is_refused(arguments: tuple[str, ...], told: str) -> None:
    error = refused(*arguments)
    assert told in error.problem
    assert error.fix == "Give it once."


@pytest.mark.parametrize("verb", [("run",), ("bench", "net.onnx")])
def test_two_devices_are_two_runs(verb: tuple[str, ...]) -> None:
    error = refused(*verb, "--device", "jetson", "--device", "local")
    assert error.problem == "--device was given more than once, as jetson and local."
    assert error.fix.startswith("A run is on one device: run it once on each")
    assert "edgebench report " in error.fix


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "a", "b", "--markdown", "--json"),
        ("run", "--quick", "--precise"),
        ("report", "--from-samples", "--out", "there"),
    ],
)
def test_options_that_exclude_each_other_are_refused(arguments: tuple[str, ...]) -> None:
    error = refused(*arguments)
    assert "were both asked for" in error.problem
    assert error.fix == "Give one of the two."


def test_an_option_of_a_runtime_has_one_value() -> None:
    with pytest.raises(EdgebenchError, match=r"openvino\.hint was given more than once"):
        asked_for(read("quick"), options=("openvino.hint=a", "openvino.hint=b"))
    same = asked_for(read("quick"), options=("openvino.hint=a", "openvino.hint=a", "onnxruntime.hint=b"))
    assert same.backend_options["openvino"] == {"hint": "a"}


def commands(group: click.Group) -> list[click.Command]:
    found: list[click.Command] = []
    for command in group.commands.values():
        found += commands(command) if isinstance(command, click.Group) else [command]
    return found


def test_every_verb_keeps_to_it() -> None:
    assert all(isinstance(command, Verb) for command in commands(cli))
    names = {name for command in commands(cli) for p in command.params for name in p.opts}
    assert {name for pair in EXCLUSIVE for name in pair} <= names


def test_the_same_value_twice_and_options_that_may_be_repeated_are_no_mistake() -> None:
    done = CliRunner().invoke(cli, ["methods", "prune", "--json", "--json"])
    assert done.exit_code == 0, done.output
    error = refused("run", "none-such", "--results", "r", "--results", "r", "--batch", "1", "--batch", "8")
    assert "none-such" in error.problem
