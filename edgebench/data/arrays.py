"""Data sets given as arrays: an .npz file, or a dict that a python entry returned."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgebench.data import DataSet, Split, check_disjoint, make
from edgebench.data.copies import firsts, stratified_whole, whole
from edgebench.data.split import Indices, check_options, to_calibrate_on
from edgebench.errors import DataError, PlanError, did_you_mean

KEYS = ("x_train", "y_train", "x_calib", "x_eval", "y_eval", "classes")
SEED = 0
ONE_INPUT = (
    "a plan compresses networks of one input.",
    "Leave the other inputs out; edgebench bench MODEL.onnx --data arrays.npz measures a network of any number of inputs.",
)
CLASSES_ONLY = (
    "Recipes train and judge classifiers: give whole numbers from 0 up, one class for each sample; for anything else leave"
    " the y out and the steps that train, and the answers are compared with those of the uncompressed network."
)
"""What is told to those whose labels are no classes."""


def load(source: str, options: Mapping[str, Any], base: Path) -> DataSet:
    """Read an .npz of x_train, y_train, x_eval, y_eval and, if any, x_calib. Pickled objects are refused."""
    chosen = check_options(source, options, {"calibration": 0})
    if chosen["calibration"] < 0:
        raise PlanError(
            f"The option calibration of the data source {source} cannot be {chosen['calibration']}.",
            "Give a number of samples, or leave it out for a tenth of them.",
        )
    path = Path(base, source)
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as .npz: {npz_reason(path, error)}.",
            f"Save it with numpy.savez: arrays of numbers named {', '.join(KEYS[:5])}.",
        ) from error
    return from_arrays(path.stem, arrays, chosen["calibration"])


def npz_reason(path: Path, error: Exception) -> str:
    """Why numpy could not read the file; its own words about pickles would lead astray."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if not zipfile.is_zipfile(path):
        return "it is no .npz archive, or is damaged or cut short"
    if "allow_pickle" in str(error):
        return "it holds python objects, which are not unpickled"
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def from_arrays(name: str, arrays: Mapping[str, Any], calibration: int = 0) -> DataSet:
    """Build a data set from arrays by key. Without x_calib, `calibration` training samples are set aside, or a tenth.

    Inputs of int32 or int64 stay so (tokens, indices), all others become float32; labels become int64. Of the two, x_train
    or x_calib must be there: a set without x_train serves networks that are trained already.
    """
    arrays = _dealt(name, arrays)
    for key in arrays:
        if key not in KEYS:
            _refuse(name, key)
    if "x_eval" not in arrays:
        raise DataError(f"The data set {name} has no x_eval.", "Add the samples to evaluate on as x_eval, and y_eval.")
    evaluation = _split(name, arrays, "eval")
    empty = Split(np.zeros((0, *evaluation.inputs.shape[1:]), evaluation.inputs.dtype), None)
    train = _split(name, arrays, "train") if "x_train" in arrays else empty
    if "x_calib" in arrays:
        calibrating = _split(name, arrays, "calib")
    else:
        check_disjoint(name, evaluation=evaluation, training=train)  # before the cut, of which the user knows nothing
        train, calibrating = _set_aside(name, train, calibration)
    known = [split.labels for split in (train, evaluation) if split.labels is not None and len(split)]
    count = max((int(labels.max()) + 1 for labels in known), default=0)
    classes = tuple(str(c) for c in arrays["classes"]) if "classes" in arrays else tuple(map(str, range(count)))
    if count > len(classes):
        raise DataError(
            f"The labels of {name} go up to {count - 1}, but it has {len(classes)} classes.",
            "Name every class.",
        )
    return make(name, train, calibrating, evaluation, classes)


def _refuse(name: str, key: str) -> NoReturn:
    if key[:2] not in ("x_", "y_") and key.endswith(("_train", "_calib", "_eval")):
        raise DataError(f'The data set {name} has an array "{key}" beside its x and y: {ONE_INPUT[0]}', ONE_INPUT[1])
    raise DataError(f'The data set {name} holds an unknown array "{key}".', did_you_mean(key, KEYS))


