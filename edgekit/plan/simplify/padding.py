"""How much is padded around the input of a window operator, a PAD before it included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.simplify.draft import same_scales
from edgekit.plan.simplify.values import whole

Margins = tuple[int, int, int, int]
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def explicit_padding(graph: Graph, op: Op) -> tuple[Margins, int]:
    """Top, bottom, left and right of the padding of a convolution or pool, and the tensor that is padded.

    A convolution is read through a PAD of its height and width with its zero point, whoever else reads that.
    """
    source = op.inputs[0]
    margins = own_padding(op, [graph.tensors[i] for i in op.inputs], graph.tensors[op.outputs[0]])
    while op.kind in _CONVOLUTIONS and (before := graph.producer.get(source)):
        more = _of_pad(graph, before)
        if more is None:
            break
        top, bottom, left, right = (one + other for one, other in zip(margins, more, strict=True))
        margins, source = (top, bottom, left, right), before.inputs[0]
    return margins, source


def own_padding(op: Op, inputs: Sequence[Tensor], result: Tensor) -> Margins:
    """Top, bottom, left and right of what the operator itself pads."""
    if op.options["padding"] == "VALID":
        return 0, 0, 0, 0
    window = _window(op, inputs)
    sides: list[int] = []
    for axis, letter in ((1, "h"), (2, "w")):
        spread = int(op.options.get(f"dilation_{letter}_factor", 1))  # type: ignore[arg-type]
        reach = (window[axis - 1] - 1) * spread + 1
        total = max(
            (result.shape[axis] - 1) * whole(op, f"stride_{letter}") + reach - inputs[0].shape[axis], 0
        )
        sides += [total // 2, total - total // 2]
    top, bottom, left, right = sides
    return top, bottom, left, right


def _window(op: Op, inputs: Sequence[Tensor]) -> tuple[int, int]:
    if op.kind in _CONVOLUTIONS:
        _, height, width, _ = inputs[1].shape
        return height, width
    return whole(op, "filter_height"), whole(op, "filter_width")


def _of_pad(graph: Graph, op: Op) -> Margins | None:
    """The margins of a PAD that a convolution can take over."""
    if op.kind not in ("PAD", "PADV2") or min(op.inputs) < 0:
        return None
    source, margins, *value = (graph.tensors[i] for i in op.inputs)
    result = graph.tensors[op.outputs[0]]
    if (
        margins.data is None
        or margins.shape != (4, 2)
        or not same_scales(source, result)
        or source.is_variable
    ):
        return None
    rows = margins.data.astype(np.int64)
    sums = np.array(source.shape) + rows.sum(axis=1) if len(source.shape) == 4 else None
    if sums is None or tuple(sums.tolist()) != result.shape or rows.min() < 0 or rows[[0, 3]].any():
        return None
    if value and not _is_zero(value[0], result):
        return None
    (top, bottom), (left, right) = rows[1:3].tolist()
    return top, bottom, left, right


def _is_zero(value: Tensor, result: Tensor) -> bool:
    zero = 0 if result.zero_point is None else result.zero_point[0]
    return value.data is not None and bool(np.all(value.data == zero))
