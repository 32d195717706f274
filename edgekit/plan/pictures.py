"""Operators between convolutions that work in planes: sums, products, pools, functions, slices, resizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op
from edgekit.plan import joining, plain
from edgekit.plan.convolve import add_into_convolution, add_weights, fused_convolution
from edgekit.plan.fully_connected import clamp, scale_of, zero_point_of
from edgekit.plan.layout import PLAIN, PLANES, QUAD, Value
from edgekit.plan.planner import Places, Planner, look_up, read, stored_flip, stored_zero, written
from edgekit.plan.simplify.arithmetic import fixed_point
from edgekit.plan.simplify.arithmetic import multiply as multiply_exactly
from edgekit.plan.simplify.padding import explicit_padding
from edgekit.plan.step import Step

Fields = dict[str, Any]


def add(planner: Planner, op: Op) -> bool:
    """ADD and SUB of two pictures of the same shape."""
    convolution = fused_convolution(planner, op)
    if convolution is not None:
        add_into_convolution(planner, op, convolution)
        return True
    first, second = op.inputs
    if planner.shape(first) != planner.shape(second) or not _stands_in_planes(planner, op):
        return False
    weights = add_weights(planner, op, first, second)
    exact = planner.exact or weights is None
    sums = _exact_sum(planner, op) if exact or weights is None else _fast_sum(weights)
    _binary(planner, op, "add_planes", sums, op.inputs)
    return True


def _fast_sum(weights: Fields) -> Fields:
    first, second = weights["weights"]
    kept = {name: weights[name] for name in ("bias", "shift", "low", "high")}
    return {"first_weight": first, "second_weight": second, **kept}


def _exact_sum(planner: Planner, op: Op) -> Fields:
    """TFLite's own sum: both sides scaled to twice the larger scale, with 20 bits to spare."""
    first, second, result = (planner.graph.tensors[i] for i in (*op.inputs, *op.outputs))
    twice = 2 * max(scale_of(first), scale_of(second))
    fields = _ends(planner, op, op.inputs) | {"subtract": int(op.kind == "SUB")}
    fields["first_weight"], fields["first_shift"] = map(int, fixed_point(scale_of(first) / twice))
    fields["second_weight"], fields["second_shift"] = map(int, fixed_point(scale_of(second) / twice))
    fields["multiplier"], fields["shift"] = map(int, fixed_point(twice / (2.0**20 * scale_of(result))))
    return fields


def _ends(planner: Planner, op: Op, inputs: Sequence[int]) -> Fields:
    low, high = clamp(str(op.options["fused_activation_function"]), planner.graph.tensors[op.outputs[0]])
    flip = stored_flip(planner.isa)
    return {
        "exact": 1, "first_zero": stored_zero(planner, inputs[0]),
        "second_zero": stored_zero(planner, inputs[1]), "low": low + flip, "high": high + flip,
    }  # fmt: skip


def _binary(planner: Planner, op: Op, family: str, more: Fields, inputs: Sequence[int]) -> None:
    """Two pictures of one shape to a third, or a picture and one pixel an image."""
    a, b = (planner.want_planes(i) for i in inputs)
    out, is_pixel = planner.add_planes(op.outputs[0]), planner.shape(inputs[0]) != planner.shape(inputs[1])
    planner.layout.tie((a, out) if is_pixel else (a, b, out))

    def emit(places: Places) -> list[Step]:
        second = places.of(b)
        fields = written(places, out) | more | {
            "first": places.pixel(a), "first_stride": places.of(a).stride, "second": places.pixel(b),
            "second_stride": second.stride, "planes": places.of(out).planes,
            "zero_point": stored_zero(planner, op.outputs[0]),
        }  # fmt: skip
        if is_pixel:
            fields["second_step"] = second.period * second.pitch
        return [Step(family, fields)]

    planner.node((a, b), (out,), emit)


