"""TensorRT-RTX 1.7.1: NVIDIA's real parser and builder, which need no GPU. Nothing that is built here is run here.

That it takes a network says much of TensorRT, and does not prove that the TensorRT of a Jetson takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_packages as packages

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

RTX = "tensorrt_rtx"
SHAPE = (3, 16, 16)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An engine cache of this module's own; child processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def rtx() -> Path:
    return packages.package("tensorrt-rtx==1.7.1.116", deps=True)


@pytest.fixture(scope="module")
def build(rtx: Path) -> Callable[..., dict[str, Any]]:
    """Build a file in a process of its own."""
    return lambda path, precision="fp32", **options: packages.ask(rtx, "build", path, precision, options, module=RTX)


def convolutions() -> Any:
    """Wide enough that its weights outweigh everything else."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 64, 3, padding=1)
            self.norm = nn.BatchNorm2d(64)
            self.second = nn.Conv2d(64, 64, 3, padding=1)
            self.third = nn.Conv2d(64, 128, 3, stride=2, padding=1)
            self.last = nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.norm(self.first(x)))
            y = torch.relu(self.second(y) + y)
            return self.last(torch.relu(self.third(y)).mean((2, 3)))

    return Net()


def transformer() -> Any:
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 32, 4, stride=4)
            self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
            self.last = nn.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            return self.last(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    return Net()


NETWORKS = {"convolutions": convolutions, "transformer": transformer}


def lowered(net: Any, shape: tuple[int, ...], stem: Path) -> dict[str, Path]:
    """The network in each precision, as edgebench lowers it."""
    from edgebench.compress.lowering import export, lower_trt
    from edgebench.compress.quantization.quantize import Quantize

    samples = np.random.default_rng(0).standard_normal((16, *shape)).astype(np.float32)
    paths = {p: stem.with_name(f"{stem.name}-{p}.onnx") for p in ("fp32", "fp16", "int8")}
    export.export_onnx(net.eval(), torch.from_numpy(samples[:2]), paths["fp32"])
    lower_trt.halve(paths["fp32"], paths["fp16"])
    lower_trt.quantize(paths["fp32"], samples, Quantize(), paths["int8"])
    return paths


@pytest.fixture(scope="module")
def files(nets: Path) -> dict[str, Path]:
    """Both networks: "convolutions-int8" -> path."""
    made = {}
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        made |= {f"{name}-{p}": path for p, path in lowered(make(), SHAPE, nets / name).items()}
    return made


@pytest.fixture(scope="module")
def built(files: dict[str, Path], build: Callable[..., dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: build(path, name.rpartition("-")[2]) for name, path in files.items()}


def test_every_network_builds_in_every_precision(built: dict[str, dict[str, Any]]) -> None:
    assert {name: said.get("problem", "") for name, said in built.items()} == dict.fromkeys(built, "")
    for name, said in built.items():
        assert (said["typed"], said["flags"]) == (True, []), name
        assert said["head"] == b"vtrt".hex(), name
        assert said["product"] == "TensorRT-RTX", name
        assert said["version"] == "1.7.1.116", name
        assert said["shapes"] == {"input": [1, *SHAPE]}, name
        assert said["plan_bytes"] == Path(said["path"]).stat().st_size, name


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_shrink_with_the_precision(built: dict[str, dict[str, Any]], network: str) -> None:
    fp32, fp16, int8 = (built[f"{network}-{p}"]["weights_bytes"] for p in ("fp32", "fp16", "int8"))
    assert int8 < fp16 < fp32


def test_the_second_time_the_engine_comes_from_the_cache(
    files: dict[str, Path], built: dict[str, dict[str, Any]], build: Callable[..., dict[str, Any]]
) -> None:
    again = build(files["convolutions-fp16"], "fp16")
    assert again == built["convolutions-fp16"]
    other = build(files["convolutions-fp16"], "fp16", max_batch=4)
    assert other["path"] != again["path"]


def test_a_cut_engine_in_the_cache_is_built_again(
    files: dict[str, Path], built: dict[str, dict[str, Any]], build: Callable[..., dict[str, Any]]
) -> None:
    plan = Path(built["convolutions-fp32"]["path"])
    plan.write_bytes(plan.read_bytes()[:1000])
    again = build(files["convolutions-fp32"], "fp32")
    assert again["path"] == str(plan)
    assert plan.stat().st_size == again["plan_bytes"] > 1000


def test_timings_are_kept_beside_the_engines(built: dict[str, dict[str, Any]]) -> None:
    folder = Path(built["convolutions-fp32"]["path"]).parents[1]
    assert len(list(folder.glob("timing-*.cache"))) == 1


def test_an_engine_may_be_for_another_gpu_of_its_list(
    files: dict[str, Path], build: Callable[..., dict[str, Any]]
) -> None:
    assert "problem" not in build(files["convolutions-fp16"], "fp16", compute_capability=86)
    said = build(files["convolutions-fp16"], "fp16", compute_capability=87)
    assert said["problem"] == "TensorRT-RTX 1.7.1.116 cannot build for compute capability 87."
    assert said["fix"] == "Use one of 120, 121, 75, 80, 86, 89."


def test_nodes_that_it_does_not_take_are_named(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Det", ["a"], ["b"], name="determinant"),
        helper.make_node("Unique", ["b"], ["y"], name="distinct"),
    ]
    into = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 3])]
    graph = helper.make_graph(nodes, "g", into, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["k"])])
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    said = build(path)
    assert said["kind"] == "ModelError"
    assert said["problem"].startswith("TensorRT-RTX 1.7.1.116 cannot take 2 node(s) of odd.onnx: Det 'determinant': ")
    assert "Unique 'distinct': " in said["problem"]
    assert "fine" not in said["problem"]
    assert "UNSUPPORTED_NODE" in said["problem"]


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "missing"])
def test_a_damaged_file_is_refused(
    damage: str, files: dict[str, Path], tmp_path: Path, build: Callable[..., dict[str, Any]]
) -> None:
    path, whole = tmp_path / "net.onnx", files["convolutions-fp32"].read_bytes()
    if damage != "missing":
        path.write_bytes({"cut": whole[:3000], "garbage": b"\x99junk" * 300, "empty": b""}[damage])
    said = build(path)
    assert said["kind"] == "ModelError"
    assert str(path) in said["problem"]


