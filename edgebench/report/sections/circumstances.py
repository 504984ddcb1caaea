"""Where and how it was measured: differences between machines, what failed, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgebench import suites
from edgebench.environment import REPEATS, VOLATILE
from edgebench.report.columns import shorten
from edgebench.report.sections.base import Line, Section, cut, names
from edgebench.report.table import Row, Table
from edgebench.report.text import MISSING, ended, plain, told
from edgebench.schema import Run

MOMENTARY = VOLATILE - {"threads", "runtimes"} | REPEATS
"""Facts of a machine that change from minute to minute, or repeat others: not a difference between two runs."""


def environment(table: Table) -> Section:
    """Of several runs: every fact of the machines and versions in which they differ. Of one: the machine."""
    known = {run.id: _machine(run, table.rows) for run in table.runs}
    keys = list(dict.fromkeys(key for facts in known.values() for key in facts))
    texts = {key: [_words(facts.get(key)) for facts in known.values()] for key in keys}
    several = len(table.runs) > 1
    if several:
        rows = [(key, *values) for key, values in texts.items() if len(set(values)) > 1]
        words = ["The runs differ in these facts; in all others they are the same."]
        if not rows:
            words = ["In every recorded fact the machines and versions are the same."]
    else:
        rows = [(key, *values) for key, values in texts.items() if values != [MISSING]]
        words = (
            ["The machine and the versions as they were found."]
            if rows
            else ["The run recorded nothing of its machine."]
        )
    changed = _changed(table)
    if changed:
        words.append(f"Within a run these changed between rows: {', '.join(changed)}.")
    title = "Differences between the runs" if several else "Environment"
    heads = tuple(plain(run.id) for run in table.runs) if several else ("found",)
    return Section(
        key="environment", title=title, words=tuple(words), head=("fact", *heads) if rows else (), rows=tuple(rows)
    )


def _machine(run: Run, rows: Sequence[Row]) -> dict[str, Any]:
    measured = next((row.result.environment for row in rows if row.run is run and row.result.environment), None)
    found = dict(measured or run.host)
    versions = {f"version of {name}": version for name, version in run.versions.items()}
    transport = "" if run.plan.get("imported") else run.device.transport  # of others' devices nobody knows it
    device = {"device": run.device.name, "transport": transport, "commit": run.commit}
    kept = {key: value for key, value in {**device, **found, **versions}.items() if key not in MOMENTARY}
    return {key: value for key, value in _lines(kept) if value not in (None, "", [], {})}


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each fact, and each part of one that has named parts: a line of its own, in which runs may differ."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}: {name}", part) for name, part in value.items())
        else:
            yield key, value


def _changed(table: Table) -> list[str]:
    """The facts in which rows of one run differ, though one machine measured them."""
    first: dict[str, Mapping[str, Any]] = {}
    out: dict[str, None] = {}
    for run, own in {(row.run.id, id(row.result.environment)): row.result.environment for row in table.rows}.items():
        if own:
            known = first.setdefault(run[0], own)
            out.update(dict.fromkeys(k for k, v in own.items() if k not in MOMENTARY and known.get(k) != v))
    return list(out)


def _words(value: object) -> str:
    return ended(told(value), 400)


def failures(table: Table) -> Section:
    """Every row that is not there: its reason, what to do, and the end of what its worker printed."""
    name = names(table)
    bad = [row for row in table.rows if row.result.status != "ok"]

    def line(row: Row) -> Line:
        reason = shorten(plain(row.result.reason)) or "no reason was given"
        printed = plain(row.result.stderr)[-300:] or MISSING
        return name(row), row.result.status, reason, plain(row.result.fix) or MISSING, printed

    rows, more = cut(bad, line)
    words = (
        ("These cells were asked for and have no figures.", *more)
        if rows
        else ("Nothing failed, and nothing was skipped.",)
    )
    head = ("row", "status", "reason", "fix", "end of its output") if rows else ()
    return Section(key="failures", title="What failed, and why", words=words, head=head, rows=rows)


def reproduce(table: Table) -> Section:
    """The commands, versions and protocol of each run."""
    rows = []
    for run in table.runs:
        versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        protocol = run.plan.get("protocol")
        rows += [
            ("run", plain(run.id)),
            ("started", plain(run.started) or MISSING),
            ("measure it again", _command(run)),
            ("write this report again", plain(f"edgebench report {run.id}")),
            ("commit", plain(run.commit) or MISSING),
            ("versions", plain(versions) or MISSING),
            ("protocol", _words(protocol) if protocol else "the default one"),
        ]
    words = ("The plan of each run is kept whole in its run.json; every figure can be made anew from the raw samples.",)
    return Section(key="reproduce", title="How to reproduce", words=words, head=("what", "how"), rows=tuple(rows))


def _command(run: Run) -> str:
    if "imported" in run.plan:
        return f"not measured by edgebench: {_words(run.plan['imported'])}"
    plan = str(run.plan.get("name") or "")
    model = run.plan.get("model")
    source = str(model.get("source") or "") if isinstance(model, Mapping) else ""
    if plan == "bench" and source:
        return plain(f"edgebench bench {shlex.quote(source)} {_asked(run)}")
    if plan in suites.names():
        return plain(f"edgebench run {plan} {_asked(run)}")
    return plain(f"edgebench run PLAN.toml {_asked(run)} (the plan {plan or 'of run.json'})")


def _asked(run: Run) -> str:
    """The options that make the same cells again on the same device, with the same care: where they are not the plan's own."""
    plan, words = run.plan, [f"--device {shlex.quote(run.device.name)}"]
    name = str(plan.get("name") or "")
    usual = suites.axes(name)
    axes = ("backend", "batch", "threads", "precision")
    own = {axis: plan.get(suites.AXES[axis]) for axis in axes if name == "bench" or usual}
    if usual:
        own["recipe"] = [r.get("name") for r in plan.get("recipes") or () if isinstance(r, Mapping)]
    for axis, values in own.items():
        if values and list(values) != usual.get(axis):
            words += [f"--{axis} {shlex.quote(str(value))}" for value in values]
    protocol = plan.get("protocol")
    trust = protocol.get("trust") if isinstance(protocol, Mapping) else None
    return " ".join([*words, *([f"--{trust}"] if trust in ("quick", "precise") else [])])
