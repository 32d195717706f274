"""Operators that only move data: copies from one view of a tensor to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.lowering import Lower, Lowering, axis_of, dense, need, same_type, zero_point_of
from edgekit.step import Step
from edgekit.strided import Strided, copy, fill


def _move(job: Lowering, view: Strided, target: Strided, number: int = 0, result: int = 0) -> list[Step]:
    """From a view of an input to one of an output."""
    item = job.results[result].dtype.itemsize
    return copy(job.source(number), view, job.output(result), target, item)


def transpose(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type()
    order = [int(i) for i in job.constant(1, "axes").ravel()]
    need(sorted(order) == list(range(len(job.inputs[0].shape))), f"axes {order}")
    view = dense(job.inputs[0]).transpose(order)
    job.shaped(view.shape)
    return _move(job, view, dense(job.result))


def slice_(job: Lowering) -> list[Step]:
    job.takes(3)
    job.same_type()
    view = dense(job.inputs[0])
    starts, counts = (job.constant(i, "bounds").ravel().tolist() for i in (1, 2))
    need(len(starts) == len(counts) == len(view.shape), "bounds of another number than the axes")
    for axis, (start, count) in enumerate(zip(starts, counts, strict=True)):
        size = view.shape[axis]
        length = size - start if count == -1 else count
        need(min(start, length) >= 0 and start + length <= size, f"{count} from {start} of {size}")
        view = view.slice(axis, start, length)
    job.shaped(view.shape)
    return _move(job, view, dense(job.result))


def strided_slice(job: Lowering) -> list[Step]:
    job.takes(4)
    job.same_type()
    bounds = [job.constant(i, "bounds").ravel().tolist() for i in (1, 2, 3)]
    need(len({len(b) for b in bounds}) == 1, "bounds of different lengths")
    view, kept = dense(job.inputs[0]), []
    specs = _specs(job, list(zip(*bounds, strict=True)), len(view.shape))
    for axis, spec in enumerate(specs):
        start, count, step, is_kept = _range(job, spec, view.shape[axis])
        view = view.slice(axis, start, count, step)
        kept += [axis] if is_kept else []
    shape = [view.shape[axis] for axis in kept]
    for axis in _new_axes(job, len(bounds[0]), len(view.shape)):
        shape.insert(axis, 1)
    job.shaped(shape)
    return _move(job, view, Strided.dense(view.shape, job.result.dtype.itemsize))


def _bit(job: Lowering, mask: str, index: int) -> bool:
    return bool(job.whole(mask) >> index & 1)


def _specs(
    job: Lowering, bounds: list[tuple[int, int, int]], rank: int
) -> list[tuple[int, tuple[int, int, int]] | None]:
    """For each axis of the input its index among the bounds, and those; None: all of the axis."""
    own = [i for i in range(len(bounds)) if not _bit(job, "new_axis_mask", i)]
    ellipses = [i for i in own if _bit(job, "ellipsis_mask", i)]
    need(len(ellipses) <= 1 and not job.option("offset"), "several ellipses, or ends counted from the starts")
    need(len(own) - len(ellipses) <= rank, f"{len(own)} bounds for {rank} axes")
    specs: list[tuple[int, tuple[int, int, int]] | None] = []
    for i in own:
        if i in ellipses:
            specs += [None] * (rank - len(own) + 1)
        else:
            specs.append((i, bounds[i]))
    return specs + [None] * (rank - len(specs))


def _new_axes(job: Lowering, count: int, rank: int) -> list[int]:
    """Where in the output an axis of size 1 is put in."""
    axes, place = [], 0
    own = sum(not _bit(job, "new_axis_mask", i) for i in range(count))
    for i in range(count):
        if _bit(job, "new_axis_mask", i):
            axes.append(place)
            place += 1
        elif _bit(job, "ellipsis_mask", i):
            place += rank - own + 1
        else:
            place += not _bit(job, "shrink_axis_mask", i)
    return axes


def _range(
    job: Lowering, spec: tuple[int, tuple[int, int, int]] | None, size: int
) -> tuple[int, int, int, bool]:
    """Start, count and step along an axis, and whether the axis stays."""
    if spec is None:
        return 0, size, 1, True
    index, (begin, end, step) = spec
    need(step, "a step of 0")
    low, high = (0, size) if step > 0 else (-1, size - 1)
    start = min(max(begin + size * (begin < 0), low), high)
    if _bit(job, "begin_mask", index):
        start = low if step > 0 else high
    if _bit(job, "shrink_axis_mask", index):
        need(0 <= start < size and step > 0, f"index {begin} of {size}")
        return start, 1, 1, False
    stop = min(max(end + size * (end < 0), low), high)
    if _bit(job, "end_mask", index):
        stop = high if step > 0 else low
    return start, max(0, -(-(stop - start) // step)), step, True


def split(job: Lowering) -> list[Step]:
    job.takes(2, outputs=None)
    axis = _axis(job, job.constant(0, "axes"), 1)
    size = job.inputs[1].shape[axis]
    need(size % len(job.op.outputs) == 0, f"{size} into {len(job.op.outputs)} parts")
    return _cut(job, 1, axis, [size // len(job.op.outputs)] * len(job.op.outputs))


def split_v(job: Lowering) -> list[Step]:
    job.takes(3, outputs=None)
    axis = _axis(job, job.constant(2, "axes"), 0)
    sizes = [int(size) for size in job.constant(1, "sizes").ravel()]
    total = job.inputs[0].shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = total - sum(sizes) - 1
    need(sum(sizes) == total and min(sizes) >= 0 and len(sizes) == len(job.op.outputs), f"parts of {sizes}")
    return _cut(job, 0, axis, sizes)


def _axis(job: Lowering, axis: NDArray[Any], number: int) -> int:
    need(axis.size == 1, "an axis that is no single number")
    return axis_of(int(axis.ravel()[0]), len(job.inputs[number].shape))


def _cut(job: Lowering, number: int, axis: int, sizes: list[int]) -> list[Step]:
    """The input cut into the outputs along an axis."""
    source, at, steps = job.inputs[number], 0, []
    for result, size in enumerate(sizes):
        view = dense(source).slice(axis, at, size)
        same_type(source, job.results[result])
        job.shaped(view.shape, result)
        steps += _move(job, view, dense(job.results[result]), number, result)
        at += size
    return steps


def unpack(job: Lowering) -> list[Step]:
    job.takes(1, outputs=None)
    source, steps = job.inputs[0], []
    axis = axis_of(job.whole("axis"), len(source.shape))
    need(source.shape[axis] == len(job.op.outputs), f"{source.shape[axis]} into {len(job.op.outputs)} parts")
    shape = source.shape[:axis] + source.shape[axis + 1 :]
    for result, tensor in enumerate(job.results):
        same_type(source, tensor)
        job.shaped(shape, result)
        target = Strided.dense((*source.shape[:axis], 1, *source.shape[axis + 1 :]), tensor.dtype.itemsize)
        steps += _move(job, dense(source).slice(axis, result, 1), target, 0, result)
    return steps


def pack(job: Lowering) -> list[Step]:
    need(job.op.inputs and min(job.op.inputs) >= 0 and len(job.op.outputs) == 1, "absent inputs")
    first, steps = job.inputs[0], []
    axis = axis_of(job.whole("axis"), len(first.shape) + 1)
    job.shaped((*first.shape[:axis], len(job.inputs), *first.shape[axis:]))
    for number, tensor in enumerate(job.inputs):
        same_type(tensor, job.result)
        need(tensor.shape == first.shape, f"inputs {list(first.shape)} and {list(tensor.shape)}")
        view = Strided.dense((*first.shape[:axis], 1, *first.shape[axis:]), first.dtype.itemsize)
        steps += _move(job, view, dense(job.result).slice(axis, number, 1), number)
    return steps


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
    return steps + _move(job, dense(source), inner)


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
    return [_gather(job, picked, 1, numbers.size, math.prod(shape[last + 1 :]))]


def _gather(job: Lowering, index: NDArray[Any], outer: int, count: int, run: int) -> Step:
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
    return [_gather(job, index, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))]


def tile(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type(quantised=False)
    shape, times = job.inputs[0].shape, job.constant(1, "multiples").ravel().tolist()
    need(len(times) == len(shape) and min(times, default=1) >= 0, f"{times} times {list(shape)}")
    job.shaped([n * m for n, m in zip(shape, times, strict=True)])
    pairs = [size for pair in zip(times, shape, strict=True) for size in pair]
    ones = [size for n in shape for size in (1, n)]
    view = Strided.dense(ones, job.result.dtype.itemsize).broadcast(pairs)
    return _move(job, view, Strided.dense(pairs, job.result.dtype.itemsize))


def broadcast_to(job: Lowering) -> list[Step]:
    job.takes(2)
    job.same_type(quantised=False)
    shape = [int(n) for n in job.constant(1, "a shape").ravel()]
    job.shaped(shape)
    need(_broadcasts(job.inputs[0].shape, shape), f"{list(job.inputs[0].shape)} to {shape}")
    return _move(job, dense(job.inputs[0]).broadcast(shape), dense(job.result))


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
    return _move(job, view, dense(job.result))


def space_to_depth(job: Lowering) -> list[Step]:
    job.takes(1)
    job.same_type()
    block, shape = job.whole("block_size"), job.inputs[0].shape
    need(len(shape) == 4 and shape[1] % block == shape[2] % block == 0, f"blocks of {block} in {list(shape)}")
    images, height, width, depth = shape
    job.shaped((images, height // block, width // block, block * block * depth))
    view = dense(job.inputs[0]).split(2, (width // block, block)).split(1, (height // block, block))
    view = view.transpose((0, 1, 3, 2, 4, 5))
    return _move(job, view, Strided.dense(view.shape, job.result.dtype.itemsize))


def depth_to_space(job: Lowering) -> list[Step]:
    job.takes(1)
    job.same_type()
    block, shape = job.whole("block_size"), job.inputs[0].shape
    need(len(shape) == 4 and shape[3] % block**2 == 0, f"blocks of {block} in {list(shape)}")
    images, height, width, depth = shape
    job.shaped((images, height * block, width * block, depth // block**2))
    view = dense(job.inputs[0]).split(3, (block, block, depth // block**2)).transpose((0, 1, 3, 2, 4, 5))
    return _move(job, view, Strided.dense(view.shape, job.result.dtype.itemsize))


def space_to_batch(job: Lowering) -> list[Step]:
    """One copy for each position in the blocks, which becomes a run of images of its own."""
    images, blocks, margins = _batches(job, "margins")
    space = job.inputs[0].shape[1 : 1 + len(blocks)]
    sizes = [n + sum(m) for n, m in zip(space, margins, strict=True)]
    need(not any(n % b for n, b in zip(sizes, blocks, strict=True)), f"{sizes} in blocks of {blocks}")
    small = [n // b for n, b in zip(sizes, blocks, strict=True)]
    job.shaped((images * math.prod(blocks), *small, *job.inputs[0].shape[1 + len(blocks) :]))
    zero = np.array(zero_point_of(job.result)).astype(job.result.dtype)
    steps = fill(zero, job.output(), dense(job.result)) if any(map(sum, margins)) else []
    for number, position in enumerate(np.ndindex(*blocks)):
        view, target = dense(job.inputs[0]), dense(job.result).slice(0, number * images, images)
        for axis, (at, block, margin) in enumerate(zip(position, blocks, margins, strict=True)):
            first, count = _hits(at - margin[0], block, space[axis], small[axis])
            view = view.slice(axis + 1, first * block + at - margin[0], count, block)
            target = target.slice(axis + 1, first, count)
        steps += _move(job, view, target)
    return steps


def batch_to_space(job: Lowering) -> list[Step]:
    images, blocks, crops = _batches(job, "crops")
    count = math.prod(blocks)
    need(images % count == 0, f"{images} images in blocks of {blocks}")
    small = job.inputs[0].shape[1 : 1 + len(blocks)]
    large = [n * b - sum(c) for n, b, c in zip(small, blocks, crops, strict=True)]
    need(min(large) >= 0, f"crops {crops}")
    job.shaped((images // count, *large, *job.inputs[0].shape[1 + len(blocks) :]))
    steps = []
    for number, position in enumerate(np.ndindex(*blocks)):
        view = dense(job.inputs[0]).slice(0, number * images // count, images // count)
        target = dense(job.result)
        for axis, (at, block, crop) in enumerate(zip(position, blocks, crops, strict=True)):
            first, hits = _hits(at - crop[0], block, large[axis], small[axis])
            view = view.slice(axis + 1, first, hits)
            target = target.slice(axis + 1, first * block + at - crop[0], hits, block)
        steps += _move(job, view, target)
    return steps


def _batches(job: Lowering, what: str) -> tuple[int, list[int], list[tuple[int, int]]]:
    """Images, blocks and margins (or crops) of SPACE_TO_BATCH_ND and its inverse."""
    job.takes(3)
    job.same_type()
    blocks = [int(n) for n in job.constant(1, "blocks").ravel()]
    margins = job.constant(2, what)
    shape = job.inputs[0].shape
    need(len(shape) in (3, 4) and len(blocks) == len(shape) - 2 and min(blocks) > 0, f"blocks {blocks}")
    need(margins.shape == (len(blocks), 2) and margins.min() >= 0, f"{what} {margins.tolist()}")
    need(math.prod(blocks) <= 256, f"blocks {blocks}")
    return shape[0], blocks, [(int(a), int(b)) for a, b in margins]


def _hits(start: int, step: int, size: int, most: int) -> tuple[int, int]:
    """Which i of 0..most - 1 have start + i * step within 0..size - 1: the first, and how many."""
    first = max(0, -(start // step))
    last = min(most, -(-(size - start) // step))
    return first, max(0, last - first)


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
    return _move(job, flat, flat)


MOVES: dict[str, Lower] = {
    "BATCH_TO_SPACE_ND": batch_to_space,
    "BROADCAST_TO": broadcast_to,
    "DEPTH_TO_SPACE": depth_to_space,
    "EXPAND_DIMS": alias,
    "GATHER": gather,
    "MIRROR_PAD": mirror_pad,
    "PACK": pack,
    "PAD": pad,
    "PADV2": padv2,
    "RESHAPE": alias,
    "REVERSE_V2": reverse,
    "SLICE": slice_,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SQUEEZE": alias,
    "STRIDED_SLICE": strided_slice,
    "TILE": tile,
    "TRANSPOSE": transpose,
    "UNPACK": unpack,
}
