"""Tensors seen through strides: all data movement is a copy from one such view to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.step import Step

MAX_RANK = 8  # as EK_MAX_RANK in native/ek.h


@dataclass(frozen=True, eq=False)
class Source:
    """Where the numbers of an operand are: a place in the arena or, with `data`, an offset in that array."""

    place: int
    data: NDArray[Any] | None = None

    def fields(self, name: str = "input") -> dict[str, int | float | NDArray[Any]]:
        """The two fields that EK_SOURCE in native/ops_plain.h makes of it."""
        if self.data is None:
            return {name: self.place}
        return {name: self.place, f"{name}_data": np.array(self.data, order="C").reshape(-1).view(np.uint8)}


@dataclass(frozen=True)
class Strided:
    """`shape` items whose first one stands `offset` bytes behind the start of the tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @staticmethod
    def dense(shape: Sequence[int], item: int) -> Strided:
        strides = [item * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return Strided(tuple(shape), tuple(strides))

    def transpose(self, order: Sequence[int]) -> Strided:
        """Axis i of the result is axis order[i] of this."""
        return replace(
            self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order)
        )

    def slice(self, axis: int, start: int, count: int, step: int = 1) -> Strided:
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, step * strides[axis]
        return Strided(tuple(shape), tuple(strides), offset)

    def split(self, axis: int, sizes: Sequence[int]) -> Strided:
        """The axis taken apart into several, whose sizes make it up."""
        inner = [self.strides[axis] * math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        shape = (*self.shape[:axis], *sizes, *self.shape[axis + 1 :])
        return replace(self, shape=shape, strides=(*self.strides[:axis], *inner, *self.strides[axis + 1 :]))

    def broadcast(self, shape: Sequence[int]) -> Strided:
        """Repeated along axes of size 1, and along new ones in front."""
        missing = len(shape) - len(self.shape)
        old, strides = (1,) * missing + self.shape, (0,) * missing + self.strides
        kept = [s if n == m else 0 for n, m, s in zip(old, shape, strides, strict=True)]
        return replace(self, shape=tuple(shape), strides=tuple(kept))


def merge(shape: Sequence[int], *strides: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """The same walk with as few axes as can be, one at least: those of size 1 left out, neighbours joined."""
    sizes: list[int] = []
    merged: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        steps = [s[axis] for s in strides]
        if sizes and all(m[-1] == size * step for m, step in zip(merged, steps, strict=True)):
            sizes[-1] *= size
            for m, step in zip(merged, steps, strict=True):
                m[-1] = step
        else:
            sizes.append(size)
            for m, step in zip(merged, steps, strict=True):
                m.append(step)
    return (sizes, merged) if sizes else ([1], [[0] for _ in strides])


def copy(source: Source, view: Strided, output: int, target: Strided, item: int) -> list[Step]:
    """Item by item from one view to another of the same shape; no step if there is none."""
    if 0 in view.shape:
        return []
    order = sorted(range(len(view.shape)), key=lambda axis: -target.strides[axis])
    view, target = view.transpose(order), target.transpose(order)
    sizes, (ins, outs) = merge(target.shape, view.strides, target.strides)
    run = item
    if ins[-1] == outs[-1] == item:
        run *= sizes.pop()
        ins.pop(), outs.pop()
    if not sizes:
        sizes, ins, outs = [1], [0], [0]
    if len(sizes) > MAX_RANK:
        parts = [(view.slice(0, i, 1), target.slice(0, i, 1)) for i in range(target.shape[0])]
        return [step for part, place in parts for step in copy(source, part, output, place, item)]
    start = replace(source, place=source.place + view.offset)
    arrays = {"sizes": sizes, "input_strides": ins, "output_strides": outs}
    fields = {name: np.array(values, np.int64) for name, values in arrays.items()}
    return [Step("copy", {**start.fields(), "output": output + target.offset, "run": run, **fields})]


def fill(value: NDArray[Any], output: int, target: Strided) -> list[Step]:
    """One value, a scalar array, over all of a view."""
    item = value.dtype.itemsize
    return copy(Source(0, value), Strided((), ()).broadcast(target.shape), output, target, item)
