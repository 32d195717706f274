"""Files with constants that are sparse or of 4 bits, written with LiteRT's own schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit import model
from edgekit.model.graph import Graph
from edgekit.model.schema import INT4

Array = NDArray[Any]


@dataclass(frozen=True)
class Sparse:
    """An encoded array: a level is its size, or its segments and indices."""

    order: Sequence[int]
    blocked: Sequence[int]
    levels: list[int | tuple[list[int], list[int]]]
    values: Array


def encode(
    dense: Array, order: Sequence[int], blocks: Mapping[int, int], compressed: Collection[int]
) -> Sparse:
    """`blocks` has sizes of blocks by axis, `compressed` the levels that list their indices."""
    split = [part for axis, size in enumerate(dense.shape) for part in _split(size, blocks.get(axis))]
    places = np.cumsum([0, *(2 if axis in blocks else 1 for axis in range(dense.ndim))]).tolist()
    axes = [*places[:-1], *(places[axis] + 1 for axis in blocks)]
    tree = dense.reshape(split).transpose([axes[axis] for axis in order])
    nodes, levels = [tree], []
    for level in range(tree.ndim):
        listed = [[i for i in range(len(n)) if level not in compressed or n[i].any()] for n in nodes]
        flat = [index for indices in listed for index in indices]
        segments = np.cumsum([0, *map(len, listed)]).tolist()
        levels.append((segments, flat) if level in compressed else tree.shape[level])
        nodes = [node[index] for node, indices in zip(nodes, listed, strict=True) for index in indices]
    return Sparse(order, list(blocks), levels, np.array(nodes, dense.dtype))


def _split(size: int, block: int | None) -> list[int]:
    return [size] if block is None else [size // block, block]


def _schema() -> Any:
    return pytest.importorskip("ai_edge_litert.schema_py_generated", reason="only LiteRT has the schema")


def rewritten(
    graph: Graph,
    index: int,
    raw: bytes,
    sparse: Sparse | None,
    width: int = 1,
    shape: list[int] | None = None,
) -> bytes:
    """The file of the graph, in which one constant is encoded otherwise: sparse, or else in 4 bits.

    `width` 1, 2 or 3 asks for segments and indices of 32, 16 or 8 bits; `shape` is what the file says.
    """
    schema = _schema()
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model.write(graph), 0))
    tensor = file.subgraphs[0].tensors[index]
    file.buffers[tensor.buffer].data = list(raw)
    if shape:
        tensor.shape = shape
    if sparse:
        tensor.sparsity = _sparsity(schema, sparse, width)
    else:
        tensor.type = INT4
    builder = flatbuffers.Builder(0)
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _sparsity(schema: Any, sparse: Sparse, width: int) -> Any:
    made = schema.SparsityParametersT()
    made.traversalOrder, made.blockMap = list(sparse.order), list(sparse.blocked)
    made.dimMetadata = [_level(schema, level, width) for level in sparse.levels]
    return made


def _level(schema: Any, level: int | tuple[list[int], list[int]], width: int) -> Any:
    made = schema.DimensionMetadataT()
    if isinstance(level, int):
        made.denseSize = level
        return made
    made.format = 1
    kind = (schema.Int32VectorT, schema.Uint16VectorT, schema.Uint8VectorT)[width - 1]
    made.arraySegments, made.arrayIndices = kind(), kind()
    made.arraySegmentsType = made.arrayIndicesType = width
    made.arraySegments.values, made.arrayIndices.values = level
    return made
