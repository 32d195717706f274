"""Items picked by numbers that are computed: SELECT, TOPK_V2, GATHER_ND and their like."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.model.graph import Tensor
from edgekit.plan.binary import FUNCTIONS
from edgekit.plan.lowering import (
    FAULT,
    OUTSIDE,
    SCRATCH,
    Lower,
    Lowering,
    axis_of,
    dense,
    need,
    same_type,
    type_number,
)
from edgekit.plan.movement import gather as gather_constant
from edgekit.plan.step import Fields, Step
from edgekit.plan.strided import Source, Strided, merge

_INDICES = (np.dtype(np.int32), np.dtype(np.int64))


def select(job: Lowering) -> list[Step]:
    """SELECT_V2, whose three inputs are broadcast."""
    job.takes(3)
    condition, *values = job.inputs
    need(condition.dtype == np.bool_, f"a condition that is {condition.dtype}")
    for tensor in values:
        same_type(tensor, job.result)
    shape = _broadcast(condition.shape, values[0].shape, values[1].shape)
    job.shaped(shape)
    views = [dense(tensor).broadcast(shape) for tensor in job.inputs]
    return _select(job, [job.source(i) for i in range(3)], views)


def select_rows(job: Lowering) -> list[Step]:
    """SELECT, whose condition is of the values' shape, or one for each of their rows."""
    job.takes(3)
    condition, first, second = job.inputs
    if condition.shape == first.shape:
        return select(job)
    need(condition.dtype == np.bool_, f"a condition that is {condition.dtype}")
    for tensor in (first, second):
        same_type(tensor, job.result)
        job.shaped(tensor.shape)
    need(condition.shape == first.shape[:1], f"a condition {list(condition.shape)}")
    column = Strided.dense((*condition.shape, *(1 for _ in first.shape[1:])), 1).broadcast(first.shape)
    return _select(job, [job.source(i) for i in range(3)], [column, dense(first), dense(second)])


def _select(job: Lowering, sources: Sequence[Source], views: Sequence[Strided]) -> list[Step]:
    sizes, strides = merge(views[0].shape, *(view.strides for view in views))
    fields: Fields = {
        "output": job.output(), "item": job.result.dtype.itemsize, "sizes": np.array(sizes, np.int64)
    }  # fmt: skip
    for name, source, steps in zip(("condition", "first", "second"), sources, strides, strict=True):
        fields |= source.fields(name)
        fields[f"{name}_strides"] = np.array(steps, np.int64)
    return [Step("select", fields)]


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return (-1,)


def one_hot(job: Lowering) -> list[Step]:
    """The indices are compared with 0, 1, ...; which of the two values stands there, a selection says."""
    job.takes(4)
    indices, depth, *values = job.inputs
    need(indices.dtype in _INDICES, f"indices that are {indices.dtype}")
    for tensor in values:
        same_type(tensor, job.result)
        need(math.prod(tensor.shape) == 1, "a value that is no single number")
    count, rank = int(job.constant(1, "a depth").ravel()[0]), len(indices.shape)
    need(depth.shape in ((), (1,)), "a depth that is no single number")
    axis = axis_of(job.whole("axis"), rank + 1)
    shape = (*indices.shape[:axis], count, *indices.shape[axis:])
    job.shaped(shape)
    item = indices.dtype.itemsize
    places = Strided.dense((*indices.shape[:axis], 1, *indices.shape[axis:]), item).broadcast(shape)
    numbers = Strided.dense((count, *(1 for _ in indices.shape[axis:])), item).broadcast(shape)
    sizes, strides = merge(shape, places.strides, numbers.strides)
    counted = Source(0, np.arange(count, dtype=indices.dtype))
    compared: Fields = {
        **job.source(0).fields("first"), **counted.fields("second"), "output": job.place(SCRATCH),
        "sizes": np.array(sizes, np.int64), "first_strides": np.array(strides[0], np.int64),
        "second_strides": np.array(strides[1], np.int64), "type": type_number(indices),
        "function": FUNCTIONS.index("EQUAL"),
    }  # fmt: skip
    views = [Strided.dense(shape, 1), *(Strided((), ()).broadcast(shape) for _ in values)]
    sources = [Source(job.place(SCRATCH)), job.source(2), job.source(3)]
    return [Step("binary", compared), *_select(job, sources, views)]


def one_hot_scratch(job: Lowering) -> int:
    return math.prod(job.result.shape)


