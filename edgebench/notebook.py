"""Results in a notebook: `edgebench.load("results/...")` gives a table of pandas, a figure of matplotlib, a display."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from edgebench import store
from edgebench.errors import EdgebenchError, MissingRuntime
from edgebench.metrics.paired import Right, noted
from edgebench.report import figures, html
from edgebench.report.spread import spreads
from edgebench.report.table import Source, Table, build_all


class Loaded:
    """One run or several, read once. In a notebook it displays itself as the HTML report."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def table(self) -> Any:
        """A pandas DataFrame with one line a cell, SI units, NaN where nothing was measured. Raises MissingRuntime."""
        return self._table.to_pandas()

    def plot(self, kind: str = "") -> Any:
        """A matplotlib Figure: "latency", "scatter" (accuracy against latency) or "ladder" (the speed-up of each step).

        Without a kind: the scatter where accuracy was measured, else latency. Raises EdgebenchError for another word or
        nothing to draw, and MissingRuntime without matplotlib.
        """
        known = {"scatter": figures.scatter, "ladder": figures.ladder, "latency": figures.latency}
        if kind and kind not in known:
            raise EdgebenchError(f'There is no plot "{kind}".', f"Known: {', '.join(known)}.")
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            fix = 'Install it with: pip install "edgebench[report]"'
            raise MissingRuntime("A plot needs matplotlib, which is not installed.", fix) from error
        for name in (kind,) if kind else ("scatter", "latency"):
            figure = Figure(figsize=(7, 4.6), layout="constrained")
            if known[name](figure.add_subplot(), self._table):
                return figure
        raise EdgebenchError("There is nothing to draw: no row has such figures.", "Load a run that measured them.")

    def _repr_html_(self) -> str:
        """The report in a frame of its own, so that neither its style nor its script touches the notebook."""
        page = base64.b64encode(html.render(self._table).encode()).decode()
        frame = 'width="100%" height="720" style="border:1px solid #ccc" title="edgebench report"'
        return f'<iframe src="data:text/html;charset=utf-8;base64,{page}" {frame}></iframe>'

    def __repr__(self) -> str:
        runs = ", ".join(run.id for run in self._table.runs)
        return f"<edgebench: {len(self._table.rows)} rows of {runs}>"


def load(*runs: str | Path) -> Loaded:
    """Read results folders. Raises EdgebenchError for one that is none, and when no folder is named."""
    if not runs:
        raise EdgebenchError("No run was named.", 'Name one: edgebench.load("results/...").')
    folders = [store.open_run(Path(run)) for run in runs]
    return Loaded(build_all([_source(folder) for folder in folders]))


def _source(folder: store.RunFolder) -> Source:
    right: dict[str, Right] = {}
    return Source(
        run=folder.run, results=folder.results(), spreads=spreads(noted(folder.samples(), right)), right=right
    )
