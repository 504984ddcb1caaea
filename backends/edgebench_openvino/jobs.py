"""Throughput as OpenVINO means it: the samples of a batch as jobs of its asynchronous queue, several in flight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgebench.backend import Outputs, Tensor, np


class Jobs:
    """One compiled network for a batch of one, and so many requests that are in flight at once."""

    def __init__(self, network: Any, jobs: int) -> None:
        from openvino import AsyncInferQueue

        self._queue = AsyncInferQueue(network, jobs)
        self._outputs = len(network.outputs)
        self._found: list[list[Tensor]] = []
        self._queue.set_callback(self._keep)

    def run(self, arrays: Sequence[Tensor]) -> Outputs:
        """Each sample of the arrays (N, ...) is a job; returns the outputs (N, ...) when all are done."""
        from openvino import Tensor as Shared

        size = len(arrays[0])
        self._found = [[np.empty(0)] * size for _ in range(self._outputs)]
        for i in range(size):
            self._queue.start_async({k: Shared(a[i : i + 1], shared_memory=True) for k, a in enumerate(arrays)}, i)
        self._queue.wait_all()
        return [np.concatenate(parts) for parts in self._found]

    def _keep(self, request: Any, i: int) -> None:
        for k, parts in enumerate(self._found):
            parts[i] = request.get_output_tensor(k).data.copy()
