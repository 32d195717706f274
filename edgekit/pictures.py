"""The operators between convolutions that work in planes: sums, pools, tables, slices, enlargements."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.convolution import same_padding
from edgekit.convolve import add_into_convolution, add_weights, fused_convolution
from edgekit.fully_connected import clamp, scale_of, zero_point_of
from edgekit.graph import Op
from edgekit.layout import PLANES, QUAD, Value
from edgekit.planner import Places, Planner, read, stored_flip, stored_zero, written
from edgekit.step import Step

Fields = dict[str, Any]


def add(planner: Planner, op: Op) -> bool:
    """ADD and SUB of two pictures of the same shape."""
    convolution = fused_convolution(planner, op)
    if convolution is not None:
        add_into_convolution(planner, op, convolution)
        return True
    first, second = op.inputs
    if planner.exact or planner.shape(first) != planner.shape(second) or not _stands_in_planes(planner, op):
        return False
    weights = add_weights(planner, op, first, second)
    if weights is None:
        return False
    a, b, out = planner.want_planes(first), planner.want_planes(second), planner.add_planes(op.outputs[0])
    planner.layout.tie((a, b, out))

    def emit(places: Places) -> list[Step]:
        fields = written(places, out) | {
            "first": places.pixel(a), "first_stride": places.of(a).stride, "second": places.pixel(b),
            "second_stride": places.of(b).stride, "planes": places.of(out).planes,
            "first_weight": weights["weights"][0], "second_weight": weights["weights"][1],
            "bias": weights["bias"], "shift": weights["shift"], "low": weights["low"], "high": weights["high"],
            "zero_point": stored_zero(planner, op.outputs[0]),
        }  # fmt: skip
        return [Step("add_planes", fields)]

    planner.node((a, b), (out,), emit)
    return True


def _stands_in_planes(planner: Planner, op: Op) -> bool:
    """Whether all inputs are computed pictures, of which one is in planes already."""
    pictures = [i for i in op.inputs if i >= 0]
    return (
        all(len(planner.shape(i)) == 4 and not planner.is_constant(i) for i in pictures)
        and any(planner.has_planes(i) for i in pictures)
        and all(planner.graph.tensors[i].dtype == np.int8 for i in (*pictures, *op.outputs))
    )


def pool(planner: Planner, op: Op) -> bool:
    """MAX_POOL_2D and AVERAGE_POOL_2D."""
    if not _stands_in_planes(planner, op):
        return False
    o: Fields = op.options
    source, result = planner.shape(op.inputs[0]), planner.shape(op.outputs[0])
    window, strides = (o["filter_height"], o["filter_width"]), (o["stride_h"], o["stride_w"])
    before = [0, 0]
    if o["padding"] == "SAME":
        before = [same_padding(source[1 + i], result[1 + i], strides[i], window[i]) for i in (0, 1)]
    value, out = planner.want_planes(op.inputs[0]), planner.add_planes(op.outputs[0])
    low, high = clamp(str(o["fused_activation_function"]), planner.graph.tensors[op.outputs[0]])
    flip = stored_flip(planner.isa)

    def emit(places: Places) -> list[Step]:
        fields = read(places, value) | written(places, out) | {
            "rows": source[1], "columns": source[2], "planes": places.of(out).planes,
            "average": int(op.kind == "AVERAGE_POOL_2D"), "window_height": window[0],
            "window_width": window[1], "stride_y": strides[0], "stride_x": strides[1], "top": before[0],
            "left": before[1], "zero_point": stored_zero(planner, op.outputs[0]), "low": low + flip,
            "high": high + flip,
        }  # fmt: skip
        return [Step("pool_planes", fields)]

    planner.node((value,), (out,), emit)
    return True


def table(planner: Planner, op: Op) -> bool:
    """What maps each value to another: LOGISTIC, HARD_SWISH, RELU, QUANTIZE to another scale and the like."""
    if not _stands_in_planes(planner, op):
        return False
    entries = table_of(planner.graph, op)
    if entries is None:
        return False
    _map(planner, op.inputs[0], op.outputs[0], entries)
    return True


def _map(planner: Planner, source: int, result: int, entries: NDArray[np.int8]) -> None:
    value, out = planner.want_planes(source), planner.add_planes(result)
    planner.layout.tie((value, out))
    planner.node((value,), (out,), lambda places: [_look_up(planner, places, value, out, entries)])


def _look_up(
    planner: Planner, places: Places, value: Value, out: Value, entries: NDArray[np.int8] | None
) -> Step:
    fields = read(places, value) | written(places, out)
    del fields["input_period"]
    fields |= {"planes": places.of(out).planes, "zero_point": stored_zero(planner, out.tensor)}
    if entries is not None:
        fields["table"] = stored_table(entries, stored_flip(planner.isa))
    return Step("lut_planes", fields)


def stored_table(entries: NDArray[np.int8], flip: int) -> NDArray[np.uint8]:
    """A table from int8 -128..127 to int8 as one by stored bytes, taken as unsigned."""
    stored = (entries.astype(np.int16) + flip).astype(np.uint8)
    return stored if flip else np.roll(stored, -128)


def concatenation(planner: Planner, op: Op) -> bool:
    """CONCATENATION of channels: who makes an input writes it into its slice, where that is possible."""
    result = op.outputs[0]
    sizes = [planner.shape(i)[-1] for i in op.inputs]
    along_channels = int(op.options["axis"]) in (3, -1)  # type: ignore[arg-type]
    if not _stands_in_planes(planner, op) or not along_channels or any(size % QUAD for size in sizes[:-1]):
        return False
    whole = planner.add_planes(result)
    copies: list[tuple[Value, Value]] = []
    first = 0
    for number, tensor in enumerate(op.inputs):
        value = planner.want_planes(tensor)
        if _can_move(planner, op, tensor):
            planner.layout.put_inside(value, whole, first)
        else:
            part = planner.add_part(whole, number, planner.picture(tensor))
            planner.layout.put_inside(part, whole, first)
            planner.layout.tie((value, part))
            copies.append((value, part))
        first += planner.picture(tensor).planes
    reads = tuple(Value(i, PLANES) for i in op.inputs)

    def emit(places: Places) -> list[Step]:
        return [
            _look_up(planner, places, value, part, rescaling(planner, value.tensor, result))
            for value, part in copies
        ]

    planner.node(reads, (whole, *(part for _, part in copies)), emit)
    return True


def _can_move(planner: Planner, op: Op, tensor: int) -> bool:
    value = Value(tensor, PLANES)
    same = rescaling(planner, tensor, op.outputs[0]) is None
    return same and not planner.layout.is_inside(value) and op.inputs.count(tensor) == 1


def rescaling(planner: Planner, source: int, result: int) -> NDArray[np.int8] | None:
    """The table from the quantisation of one tensor to that of another; None if they are the same."""
    a, b = planner.graph.tensors[source], planner.graph.tensors[result]
    if (scale_of(a), zero_point_of(a)) == (scale_of(b), zero_point_of(b)):
        return None
    return requantising_table(a, b)


def split(planner: Planner, op: Op) -> bool:
    """SPLIT of channels: each output is a slice of the input."""
    axis = planner.graph.tensors[op.inputs[0]].data
    source = op.inputs[1]
    value = Value(source, PLANES)
    sizes = [planner.shape(i)[-1] for i in op.outputs]
    if axis is None or not planner.has_planes(source) or int(axis.reshape(-1)[0]) not in (3, -1):
        return False
    if any(size % QUAD for size in sizes[:-1]):
        return False
    first = 0
    outs = []
    for tensor in op.outputs:
        out = planner.add_planes(tensor)
        planner.layout.put_inside(out, value, first)
        first += planner.picture(tensor).planes
        outs.append(out)
    planner.node((value,), tuple(outs), lambda places: [])
    return True


def resize(planner: Planner, op: Op) -> bool:
    """RESIZE_NEAREST_NEIGHBOR."""
    if not planner.has_planes(op.inputs[0]):
        return False
    source, result = planner.shape(op.inputs[0]), planner.shape(op.outputs[0])
    value, out = planner.want_planes(op.inputs[0]), planner.add_planes(op.outputs[0])
    rows, columns = (
        nearest(source[axis], result[axis], op.options["align_corners"], op.options["half_pixel_centers"])  # type: ignore[arg-type]
        for axis in (1, 2)
    )

    def emit(places: Places) -> list[Step]:
        fields = read(places, value) | written(places, out) | {
            "planes": places.of(out).planes, "zero_point": stored_zero(planner, op.outputs[0]),
            "source_rows": rows, "source_columns": columns,
        }  # fmt: skip
        return [Step("resize_planes", fields)]

    planner.node((value,), (out,), emit)
    return True