def _dealt(name: str, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """Samples and `labels` alone, as bench takes them, with a fifth set aside to calibrate on; a data set as it is."""
    inputs = [key for key in arrays if key != "labels"]
    if "labels" not in arrays or set(inputs) & set(KEYS):
        return arrays
    if len(inputs) != 1:
        raise DataError(f"The data set {name} has {len(inputs)} inputs: {ONE_INPUT[0]}", ONE_INPUT[1])
    x, y = np.asarray(arrays[inputs[0]]), np.asarray(arrays["labels"])
    if x.ndim < 2 or len(x) < 2 or y.shape != (len(x),):
        raise DataError(
            f"The data set {name} has {y.shape} labels for {inputs[0]} of {x.shape}.",
            "Give two samples or more, the first axis counting them, and one class number for each.",
        )
    return cut(name, inputs[0], x, y)


def cut(name: str, key: str, samples: NDArray[Any], labels: NDArray[Any] | None) -> dict[str, Any]:
    """A fifth of the samples to calibrate on, the first ones that fit with their copies, and the others to evaluate on."""
    x = _numbers(name, "x_eval", samples, _kind({"x_eval": samples}))  # what differs in float64 may be equal in float32
    first = _differing(name, key, x)
    some, rest = whole(first, np.unique(first), len(x) // 5 or 1)
    return {"x_calib": x[some], "x_eval": x[rest], **({} if labels is None else {"y_eval": labels[rest]})}


def _differing(name: str, key: str, samples: NDArray[Any]) -> Indices:
    """`firsts` of samples that are to be cut in two, at least two of which differ."""
    first = firsts(samples)
    if not first.any():
        raise DataError(
            f"The {len(samples)} samples of {key} in {name} are all equal, and none of them can be set aside to calibrate on.",
            "Give samples that differ, or others to calibrate on as x_calib, beside x_eval.",
        )
    return first


def _set_aside(name: str, train: Split, asked: int) -> tuple[Split, Split]:
    if len(train) == 1:
        raise DataError(
            f"The data set {name} has one sample in x_train, and none is left to calibrate on.",
            "Add more to it, or an x_calib.",
        )
    if not len(train):
        raise DataError(f"The data set {name} has no samples to calibrate on.", "Add x_train or x_calib to it.")
    labels = train.labels if train.labels is not None else np.zeros(len(train), np.int64)
    first = _differing(name, "x_train", train.inputs)
    some, rest = stratified_whole(labels, first, to_calibrate_on(asked, len(train)), SEED)
    return _part(train, rest), _part(train, some)


def _part(split: Split, indices: Indices) -> Split:
    return Split(split.inputs[indices], None if split.labels is None else split.labels[indices])


def _split(name: str, arrays: Mapping[str, Any], use: str) -> Split:
    inputs = _numbers(name, f"x_{use}", arrays[f"x_{use}"], _kind(arrays))
    if inputs.ndim == 1 and len(inputs):
        raise DataError(
            f"The array x_{use} of {name} has one axis, {inputs.shape}, and so none beside that of the samples.",
            "Give it the shape (samples, ...): x[None] for a single sample, x[:, None] for single numbers.",
        )
    if inputs.ndim < 2 or not len(inputs):
        raise DataError(f"The array x_{use} of {name} has no samples.", "Give it the shape (samples, ...).")
    if not np.isfinite(inputs).all():
        raise DataError(f"The array x_{use} of {name} holds values that are not finite.", "Remove NaN and infinity.")
    if f"y_{use}" not in arrays:
        return Split(inputs, None)
    labels = _numbers(name, f"y_{use}", arrays[f"y_{use}"], np.int64)
    if labels.shape != (len(inputs),):
        raise DataError(
            f"The array y_{use} of {name} does not label x_{use}: {labels.shape} for {len(inputs)} samples.",
            "Give one class number from 0 up for each sample.",
        )
    if labels.min() < 0:
        raise DataError(
            f"The array y_{use} of {name} holds {labels.min()}, which is no class: labels are whole numbers from 0.",
            "Number the classes from 0 up, and leave out the samples that have none.",
        )
    return Split(inputs, labels)


def _kind(arrays: Mapping[str, Any]) -> Any:
    """One type for the samples of every use: whole numbers of 32 or 64 bits where all are such, else float32."""
    found = {getattr(array, "dtype", None) for key, array in arrays.items() if key in ("x_train", "x_calib", "x_eval")}
    return found.pop() if found in ({np.dtype(np.int32)}, {np.dtype(np.int64)}) else np.float32


def _numbers(name: str, key: str, array: Any, dtype: Any) -> NDArray[Any]:
    if isinstance(array, (tuple, list)) and array and all(getattr(part, "ndim", 0) for part in array) and key[0] == "x":
        parts = [np.asarray(part) for part in array]
        if len({part.shape for part in parts}) > 1 or isinstance(array, tuple):
            raise DataError(f"The array {key} of {name} is {len(parts)} arrays: {ONE_INPUT[0]}", ONE_INPUT[1])
    try:
        numbers = np.asarray(array)
        kinds = "iub" if key[0] == "y" else "fiub"
        if key[0] == "y" and numbers.dtype.kind == "f":
            raise DataError(f"The labels {key} of {name} are {numbers.dtype} numbers, no classes.", CLASSES_ONLY)
        if numbers.dtype.kind not in kinds:
            raise TypeError(f"{numbers.dtype} values")
        return np.ascontiguousarray(numbers, dtype)
    except (TypeError, ValueError) as error:
        wanted = "whole numbers" if key[0] == "y" else "numbers"
        raise DataError(
            f"The array {key} of {name} cannot be used: {error}.", f"Make it an array of {wanted}."
        ) from error
