"""Pictures of another size: RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.arithmetic import nearest as to_nearest
from edgekit.plan.lowering import BYTES, FLOAT, Lower, Lowering, need, type_number
from edgekit.plan.movement import pick
from edgekit.plan.step import Fields, Step

_ONE = 1024  # the weight of a whole pixel, for int8


def _sizes(job: Lowering) -> tuple[int, int]:
    job.takes(2)
    job.same_type()
    size = job.constant(1, "sizes").ravel()
    need(len(job.inputs[0].shape) == 4 and size.size == 2, f"a picture {list(job.inputs[0].shape)}")
    height, width = int(size[0]), int(size[1])
    job.shaped((job.inputs[0].shape[0], height, width, job.inputs[0].shape[3]))
    return height, width


def _nearest(job: Lowering, size: int, wanted: int) -> NDArray[np.int64]:
    """Which of `size` pixels each of the `wanted` ones is."""
    aligned, halves = bool(job.option("align_corners")), bool(job.option("half_pixel_centers"))
    parts = (size - 1, wanted - 1) if aligned and wanted > 1 else (size, wanted)
    scale = np.float32(parts[0]) / np.float32(parts[1])
    at = (np.arange(wanted).astype(np.float32) + np.float32(0.5 if halves else 0)) * scale
    return np.asarray(np.clip((to_nearest(at) if aligned else np.floor(at)).astype(np.int64), 0, size - 1))


def nearest(job: Lowering) -> list[Step]:
    height, width = _sizes(job)
    images, rows, columns, channels = job.inputs[0].shape
    index = _nearest(job, rows, height)[:, None] * columns + _nearest(job, columns, width)
    return [pick(job, index, images, rows * columns, channels)]


def bilinear(job: Lowering) -> list[Step]:
    wanted = _sizes(job)
    images, rows, columns, channels = job.inputs[0].shape
    need(job.inputs[0].dtype in (*BYTES, FLOAT), f"{job.inputs[0].dtype}")
    both = job.option("align_corners") and job.option("half_pixel_centers")
    need(not both, "aligned corners with half pixel centers")
    fields: Fields = {
        **job.source(0).fields(), "output": job.output(), "type": type_number(job.inputs[0]),
        "images": images, "rows": rows, "columns": columns, "channels": channels,
    }  # fmt: skip
    for name, size, count in (("row", rows, wanted[0]), ("column", columns, wanted[1])):
        between = _whole if job.inputs[0].dtype == np.int8 else _real
        first, second, weight = between(job, size, count)
        need(first.max() < size, f"{size} pixels to {count}")
        fields |= {f"{name}_first": first, f"{name}_second": second, f"{name}_weight": weight}
    return [Step("bilinear", fields)]


_Between = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def _whole(job: Lowering, size: int, wanted: int) -> _Between:
    """The pixels on both sides of each sample, and its way from the first, in 1024ths."""
    aligned = job.option("align_corners") and wanted > 1
    parts, count = (size - 1, wanted - 1) if aligned else (size, wanted)
    scale = (_ONE * parts + count // 2) // count
    at = np.arange(wanted) * scale
    if job.option("half_pixel_centers"):
        at = at + scale // 2 - _ONE // 2
    first = np.maximum(np.trunc(at / _ONE).astype(np.int64), 0)
    second = np.minimum(np.trunc((at + _ONE - 1) / _ONE).astype(np.int64), size - 1)
    return first.astype(np.int32), second.astype(np.int32), (at - _ONE * first).astype(np.float32)


def _real(job: Lowering, size: int, wanted: int) -> _Between:
    """The same in float32."""
    aligned = job.option("align_corners") and wanted > 1
    parts, count = (size - 1, wanted - 1) if aligned else (size, wanted)
    scale = np.float32(parts) / np.float32(count)
    at: NDArray[Any] = np.arange(wanted).astype(np.float32)
    half = np.float32(0.5)
    at = (at + half) * scale - half if job.option("half_pixel_centers") else at * scale
    first = np.maximum(np.floor(at), 0).astype(np.int32)
    second = np.minimum(np.ceil(at), size - 1).astype(np.int32)
    return first, second, at - first.astype(np.float32)


SAMPLING: dict[str, Lower] = {"RESIZE_BILINEAR": bilinear, "RESIZE_NEAREST_NEIGHBOR": nearest}