def multiply(planner: Planner, op: Op) -> bool:
    """MUL of two pictures, or of a picture by one number a channel, as in squeeze and excitation."""
    if not _stands_in_planes(planner, op):
        return False
    larger, smaller = sorted(op.inputs, key=lambda i: -math.prod(planner.shape(i)))
    images, _, _, channels = planner.shape(larger)
    if planner.shape(smaller) not in (planner.shape(larger), (images, 1, 1, channels)):
        return False
    tensors = [planner.graph.tensors[i] for i in (larger, smaller, op.outputs[0])]
    factor = scale_of(tensors[0]) * scale_of(tensors[1]) / scale_of(tensors[2])
    multiplier, shift = fixed_point(
        float(
            np.float32(scale_of(tensors[0]))
            * np.float32(scale_of(tensors[1]))
            / np.float32(scale_of(tensors[2]))
        )
    )
    more = _ends(planner, op, (larger, smaller)) | {"multiplier": int(multiplier), "shift": int(shift)}
    if not planner.exact:
        more |= {"exact": 0, "scale": factor}
    _binary(planner, op, "mul_planes", more, (larger, smaller))
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
    source = planner.shape(op.inputs[0])
    window, strides = (o["filter_height"], o["filter_width"]), (o["stride_h"], o["stride_w"])
    (top, _, left, _), _ = explicit_padding(planner.graph, op)
    value, out = planner.want_planes(op.inputs[0]), planner.add_planes(op.outputs[0])
    low, high = clamp(str(o["fused_activation_function"]), planner.graph.tensors[op.outputs[0]])
    flip = stored_flip(planner.isa)

    def emit(places: Places) -> list[Step]:
        fields = read(places, value) | written(places, out) | {
            "rows": source[1], "columns": source[2], "planes": places.of(out).planes,
            "average": int(op.kind == "AVERAGE_POOL_2D"), "window_height": window[0],
            "window_width": window[1], "stride_y": strides[0], "stride_x": strides[1], "top": top,
            "left": left, "zero_point": stored_zero(planner, op.outputs[0]), "low": low + flip,
            "high": high + flip,
        }  # fmt: skip
        return [Step("pool_planes", fields)]

    planner.node((value,), (out,), emit)
    return True


def function(planner: Planner, op: Op) -> bool:
    """What maps each byte to another: LOGISTIC, HARD_SWISH, RELU, QUANTIZE to another scale and the like."""
    source, result = op.inputs[0], op.outputs[0]
    if op.kind == "MUL":
        return _product_of_functions(planner, op)
    root, before = planner.functions.get(source, (source, None))
    if not (planner.has_planes(root) and len(planner.shape(result)) == 4):
        return False
    entries = table_of(planner.graph, op)
    if entries is None:
        return False
    planner.functions[result] = (root, entries if before is None else entries[before])
    return True


def _product_of_functions(planner: Planner, op: Op) -> bool:
    """The product of two functions of the same bytes, as in SiLU: x times LOGISTIC(x)."""
    identity = np.arange(256, dtype=np.uint8)
    sides = [planner.functions.get(i, (i, identity)) for i in op.inputs]
    if sides[0][0] != sides[1][0] or not planner.has_planes(sides[0][0]):
        return False
    tensors = [planner.graph.tensors[i] for i in (*op.inputs, op.outputs[0])]
    a, b = (
        side[1].view(np.int8).astype(np.int64) - zero_point_of(t)
        for side, t in zip(sides, tensors, strict=False)
    )
    factor = (
        np.float32(scale_of(tensors[0])) * np.float32(scale_of(tensors[1])) / np.float32(scale_of(tensors[2]))
    )
    product = multiply_exactly(a * b, float(factor)) + zero_point_of(tensors[2])
    bounds = clamp(str(op.options["fused_activation_function"]), tensors[2])
    planner.functions[op.outputs[0]] = (sides[0][0], np.clip(product, *bounds).astype(np.int8).view(np.uint8))
    return True


def table_of(graph: Graph, op: Op) -> NDArray[np.uint8] | None:
    """The operator as a table from bytes, taken as unsigned, to bytes; None if it is none."""
    tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs)]
    if len(tensors) != 2 or any(t.dtype != np.int8 for t in tensors) or plain.refusal(graph, op):
        return None
    steps = plain.lower(graph, op, lambda _: 0)
    if len(steps) != 1 or steps[0].family != "lut" or steps[0].fields["item"] != 1:
        return None
    return np.asarray(steps[0].fields["table"], np.uint8)


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
            part = planner.add_slice(whole, number, planner.picture(tensor))
            planner.layout.put_inside(part, whole, first)
            planner.layout.tie((value, part))
            copies.append((value, part))
        first += planner.picture(tensor).planes
    reads = tuple(Value(i, PLANES) for i in op.inputs)

    def emit(places: Places) -> list[Step]:
        return [
            look_up(planner, places, value, part, rescaling(planner, value.tensor, result))
            for value, part in copies
        ]

    planner.node(reads, (whole, *(part for _, part in copies)), emit)
    return True


