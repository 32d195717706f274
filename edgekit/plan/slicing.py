"""SLICE and STRIDED_SLICE: a part of a tensor, by the rules of their masks."""

from __future__ import annotations

from edgekit.plan.lowering import (
    Lower,
    Lowering,
    dense,
    move,
    need,
)
from edgekit.plan.step import Step
from edgekit.plan.strided import Strided


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
    return move(job, view, dense(job.result))


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
    return move(job, view, Strided.dense(view.shape, job.result.dtype.itemsize))


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
            need(len(own) <= rank, "an ellipsis of no axes")
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


SLICING: dict[str, Lower] = {
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
}
