"""An import says what a file does not say, and refuses what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from test_imports_formats import TINY_PERFORMANCE

from edgebench import imports
from edgebench.cli import cli
from edgebench.decide.rows import energy_scope, rows
from edgebench.errors import StoreError
from edgebench.imports.foreign import precision_in
from edgebench.report.columns import FIGURES, NAMES
from edgebench.report.facts import facts


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_precision_that_is_not_named_is_not_invented(tmp_path: Path) -> None:
    (row,) = imports.read(written(tmp_path, "model,latency_ms\nnet,5\n")).results
    assert row.cell.precision == "not named"
    entry = next(c for c in NAMES if c.key == "precision").make(row)
    assert (entry.text, entry.notes) == ("not named", ())
    assert [precision_in(w) for w in ("net_quant", "net-fp32", "net")] == ["int8", "fp32", "not named"]


def test_the_head_of_an_import_tells_no_protocol_of_ours_and_no_version_that_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, TINY_PERFORMANCE, "results.txt")
    found = imports.read(path, "mlperf-tiny", known=imports.Known(model="ic", device="x"))
    told = {f.name: f.text for f in facts(imports.run_of(found, started="20261128T000000Z"), found.results)}
    assert found.results[0].get("latency").samples  # type: ignore[union-attr]
    assert "protocol" not in told
    assert "not named" not in told.get("versions", "")


@pytest.mark.parametrize(
    ("head", "maps", "problem", "fix"),
    [
        ("latency_ms,accuracy_pct\n5,120\n", [], "more than all answers", "unit of the column"),
        ("latency_ms,top\n5,97\n", ["accuracy=top:1"], "more than all answers", ":%"),
        ("net,mean_ms\na,5\n", ["latancy=mean_ms"], 'no metric "latancy"', 'Did you mean "latency"'),
        ("net,wer_pct\na,5\n", ["wer=wer_pct"], 'no metric "wer"', "Known: accuracy, "),
        ("net,mem_kb\na,5\n", ["memory=mem_kb"], 'no metric "memory"', 'Did you mean "memory_peak"'),
        ("net,board,took\na,x,5\n", [], "No column", "--map latency=took:ms"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, head: str, maps: list[str], problem: str, fix: str) -> None:
    with pytest.raises(StoreError, match=problem) as refused:
        imports.read(written(tmp_path, head), maps=maps)
    assert fix in refused.value.fix


def test_a_file_without_a_usable_row_is_a_failure(tmp_path: Path) -> None:
    path = written(tmp_path, "model,latency_ms\nnet,-5\n")
    done = CliRunner().invoke(cli, ["import", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert CliRunner().invoke(cli, ["import", str(written(tmp_path, "model,latency_ms\nnet,5\n")),
                                    "--out", str(tmp_path / "other")]).exit_code == 0  # fmt: skip


def test_a_log_of_benchmark_app_is_known_without_its_beginning(tmp_path: Path) -> None:
    text = "[ INFO ] Execution Devices:['CPU']\n[ INFO ] Count:            1000 iterations\n[ INFO ]    Median:        1.20 ms\n"
    found = imports.read(written(tmp_path, text, "log.txt"))
    assert found.form == "benchmark_app"
    latency = found.results[0].get("latency")
    assert latency is not None
    assert latency.value == pytest.approx(1.2e-3)


def test_who_submitted_is_read_from_the_path(tmp_path: Path) -> None:
    text = "Median throughput is 6.000 inf./sec.\n"
    path = written(tmp_path, text, "closed/ACME/results/BOARD/ic/performance/results.txt")
    latency = imports.read(path).results[0].get("latency")
    assert latency is not None
    assert latency.source.startswith("MLPerf Tiny, ACME, closed, BOARD")


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        (
            "performance",
            "# Inferences : 100\nRuntime : 1.2.3 sec.\nMedian throughput is 6.0 inf./sec.\n",
            'Line 2 of .*"1.2.3"',
        ),
        ("performance", "# Inferences : 0\nRuntime : 1.2 sec.\nMedian throughput is 6.0 inf./sec.\n", 'Line 1 .*"0"'),
        ("performance", "\n\nMedian throughput is 6.0x0 inf./sec.\n", 'Line 3 .*"6.0x0".*throughput'),
        (
            "accuracy",
            "\nulp-mlperf: Top-1: 188.5%\n",
            'Line 2 of .*accuracy/results.txt holds "188.5".*accuracy in percent',
        ),
        ("accuracy", "Top-1: 8.8.5 %\n", 'Line 1 .*"8.8.5"'),
        ("accuracy", "AUC: 1.98\n", 'Line 1 .*"1.98".*AUC'),
        ("energy", "Median energy cost is nan uJ/inf.\n", 'Line 1 .*"nan".*energy'),
        ("energy", "Median energy cost is -4 uJ/inf.\n", 'Line 1 .*"-4".*energy'),
    ],
)
def test_a_number_of_a_submission_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, kind: str, text: str, problem: str
) -> None:
    base = tmp_path / "closed/ACME/results/BOARD/ic"
    written(base, "Median throughput is 6.000 inf./sec.\n", "performance/results.txt")
    written(base, text, f"{kind}/results.txt")
    with pytest.raises(StoreError, match=problem):
        imports.read(tmp_path)


def test_a_choice_by_energy_counts_that_of_a_submission(tmp_path: Path) -> None:
    base = tmp_path / "closed/ACME/results/BOARD/ic"
    written(base, "Median throughput is 6.000 inf./sec.\n", "performance/results.txt")
    written(base, "Median energy cost is 6919.375 uJ/inf.\n", "energy/results.txt")
    results = imports.read(tmp_path).results
    assert energy_scope(results) == "board"
    (row,) = rows(imports.run_of(imports.read(tmp_path), started="20261128T000000Z"), results, energy_scope(results))
    assert row.figures["energy"].value == pytest.approx(6919.375e-6)


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "model,latency_ms,latency_p90,note,wer\nnet,5,6,x,7\n")
    assert imports.read(path).unread == ("latency_p90", "note", "wer")
    assert imports.read(path, maps=["latency_p90=latency_p90:ms"]).unread == ("note", "wer")
    done = CliRunner().invoke(cli, ["import", str(path), "--out", str(tmp_path / "out")])
    assert "Not read: the columns latency_p90, note and wer" in done.output
    assert "--map METRIC=COLUMN:UNIT" in done.output


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_columns_may_be_apart_by_commas_semicolons_or_tabs(tmp_path: Path, mark: str) -> None:
    lines = (("model", "variant", "latency_ms"), ("net", '"a,b;c"', "5.5"))
    path = written(tmp_path, "\n".join(mark.join(line) for line in lines))
    (row,) = imports.read(path).results
    assert (row.cell.recipe, row.get("latency").value) == ("a,b;c", pytest.approx(5.5e-3))  # type: ignore[union-attr]


def test_a_decimal_comma_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, 'model;variant;latency_ms\n"net\nwork";a;5\nnet;b;5,5\n')
    with pytest.raises(StoreError, match=r'Line 4 .*latency_ms.*"5,5" has a comma') as refused:
        imports.read(path)
    assert "5.5" in refused.value.fix


def test_what_a_published_latency_is_of_stands_in_its_footnote(tmp_path: Path) -> None:
    text = "[ INFO ] Count:  1000 iterations\n[ INFO ] Median:  1.20 ms\nOPTIMAL_NUMBER_OF_INFER_REQUESTS: 4\n"
    (row,) = imports.read(written(tmp_path, text, "log.txt")).results
    entry = next(c for c in FIGURES if c.key == "latency").make(row)
    assert entry.notes[0].endswith("median; latency of one of 4 requests at once.")
