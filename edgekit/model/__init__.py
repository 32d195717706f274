"""`.tflite` files to graphs and back: `read(path) -> Graph`, `write(graph) -> bytes`."""

from __future__ import annotations

from edgekit.model.file import Graph, Op, Tensor, read, read_bytes, write

__all__ = ["Graph", "Op", "Tensor", "read", "read_bytes", "write"]
