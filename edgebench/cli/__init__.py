"""The verbs. The only place that prints and exits.

Exit codes: 0 all cells ok, 1 some cells failed, 2 bad input or interrupted (two sentences on stderr: problem and fix).
"""

from edgebench.cli import deciding, devices, inspecting, listing, measuring, metering, reporting
from edgebench.cli.app import cli, main

__all__ = ["cli", "deciding", "devices", "inspecting", "listing", "main", "measuring", "metering", "reporting"]
