"""What the facts of an int8 file say of how much of it is in int8."""

from __future__ import annotations

from typing import Any


def int8_facts(done: int, layers: int) -> dict[str, Any]:
    """`done` of all `layers` with weights are in int8; a network without any is covered to no part."""
    return {"int8_layers": done, "layers": layers, "int8_coverage": done / layers if layers else 0.0}
