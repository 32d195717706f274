"""The seam between what a network is and what runs it: `load(path) -> Engine`."""

from __future__ import annotations

from edgekit.engine.native import (
    Engine,
    ListEngine,
    NativeEngine,
    TensorInfo,
    estimate_memory,
    load,
    load_graph,
    native_level,
    native_levels,
)

__all__ = [
    "Engine",
    "ListEngine",
    "NativeEngine",
    "TensorInfo",
    "estimate_memory",
    "load",
    "load_graph",
    "native_level",
    "native_levels",
]
