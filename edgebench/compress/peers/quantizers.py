"""Int8 as one call of a library gives it: each writes its own file from the float ONNX graph, for any runtime of ONNX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgebench.compress import values
from edgebench.compress.context import Context
from edgebench.compress.quiet import first_line, quiet
from edgebench.errors import MissingRuntime, ModelError, PlanError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgebench.compress.lowering.lower import Lowering, Request


@dataclass(frozen=True, kw_only=True)
class Peer(ABC):
    """A quantizer that writes its own files. `samples` of the calibration split are what it is given."""

    name: ClassVar[str] = "peer"
    precision: ClassVar[str | None] = "int8"
    compresses: ClassVar[bool] = True
    library: ClassVar[str] = ""

    samples: int = 500

    def __post_init__(self) -> None:
        values.at_least(self.name, "samples", self.samples, 1)

    def apply(self, model: Any, context: Context) -> Any:
        """Leave the network as it is: the file is written from its ONNX graph."""
        context.quantization = self
        return model

    def write(self, lowering: Lowering, request: Request, path: Path) -> Mapping[str, Any]:
        """Write the int8 file. Raises PlanError where no ONNX file is wanted, ModelError, DataError, MissingRuntime."""
        import onnx

        from edgebench.compress.lowering import lower_onnx, onnx_int8
        from edgebench.compress.lowering.counted import int8_facts
        from edgebench.compress.model_file import inputs_of

        if lowering.format != "onnx":
            raise PlanError(
                f'"{self.name}" writes ONNX files, and this runtime takes {lowering.format}.',
                "Name runtimes of ONNX in [run] backends.",
            )
        lower_onnx.check_samples(request.samples)
        source = request.onnx()
        taken = inputs_of(onnx.load(source))[0].name
        try:
            with quiet():
                self.call(source, taken, request.samples[: self.samples], path)
        except ImportError as error:
            raise MissingRuntime(
                f'"{self.name}" needs {self.library}, which is not installed.',
                f"Install it with: pip install {self.library}",
            ) from error
        except Exception as error:
            raise ModelError(
                f"{self.library} cannot quantize this network: {first_line(error)}.", "Leave this recipe out."
            ) from error
        return {"quantizer": self.library, **int8_facts(*onnx_int8.coverage(onnx.load(path)))}

    @abstractmethod
    def call(self, source: Path, taken: str, samples: NDArray[Any], path: Path) -> None:
        """The library's own call: the float file `source`, whose input is `taken`, in int8 to `path`."""


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime(Peer):
    """To compare with: onnxruntime.quantization.quantize_static with its defaults, which `quantize` is held against.

    Those are signed activations, one scale a tensor, and least and greatest values.
    """

    name: ClassVar[str] = "peer-onnxruntime"
    example: ClassVar[str] = '{ method = "peer-onnxruntime", samples = 500 }'
    library: ClassVar[str] = "onnxruntime"

    def call(self, source: Path, taken: str, samples: NDArray[Any], path: Path) -> None:
        from onnxruntime.quantization import quantize_static

        from edgebench.compress.quantization.calibration import reader

        quantize_static(str(source), str(path), reader([{taken: row[None]} for row in samples]))


@dataclass(frozen=True, kw_only=True)
class Nncf(Peer):
    """To compare with: nncf.quantize with its defaults, which `quantize` is held against; it takes 300 of the samples."""

    name: ClassVar[str] = "peer-nncf"
    example: ClassVar[str] = '{ method = "peer-nncf", samples = 500 }'
    library: ClassVar[str] = "nncf"

    def call(self, source: Path, taken: str, samples: NDArray[Any], path: Path) -> None:
        import nncf
        import onnx

        made = nncf.quantize(onnx.load(source), nncf.Dataset([{taken: row[None]} for row in samples]))
        path.write_bytes(made.SerializeToString(deterministic=True))
