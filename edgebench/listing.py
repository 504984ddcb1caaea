"""What there is: backends with what their probes say, as plain JSON for a table or a script."""

from __future__ import annotations

from typing import Any

from edgebench import plugins
from edgebench.errors import EdgebenchError
from edgebench.ready import FLOOR
from edgebench.schema import Availability


def backends() -> list[dict[str, Any]]:
    """Every registered runtime with what its probe says, as plain JSON; the fake one is the tests' own."""
    out = []
    for name in plugins.names("edgebench.backends"):
        if name == FLOOR:
            continue
        accepts: list[str] = []
        precisions: list[str] = []
        try:
            backend = plugins.backend(name)
            found = backend.probe()
            accepts, precisions = sorted(backend.accepts), list(backend.precisions)
        except EdgebenchError as error:
            found = Availability(ok=False, reason=error.problem, fix=error.fix)
        out.append(
            {
                "name": name,
                "ok": found.ok,
                "version": found.version,
                "reason": found.reason,
                "fix": found.fix,
                "accepts": accepts,
                "precisions": precisions,
                "origin": plugins.origin("edgebench.backends", name),
            }
        )
    return out
