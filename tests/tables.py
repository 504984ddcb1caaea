"""The table of the README is generated from a published run: this writes it, and a test compares."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RUN = "results/published/local/quick"


def table() -> str:
    """What `edgebench report` prints of the published run into a file (120 columns)."""
    command = [sys.executable, "-m", "edgebench", "report", RUN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(line for line in lines if not line.startswith("Kept in")).strip()


def with_table(readme: str) -> str:
    block = f"<!-- table: quick -->\n```text\n{table()}\n```\n<!-- end -->"
    return re.sub(r"<!-- table: quick -->.*?<!-- end -->", lambda _: block, readme, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
