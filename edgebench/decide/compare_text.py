"""A comparison in words, rendered from its JSON: for a terminal, and as Markdown for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgebench.decide import show
from edgebench.report.markdown import escape
from edgebench.report.text import MISSING, count, percent, plain
from edgebench.report.text import significant as number

MOST = 60
"""Pairs that a text shows; the JSON has all of them."""
NAMED = 10
"""Cells of one run alone that it names."""
Object = Mapping[str, Any]


def render(answer: Object, width: int = 100) -> str:
    """The text for a terminal of `width` columns."""
    parts = [
        show.wrap(sentence(answer), width),
        [line for words in _alike(answer) for line in show.wrap(words, width, "  ")],
        [f"A  {plain(answer['a']['run'])}", f"B  {plain(answer['b']['run'])}"],
        _table(answer, width),
        [line for words in _rest(answer) for line in show.wrap(words, width)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def sentence(answer: Object) -> str:
    """The answer in one sentence, behind what is missing."""
    pairs, missing = len(answer["rows"]), answer["missing"]
    if not pairs:
        both = f"edgebench report {plain(answer['a']['called'])} {plain(answer['b']['called'])}"
        return f"Nothing can be compared: no cell is in both runs; to see them side by side: {both}"
    behind = f"{missing} of {answer['cells_of_a']} cells of A have no result in B. " if missing else ""
    return f"{behind}{'; '.join((_verdict(answer), *_silent(answer['rows'])))}."


def _silent(rows: Sequence[Object]) -> Iterator[str]:
    """The pairs and the figures of which a verdict says nothing, as neither run has them."""
    ended = Counter(r["verdict"] for r in rows if r["verdict"].endswith("in both"))
    if ended:
        others = "of the other pairs " if any(r["figures"] for r in rows) else ""
        told = [
            f"{n} {'' if end.startswith('failed') else 'was ' if n == 1 else 'were '}{end}" for end, n in ended.items()
        ]
        yield f"{others}{' and '.join(told)}"
    unknown = Counter(name for r in rows for name in r["unknown"])
    if unknown:
        told = [f"{_flat(name)} of {count(n, 'pair')}" for name, n in unknown.items()]
        yield f"not known in either run: {', '.join(told)}"


def _verdict(answer: Object) -> str:
    """What the figures say that both runs have, without a full stop."""
    rows, unresolved = answer["rows"], answer["unresolved"]
    figures, pairs = sum(len(r["figures"]) for r in rows), sum(bool(r["figures"]) for r in rows)
    said = [f"{n} {metric} {verdict}" for metric, verdicts in answer["counts"].items() for verdict, n in verdicts.items()
            if verdict not in ("same", "unresolved")]  # fmt: skip
    changes = f" ({', '.join(map(_flat, said))})" if said else ""
    of = f"{count(figures, 'figure')} in {count(pairs, 'pair')}"
    if answer["exit_code"] == 1:
        return f"B is a regression: {', and '.join(_worse(answer, of, changes))}"
    if unresolved:
        stay = f"{unresolved} of {of} {'stays' if unresolved == 1 else 'stay'} unresolved{changes}"
        if _moved(answer) == "faster":
            return f"No regression: {_together(answer['overall'])}, and {stay}"
        return f"No regression was found, but {stay}"
    if not figures:
        many = f"none of the {len(rows)} pairs has" if len(rows) > 1 else "the only pair has not"
        return f"Nothing can be compared: {many} a figure in both runs"
    if missing := answer["missing"]:
        return f"No regression in the {count(pairs, 'pair')} that both have, which says nothing of the other {missing}{changes}"
    return f"No regression: {of}, {'none worse' + changes if said else 'all the same' if figures > 1 else 'the same'}"


def _worse(answer: Object, of: str, changes: str) -> list[str]:
    """What makes it a regression: all pairs together, figures, and cells that failed."""
    broken = sum(r["verdict"] == "regression" for r in answer["rows"])
    worse = answer["regressions"] - broken
    told = [_together(answer["overall"])] if _moved(answer) == "slower" else []
    told += [f"{worse} of {of} {'is' if worse == 1 else 'are'} worse{changes}"] if worse else []
    return told + ([f"{broken} of {count(len(answer['rows']), 'cell')} failed"] if broken else [])


def _moved(answer: Object) -> str:
    """Whether all pairs together became "faster" or "slower"."""
    whole = answer["overall"]
    return whole["verdict"] if whole and whole["verdict"] in ("faster", "slower") else ""


def _together(whole: Object) -> str:
    slower = whole["verdict"] == "slower"
    ratio, *ends = (1 / whole[key] if slower else whole[key] for key in ("ratio", "low", "high"))
    return f"over all {whole['pairs']} pairs it is {ratio:.2f}x {whole['verdict']} ({min(ends):.2f}–{max(ends):.2f})"


def _flat(words: str) -> str:
    return words.replace("_", " ")


def _alike(answer: Object) -> Iterator[str]:
    """What has to be known before a ratio is believed."""
    if answer["same_run"]:
        yield "A and B are the same run."
        return
    if answer["comparable"]:
        yield "The runs are comparable: machine, versions, threads, data, precision and kind of protocol are the same."
        return
    found = answer["differences"]
    unequal = " They were not measured with the same care: their figures are not equally sure."
    care = unequal if any(d["care"] for d in found) else ""
    yield f"The runs are not comparable without reserve: {count(len(found), 'thing differs', 'things differ')}.{care}"
    for d in found:
        where = f" ({d['where']})" if d["where"] else ""
        yield f"  {d['what']}: {d['a']} in A, {d['b']} in B{where}"


def _rest(answer: Object) -> Iterator[str]:
    for side in ("a", "b"):
        only = answer[f"only_{side}"]
        if only:
            keys = show.differing([r["axes"] for r in (*answer["only_a"], *answer["only_b"])])
            rest = f"; and {len(only) - NAMED} more: --json has them all" if len(only) > NAMED else ""
            yield f"Only in {side.upper()}: {'; '.join(show.named(r['axes'], keys) for r in only[:NAMED])}{rest}."
    if shift := answer["common_shift"]:
        way = f"{number(shift)}x faster" if shift > 1 else f"{number(1 / shift)}x slower"
        yield f"All pairs moved together, by {way} on average: a change of the machine looks like this."
    if moved := len(answer["unexplained"]):
        yield (
            f"{count(moved, 'pair')} moved with the same model file, versions and settings in both runs: "
            "only the machine, what ran beside it, or the harness can have done that."
        )
    if answer["limit"] and answer["rows"]:
        yield answer["limit"]
    if sum(len(r["figures"]) for r in answer["rows"]):
        yield (
            "In brackets: 95 % intervals; where it is not said which way, of how many times as fast B is. "
            "A verdict counts only if it survives the correction for their number (Holm)."
        )


def words(f: Object) -> str:
    """`1.03x slower (1.02–1.05)`, `same (0.99–1.01)`, `lower by 1.2 points (0.3 to 2.1)`."""
    verdict, low, high = f["verdict"], f["low"], f["high"]
    if f["difference"] is not None:
        ends = f" ({100 * low:+.1f} to {100 * high:+.1f} points)" if low is not None and low != high else ""
        by = f" by {abs(100 * f['difference']):.1f} points" if verdict in ("higher", "lower") else ""
        return f"{verdict}{by}{ends}"
    ratio = f["ratio"]
    if ratio is None:
        return f"{verdict}: {plain(f['note'])}" if f["note"] else verdict
    if f["regression"]:
        ratio, low, high = 1 / ratio, high and 1 / high, low and 1 / low
    ends = f" ({low:.2f}–{high:.2f})" if low is not None and high is not None and low != high else ""
    if verdict in ("same", "unresolved"):
        return f"{verdict}{ends}" if ends or verdict == "same" else f"{verdict}: {plain(f['note'])}"
    by = f"{ratio:.2f}x" if ends or verdict in ("faster", "slower") else _percent(f)
    return f"{by} {verdict}{ends}"


def _percent(f: Object) -> str:
    return percent(abs(f["b"] / f["a"] - 1)) if f["a"] else MISSING


def _key(metric: str) -> str:
    return "energy" if metric.startswith("energy") else metric


def _both(f: Object) -> str:
    a, b = (show.value(_key(f["metric"]), f[side]) for side in ("a", "b"))
    return f"{a} → {b}" if a != b else a


def _table(answer: Object, width: int) -> list[str]:
    rows = answer["rows"][:MOST]
    if not rows:
        return []
    keys = show.differing([r["axes"] for r in answer["rows"]])
    body = []
    for r in rows:
        latency = next((f for f in r["figures"] if f["metric"] == "latency"), None)
        lacking = "withheld in both" if r["verdict"] == "measured" else r["verdict"]
        body.append([
            show.named(r["axes"], keys), _both(latency) if latency else MISSING, words(latency) if latency else lacking,
            r["why"] or _others(r["figures"]),
        ])  # fmt: skip
    head = ["", "latency A → B", "B is", "everything else"]
    lines = show.columns([head, *body], [False] * 4)
    if max(map(len, lines)) > width:
        lines = []
        for name, times, said, rest in body:
            lines += [
                *show.wrap(name, width, "  "),
                *show.wrap(f"latency {times}: {said}; {rest}", width, "      ", "    "),
            ]
    if len(answer["rows"]) > MOST:
        lines.append(f"and {len(answer['rows']) - MOST} more: --json has them all.")
    return lines


def _others(figures: Sequence[Object]) -> str:
    """What is not the same is said with its figures; the rest in one word."""
    others = [f for f in figures if f["metric"] != "latency"]
    told = [f"{_flat(f['metric'])} {_both(f)} {words(f)}" for f in others if f["verdict"] != "same"]
    same = [_flat(f["metric"]) for f in others if f["verdict"] == "same"]
    return "; ".join(told + ([f"{', '.join(same)} same"] if same else [])) or MISSING


def markdown(answer: Object) -> str:
    """For a comment of a pull request: the answer as a heading line, what differs, and a table."""
    lines = [f"**{escape(sentence(answer))}**", "", *(escape(words.strip()) for words in list(_alike(answer))[:1])]
    if answer["differences"]:
        lines += ["", "| differs | A | B |", "| --- | --- | --- |"]
        lines += [f"| {escape(d['what'])} | {escape(d['a'])} | {escape(d['b'])} |" for d in answer["differences"]]
    if answer["rows"]:
        lines += ["", *_markdown_table(answer)]
    for told in _rest(answer):
        lines += ["", escape(told)]
    return "\n".join([*lines, "", f"A: {escape(answer['a']['run'])}, B: {escape(answer['b']['run'])}"]) + "\n"


def _markdown_table(answer: Object) -> Iterator[str]:
    metrics = list(answer["counts"]) or ["latency"]
    keys = show.differing([r["axes"] for r in answer["rows"]])
    yield "| cell | " + " | ".join(escape(_flat(m)) for m in metrics) + " |"
    yield "| --- |" + " --- |" * len(metrics)
    for r in answer["rows"]:
        found = {f["metric"]: f for f in r["figures"]}
        squares = [f"{_both(found[m])}: {words(found[m])}" if m in found else MISSING for m in metrics]
        if r["why"]:
            squares[0] = r["why"]
        yield f"| {escape(show.named(r['axes'], keys))} | " + " | ".join(map(escape, squares)) + " |"
