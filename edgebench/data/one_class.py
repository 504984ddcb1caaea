"""Labels that are all the same: of them nothing is learnt, and an accuracy says nothing. Calibrating needs none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebench.data import DataSet
from edgebench.errors import DataError

MORE = "Add samples of other classes, of pictures a folder for each class"


def check_taught(data: DataSet) -> None:
    """Raise DataError where the labels to train on are of one class. Whether there are any is another question."""
    if data.train.labels is not None and (only := _only(data, data.train.labels)):
        raise DataError(
            f"The {len(data.train)} training samples of {data.name} are all of one class, {only}, and teach nothing.",
            f"{MORE}, or leave out the steps that train.",
        )


def check_told(data: DataSet) -> None:
    """Raise DataError where all that is trained and evaluated on is of one class: any network may name that.

    Without labelled training samples there is no telling whether the network knows of others.
    """
    train, evaluation = data.train.labels, data.evaluation.labels
    if train is not None and evaluation is not None and (only := _only(data, train, evaluation)):
        raise DataError(
            f"The labels of the data set {data.name} are all of one class, {only}, of which an accuracy says nothing.",
            f"{MORE}, or leave the labels out: the answers are then compared with those of the uncompressed network.",
        )


def _only(data: DataSet, *labels: NDArray[np.int64]) -> str:
    """The one class that there is; "" where there are several, or none."""
    found = np.unique(np.concatenate(labels))
    if len(found) != 1:
        return ""
    return data.classes[found[0]] if found[0] < len(data.classes) else str(found[0])
