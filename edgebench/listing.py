"""What there is: backends and devices with what their probes say, as plain JSON for a table or a script."""

from __future__ import annotations

from typing import Any

from edgebench import plugins
from edgebench.errors import EdgebenchError
from edgebench.schema import Availability


def backends() -> list[dict[str, Any]]:
    """Every registered backend with what its probe says, as plain JSON."""
    out = []
    for name in plugins.names("edgebench.backends"):
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


def devices() -> list[dict[str, Any]]:
    """Every device profile with whether it can be used from here, as plain JSON."""
    from edgebench.devices import profiles

    out = []
    for name in profiles.names():
        profile = profiles.find(name)
        try:
            found = profiles.resolve(name).check()
            ok, reason, fix = found.ok, found.reason, found.fix
        except EdgebenchError as error:
            ok, reason, fix = False, error.problem, error.fix
        out.append(
            {
                "name": name,
                "ok": ok,
                "transport": profile.transport,
                "address": profile.address,
                "description": profile.description,
                "reason": reason,
                "fix": fix,
            }
        )
    return out
