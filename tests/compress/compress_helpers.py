"""A small data set and a small network for the tests of compression."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgebench.codec import Options
from edgebench.compress.context import Architecture, Context
from edgebench.compress.load_model import load_module
from edgebench.data import DataSet
from edgebench.data.arrays import from_arrays
from edgebench.schema import ModelSpec

torch.set_num_threads(1)  # as the pipeline does for small networks: more only wait for each other

ENTRY = "edgebench.zoo:resnet8"
OPTIONS = Options(classes=3, in_channels=1, width=8)
SPEC = ModelSpec(name="tiny", source=ENTRY, options=OPTIONS)


@lru_cache(maxsize=1)
def stripes() -> DataSet:
    """Noisy pictures (1, 12, 12) of horizontal, vertical and no stripes: learnt in a second."""
    random = np.random.RandomState(0)

    def some(n: int) -> tuple[Any, Any]:
        labels = np.arange(n) % 3
        pictures = random.standard_normal((n, 1, 12, 12)).astype(np.float32)
        pictures[labels == 0, :, ::2] += 1.5
        pictures[labels == 1, :, :, ::2] += 1.5
        return pictures, labels

    (x, y), (xc, _), (xe, ye) = some(120), some(32), some(48)
    return from_arrays("stripes", {"x_train": x, "y_train": y, "x_calib": xc, "x_eval": xe, "y_eval": ye})


def network() -> Any:
    return load_module(SPEC, Path())


def context(data: DataSet | None = None) -> Context:
    return Context(
        data=data or stripes(), base=Path(), architecture=Architecture(entry=ENTRY, options=OPTIONS), stage="test"
    )
