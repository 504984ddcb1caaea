"""The networks of the GPU check, as files: they can be made on a workstation and copied to a board that has no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgebench.schema import Artifact
from edgebench.testing import Case

NETWORKS = {
    "resnet8": (3, 32, 32), "mobilenet_v2": (3, 96, 96), "vit": (3, 96, 96), "ds_cnn": (1, 49, 10),
    "autoencoder": (640,),
}  # fmt: skip
PRECISIONS = ("fp32", "fp16", "int8")
CALLS = 200


def make(folder: Path, names: tuple[str, ...] = tuple(NETWORKS), batch: int = 1) -> None:
    """Write each network in each precision with one batch of inputs and torch's outputs. Needs the extra `compress`."""
    import torch

    from edgebench import zoo
    from edgebench.compress.lowering import export, lower_trt
    from edgebench.compress.quantization.quantize import Quantize

    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        torch.manual_seed(0)
        net = getattr(zoo, name)().eval()
        samples = np.random.default_rng(0).standard_normal((32, *NETWORKS[name])).astype(np.float32)
        paths = {p: folder / f"{name}-{p}.onnx" for p in PRECISIONS}
        export.export_onnx(net, torch.from_numpy(samples[:2]), paths["fp32"])
        lower_trt.halve(paths["fp32"], paths["fp16"])
        lower_trt.quantize(paths["fp32"], samples, Quantize(), paths["int8"])
        with torch.no_grad():
            expected = net(torch.from_numpy(samples[:batch])).numpy()
        np.savez(folder / f"{name}.npz", input=samples[:batch], expected=expected)


def read(folder: Path, **options: Any) -> dict[str, Case]:
    """ "resnet8-int8" -> what to infer and what to expect, for every ONNX file with its .npz."""
    found = {}
    for path in sorted(folder.glob("*.onnx")):
        name, _, precision = path.stem.rpartition("-")
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            feeds, expected = {"input": arrays["input"]}, [arrays["expected"]]
        artifact = Artifact(format="onnx", path=str(path), sha256="", size=path.stat().st_size)
        found[path.stem] = Case(
            artifact=artifact, feeds=feeds, expected=expected, precision=precision, calls=CALLS, options=options,
            timeout=600,
        )  # fmt: skip
    return found
