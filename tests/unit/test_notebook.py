"""`edgebench.load`: a table, a figure and a display; and nothing heavy before it is called."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgebench
from edgebench.errors import EdgebenchError, StoreError
from edgebench.store import open_run

PUBLISHED = Path(__file__).parents[2] / "results/published/local/quick"


def test_a_run_is_a_table_with_raw_numbers() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    table = edgebench.load(PUBLISHED).table()
    assert len(table) == 15
    assert table["latency_s"].min() == pytest.approx(3.105e-5, rel=1e-2)
    assert set(table["runtime"]) == {"onnxruntime", "openvino", "torch"}
    assert len(edgebench.load(PUBLISHED, PUBLISHED).table()) == 30


@pytest.mark.parametrize(
    ("kind", "label"), [("", "accuracy, %"), ("ladder", ""), ("latency", ""), ("scatter", "accuracy, %")]
)
def test_a_run_is_a_figure(kind: str, label: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure = edgebench.load(PUBLISHED).plot(kind)
    (axes,) = figure.axes
    assert axes.get_ylabel() == label
    told = [r for r in open_run(PUBLISHED).results() if r.noise.get("state") != "noisy"]
    baselines = 3 if kind == "ladder" else 0  # which are what the others are held against
    assert len(axes.containers) >= len(told) - baselines >= 11
    figure.canvas.draw()


def test_it_displays_itself_as_the_page_in_a_frame() -> None:
    loaded = edgebench.load(str(PUBLISHED))
    shown = loaded._repr_html_()
    page = base64.b64decode(re.findall(r"base64,([^\"]*)", shown)[0]).decode()
    assert "<h1>digits on local</h1>" in page
    assert "15 rows" in repr(loaded)


def test_what_cannot_be_loaded_or_drawn_says_so() -> None:
    with pytest.raises(StoreError, match="no results folder"):
        edgebench.load("results/published/local/nowhere")
    with pytest.raises(EdgebenchError, match="No run was named"):
        edgebench.load()
    with pytest.raises(EdgebenchError, match='no plot "pie"'):
        edgebench.load(PUBLISHED).plot("pie")


def test_importing_edgebench_loads_nothing_heavy() -> None:
    heavy = ("edgebench", "numpy", "pandas", "torch", "matplotlib")
    code = f"import sys, edgebench; print(sorted(m for m in sys.modules if m.split('.')[0] in {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['edgebench']"
