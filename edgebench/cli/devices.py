"""The verbs about boards: `devices` lists them, `device add` makes one known, `device dump` packs what one tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebench.cli.app import cli
from edgebench.cli.screen import note, say, table
from edgebench.errors import EdgebenchError

if TYPE_CHECKING:
    from edgebench.devices.introduce import Introduction

ADD_EXAMPLES = """
\b
Examples:
  edgebench device add jetson me@orin          ask the board, show its host key, write its profile
  edgebench device add lab-7 pi@10.0.0.7:2222  a name of your own
  edgebench device add phone adb:R5CT123       an Android phone, by its serial number
"""


@cli.command()
@click.option("--plan", metavar="FILE", help="Also the devices whose profiles lie beside this plan.")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def devices(plan: str | None, as_json: bool) -> None:
    """The devices that --device can name: what each is, its runtimes, and what it lacks."""
    from edgebench import toml
    from edgebench.devices import survey

    if plan:
        toml.read(Path(plan))  # a plan that is not there has no neighbours
    found = survey.devices(Path(plan).parent if plan else None)
    if as_json:
        say(json.dumps(found, indent=1, sort_keys=True))
        return
    table(("device", "state", "by", "what it is, and its runtimes"), [_row(d) for d in found])
    for d in found:
        for missing in d["missing"] if d["known"] else ():
            note(f"{d['name']}: {missing['what']}", missing["fix"])
    unknown = [d["name"] for d in found if not d["known"]]
    if unknown:
        example = "edgebench device add " + ("jetson" if "jetson" in unknown else unknown[0]) + " user@host"
        note(f"Not added: {', '.join(unknown)}. This machine is none of them.", f"To add one: {example}")


def _row(found: dict[str, Any]) -> list[str]:
    if not found["known"]:
        return [found["name"], "not added", found["transport"], found["description"]]
    state = "ready" if found["ok"] else "reachable" if found["reachable"] else "no answer"
    runtimes = [f"{name} {version}" for name, version in found["runtimes"].items()]
    pushed = [name for name in found["pushed"] if name not in found["runtimes"]]
    lines = [found["is"] or found["description"], ", ".join(runtimes)]
    lines.append(f"brought with a run: {', '.join(pushed)}" if pushed else "")
    way = f"{found['transport']} {found['address']}".strip()
    return [found["name"], state, way, "\n".join(line for line in lines if line)]


@cli.group(invoke_without_command=True)
@click.pass_context
def device(context: click.Context) -> None:
    """Make a board known, or pack what it tells about itself."""
    if context.invoked_subcommand is None:
        say(context.get_help())


@device.command(epilog=ADD_EXAMPLES)
@click.argument("name", metavar="NAME")
@click.argument("address", metavar="USER@HOST[:PORT] | adb:SERIAL")
@click.option("--python", default="python3", show_default=True, help="The Python to ask there, 3.6 or newer.")
@click.option("--fingerprint", metavar="SHA256:...", help="Accept this host key and no other, without a question.")
@click.option("--price", type=click.FloatRange(min=0), metavar="USD", help="What one costs: for choosing by price.")
@click.option("--replace", is_flag=True, help="Write a profile anew that is there already.")
def add(name: str, address: str, python: str, fingerprint: str | None, price: float | None, replace: bool) -> None:
    """Ask a board who it is, show its host key to confirm, and write its profile."""
    from edgebench.devices import identity, introduce, profiles, survey

    path = profiles.user_folder() / f"{name}.toml"
    if path.exists() and not replace:
        raise EdgebenchError(f"There is a profile {path} already.", "Add --replace to write it anew.")
    with introduce.meet(name, address, python, fingerprint) as found:
        say(f"{address} is {identity.words(dict(found.identity)) or 'a board that does not say what it is'}.")
        introduce.check_kind(name, found)
        if fingerprint is None:  # which was compared already
            _confirm(found)
        path = introduce.save(name, found, python, price, replace=replace)
        lacks = survey.lacks(profiles.find(name), found.board) if found.board else []
    say(f"Written: {path}")
    for missing in lacks:
        note(f"Before it can be measured: {missing['what']}", missing["fix"])
    say(f"Measure on it: edgebench run --device {name}")


def _confirm(found: Introduction) -> None:
    """Have the host key confirmed by the user, or because ssh knew it already."""
    if found.board is None:
        return  # adb has its own question, on the screen of the phone
    shown = ", ".join(found.fingerprints) or "a key that cannot be shown"
    if found.new:
        say(f"Its host key is new to this machine: {shown}")
        say("On the board: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        if not _yes("Is that the key of your board?"):
            raise EdgebenchError(
                "The host key was not confirmed, and nothing was written.",
                "Compare it on the board, or give the right one in a script: --fingerprint SHA256:...",
            )
    else:
        say(f"Its host key was known already: {shown}")


def _yes(question: str) -> bool:
    """The user's answer; a script that gives none has not said yes."""
    try:
        return click.confirm(question, default=False)
    except click.Abort:
        return False


@device.command()
@click.argument("name", metavar="NAME", default="local")
@click.option("--out", metavar="FILE.tar.gz", help="Where to write it; by default NAME-board.tar.gz here.")
def dump(name: str, out: str | None) -> None:
    """Pack the files by which a board tells what it is: no serial number, no address, no key.

    Look through the archive and attach it to an issue: then the next version is tested with your board.
    """
    from edgebench.devices import board, identity, profiles

    place = profiles.resolve(name)
    if place.profile.transport == "adb":
        raise EdgebenchError(
            "A dump is made by Python on the board, which adb devices seldom have.", "Dump a device over ssh."
        )
    address = place.profile.address or "this machine"
    found = board.ask(place.command([place.python, "-c", board.BOOT]), address, python=place.python)
    target = Path(out or f"{name}-board.tar.gz")
    count = board.pack(found, target)
    say(f"{target}: {count} files of {identity.words(dict(found.identity)) or 'this machine'}.")
    say("It holds no serial numbers, addresses, host names or keys; look through it before you send it.")
