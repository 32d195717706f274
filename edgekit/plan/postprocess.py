"""TFLite_Detection_PostProcess, the custom operator that ends the SSD networks: its options and its step."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from edgekit.model.graph import Op, Tensor
from edgekit.plan.lowering import (
    BYTES,
    FLOAT,
    SCRATCH,
    Lowering,
    Refused,
    need,
    scale_of,
    type_number,
    zero_point_of,
)
from edgekit.plan.step import Step
from edgekit.plan.strided import Source

POSTPROCESS = "CUSTOM:TFLite_Detection_PostProcess"
MAX_OPTION = 100_000
_OPTIONS: dict[str, type] = {
    "max_detections": int, "max_classes_per_detection": int, "detections_per_class": int,
    "use_regular_nms": bool, "num_classes": int, "nms_score_threshold": float, "nms_iou_threshold": float,
    "y_scale": float, "x_scale": float, "h_scale": float, "w_scale": float,
}  # fmt: skip
_PER_CLASS = 100  # TFLite's default
_ALIGNMENT = 64


def options(op: Op) -> dict[str, Any]:
    """The options that the operator has, checked; ValueError or another error for what is no such thing."""
    found = flexbuffers.GetRoot(op.options["bytes"]).AsMap
    values: dict[str, Any] = {}
    for name, kind in _OPTIONS.items():
        with suppress(KeyError):
            value = found[name]
            if not (value.IsNumeric or value.IsBool):
                raise ValueError(f"{name} is no number")
            values[name] = kind(value.AsFloat)
    if bad := [name for name, value in values.items() if not 0 <= value <= MAX_OPTION]:
        raise ValueError(f"{bad[0]} is {values[bad[0]]}")
    return values


def _all_options(job: Lowering) -> dict[str, Any]:
    try:
        found = options(job.op)
    except Exception as error:
        raise Refused(f"damaged options: {error}") from error
    values = {name: kind(0) for name, kind in _OPTIONS.items()} | {"detections_per_class": _PER_CLASS}
    return values | found


def lower(job: Lowering) -> list[Step]:
    job.takes(3, outputs=4)
    boxes, scores, anchors = job.inputs
    values = _all_options(job)
    _check(job, values)
    steps, sources = [], {}
    at = job.place(SCRATCH) + _own_scratch(job)
    for number, name in ((0, "boxes"), (1, "scores")):
        tensor = job.inputs[number]
        sources[name] = job.source(number)
        if tensor.dtype in BYTES:
            steps.append(_dequantize(job, number, at))
            sources[name] = Source(at)
            at += _float_bytes(tensor)
    fields = {
        **sources["boxes"].fields("boxes"), **sources["scores"].fields("scores"),
        "anchors": _real(anchors).ravel(), "output_boxes": job.output(0), "output_classes": job.output(1),
        "output_scores": job.output(2), "output_count": job.output(3), "scratch": job.place(SCRATCH),
        "boxes_count": boxes.shape[1], "coordinates": boxes.shape[2], "columns": scores.shape[2],
        "classes": values["num_classes"],
        "regular": int(values["use_regular_nms"]), "max_detections": values["max_detections"],
        "max_classes": values["max_classes_per_detection"], "per_class": values["detections_per_class"],
        "score_threshold": values["nms_score_threshold"], "overlap_threshold": values["nms_iou_threshold"],
        **{f"{axis}_scale": values[f"{axis}_scale"] for axis in "yxhw"},
    }  # fmt: skip
    return [*steps, Step("postprocess", fields)]


def _check(job: Lowering, values: dict[str, Any]) -> None:
    boxes, scores, anchors = job.inputs
    need(
        len(boxes.shape) == len(scores.shape) == 3 and boxes.shape[0] == scores.shape[0] == 1,
        "several images",
    )
    count = boxes.shape[1]
    need(0 < count == scores.shape[1] and 4 <= boxes.shape[2] < 1024, f"boxes {list(boxes.shape)}")
    need(
        scores.shape[2] - values["num_classes"] in (0, 1),
        f"{values['num_classes']} classes in {list(scores.shape)}",
    )
    need(all(t.dtype in (*BYTES, FLOAT) for t in (boxes, scores)), f"{boxes.dtype} and {scores.dtype}")
    need(all(t.scale is not None for t in (boxes, scores) if t.dtype in BYTES), "bytes without a scale")
    need(anchors.data is not None and anchors.shape == (count, 4), "anchors that are no constants")
    need(
        anchors.dtype == FLOAT or (anchors.dtype in BYTES and anchors.scale is not None),
        f"{anchors.dtype} anchors",
    )
    need(np.all(_real(anchors)[:, 2:] >= 0), "anchors of negative size")
    need(0 < values["nms_iou_threshold"] <= 1, f"a threshold of {values['nms_iou_threshold']}")
    need(min(values[f"{axis}_scale"] for axis in "yxhw") > 0, "a scale of 0")
    need(
        min(values[name] for name in ("max_detections", "detections_per_class", "num_classes")) > 0,
        "no detections",
    )
    several = values["max_classes_per_detection"]
    need(several == 1 or values["use_regular_nms"], f"{several} classes of a box")
    rows = values["max_detections"] * several
    for number, shape in enumerate(((1, rows, 4), (1, rows), (1, rows), (1,))):
        need(job.results[number].dtype == FLOAT, "outputs that are no floats")
        job.shaped(shape, number)


def _real(tensor: Tensor) -> NDArray[np.float32]:
    """The constant as floats."""
    stored = np.asarray(tensor.data)
    if stored.dtype == FLOAT:
        return np.ascontiguousarray(stored)
    return scale_of(tensor) * (stored.astype(np.int32) - zero_point_of(tensor)).astype(np.float32)


def _dequantize(job: Lowering, number: int, place: int) -> Step:
    tensor = job.inputs[number]
    fields = {
        **job.source(number).fields(), "output": place, "count": _float_bytes(tensor) // 4,
        "type": type_number(tensor), "scale": float(scale_of(tensor)), "zero_point": zero_point_of(tensor),
    }  # fmt: skip
    return Step("dequantize", fields)


def _float_bytes(tensor: Tensor) -> int:
    return 4 * int(np.prod(tensor.shape))


def _own_scratch(job: Lowering) -> int:
    """What the step itself needs, see native/ops_many.h; floats for bytes come behind it."""
    size = 32 * int(_all_options(job)["max_detections"]) + 28 * job.inputs[0].shape[1]
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def scratch(job: Lowering) -> int:
    return _own_scratch(job) + sum(_float_bytes(t) for t in job.inputs[:2] if t.dtype in BYTES)