def test_a_fixed_batch_and_free_sizes_are_refused(
    files: dict[str, Path], tmp_path: Path, build: Callable[..., dict[str, Any]]
) -> None:
    model = onnx.load(files["convolutions-fp32"])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_value = 4
    onnx.save(model, tmp_path / "four.onnx")
    assert build(tmp_path / "four.onnx")["problem"] == "The network is fixed to a batch of 4, and 1 was asked for."
    dims[2].dim_param = "height"
    onnx.save(model, tmp_path / "free.onnx")
    assert build(tmp_path / "free.onnx")["problem"] == (
        "Input 'input' has free axes besides the batch: [4, 3, 'any', 16]."
    )


def test_a_bad_plan_is_malformed_and_a_good_one_lacks_a_driver(
    rtx: Path, built: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.plan"
    bad.write_bytes(b"this is no plan" * 100)
    said = packages.ask(rtx, "load", bad, module=RTX)
    assert said["problem"].startswith(f"{bad} is no plan that TensorRT-RTX reads: malformed: INVALID MALFORMED_ENGINE")
    good = packages.ask(rtx, "load", built["transformer-fp16"]["path"], module=RTX)
    if good["problem"]:  # there is a GPU where this runs, if not
        assert "needs an NVIDIA driver and GPU" in good["problem"]
        assert "malformed" not in good["problem"]


ZOO: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "resnet8": ((3, 32, 32), {}),
    "mobilenet_v2": ((3, 96, 96), {"width": 0.5}),
    "ds_cnn": ((1, 49, 10), {}),
    "autoencoder": ((640,), {}),
    "vit": ((3, 96, 96), {"depth": 2}),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_networks_of_the_suites_build_in_every_precision(
    name: str, build: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from edgebench import zoo

    torch.manual_seed(0)
    shape, options = ZOO[name]
    files = lowered(getattr(zoo, name)(**options), shape, tmp_path / name)
    said = {precision: build(path, precision) for precision, path in files.items()}
    assert {p: s.get("problem", "") for p, s in said.items()} == dict.fromkeys(said, "")
    fp32, fp16 = said["fp32"]["weights_bytes"], said["fp16"]["weights_bytes"]
    assert fp16 < fp32
    if name in ("autoencoder", "vit"):  # few channels to a group are padded to whole tiles, above all in int8
        assert said["int8"]["weights_bytes"] < fp16


LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("light_*.onnx"))


@pytest.mark.parametrize("path", LIGHT, ids=lambda p: p.stem)
def test_the_light_networks_of_the_onnx_package_build(path: Path, build: Callable[..., dict[str, Any]]) -> None:
    assert "problem" not in build(path)
