"""Data from a python entry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench.data import DataSet
from edgebench.data.arrays import from_arrays
from edgebench.entries import call
from edgebench.errors import DataError, said_of


def load(source: str, options: Mapping[str, Any], base: Path) -> DataSet:
    """Call the entry with the options as keywords; it returns a DataSet, or arrays by key as an .npz has."""
    made = call(source, options, base, DataError)
    if isinstance(made, DataSet):
        return made
    if isinstance(made, Mapping):
        return from_arrays(source, made)
    raise DataError(
        f"The data entry {source} returned {said_of(made)}.",
        "Return an edgebench.data.DataSet, or a dict with x_train, y_train, x_eval and y_eval.",
    )
