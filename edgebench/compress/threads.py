"""How many cores the work on the host takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

ALL = torch.get_num_threads()
SMALL = 4_000_000_000
"""Multiply-accumulates of a batch's forward pass under which one thread does the work."""


@contextlib.contextmanager
def threads_for(work: int) -> Iterator[None]:
    """One thread for batches of little work (in multiply-accumulates), all cores for others.

    Threads that wait for each other spin: on a busy two-core machine a second thread made small batches up to eight times
    slower (quiet: 1.4 times faster). With one, the weights do not depend on the number of cores either.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if work < SMALL else ALL)
    try:
        yield
    finally:
        torch.set_num_threads(before)
