"""Operators that only move data: copies from one view of a tensor to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.lowering import (
    Lower,
    Lowering,
    axis_of,
    dense,
    move,
    need,
    same_type,
    zero_point_of,
)
from edgekit.plan.step import Step
from edgekit.plan.strided import Strided, fill

MAX_ROWS = 256  # that REVERSE_SEQUENCE may turn round one by one


def transpose(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type()
    order = [int(i) for i in job.constant(1, "axes").ravel()]
    need(sorted(order) == list(range(len(job.inputs[0].shape))), f"axes {order}")
    view = dense(job.inputs[0]).transpose(order)
    job.shaped(view.shape)
    return move(job, view, dense(job.result))


def pad(job: Lowering) -> list[Step]:
    job.takes(2)
    zero = zero_point_of(job.result) if job.result.scale is not None else 0
    return _pad(job, np.array(zero).astype(job.result.dtype))


def padv2(job: Lowering) -> list[Step]:
    job.takes(3)
    value = job.inputs[2]
    need(value.data is not None and math.prod(value.shape) == 1, "a value that is no constant number")
    same_type(value, job.result)
    return _pad(job, np.asarray(value.data).reshape(()))


def _margins(job: Lowering, what: str = "margins") -> list[tuple[int, int]]:
    """What comes before and after each axis of the input."""
    margins = job.constant(1, what)
    need(margins.shape == (len(job.inputs[0].shape), 2), f"{what} {list(margins.shape)}")
    need(margins.min(initial=0) >= 0, f"negative {what}")
    return [(int(a), int(b)) for a, b in margins]


def _pad(job: Lowering, value: NDArray[Any]) -> list[Step]:
    job.same_type()
    source, inner, steps = job.inputs[0], dense(job.result), []
    margins = _margins(job)
    job.shaped([n + sum(m) for n, m in zip(source.shape, margins, strict=True)])
    for axis, (before, after) in enumerate(margins):
        size = source.shape[axis]
        for start, count in ((0, before), (before + size, after)):
            steps += fill(value, job.output(), inner.slice(axis, start, count))
        inner = inner.slice(axis, before, size)
    return steps + move(job, dense(source), inner)


def mirror_pad(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type()
    shape, margins = job.inputs[0].shape, _margins(job)
    mode = "reflect" if job.option("mode") == "REFLECT" else "symmetric"
    for size, margin in zip(shape, margins, strict=True):
        need(max(margin) <= size - (mode == "reflect"), f"margins {margin} of {size}")
    job.shaped([n + sum(m) for n, m in zip(shape, margins, strict=True)])
    last = max((axis for axis, m in enumerate(margins) if sum(m)), default=0)
    numbers = np.arange(math.prod(shape[: last + 1]), dtype=np.int32).reshape(shape[: last + 1])
    picked = np.pad(numbers, margins[: last + 1], mode)  # type: ignore[call-overload]
    return [pick(job, picked, 1, numbers.size, math.prod(shape[last + 1 :]))]


def pick(job: Lowering, index: NDArray[Any], outer: int, count: int, run: int) -> Step:
    """Runs of that many items of the first input, picked from `count` of each outer slice."""
    fields = {
        **job.source(0).fields(), "output": job.output(), "outer": outer, "count": count,
        "run": run * job.result.dtype.itemsize, "index": np.ascontiguousarray(index, np.int32).ravel(),
    }  # fmt: skip
    return Step("gather", fields)


def gather(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type(quantised=False)
    need(job.option("batch_dims") == 0, "batches of indices")
    shape, index = job.inputs[0].shape, job.constant(1, "indices")
    axis = axis_of(job.whole("axis"), len(shape))
    need(index.size and index.min() >= 0 and index.max() < shape[axis], "indices that reach outside")
    job.shaped((*shape[:axis], *index.shape, *shape[axis + 1 :]))
    return [pick(job, index, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))]


def tile(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type(quantised=False)
    shape, times = job.inputs[0].shape, job.constant(1, "multiples").ravel().tolist()
    need(len(times) == len(shape) and min(times, default=1) >= 0, f"{times} times {list(shape)}")
    job.shaped([n * m for n, m in zip(shape, times, strict=True)])
    pairs = [size for pair in zip(times, shape, strict=True) for size in pair]
    ones = [size for n in shape for size in (1, n)]
    view = Strided.dense(ones, job.result.dtype.itemsize).broadcast(pairs)
    return move(job, view, Strided.dense(pairs, job.result.dtype.itemsize))


def broadcast_to(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type(quantised=False)
    shape = [int(n) for n in job.constant(1, "a shape").ravel()]
    job.shaped(shape)
    need(_broadcasts(job.inputs[0].shape, shape), f"{list(job.inputs[0].shape)} to {shape}")
    return move(job, dense(job.inputs[0]).broadcast(shape), dense(job.result))


def _broadcasts(small: Sequence[int], large: Sequence[int]) -> bool:
    return len(small) <= len(large) and all(
        n in (1, m) for n, m in zip(small[::-1], large[::-1], strict=False)
    )


def reverse(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type()
    view = dense(job.inputs[0])
    job.shaped(view.shape)
    axes = {axis_of(int(axis), len(view.shape)) for axis in job.constant(1, "axes").ravel()}
    for axis in axes:
        view = view.slice(axis, max(view.shape[axis] - 1, 0), view.shape[axis], -1)
    return move(job, view, dense(job.result))


def reverse_sequence(job: Lowering) -> list[Step]:
    """Each row turned round as far as its length says, the rest as it is."""
    job.takes(2)
    job.same_type()
    shape = job.inputs[0].shape
    job.shaped(shape)
    lengths = job.constant(1, "lengths").ravel().tolist()
    along, rows = (axis_of(job.whole(name), len(shape)) for name in ("seq_dim", "batch_dim"))
    need(along != rows and len(lengths) == shape[rows], f"{len(lengths)} lengths")
    need(len(lengths) <= MAX_ROWS, f"{len(lengths)} rows")
    steps = []
    for row, length in enumerate(lengths):
        need(0 <= length <= shape[along], f"a length of {length}")
        view = dense(job.result).slice(rows, row, 1)
        source = view.slice(along, max(length - 1, 0), length, -1)
        steps += move(job, source, view.slice(along, 0, length))
        rest = view.slice(along, length, shape[along] - length)
        steps += move(job, rest, rest)
    return steps


def dynamic_update_slice(job: Lowering) -> list[Step]:
    """The first input, with the second in it where the third says, which is kept inside."""
    job.takes(3)
    job.same_type()
    source, part = job.inputs[:2]
    same_type(part, job.result)
    job.shaped(source.shape)
    starts = job.constant(2, "starts").ravel().tolist()
    need(len(starts) == len(source.shape) == len(part.shape), f"{len(starts)} starts")
    view = dense(job.result)
    for axis, (start, size, count) in enumerate(zip(starts, source.shape, part.shape, strict=True)):
        need(count <= size, f"{count} of {size}")
        view = view.slice(axis, min(max(start, 0), size - count), count)
    return move(job, dense(source), dense(job.result)) + move(job, dense(part), view, 1)


def alias(job: Lowering) -> list[Step]:
    """The same bytes in another shape; a copy, where the two do not share their place."""
    need(job.op.inputs and job.op.inputs[0] >= 0 and len(job.op.outputs) == 1, "absent inputs")
    job.same_type()
    source = job.inputs[0]
    need(
        math.prod(source.shape) == math.prod(job.result.shape),
        f"{list(source.shape)} to {list(job.result.shape)}",
    )
    if source.data is None and job.place(job.op.inputs[0]) == job.output():
        return []
    flat = Strided.dense((math.prod(source.shape),), source.dtype.itemsize)
    return move(job, flat, flat)


MOVES: dict[str, Lower] = {
    "BROADCAST_TO": broadcast_to,
    "DYNAMIC_UPDATE_SLICE": dynamic_update_slice,
    "EXPAND_DIMS": alias,
    "GATHER": gather,
    "MIRROR_PAD": mirror_pad,
    "PAD": pad,
    "PADV2": padv2,
    "RESHAPE": alias,
    "REVERSE_SEQUENCE": reverse_sequence,
    "REVERSE_V2": reverse,
    "SQUEEZE": alias,
    "TILE": tile,
    "TRANSPOSE": transpose,
}
