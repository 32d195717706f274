"""Blocks of pixels that become channels or images, and back."""

from __future__ import annotations

import math

import numpy as np

from edgekit.plan.lowering import (
    Lower,
    Lowering,
    dense,
    move,
    need,
    zero_point_of,
)
from edgekit.plan.step import Step
from edgekit.plan.strided import Strided, fill


def space_to_depth(job: Lowering) -> list[Step]:
    job.takes(1)
    job.same_type()
    block, shape = job.whole("block_size"), job.inputs[0].shape
    need(len(shape) == 4 and shape[1] % block == shape[2] % block == 0, f"blocks of {block} in {list(shape)}")
    images, height, width, depth = shape
    job.shaped((images, height // block, width // block, block * block * depth))
    view = dense(job.inputs[0]).split(2, (width // block, block)).split(1, (height // block, block))
    view = view.transpose((0, 1, 3, 2, 4, 5))
    return move(job, view, Strided.dense(view.shape, job.result.dtype.itemsize))


def depth_to_space(job: Lowering) -> list[Step]:
    job.takes(1)
    job.same_type()
    block, shape = job.whole("block_size"), job.inputs[0].shape
    need(len(shape) == 4 and shape[3] % block**2 == 0, f"blocks of {block} in {list(shape)}")
    images, height, width, depth = shape
    job.shaped((images, height * block, width * block, depth // block**2))
    view = dense(job.inputs[0]).split(3, (block, block, depth // block**2)).transpose((0, 1, 3, 2, 4, 5))
    return move(job, view, Strided.dense(view.shape, job.result.dtype.itemsize))


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
        steps += move(job, view, target)
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
        steps += move(job, view, target)
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


BLOCKS: dict[str, Lower] = {
    "BATCH_TO_SPACE_ND": batch_to_space,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "SPACE_TO_DEPTH": space_to_depth,
}