def gather(job: Lowering) -> list[Step]:
    job.takes(2)
    batches = job.whole("batch_dims")
    if job.inputs[1].data is not None and not batches:
        return gather_constant(job)
    job.same_type(quantised=False)
    source, index = job.inputs
    axis, rank = axis_of(job.whole("axis"), len(source.shape)), len(index.shape)
    batches = batches + rank if batches < 0 else batches
    need(0 <= batches <= min(axis, rank), f"{batches} axes of batches")
    need(source.shape[:batches] == index.shape[:batches], "indices of other batches")
    shape = source.shape
    job.shaped((*shape[:axis], *index.shape[batches:], *shape[axis + 1 :]))
    outer, share = math.prod(shape[:axis]), math.prod(shape[batches:axis])
    return [_pick(job, index, 1, (shape[axis],), (outer, share, math.prod(shape[axis + 1 :])))]


def gather_nd(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type(quantised=False)
    source, index = job.inputs
    need(len(index.shape) >= 1, "an index that is a number")
    depth = index.shape[-1]
    need(1 <= depth <= len(source.shape), f"indices of {depth} numbers")
    job.shaped((*index.shape[:-1], *source.shape[depth:]))
    return [_pick(job, index, 1, source.shape[:depth], (1, 1, math.prod(source.shape[depth:])))]


def embedding_lookup(job: Lowering) -> list[Step]:
    job.takes(2)
    index, source = job.inputs
    same_type(source, job.result)
    need(len(index.shape) == 1 and len(source.shape) >= 2, f"indices {list(index.shape)}")
    job.shaped((*index.shape, *source.shape[1:]))
    return [_pick(job, index, 0, source.shape[:1], (1, 1, math.prod(source.shape[1:])))]


def _pick(
    job: Lowering, index: Tensor, number: int, limits: Sequence[int], walk: tuple[int, int, int]
) -> Step:
    """Blocks by the indices that are input `number`; `walk`: slices, those with the same indices, items."""
    need(index.dtype in _INDICES, f"indices that are {index.dtype}")
    need(all(limits), "no items to pick from")
    outer, share, run = walk
    picks = math.prod(index.shape) // (len(limits) * (outer // share))
    fields: Fields = {
        **job.source(1 - number).fields(), **job.source(number).fields("index"), "output": job.output(),
        "index_type": type_number(index), "outer": outer, "share": share, "picks": picks,
        "run": run * job.result.dtype.itemsize, "limits": np.array(limits, np.int64),
        "fault": job.place(FAULT), "number": OUTSIDE,
    }  # fmt: skip
    return Step("pick", fields)


def scatter_nd(job: Lowering) -> list[Step]:
    job.takes(3)
    index, source, result = job.inputs[0], job.inputs[1], job.result
    same_type(source, result)
    need(source.dtype != np.bool_, "truth values")
    need(index.dtype in _INDICES and len(index.shape) >= 1, f"indices that are {index.dtype}")
    job.shaped([int(n) for n in job.constant(2, "a shape").ravel()])
    depth = index.shape[-1]
    need(1 <= depth <= len(result.shape), f"indices of {depth} numbers")
    need(source.shape == (*index.shape[:-1], *result.shape[depth:]), f"updates {list(source.shape)}")
    need(math.prod(source.shape), "no updates")
    fields: Fields = {
        **job.source(1).fields(), **job.source(0).fields("index"), "output": job.output(),
        "type": type_number(source), "index_type": type_number(index), "fault": job.place(FAULT),
        "picks": math.prod(index.shape[:-1]), "run": math.prod(result.shape[depth:]),
        "limits": np.array(result.shape[:depth], np.int64), "number": OUTSIDE,
    }  # fmt: skip
    return [Step("scatter", fields)]


def top(job: Lowering) -> list[Step]:
    job.takes(2, outputs=2)
    source, index = job.inputs[0], job.results[1]
    same_type(source, job.result)
    need(len(source.shape) >= 1 and source.dtype != np.bool_, f"{source.dtype} {list(source.shape)}")
    need(index.dtype == np.int32, f"numbers as {index.dtype}")
    count = job.constant(1, "a count")
    need(count.size == 1, "a count that is no single number")
    picks, depth = int(count.ravel()[0]), source.shape[-1]
    need(1 <= picks <= depth, f"{picks} of {depth}")
    for number in (0, 1):
        job.shaped((*source.shape[:-1], picks), number)
    fields: Fields = {
        **job.source(0).fields(), "output": job.output(), "output_index": job.output(1), "depth": depth,
        "type": type_number(source), "rows": math.prod(source.shape[:-1]), "picks": picks,
    }  # fmt: skip
    return [Step("topk", fields)]


PICKING: dict[str, Lower] = {
    "EMBEDDING_LOOKUP": embedding_lookup,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "ONE_HOT": one_hot,
    "SCATTER_ND": scatter_nd,
    "SELECT": select_rows,
    "SELECT_V2": select,
    "TOPK_V2": top,
}