def _can_move(planner: Planner, op: Op, tensor: int) -> bool:
    value = Value(tensor, PLANES)
    same = rescaling(planner, tensor, op.outputs[0]) is None
    return same and not planner.layout.is_inside(value) and op.inputs.count(tensor) == 1


def rescaling(planner: Planner, source: int, result: int) -> NDArray[np.uint8] | None:
    """The table from the quantisation of one tensor to that of another; None if they are the same."""
    a, b = planner.graph.tensors[source], planner.graph.tensors[result]
    if (scale_of(a), zero_point_of(a)) == (scale_of(b), zero_point_of(b)):
        return None
    return joining.rescaling(a, b)


def split(planner: Planner, op: Op) -> bool:
    """SPLIT of channels: each output is a slice of the input."""
    axis = planner.graph.tensors[op.inputs[0]].data
    source = op.inputs[1]
    sizes = [planner.shape(i)[-1] for i in op.outputs]
    if axis is None or not planner.has_planes(source) or int(axis.reshape(-1)[0]) not in (3, -1):
        return False
    if any(size % QUAD for size in sizes[:-1]):
        return False
    value, first, outs = planner.want_planes(source), 0, []
    for tensor in op.outputs:
        out = planner.add_planes(tensor)
        planner.layout.put_inside(out, value, first)
        first += planner.picture(tensor).planes
        outs.append(out)
    planner.node((value,), tuple(outs), lambda _: [])
    return True


def resize(planner: Planner, op: Op) -> bool:
    """RESIZE_NEAREST_NEIGHBOR."""
    if not planner.has_planes(op.inputs[0]):
        return False
    source, result = planner.shape(op.inputs[0]), planner.shape(op.outputs[0])
    value, out = planner.want_planes(op.inputs[0]), planner.add_planes(op.outputs[0])
    rows, columns = (
        nearest(source[axis], result[axis], **{name: bool(value) for name, value in op.options.items()})
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


def nearest(inputs: int, outputs: int, *, align_corners: bool, half_pixel_centers: bool) -> NDArray[np.int32]:
    """Which input row or column TFLite's nearest neighbour takes for each output."""
    steps = (inputs - 1, outputs - 1) if align_corners and outputs > 1 else (inputs, outputs)
    scale = np.float32(steps[0]) / np.float32(steps[1])
    places = (np.arange(outputs, dtype=np.float32) + np.float32(0.5 if half_pixel_centers else 0)) * scale
    whole = np.floor(places + np.float32(0.5)) if align_corners else np.floor(places)
    return np.asarray(np.minimum(whole, inputs - 1), np.int32)


def mean(planner: Planner, op: Op) -> bool:
    """MEAN over rows and columns, which gives a plain tensor."""
    source, result = op.inputs[0], op.outputs[0]
    tensors = [planner.graph.tensors[i] for i in (source, op.inputs[1], result)]
    if not planner.has_planes(source) or tensors[1].data is None or tensors[2].dtype != np.int8:
        return False
    if sorted({int(axis) % 4 for axis in tensors[1].data.reshape(-1)}) != [1, 2]:
        return False
    _, height, width, channels = planner.shape(source)
    value, out = planner.want_planes(source), Value(result, PLAIN)
    multiplier, shift = map(int, fixed_point(scale_of(tensors[0]) / scale_of(tensors[2])))
    gain = min((height * width).bit_length() - 1, 32, 31 + shift)

    def emit(places: Places) -> list[Step]:
        planes = places.of(value)
        fields = read(places, value) | {
            "images": planes.images, "height": planes.height, "width": planes.width, "period": planes.period,
            "output": places.plain(result), "channels": channels, "zero_point": zero_point_of(tensors[2]),
            "bias": -stored_zero(planner, source) * height * width, "shift": shift - gain,
            "multiplier": (multiplier << gain) // (height * width),
        }  # fmt: skip
        del fields["input_period"]
        return [Step("mean_planes", fields)]

    planner.node((value,), (out,), emit)
    return True
