"""The suite of every runtime: each square has a file that can be made, or a reason that is the runtime's own."""

from __future__ import annotations

from edgebench import plugins, suites
from edgebench.compress.lowering import lower
from edgebench.preparing import recipe_precision
from edgebench.squares import expand


def test_the_suite_names_every_runtime_three_networks_and_reasons_for_what_is_not_there() -> None:
    plan = suites.read("backends")
    backends = {name: plugins.backend(name) for name in plan.backends}
    squares = expand(plan, "local", backends, recipe_precision)
    assert {s.cell.model for s in squares} == {"resnet8", "mobilenet_v2", "vit"}
    assert len({s.cell.id for s in squares}) == len(squares) == 3 * 3 * len(backends)
    for square in squares:
        backend = backends[square.cell.backend]
        if square.skip:
            assert backend.refused[square.cell.precision] in square.skip
        else:
            assert lower.get(square.lowering).format in backend.accepts


def test_what_shapes_files_and_figures_is_named_by_the_backends() -> None:
    found = plugins.packages()
    for name in plugins.names("edgebench.backends"):
        assert set(plugins.backend(name).distributions) <= set(found)
    assert {"onnxruntime", "openvino", "nncf", "ncnn", "pnnx", "executorch", "ai-edge-litert", "torch"} <= set(found)
    assert len(set(found)) == len(found)
