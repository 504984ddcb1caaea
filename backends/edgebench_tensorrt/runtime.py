"""Importing this imports the TensorRT that is here: the worker does so apart from opening, so that load time is load time."""

from __future__ import annotations

from edgebench_tensorrt import module

trt = module()
