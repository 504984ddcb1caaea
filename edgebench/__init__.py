"""edgebench: compress a network, compile it for every edge runtime, measure it on the device, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgebench.notebook import Loaded


def load(*runs: str | Path) -> Loaded:
    """Read results folders for a notebook: `.table()` is a pandas DataFrame, `.plot()` a matplotlib Figure.

    Raises EdgebenchError for a folder that is no run. Nothing is imported before it is called.
    """
    from edgebench.notebook import load as read

    return read(*runs)
