"""Data sets: three splits of (input, label) pairs that never overlap, from one of five sources.

Importing this needs numpy only; scikit-learn and Pillow are imported by the source that needs them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.errors import DataError

__all__ = ["DataSet", "Split", "load", "make"]

Source = Callable[[str, Mapping[str, Any], Path], "DataSet"]


@dataclass(frozen=True)
class Split:
    """Samples of one use. `inputs` is float32, int32 or int64 (N, ...), `labels` int64 (N,) or None where there are none."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class DataSet:
    """One data set, cut once and for all: what is trained on, calibrated on and evaluated on.

    `sha256` covers every array and the class names: it stands for the data in every cache key.
    """

    name: str
    train: Split
    calibration: Split
    evaluation: Split
    classes: tuple[str, ...]
    sha256: str


def make(name: str, train: Split, calibration: Split, evaluation: Split, classes: tuple[str, ...] = ()) -> DataSet:
    """Check three splits and name them by their content. Raises DataError for an empty or overlapping set."""
    for word, split in (("evaluation", evaluation), ("calibration", calibration)):
        if not len(split):
            raise DataError(f"The data set {name} has no {word} samples.", "Give it at least one.")
    _same_shape(name, train, calibration, evaluation)
    check_disjoint(name, evaluation=evaluation, calibration=calibration, training=train)
    text = hashlib.sha256()
    for split in (train, calibration, evaluation):
        for array in (split.inputs, split.labels):
            if array is not None:
                text.update(f"{array.dtype}{array.shape}".encode())
                text.update(np.ascontiguousarray(array).data)
    text.update("\n".join(classes).encode())
    return DataSet(name, train, calibration, evaluation, classes, text.hexdigest())


def _same_shape(name: str, *splits: Split) -> None:
    shapes = {split.inputs.shape[1:] for split in splits if len(split)}
    if len(shapes) > 1:
        raise DataError(
            f"The samples of {name} differ in shape from split to split: {sorted(shapes)}.",
            "Give every sample the same shape.",
        )


def check_disjoint(name: str, **splits: Split) -> None:
    """Raise DataError for a sample in two splits: an accuracy on samples that were trained on says nothing."""
    found = {use: fingerprints(split) for use, split in splits.items()}
    for first, second in combinations(found, 2):
        both = found[first] & found[second]
        if both:
            raise DataError(
                f"{len(both)} {first} samples of {name} are also {second} samples.",
                f"Take them out of one of the two splits: {first} samples must be unseen.",
            )


def fingerprints(split: Split) -> set[bytes]:
    """A digest of each sample's content."""
    return set(map(fingerprint, split.inputs))


def fingerprint(sample: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(sample).data, digest_size=16).digest()


def load(source: str, options: Mapping[str, Any], base: Path) -> DataSet:
    """Load a data set by its source: "digits", an .npz, a folder or .tar of pictures, or "module:callable".

    Relative paths and python modules are found from `base`; "$NAME" is what the environment variable NAME says.
    Raises DataError for what is missing, empty or unreadable, and PlanError for an option that the source does not have.
    """
    source = _named(source)
    return _source(source, base)(source, options, base)


def _named(source: str) -> str:
    """What the environment says for a source like $EDGEBENCH_CIFAR10; any other source as it is."""
    if not source.startswith("$"):
        return source
    found = os.environ.get(source[1:], "")
    if not found:
        raise DataError(
            f"The environment variable {source[1:]}, which is to name the data, is not set.",
            f"Set it to their path, as in: {source[1:]}=pictures.tar.gz edgebench run ...",
        )
    return found


def _source(source: str, base: Path) -> Source:
    if source == "digits":
        from edgebench.data import digits

        return digits.load
    path = Path(base, source)
    if source.endswith(".npz"):
        from edgebench.data import arrays

        return arrays.load
    if path.is_dir() or source.endswith((".tar", ".tar.gz", ".tgz")):
        from edgebench.data import pictures

        return pictures.load
    if ":" in source:
        from edgebench.data import entry

        return entry.load
    if path.exists():
        raise DataError(
            f"{path} is no kind of data that is known here.",
            "Give an .npz, a folder or .tar of pictures, or module:callable.",
        )
    raise DataError(f'There is no data at "{source}".', 'Check the path, or use "digits" or "module:callable".')
