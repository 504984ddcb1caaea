"""What the other programs of the machine take is seen, and our own rest is not taken for them."""

from __future__ import annotations

import subprocess
import sys

from edgebench import ensemble, environment


def test_a_busy_neighbour_is_seen_and_warned_of() -> None:
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        found = ensemble._others()
    finally:
        hog.kill()
        hog.wait()
    assert found is not None
    assert found > 0.5
    assert any("busy" in w for w in environment.warnings({"others": found, "load": 0.0, "cores": 2}, 1))


def test_what_others_take_counts_and_not_the_load_of_the_last_minute() -> None:
    assert not any("busy" in w for w in environment.warnings({"others": 0.0, "load": 5.0, "cores": 2}, 1))
    assert any("busy" in w for w in environment.warnings({"load": 5.0, "cores": 2}, 1))
