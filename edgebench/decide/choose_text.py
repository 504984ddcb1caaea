"""A choice in words, rendered from its JSON: the answer first, in one sentence, then the rows, then what would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgebench.decide import show
from edgebench.decide.need import LIMITS
from edgebench.decide.show import LABELS, value
from edgebench.report.text import MISSING, count, percent, plain, several

MOST = 20
"""Rows of one verdict that are printed; the JSON has all of them."""
TITLES = {"pass": "PASS", "undecided": "UNDECIDED", "fail": "FAIL"}
Object = Mapping[str, Any]


def render(answer: Object, width: int = 100) -> str:
    """The text for a terminal of `width` columns. No line is longer, and no number is cut."""
    names = _names(answer)
    parts = [
        show.wrap(sentence(answer, names), width),
        [line for d in answer["doubts"] for line in show.wrap(_doubt(answer, d), width, "     ", "[!]  ")],
        _facts(answer, width),
        *(_verdict(answer, verdict, names, width) for verdict in TITLES),
        _flips(answer, names, width),
        _next(answer, width),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _tags(answer: Object) -> dict[str, str]:
    """A letter for each run, where several hold rows with the same names; else nothing."""
    rows = answer["rows"]
    keys = show.differing([r["axes"] for r in rows])
    runs = sorted({r["run"] for r in rows})
    if len(runs) < 2 or len({show.named(r["axes"], keys) for r in rows}) == len(rows):
        return {}
    return {run: chr(ord("A") + i) if len(runs) <= 26 else str(i + 1) for i, run in enumerate(runs)}


def _names(answer: Object) -> dict[str, str]:
    """What each row is called, by its id."""
    keys, tags = show.differing([r["axes"] for r in answer["rows"]]), _tags(answer)
    return {
        r["id"]: show.named(r["axes"], keys) + (f", run {tags[r['run']]}" if tags else "") for r in answer["rows"]
    }  # fmt: skip


def sentence(answer: Object, names: Mapping[str, str] | None = None) -> str:
    """The answer in one sentence."""
    names = names or _names(answer)
    counts, least = answer["counts"], LABELS[answer["need"]["minimize"]]
    total = sum(counts.values())
    if answer["verdict"] == "infeasible":
        return f"No row keeps to the limits: {'the only one fails' if total == 1 else f'all {total} fail'}."
    if answer["verdict"] == "undecided":
        may = f"{counts['undecided']} of {count(total, 'row')}"
        return f"Undecided: no row surely keeps to the limits, and {may} may."
    best = next(r for r in answer["rows"] if r["id"] == answer["choice"])
    cost = best["figures"][answer["need"]["minimize"]]
    tied = [names[i] for i in answer["ties"]]
    if not answer["settled"]:
        return _unsettled(answer, names[best["id"]], cost, least)
    ship = "Provisionally: ship" if answer["provisional"] else "Ship"
    said = f"{ship} {names[best['id']]}: {_figure(answer['need']['minimize'], cost)}, the least {least} of {counts['pass']}"
    said += f" {'row' if counts['pass'] == 1 else 'rows'} that {'passes' if counts['pass'] == 1 else 'pass'}"
    said += f"; in {least} it cannot be told from {several(tied)}." if tied else "."
    still = len(answer["open"])
    return f"{said} {count(still, 'undecided row')} may be better." if still else said


def _unsettled(answer: Object, name: str, cost: Object, least: str) -> str:
    """The row that comes first is known too badly to be shipped for it."""
    wide = f"± {percent(answer['half_width'], 0)}" if (answer["half_width"] or 9) <= 1 else "± more than 100 %"
    longer = f"measure longer{': ' + answer['again'] + ' --precise' if answer['again'] else ''}"
    return f"Not settled: {name} has the least {least} of the rows that pass, but it is only known to {wide}; {longer}"


def _doubt(answer: Object, doubt: Object) -> str:
    """A doubt, with the runs that it is about where others are free of it."""
    runs = {r["run"] for r in answer["rows"]}
    about = [plain(run) for run in doubt["runs"] if run in runs]
    return doubt["text"] if len(about) == len(runs) else f"{', '.join(about) or 'not chosen from'}: {doubt['text']}"


def _figure(key: str, figure: Object | None) -> str:
    """`31.1 µs (30.6 to 31.5)` with a letter for its grade; a percentile, whose value is its bound, as `≤ 55 µs`."""
    if figure is None or figure["value"] is None:
        return MISSING
    letter = show.GRADES[figure["grade"]]
    mark = f" [{letter}]" if letter else ""
    if key.startswith("latency_p"):
        return f"≤ {value(key, figure['value'])}{mark}"
    if figure["low"] is None or figure["high"] is None or figure["low"] == figure["high"]:
        return value(key, figure["value"]) + mark
    ends = show.span(key, figure["value"], figure["low"], figure["high"])
    return f"{value(key, figure['value'])} ({ends}){mark}"


def _facts(answer: Object, width: int) -> list[str]:
    need, counts = answer["need"], answer["counts"]
    limits = [
        f"{LABELS[x['figure']]} {'≤' if x['sense'] == 'max' else '≥'} {plain(x['asked'])}" for x in need["limits"]
    ]
    asked = ", ".join(limits) if limits else "no limit"
    grade = {"measured": "measured only", "roofline": "of any grade"}.get(
        need["evidence"], f"{need['evidence']} or better"
    )
    asked += f"; least {LABELS[need['minimize']]}; evidence {grade}"
    if need["runtimes"]:
        asked += f"; runtimes: {', '.join(need['runtimes'])}"
    rows = ", ".join(f"{counts[v]} {v}" for v in TITLES if counts[v])
    if answer["excluded"]:
        rows += f"; {answer['excluded']} of other runtimes not looked at"
    letters = [f"[{show.GRADES[g]}] {g}" for g in answer["evidence"] if show.GRADES[g]]
    runs = [f"{tag} {plain(run)}" for run, tag in _tags(answer).items()]
    if any(x["figure"] == "memory" for x in need["limits"]) or need["minimize"] == "memory":
        letters.append(
            "memory is taken to repeat within 0.4 % of the whole process, as measured from process to process"
        )
    told = (("need  ", asked), ("rows  ", rows), ("runs  ", ", ".join(runs)), ("marks ", ", ".join(letters)))
    return [line for name, words in told if words for line in show.wrap(words, width, "      ", name)]


def _verdict(answer: Object, verdict: str, names: Mapping[str, str], width: int) -> list[str]:
    rows = [r for r in answer["rows"] if r["verdict"] == verdict]
    if not rows:
        return []
    lines = [f"{TITLES[verdict]} ({len(rows)})"]
    lines += (
        _passes(answer, rows[:MOST], names, width) if verdict == "pass" else _others(answer, rows[:MOST], names, width)
    )
    if len(rows) > MOST:
        lines.append(f"  and {len(rows) - MOST} more: --json has them all.")
    return lines


def _passes(answer: Object, rows: Sequence[Object], names: Mapping[str, str], width: int) -> list[str]:
    """A line for each row with the figures that limits were set on; two where the width does not hold them."""
    least = answer["need"]["minimize"]
    keys = list(dict.fromkeys((least, *(x["figure"] for x in answer["need"]["limits"]))))
    marks = {answer["choice"]: "*", **dict.fromkeys(answer["ties"], "=")}
    heads = ["", "", *(LABELS[k] for k in keys)]
    body = [[marks.get(r["id"], " "), names[r["id"]], *(_figure(k, r["figures"].get(k)) for k in keys)] for r in rows]
    lines = show.columns([heads, *body], [False, False, *(True for _ in keys)])
    if max(map(len, lines)) > width - 2:
        lines = []
        for mark, name, *figures in body:
            told = ", ".join(f"{LABELS[k]} {f}" for k, f in zip(keys, figures, strict=True))
            lines += [*show.wrap(name, width - 2, "  ", f"{mark} "), *show.wrap(told, width - 2, "    ")]
    below = [r for r in rows if r["dominated_by"] and r["id"] not in marks]
    legend = "* the choice" + (", = cannot be told from it" if answer["ties"] else "")
    if below:
        legend += f"; {len(below)} of the others {'is' if len(below) == 1 else 'are'} surely worse than another row"
    return [f"  {line}" for line in (*lines, *show.wrap(legend, width - 2))]


def _others(answer: Object, rows: Sequence[Object], names: Mapping[str, str], width: int) -> list[str]:
    """A line for each row with its reason, or two where the width does not hold them."""
    least = answer["need"]["minimize"]
    body = [[names[r["id"]], _figure(least, r["figures"].get(least)), r["why"]] for r in rows]
    lines = [f"  {line}" for line in show.columns([["", LABELS[least], ""], *body], [False, True, False])]
    if max(map(len, lines)) <= width:
        return lines
    lines = []
    for name, cost, reason in body:
        lines += show.wrap(name + ("" if cost == MISSING else f", {LABELS[least]} {cost}"), width, "    ", "  ")
        lines += show.wrap(reason, width, "      ")
    return lines


def _flips(answer: Object, names: Mapping[str, str], width: int) -> list[str]:
    flips = answer["flips"]
    lines = []
    for x in flips["loosen"][:2]:
        lines.append(f"{_limit(x, loosen=True)} lets in {names[x['gives']]}.")
    for x in flips["tighten"][:2]:
        after = f"{names[x['gives']]} is chosen" if x["gives"] else "nothing surely passes"
        lines.append(f"{_limit(x, loosen=False)} turns the choice: {after}.")
    if second := flips["runner_up"]:
        ahead = f" {percent(second['distance'])}" if second["distance"] else ""
        lines.append(f"The next row, {names[second['id']]}, is at least{ahead} behind." if ahead else
                     f"The next row is {names[second['id']]}.")  # fmt: skip
    return (
        ["What would change it"] + [w for line in lines for w in show.wrap(line, width, "    ", "  ")] if lines else []
    )


def _limit(x: Object, loosen: bool) -> str:
    sense = LIMITS[x["option"]].sense
    bound = x["to_text"]
    if loosen:
        return f"{x['option']} {'raised' if sense == 'max' else 'lowered'} to {bound}"
    return f"{x['option']} {'under' if sense == 'max' else 'over'} {bound}"


def _next(answer: Object, width: int) -> list[str]:
    lines = []
    for g in answer["next"][:3]:
        settles = f"settles {count(len(g['settles']), 'row')}" if g["settles"] else "settles none alone"
        more = len(g["concerns"]) - len(g["settles"])
        settles += f", helps {more} more" if more and g["settles"] else f", helps {more}" if more else ""
        lines += show.wrap(f"{LABELS[g['figure']]}: {g['do']} ({settles})", width, "    ", "  ")
        if g["command"]:
            lines += show.wrap(g["command"], width, "      ", "      ")
    return ["Measure next", *lines] if lines else []
