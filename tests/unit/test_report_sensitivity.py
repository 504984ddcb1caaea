"""The sweep's table and its plot in a report."""

from __future__ import annotations

import json as json_reader

from edgebench.codec import Options
from edgebench.report import html, json, markdown
from edgebench.report.sections.sensitivity import section, sweeps
from edgebench.report.table import Table, build
from edgebench.schema import Artifact, Cell, DeviceProfile, Result, Run

FACTS = {
    "sensitivity": [
        {"layer": "stem", "sqnr_db": 12.34, "agreement": 0.9},
        {"layer": "head", "sqnr_db": 40.0, "agreement": 1.0},
    ],
    "float_layers": ["stem"],
    "budget": [{"float": 0, "restored": "", "drop": 0.02}, {"float": 1, "restored": "stem", "drop": 0.001}],
}


def table(facts: dict[str, object]) -> Table:
    artifact = Artifact(format="onnx", path="a.onnx", sha256="0", size=1, facts=Options(facts))
    cells = [
        Cell(model="net", recipe="mixed", backend=backend, device="local", precision="int8")
        for backend in ("onnxruntime", "openvino")
    ]
    run = Run(
        id="r",
        started="20260101T000000Z",
        versions=Options(),
        plan=Options(),
        device=DeviceProfile(name="local"),
        host=Options(),
    )
    return build(run, [Result(cell=cell, status="ok", artifact=artifact) for cell in cells])


def test_the_sweep_of_a_recipe_is_told_once_with_who_stays_in_float() -> None:
    made = table(FACTS)
    assert len(sweeps(made)) == 1
    found = section(made)
    assert found is not None
    assert found.rows == (
        ("mixed of net", "stem", "12.3 dB", "90.0 %", "float"),
        ("mixed of net", "head", "40.0 dB", "100.0 %", "int8"),
    )
    assert "2.00 points lost with 0 layers in float, 0.10 with 1" in " ".join(found.words)


def test_table_and_plot_stand_in_every_format() -> None:
    made = table(FACTS)
    page = html.render(made)
    chart = page.partition('aria-label="Sensitivity of the layers')[2].partition("</svg>")[0]
    assert chart.count("<rect") == 2
    assert chart.count("fill-opacity") == 1
    assert "12.3 dB, float" in chart
    assert "Which layers suffer from int8?" in markdown.render(made)
    parts = {part["key"]: part for part in json_reader.loads(json.render(made))["sections"]}
    assert parts["sensitivity"]["data"][0]["layers"][0] == ["stem", 12.34, 0.9]


def test_without_a_sweep_there_is_no_section() -> None:
    made = table({"float_layers": ["stem"]})
    assert section(made) is None
    assert "suffer" not in html.render(made)
