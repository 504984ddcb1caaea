"""The table at a terminal: at any width every number is there, whole."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_report import RUN, cell, faster, figure, good, many

from edgebench.codec import Options
from edgebench.report.sections import answer
from edgebench.report.table import Table, build
from edgebench.report.terminal import MOST_ROWS, lines
from edgebench.schema import Result


def printed(table: Table, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(lines(table, width))
    return out.getvalue()


def printed_table(table: Table, width: int) -> str:
    """Without the answer, which tells figures again."""
    return printed(table, width).partition("± is half of")[0]


def rich_results() -> list[Result]:
    more = (
        faster(), figure("latency_p90", "s", 1.5e-3), figure("latency_p99", "s", None, "n < 662"),
        figure("throughput", "1/s", 812.34), figure("load", "s", 0.0456), figure("first_inference", "s", 2.0),
        figure("memory_peak", "B", 30.5 * 2**20), figure("size", "B", 312_345), figure("agreement", "1", 0.991),
        figure("accuracy", "1", 0.974, spread=0.011, n=900),
    )  # fmt: skip
    failed = Result(cell=cell("small", "ov"), status="failed", reason="It broke.", fix="Mend it.")
    return [*(good(v, b, 1.234e-3, *more) for v in ("teacher", "small") for b in ("ort", "torch")), failed]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_every_figure_is_there_whole(width: int) -> None:
    table = build(RUN, rich_results())
    text = printed(table, width)
    for column in table.columns:
        assert column.title in text or column.key == "variant"
    for row in table.rows:
        for entry in row.entries:
            assert table.shown(entry) in text
    assert "…" not in text
    assert "[1]  Failed: It broke. Fix: Mend it." in text


def test_a_very_narrow_terminal_folds_figures_at_their_spaces() -> None:
    words = printed(build(RUN, rich_results()), 36).split()
    assert {"1.75x", "faster", "(1.70–1.80)", "1.23", "812", "97.4"} <= set(words)


@pytest.mark.parametrize("width", [36, 60, 80, 100, 120, 200])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    text = printed(build(RUN, rich_results()), width)
    assert max(map(len, text.splitlines())) <= width


def test_a_wide_terminal_needs_one_block_and_a_narrow_one_more() -> None:
    table = build(RUN, rich_results())
    rules = [printed(table, width).count("─\n") for width in (80, 120, 250)]
    assert rules == [3, 2, 1]


def test_figures_stand_below_one_another() -> None:
    text = printed_table(build(RUN, [good("a", "ort", 1.0e-3), good("a", "ov", 9.9e-1)]), 80)
    ends = {line.index("ms") for line in text.splitlines() if " ms" in line}
    assert len(ends) == 1


def test_variants_have_lines_of_their_own_where_that_saves_width() -> None:
    grouped = printed(build(RUN, many(2)), 80).splitlines()
    assert "v0" in grouped
    assert "v1" in grouped
    alone = printed(build(RUN, many(1)[:1]), 80).splitlines()
    assert "v0" not in alone
    assert any(line.startswith("v0  ") for line in alone)


def test_a_status_that_is_fine_everywhere_takes_no_column() -> None:
    assert "status" not in printed(build(RUN, many()), 120)
    assert "status" in printed(build(RUN, rich_results()), 120)


def test_long_and_wide_names_are_folded_and_markup_is_text() -> None:
    name = "n" * 200
    text = printed(build(RUN, [good(name), good("[red]模型[/red]")]), 80)
    assert text.count("n") >= 200
    assert "[red]模型" in text.replace("\n", "").replace(" ", "") or "[red]" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_row_without_any_figure_is_still_a_row() -> None:
    bare = Result(cell=cell("bare"), status="ok", effective=Options(precision="fp32"))
    assert "bare" in printed(build(RUN, [good(), bare]), 80)
    assert "There is no result yet." in printed(build(RUN, []), 80)
    assert "failed [1]" in printed(build(RUN, [Result(cell=cell(), status="failed", reason="It broke.")]), 80)


def test_warnings_and_hint_stand_below() -> None:
    text = printed(build(RUN, [good()]), 80)
    assert text.index("[!]  It is hot.") > text.index("1.23 ± 0.02 ms")
    assert "is not zero" in text


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), max_size=4), st.integers(1, 150))
def test_any_names_at_any_width(names: list[tuple[str, str]], width: int) -> None:
    table = build(RUN, [good(v, b, 1.234e-3) for v, b in names])
    assert printed_table(table, width).count("1.23 ± 0.02 ms") == len(names) or width < 60


def test_more_rows_than_anybody_scrolls_through_are_in_the_files() -> None:
    results = [good(f"variant {i}", "ort", 1e-3) for i in range(MOST_ROWS + 3)]
    text = printed(build(RUN, results), 120)
    assert "3 more rows are in report.html, table.md, table.csv and table.json." in text
    assert f"variant {MOST_ROWS - 1} " in text
    assert f"variant {MOST_ROWS} " not in text
    assert "more rows" not in printed(build(RUN, results[:MOST_ROWS]), 120)


def test_the_answer_comes_last_as_it_stands_on_the_page() -> None:
    table = build(RUN, rich_results())
    wanted = answer.section(table).words
    assert " ".join(printed(table, 400).splitlines()[-len(wanted) :]) == " ".join(wanted)
    assert wanted[0] not in printed(build(RUN, rich_results()[:1]), 400), "there is nothing to choose from one row"


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["unverified"] * 3, "Provisionally, as it was measured quickly: ship"),
        (["valid", "noisy", "noisy"], "Not settled: "),
        (["valid", "valid", "noisy"], "Ship "),
        (["valid", "valid", "unverified"], "Ship "),
        (["noisy"] * 3, "No row has a latency"),
    ],
)
def test_how_firmly_the_answer_is_given_depends_on_how_many_rows_could_be_told(states: list[str], said: str) -> None:
    accuracy = figure("accuracy", "1", 0.974, spread=0.011, n=900)
    found = [
        replace(
            good(f"v{i}", "ort", 1e-3 + i * 1e-4, accuracy), noise=Options(state=state), baseline=good("v0").cell.id
        )
        for i, state in enumerate(states)
    ]
    told = [replace(r, measurements=()) if r.noise["state"] == "noisy" else r for r in found]
    words = answer.section(build(RUN, told)).words[0]
    assert words.startswith(said)
    assert "below" not in words, "the notes stand above the answer"
