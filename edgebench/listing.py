"""What there is: backends with what their probes say, as plain JSON for a table or a script."""

from __future__ import annotations

from typing import Any

from edgebench import plugins
from edgebench.errors import EdgebenchError
from edgebench.schema import Availability


def backends() -> list[dict[str, Any]]:
    """Every registered runtime with what its probe says, as plain JSON; the fake one is the tests' own."""
    return [_about(name) for name in plugins.offered(plugins.names("edgebench.backends"))]


def backend(name: str) -> dict[str, Any]:
    """One of them. Raises PlanError for a name that no runtime has."""
    plugins.origin("edgebench.backends", name)
    return _about(name)


def _about(name: str) -> dict[str, Any]:
    has: dict[str, Any] = {"accepts": [], "endings": {}, "precisions": [], "refused": {}, "options": {}}
    try:
        made = plugins.backend(name)
        found = made.probe()
        has = {
            "accepts": sorted(made.accepts),
            "endings": dict(made.endings),
            "precisions": list(made.precisions),
            "refused": dict(made.refused),
            "options": dict(made.options),
        }
    except EdgebenchError as error:
        found = Availability(ok=False, reason=error.problem, fix=error.fix)
    return {
        "name": name,
        "ok": found.ok,
        "version": found.version,
        "reason": found.reason,
        "fix": found.fix,
        **has,
        "origin": plugins.origin("edgebench.backends", name),
    }
