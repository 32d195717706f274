"""Constants in TFLite's sparse encoding, folded and unfolded.

A sparse tensor is a tree: each level is one axis, or one axis inside of blocks, and its nodes are the indices
that exist there. A dense level has its whole axis below every node of the level above; a compressed one has
what it lists: below node `i` the indices from `segments[i]` to `segments[i + 1]`. The leaves are the values,
in order. All is counted before anything is made, so that nothing outgrows the file but the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.flatbuffer import Table

_VECTORS = {1: "<i4", 2: "<u2", 3: "u1"}
_MAX_LEVELS = 16


@dataclass(frozen=True, eq=False)
class _Level:
    """`size` indices, each of them `step` elements further in the dense tensor; listed ones or all."""

    size: int
    step: int
    segments: NDArray[Any] | None = None
    indices: NDArray[Any] | None = None

    def below(self, places: NDArray[np.int32]) -> NDArray[np.int32]:
        """The places of this level's nodes, from those of the level above."""
        if self.segments is None or self.indices is None:
            steps = np.arange(self.size, dtype=np.int32) * np.int32(self.step)
            return np.asarray(np.add.outer(places, steps).ravel())
        return np.repeat(places, np.diff(self.segments)) + self.indices.astype(np.int32) * np.int32(self.step)


def densify(table: Table, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The dense tensor of a `SparsityParameters` table whose values are `raw`."""
    size = math.prod(shape)
    if len(raw) % dtype.itemsize or min(shape, default=1) < 1 or size >= 2**31:
        table.fail(f"{len(raw)} bytes of {dtype} for shape {list(shape)}; the file is damaged")
    table.source.unfold(table.where, size * dtype.itemsize)
    values = np.frombuffer(raw, dtype)
    places = np.zeros(1, np.int32)
    for level in _levels(table, shape, len(values)):
        places = level.below(places)
    dense = np.zeros(size, dtype)
    dense[places] = values
    return dense.reshape(shape)


def _levels(table: Table, shape: tuple[int, ...], count: int) -> list[_Level]:
    """The levels from the top; their tree has `count` leaves."""
    tables = table.tables(2, f"{table.where}, level", _MAX_LEVELS)
    levels, nodes = [], 1
    for one, (size, step) in zip(tables, _axes(table, tables, shape), strict=True):
        levels.append(_level(one, size, step, nodes))
        indices = levels[-1].indices
        nodes = nodes * size if indices is None else len(indices)
    if nodes != count:
        table.fail(f"{count} values in {nodes} places; the file is damaged")
    return levels


def _axes(table: Table, tables: Sequence[Table], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Size and step of every level: of the axes, then of the axes inside of blocks, in the stated order."""
    order, blocked = table.numbers(0, "<i4").tolist(), table.numbers(1, "<i4").tolist()
    rank = len(shape)
    fits = len(order) == len(tables) == rank + len(blocked) and set(order) == set(range(len(order)))
    if not fits or len(set(blocked)) != len(blocked) or not set(blocked) <= set(range(rank)):
        table.fail(f"{len(tables)} levels for {rank} axes with {len(blocked)} blocks; the file is damaged")
    axes = [(size, math.prod(shape[axis + 1 :])) for axis, size in enumerate(shape)]
    for axis in blocked:
        block = int(tables[order.index(len(axes))].scalar(1, "int"))
        size, step = axes[axis]
        if block < 1 or size % block:
            table.fail(f"blocks of {block} on an axis of {size}; the file is damaged")
        axes[axis] = (size // block, step * block)
        axes.append((block, step))
    return [axes[axis] for axis in order]


def _level(table: Table, size: int, step: int, nodes: int) -> _Level:
    """A level below `nodes` nodes."""
    if table.scalar(0, "byte") == 0:
        if table.scalar(1, "int") != size:
            table.fail(f"{table.scalar(1, 'int')} indices on an axis of {size}; the file is damaged")
        return _Level(size, step)
    segments, indices = _vector(table, 2), _vector(table, 4)
    if len(segments) != nodes + 1 or segments[0] != 0 or segments[-1] != len(indices):
        table.fail(f"{len(segments)} segments of {len(indices)} indices below {nodes}; the file is damaged")
    if np.any(segments[1:] < segments[:-1]) or np.any(indices < 0) or np.any(indices >= size):
        table.fail(f"segments that overlap or indices beyond {size}; the file is damaged")
    return _Level(size, step, segments.astype(np.int32), indices)


def _vector(table: Table, slot: int) -> NDArray[Any]:
    """Segments or indices: a union of vectors of three types."""
    kind = _VECTORS.get(table.scalar(slot, "ubyte"))
    vector = table.table(slot + 1, f"{table.where}, field {slot + 1}")
    if kind is None or vector is None:
        table.fail("a compressed axis without segments or indices; the file is damaged")
    return vector.numbers(0, kind)


@dataclass(frozen=True, eq=False)
class Folded:
    """A constant in the sparse encoding: the last axis compressed, in blocks of `block` values.

    `values` are those of the blocks that are not all zero, `indices` their places on the last axis, and
    `segments` where these begin for each row.
    """

    values: NDArray[Any]
    block: int
    segments: NDArray[Any]
    indices: NDArray[Any]

    @property
    def size_bytes(self) -> int:
        return int(self.values.nbytes + self.segments.nbytes + self.indices.nbytes)


def fold(data: NDArray[Any], blocks: Sequence[int] = (1, 4)) -> Folded:
    """The constant in the smallest of the encodings with these blocks; `data` has at least one axis."""
    last = data.shape[-1]
    return min((_fold(data, b) for b in blocks if last % b == 0), key=lambda folded: folded.size_bytes)


def _fold(data: NDArray[Any], block: int) -> Folded:
    rows = data.reshape(-1, data.shape[-1] // block, block)
    used = rows.any(axis=2)
    segments = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return Folded(rows[used].ravel(), block, _narrow(segments), _narrow(np.nonzero(used)[1]))


def _narrow(numbers: NDArray[np.int64]) -> NDArray[Any]:
    """In the smallest type of the encoding."""
    largest = int(numbers.max(initial=0))
    return numbers.astype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.int32)
