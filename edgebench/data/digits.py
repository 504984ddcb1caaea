"""Real handwriting that comes with scikit-learn: 1797 digits of 8x8 pixels, grown to a size for small CNNs.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.data import DataSet, Split, make
from edgebench.data.split import check_options, stratified
from edgebench.errors import MissingRuntime, PlanError

EVALUATION, CALIBRATION, SEED = 450, 200, 0
MEAN, DEVIATION = 0.305, 0.376
"""Of the pixels of all digits, as fractions of full ink."""


def load(source: str, options: Mapping[str, Any], base: Path) -> DataSet:
    """450 evaluation, 200 calibration, 1147 training samples (N, 1, size, size), size 32 by default."""
    size = check_options(source, options, {"size": 32})["size"]
    if size < 8 or size % 8:
        raise PlanError(f"Digits cannot be grown to {size} pixels.", "Give a size that is a multiple of 8.")
    try:
        from scipy.ndimage import zoom  # type: ignore[import-untyped]
    except ImportError as error:
        raise _missing() from error
    digits = _written()
    images, labels = digits[:, :-1].reshape(-1, 8, 8), digits[:, -1].astype(np.int64)
    ink = np.clip(zoom(images / 16.0, (1, size / 8, size / 8), order=3, mode="nearest", grid_mode=True), 0, 1)
    inputs = ((ink - MEAN) / DEVIATION).astype(np.float32)[:, None]
    parts = stratified(labels, (EVALUATION, CALIBRATION), SEED)
    evaluation, calibration, train = (Split(inputs[part], labels[part]) for part in parts)
    return make("digits", train, calibration, evaluation, tuple("0123456789"))


def _written() -> NDArray[np.float64]:
    """(1797, 65): the 64 pixels of each digit, 0 to 16, and which it is. Read beside scikit-learn, whose import takes seconds."""
    found = find_spec("sklearn")
    for folder in found.submodule_search_locations or () if found else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    raise _missing()


def _missing() -> MissingRuntime:
    return MissingRuntime(
        "The digits come with scikit-learn, which is not installed.",
        'Install it with: pip install "edgebench[compress]".',
    )
