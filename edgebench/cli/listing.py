"""The verbs that say what there is: backends, methods, doctor, completion."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

import click

from edgebench.cli.app import cli
from edgebench.cli.screen import say, table


@cli.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def backends(name: str | None, as_json: bool) -> None:
    """The runtimes: which are here, what they open, and how to get those that are missing; of one, its options."""
    from edgebench import listing

    found = [listing.backend(name)] if name else listing.backends()
    if as_json:
        say(json.dumps(found[0] if name else found, indent=1, sort_keys=True))
        return
    if name:
        _say_backend(found[0])
        return
    table(
        ("backend", "here", "version", "opens", "precisions", "from"),
        [
            [
                b["name"],
                "yes" if b["ok"] else "no",
                b["version"],
                ", ".join(b["accepts"]),
                ", ".join(b["precisions"]),
                b["origin"],
            ]
            for b in found
        ],
    )
    for b in found:
        if not b["ok"]:
            say(f"{b['name']}: {b['reason']}. {b['fix']}")


def _say_backend(found: Mapping[str, Any]) -> None:
    here = f"version {found['version']}" if found["ok"] else f"not here: {found['reason']}. {found['fix']}"
    say(f"{found['name']}: {here}")
    endings = f" ({' '.join(found['endings'])})" if found["endings"] else ""
    say(f"  opens       {', '.join(found['accepts'])}{endings}")
    say(f"  precisions  {', '.join(found['precisions'])}")
    for precision, reason in found["refused"].items():
        say(f"  no {precision:<8} {reason}")
    if not found["options"]:
        say("  options     none beyond threads, batch and precision")
        return
    say(f"  options     --option {found['name']}.KEY=VALUE, or KEY = VALUE under [backends.{found['name']}] in a plan")
    width = max(map(len, found["options"]))
    for key, meaning in found["options"].items():
        first, *rest = textwrap.wrap(meaning, 100 - width)
        say(f"    {key:<{width}}  {first}")
        for line in rest:
            say(f"    {'':<{width}}  {line}")


@cli.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def methods(name: str | None, as_json: bool) -> None:
    """The compression methods and their options, for the steps of a recipe; of one, only that."""
    from edgebench.compress import methods as known

    found = [known.described(name)] if name else known.describe()
    if as_json:
        say(json.dumps(found[0] if name else found, indent=1, sort_keys=True))
        return
    for method in found:
        _say_entry(method)
    tables = {name: entries for method in found for name, entries in method.get("tables", {}).items()}
    for option, entries in tables.items():  # the same for every method that has them: told once
        for entry in entries:
            _say_entry({**entry, "name": f"{option}.{entry['name']}" if entry["name"] else option})


def _say_entry(entry: Mapping[str, Any]) -> None:
    """A method, or what a table of its options may hold."""
    for line in textwrap.wrap(f"{entry['name']}: {entry['summary']}", 104, subsequent_indent="    "):
        say(line)
    for line in textwrap.wrap(entry["details"], 100):
        say(f"    {line}")
    for option in entry["options"]:
        say(f"      {_as_in_a_plan(option)}")
    if "example" in entry:
        say(f"    like: {entry['example']}")
    say()


def _as_in_a_plan(option: Mapping[str, Any]) -> str:
    """The line of TOML that says what holds anyhow; TOML has no word for none, so such an option is told with its type alone."""
    from edgebench import toml

    name, default, kind = option["name"], option["default"], option["type"]
    if option["required"]:
        return f"{name}   ({kind}, required)"
    return f"{name}   ({kind}, none by default)" if default is None else f"{name} = {toml.written(default)}   ({kind})"


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def doctor(as_json: bool) -> None:
    """What this machine is, what reduces trust in its figures, and what is missing."""
    from edgebench import environment, listing

    facts = environment.preflight()
    warnings = environment.warnings(facts, 1)
    found = listing.backends()
    if as_json:
        say(json.dumps({"machine": facts, "warnings": list(warnings), "backends": found}, indent=1, sort_keys=True))
        return
    shown = (
        "cpu_model",
        "cores",
        "flags",
        "memory_total",
        "kernel",
        "hypervisor",
        "governor",
        "clocksource",
        "python",
        "libc",
    )
    for name in shown:
        if facts.get(name) not in (None, "", []):
            value = f"{facts[name] / 2**30:.1f} GiB" if name == "memory_total" else facts[name]
            say(f"{name:>14}  {', '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}")
    say(f"{'power meter':>14}  {_meters()}")
    for b in found:
        say(f"{b['name']:>14}  {b['version'] if b['ok'] else b['reason'] + '. ' + b['fix']}")
    for warning in warnings:
        say(f"       warning  {warning}")
    if not warnings:
        say("No warnings: nothing that was looked at reduces trust in figures from this machine.")


def _meters() -> str:
    """The power meters that can be read here, or what to do without one."""
    from edgebench.devices import sensors

    names = [type(sensor).__name__ for sensor in sensors.find()]
    without = "none that can be read here; an outside one: edgebench run --external-meter, then edgebench energy"
    return ", ".join(names) or without


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell; for bash: eval "$(edgebench completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    say(kind(cli, {}, "edgebench", "_EDGEBENCH_COMPLETE").source())


# helpers of the verbs
