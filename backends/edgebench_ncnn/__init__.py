"""ncnn on the CPU: a .param file with its .bin beside it, or a zip of both, one sample at a time."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebench.backend import (
    Artifact,
    Availability,
    Backend,
    EdgebenchError,
    Feeds,
    ModelError,
    Outputs,
    Session,
    TensorSpec,
    np,
    probe_import,
)

HALF = b"\x47\x6b\x30\x01"
"""What stands in a .bin before weights in half precision (ModelBinFromDataReader::load)."""

HEAVY_OPS = (
    "Convolution",
    "Deconvolution",
    "InnerProduct",
    "Gemm",
    "MatMul",
    "MultiHeadAttention",
    "LSTM",
    "GRU",
    "RNN",
)
"""What the precision of a network is judged by: the layers whose type begins with one of these."""

UNKNOWN = 64
"""Width and height that a file without shapes is tried on."""

FIX = "Convert it again with pnnx, and keep the .bin beside the .param."
FIX_ZIP = "Copy it again whole, or make it again: edgebench convert MODULE:CALLABLE --to ncnn."


class NcnnBackend(Backend):
    name = "ncnn"
    accepts = frozenset({"ncnn"})
    endings = {".param": "ncnn", ".ncnn": "ncnn"}
    precisions = {"fp32": "ncnn", "fp16": "ncnn-fp16"}
    options = {
        "shapes": "of inputs that a .param has no shape of, a table by name: {in0 = [1, 3, 32, 32]}; bench --shape sets it",
    }
    refused = {"int8": "no wheel carries ncnn's quantization tools, ncnn2table and ncnn2int8"}
    module = "ncnn"
    fork_safe = True
    extra = "edgebench[ncnn]"
    distributions = ("ncnn", "pnnx")

    def probe(self) -> Availability:
        return probe_import("ncnn", self.extra)

    def check(self, options: Mapping[str, Any]) -> None:
        shapes = options.get("shapes", {})
        for name, shape in shapes.items() if isinstance(shapes, Mapping) else [("", shapes)]:
            sizes = list(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else []
            if (
                not name
                or len(sizes) not in (2, 3, 4)
                or sizes[0] != 1
                or any(type(s) is not int or s < 1 for s in sizes)
            ):
                raise EdgebenchError(
                    f"shapes cannot be {shapes!r}.",
                    "Give each input one sample's: {in0 = [1, CHANNELS, HEIGHT, WIDTH]}.",
                )

    def open(self, artifact: Artifact, options: Mapping[str, Any]) -> Session:
        if options["batch"] != 1:
            raise EdgebenchError(f"ncnn infers one sample at a time, not {options['batch']}.", "Ask for batch = 1.")
        self.check(options)
        return NcnnSession(artifact.path, options)


class NcnnSession(Session):
    """fp16 is ncnn's default: weights and, where the CPU has the arithmetic, activations in half precision."""

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        import ncnn

        self._Mat, self._net = ncnn.Mat, ncnn.Net()
        settings = self._net.opt
        settings.num_threads = options["threads"]
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(settings, name, options["precision"] == "fp16")
        with _files(path) as (param, weights):
            _load(self._net, path, param, weights)
            self._layers = [line.split() for line in param.read_text().splitlines()[2:] if line.strip()]
            with weights.open("rb") as file:
                self._half = file.read(len(HALF)) == HALF
        self._ins = _numbered(self._net, self._net.input_indexes())
        self._outs = _numbered(self._net, self._net.output_indexes())
        given = options.get("shapes", {})
        self.inputs = tuple(self._input(index, path, given) for index in self._ins)
        told = [self._spec(index) for index in self._outs]
        self.outputs = tuple(spec for spec in told if spec)
        if len(self.outputs) < len(told):  # a file without hints: one inference tells
            self.outputs = self._tried()

    def run(self, feeds: Feeds) -> Outputs:
        return self.bind(feeds)()

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """The inputs stay in ncnn's own memory. (Memory of ours has no count of owners, which layers in place look up.)"""
        kept = [(index, self._Mat(array).clone()) for index, array in zip(self._ins, self._arrays(feeds), strict=True)]
        create, outs = self._net.create_extractor, self._outs

        def infer() -> Outputs:
            extractor = create()
            for index, mat in kept:
                extractor.input(index, mat)
            # Copied: the memory belongs to the extractor, and is given back with it.
            return [_taken(extractor.extract(index)) for index in outs]

        return infer

    def effective(self) -> Mapping[str, Any]:
        """The settings of the network, and of the heavy layers how many are int8 by their parameters."""
        settings = self._net.opt
        heavy = [words for words in self._layers if words[0].startswith(HEAVY_OPS)]
        int8 = sum(_is_int8(words) for words in heavy)
        halved = self._half or settings.use_fp16_storage
        arithmetic = settings.use_fp16_arithmetic and any(layer.support_fp16_storage for layer in self._net.layers())
        return {
            "precision": "int8" if int8 > len(heavy) - int8 else "fp16" if halved else "fp32",
            "threads": settings.num_threads,
            "weights": "fp16" if self._half else "fp32",
            "arithmetic": "fp16" if arithmetic else "fp32",
            "shapes": {spec.name: list(spec.shape) for spec in self.inputs},
            "light_mode": settings.lightmode,
            "openmp_blocktime_ms": settings.openmp_blocktime,
            "int8_ops": int8,
            "float_ops": len(heavy) - int8,
        }

    def close(self) -> None:
        del self._net

    def _arrays(self, feeds: Feeds) -> Iterator[Any]:
        """Each input without its batch axis, which ncnn does not have."""
        for spec in self.inputs:
            array = feeds.get(spec.name)
            given = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            if array is None or not spec.takes(array):
                raise ModelError(
                    f"Input {spec.name!r} must be {spec.dtype}{list(spec.shape)} and is {given}.",
                    "Give inputs of the network's shapes, or convert it for these.",
                )
            yield np.ascontiguousarray(array[0])

    def _input(self, index: int, path: str, given: Mapping[str, Sequence[int]]) -> TensorSpec:
        """By the hint in the file, as it was given, or by the convolution that takes it.

        ncnn itself would read past an array too small.
        """
        spec = self._spec(index) or self._told(self._net.blobs()[index].name)
        if spec:
            return spec
        name = self._net.blobs()[index].name
        taken = self._taken_by_convolution(name)
        if name in given:
            asked = TensorSpec(name=name, dtype="float32", shape=tuple(given[name]))
            if taken and not taken.fits(given[name]):
                raise ModelError(
                    f"{path} takes {list(taken.shape)} as {name}, and {list(asked.shape)} was given.",
                    "Give the shape that it was made for.",
                )
            return asked
        if not taken:
            raise ModelError(
                f"{path} does not say the shape of its input {name}.",
                f"Say it: --shape {name}=1x3x224x224, or add it to the layer Input as 0=WIDTH 1=HEIGHT 2=CHANNELS.",
            )
        return taken

    def _told(self, name: str) -> TensorSpec | None:
        """By the hint that all of ncnn's converters write, which ncnn itself reads past: width, height, channels as 0, 1, 2."""
        line = next((w for w in self._layers if w[:1] == ["Input"] and name in w[4:5]), [])
        width, height, channels = (_parameters(line).get(key, 0) for key in "012")
        shape = (channels, height, width) if channels > 0 else (height, width) if height > 0 else (width,)
        if width <= 0 and channels <= 0:
            return None
        return TensorSpec(name=name, dtype="float32", shape=(1, *(size if size > 0 else None for size in shape)))

    def _taken_by_convolution(self, name: str) -> TensorSpec | None:
        taker = next((words for words in self._layers if name in words[4 : 4 + int(words[2])]), [""])
        if taker[0] != "Convolution":
            return None
        asked = _parameters(taker)
        kernel = asked["1"] * asked.get("11", asked["1"])
        return TensorSpec(name=name, dtype="float32", shape=(1, asked["6"] // (asked["0"] * kernel), None, None))

    def _tried(self) -> tuple[TensorSpec, ...]:
        """The outputs by the number of their axes, as an inference on zeros gives them."""
        found = self.run({s.name: np.zeros([d or UNKNOWN for d in s.shape], np.float32) for s in self.inputs})
        named = zip((self._net.blobs()[index].name for index in self._outs), found, strict=True)
        return tuple(TensorSpec(name=n, dtype="float32", shape=(1, *[None] * (a.ndim - 1))) for n, a in named)

    def _spec(self, index: int) -> TensorSpec | None:
        blob = self._net.blobs()[index]
        told = blob.shape
        sizes = {1: (told.w,), 2: (told.h, told.w), 3: (told.c, told.h, told.w)}.get(told.dims)
        return TensorSpec(name=blob.name, dtype="float32", shape=(1, *sizes)) if sizes else None


def _numbered(net: Any, indexes: list[int]) -> list[int]:
    """In the order of pnnx's names in0, in1, ...; ncnn has them in the order in which the layers come."""
    names = {index: net.blobs()[index].name for index in indexes}
    counted = all(re.fullmatch(r"(in|out)\d+", name) for name in names.values())
    return sorted(indexes, key=lambda index: int(names[index].lstrip("inout"))) if counted else list(indexes)


def _taken(found: tuple[int, Any]) -> Any:
    status, mat = found
    if status:
        raise ModelError(
            f"ncnn stopped with {status}: a layer refused its input, or memory ran out.",
            "Give inputs of the shapes that the network was made for.",
        )
    return np.array(mat)[None]


def _load(net: Any, path: str, param: Path, weights: Path) -> None:
    with tempfile.TemporaryFile() as said:
        with _stderr_to(said.fileno()):
            done = net.load_param(str(param)) == 0 and net.load_model(str(weights)) == 0
        said.seek(0)
        words = " ".join(said.read().decode(errors="replace").split())[:300]
    if not done or not net.input_indexes() or not net.output_indexes():
        raise ModelError(f"ncnn cannot load {path}: {words or 'it has no input or no output'}.", _fix(path))


@contextlib.contextmanager
def _stderr_to(file: int) -> Iterator[None]:
    """What a C library says to standard error goes there: ncnn's reasons are nowhere else."""
    before = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextlib.contextmanager
def _files(path: str) -> Iterator[tuple[Path, Path]]:
    """The .param and the .bin: taken out of a zip for as long as they are read, or side by side."""
    try:
        if not zipfile.is_zipfile(path):
            if path.endswith(".ncnn"):
                raise zipfile.BadZipFile("it is no zip of a .param and a .bin, or is cut short")
            param = Path(path)
            for file in (param, param.with_suffix(".bin")):
                file.open("rb").close()
            yield param, param.with_suffix(".bin")
            return
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            names = sorted(name for name in archive.namelist() if name.endswith((".bin", ".param")))
            if [Path(name).suffix for name in names] != [".bin", ".param"]:
                raise OSError(f"it holds {', '.join(names) or 'neither .param nor .bin'}, not one .param and one .bin")
            weights, param = (Path(archive.extract(name, folder)) for name in names)
            yield param, weights
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise ModelError(f"ncnn cannot load {path}: {str(error)[:300]}.", _fix(path)) from error


def _fix(path: str) -> str:
    """A .ncnn is edgebench's own zip of both files."""
    return FIX_ZIP if path.endswith(".ncnn") else FIX


def _parameters(words: Sequence[str]) -> dict[str, int]:
    """The whole numbers among a layer's parameters, by their keys."""
    pairs = (word.partition("=") for word in words[4:] if "=" in word)
    return {key: int(value) for key, _, value in pairs if value.lstrip("-").isdigit()}


def _is_int8(words: Sequence[str]) -> bool:
    """Whether a layer has scales for int8: parameter 8 (18 of MultiHeadAttention and Gemm)."""
    key = "18" if words[0] in ("MultiHeadAttention", "Gemm") else "8"
    return _parameters(words).get(key, 0) != 0
