"""What the common operators ask of their tensors: numbers, types and shapes.

An interpreter in C++ trusts a model in much of this and would crash, or write where it must not. So a graph
is checked here before one sees it. Operators that are not here pass: the interpreter's own checks must do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit.model.graph import Graph, Op, Tensor

Check = Callable[[Op, list[Tensor], Tensor], str | None]
MAX_SCALE_RATIO = 2.0**18
MAX_SUM_FACTOR = 0.5  # from what an interpreter adds, operands widened by these bits, to the output
_WIDENING = {"int8": 20, "uint8": 20, "int16": 15}
_INTEGERS = ("int8", "uint8", "int16")
_SHAPES = ("int32", "int64")


def complaint(graph: Graph) -> str | None:
    """The first operator whose tensors do not fit it, and why; None if there is none."""
    for number, op in enumerate(graph.ops):
        rule = _RULES.get(op.kind)
        if rule and (reason := rule.complaint(graph, op)):
            return f"operator {number} {op.kind}: {reason}"
    return None


@dataclass(frozen=True)
class Rule:
    """`required` inputs at least and `most` at most, the required ones present; `outputs` or, if None, any.

    The first `data` inputs, and the outputs, hold values that are computed with: integers have one scale, and
    all are of one type unless `mixed`.
    """

    required: int
    most: int
    data: int = 0
    mixed: bool = False
    check: Check | None = None
    outputs: int | None = 1

    def complaint(self, graph: Graph, op: Op) -> str | None:
        absent = min(op.inputs[: self.required], default=0) < 0
        if absent or not self.required <= len(op.inputs) <= self.most:
            return f"{sum(i >= 0 for i in op.inputs)} inputs; it takes {self.required} to {self.most}"
        if not op.outputs or self.outputs not in (None, len(op.outputs)):
            return f"{len(op.outputs)} outputs; it gives {self.outputs or 'more'}"
        inputs = [graph.tensors[i] for i in op.inputs if i >= 0]
        results = [graph.tensors[i] for i in op.outputs]
        reason = self._values([*inputs[: self.data], *results]) if self.data else None
        return reason or (self.check(op, inputs, results[0]) if self.check else None)

    def _values(self, values: list[Tensor]) -> str | None:
        kinds = {str(tensor.dtype) for tensor in values}
        if len(kinds) > 1 and not self.mixed:
            return f"types {', '.join(sorted(kinds))} in one operator"
        for tensor in values:
            if str(tensor.dtype) in _INTEGERS and (tensor.scale is None or len(tensor.scale) != 1):
                return f"tensor {tensor.name!r} is {tensor.dtype} without one scale"
        return None


def _window(size: int, window: int, stride: int, dilation: int, padding: str) -> int:
    """How many windows fit: the output's size along one axis."""
    reach = (window - 1) * dilation + 1
    return -(-size // stride) if padding == "SAME" else -(-(size - reach + 1) // stride)


def _spatial(op: Op, source: Tensor, window: tuple[int, int], result: Tensor, channels: int) -> str | None:
    if len(source.shape) != 4 or math.prod(source.shape) == 0 or 0 in window:
        return f"input {list(source.shape)} and window {list(window)}"
    o = {name: int(value) for name, value in op.options.items() if isinstance(value, int)}
    steps = (o["stride_h"], o["stride_w"])
    spread = (o.get("dilation_h_factor", 1), o.get("dilation_w_factor", 1))
    padding = str(op.options["padding"])
    sizes = [_window(*axis, padding) for axis in zip(source.shape[1:3], window, steps, spread, strict=True)]
    shape = (source.shape[0], *sizes, channels)
    return None if result.shape == shape else f"the output is {list(result.shape)}, not {list(shape)}"


def _weights(
    inputs: list[Tensor], result: Tensor, channels: int, axis: int, *, computed: bool = False
) -> str | None:
    """Weights, which may be `computed`, and bias of `channels` outputs, which are `axis` of the weights."""
    source, weights = inputs[:2]
    if str(weights.dtype) in _INTEGERS:
        if weights.scale is None or (weights.data is None and not computed):
            return "weights without scales, or not constant"
        if len(weights.scale) > 1 and (weights.axis != axis or len(weights.scale) != channels):
            return f"{len(weights.scale)} scales on axis {weights.axis} of the weights"
        if source.scale is not None and result.scale is not None:
            factor = float(source.scale[0]) * float(weights.scale.max()) / float(result.scale[0])
            if factor > MAX_SCALE_RATIO:
                return f"scales that multiply its sums by {factor:g}"
    if len(inputs) > 2 and (math.prod(inputs[2].shape) != channels or inputs[2].data is None):
        return f"a bias {list(inputs[2].shape)} for {channels} outputs, or one that is no constant"
    return None


def _conv(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    source, weights = inputs[:2]
    if len(weights.shape) != 4 or len(source.shape) != 4 or 0 in weights.shape:
        return f"input {list(source.shape)} and weights {list(weights.shape)}"
    out, height, width, depth = weights.shape
    if source.shape[3] % depth or out % (source.shape[3] // depth or 1):
        return f"weights {list(weights.shape)} do not fit the input {list(source.shape)}"
    return _weights(inputs, result, out, 0) or _spatial(op, source, (height, width), result, out)


def _depthwise(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    source, weights = inputs[:2]
    if len(weights.shape) != 4 or len(source.shape) != 4 or 0 in (*weights.shape, source.shape[3]):
        return f"input {list(source.shape)} and weights {list(weights.shape)}"
    one, height, width, out = weights.shape
    multiplier = op.options["depth_multiplier"]
    if one != 1 or out % source.shape[3] or multiplier not in (0, out // source.shape[3]):
        return f"weights {list(weights.shape)} do not fit the input {list(source.shape)}"
    return _weights(inputs, result, out, 3) or _spatial(op, source, (height, width), result, out)


def _pool(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    window = (int(op.options["filter_height"]), int(op.options["filter_width"]))  # type: ignore[arg-type]
    channels = inputs[0].shape[3] if len(inputs[0].shape) == 4 else 0
    return _spatial(op, inputs[0], window, result, channels)


def _fully_connected(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    source, weights = inputs[:2]
    if len(weights.shape) != 2 or 0 in weights.shape or not math.prod(source.shape):
        return f"input {list(source.shape)} and weights {list(weights.shape)}"
    cols, depth = weights.shape
    rows, rest = divmod(math.prod(source.shape), depth)
    if rest or math.prod(result.shape) != rows * cols:
        return f"input {list(source.shape)}, weights {list(weights.shape)} and output {list(result.shape)}"
    if op.options["weights_format"] != "DEFAULT":
        return f"weights in the format {op.options['weights_format']!r}"
    return _weights(inputs, result, cols, 0, computed=True)


def _broadcast(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    shapes = [tensor.shape for tensor in inputs]
    try:
        fits = np.broadcast_shapes(*shapes) == result.shape and len(result.shape) <= 6
    except ValueError:
        fits = False
    del op
    return None if fits else f"shapes {list(shapes[0])} and {list(shapes[1])} to {list(result.shape)}"


def _sum(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    factor = 0.0
    if str(result.dtype) in _INTEGERS:
        twice, last = _twice_the_larger(inputs), _one_scale(result)
        factor = twice / (2.0 ** _WIDENING[str(result.dtype)] * last)
    return _too_far_apart(factor, inputs, result) or _broadcast(op, inputs, result)


def _squared_difference(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    """Of int8 with scales an interpreter takes the numbers widened by 7 bits."""
    factor = 0.0
    if any(tensor.dtype == np.int8 for tensor in (*inputs, result)):
        if any(tensor.scale is None for tensor in (*inputs, result)):
            return "int8 without scales"
        factor = _twice_the_larger(inputs) ** 2 / (2.0**14 * _one_scale(result))
    del op
    return _too_far_apart(factor, inputs, result)


def _twice_the_larger(inputs: list[Tensor]) -> float:
    return 2 * max(map(_one_scale, inputs))


def _one_scale(tensor: Tensor) -> float:
    return 0.0 if tensor.scale is None else float(tensor.scale[0])


def _too_far_apart(factor: float, inputs: list[Tensor], result: Tensor) -> str | None:
    scales = [_one_scale(tensor) for tensor in (*inputs, result)]
    if factor < MAX_SUM_FACTOR:
        return None
    return f"scales that are too far apart: {min(scales):g} and {max(scales):g}"


def _comparison(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    """An interpreter takes bytes for quantised, and others where one of them is."""
    quantised = [tensor.scale is not None for tensor in inputs]
    of_bytes = any(str(tensor.dtype) in ("int8", "uint8") for tensor in inputs)
    del op, result
    return None if all(quantised) or not (of_bytes or any(quantised)) else "a number without a scale"


def _same(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    del op
    same = inputs[0].shape == result.shape
    return None if same else f"shape {list(inputs[0].shape)} to {list(result.shape)}"


def new_shape(op: Op, inputs: list[Tensor]) -> tuple[int, ...] | None:
    """The shape that a RESHAPE makes of its input; None if it is impossible or not known before."""
    size = math.prod(inputs[0].shape)
    wanted = [int(i) for i in op.options["new_shape"]]  # type: ignore[union-attr]
    if len(inputs) == 2:
        data = inputs[1].data
        if data is None or data.dtype != np.int32 or data.ndim != 1:
            return None
        wanted = [int(i) for i in data]
    known = math.prod(i for i in wanted if i != -1)
    if wanted.count(-1) == 1 and known > 0 and size % known == 0:
        wanted[wanted.index(-1)] = size // known
    return tuple(wanted) if math.prod(wanted) == size and min(wanted, default=0) >= 0 else None


def _reshape(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    if len(inputs) == 2 and (inputs[1].dtype != np.int32 or len(inputs[1].shape) > 1):
        return f"a shape that is {inputs[1].dtype} {list(inputs[1].shape)}"
    computed = len(inputs) == 2 and inputs[1].data is None
    shape = result.shape if computed else new_shape(op, inputs)
    fits = shape == result.shape and math.prod(result.shape) == math.prod(inputs[0].shape)
    return None if fits else f"{list(inputs[0].shape)} to {list(result.shape)}, not the shape it asks for"


def _pad(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    rank, margins = len(inputs[0].shape), inputs[1]
    if margins.shape != (rank, 2) or str(margins.dtype) not in _SHAPES or margins.data is None:
        return f"margins {margins.dtype} {list(margins.shape)} for {rank} axes, or no constants"
    shape = tuple(int(n + sum(m)) for n, m in zip(inputs[0].shape, margins.data.tolist(), strict=True))
    del op
    return (
        None
        if margins.data.min(initial=0) >= 0 and shape == result.shape
        else f"the output is no {list(shape)}"
    )


def _concatenation(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    rank, axis = len(result.shape), int(op.options["axis"])  # type: ignore[arg-type]
    if not -rank <= axis < rank or any(len(tensor.shape) != rank for tensor in inputs):
        return f"axis {axis} of {rank}"
    shapes = [(*t.shape[: axis % rank], *t.shape[axis % rank + 1 :]) for t in (*inputs, result)]
    total = sum(tensor.shape[axis] for tensor in inputs)
    fits = len(set(shapes)) == 1 and total == result.shape[axis]
    return None if fits else f"inputs that do not make up {list(result.shape)}"


def _number(tensor: Tensor) -> bool:
    """Whether it is one whole number, as an axis is."""
    return tensor.dtype == np.int32 and math.prod(tensor.shape) == 1


def _split(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    """By an axis, before the input of SPLIT and behind the sizes of SPLIT_V."""
    axis = inputs[2 if op.kind == "SPLIT_V" else 0]
    if not _number(axis):
        return f"an axis that is {axis.dtype} {list(axis.shape)}"
    if op.kind == "SPLIT_V" and (
        str(inputs[1].dtype) not in _SHAPES or inputs[1].shape != (len(op.outputs),)
    ):
        return f"sizes {inputs[1].dtype} {list(inputs[1].shape)} for {len(op.outputs)} outputs"
    del result
    return _counted(op, "num_splits", len(op.outputs), "outputs")


def _pack(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    del result
    return _counted(op, "values_count", len(inputs), "inputs")


def _unpack(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    del inputs, result
    return _counted(op, "num", len(op.outputs), "outputs")


def _counted(op: Op, option: str, count: int, what: str) -> str | None:
    said = op.options[option]
    return None if said == count else f"{count} {what}, and {option} is {said!r}"


def _resize(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    source, size = inputs
    if len(source.shape) != 4 or not math.prod(source.shape) or not math.prod(result.shape):
        return f"a picture {list(source.shape)} to {list(result.shape)}"
    if size.dtype != np.int32 or size.shape != (2,):
        return f"a size {size.dtype} {list(size.shape)}"
    del op
    fits = size.data is None or tuple(size.data.tolist()) == result.shape[1:3]
    return None if fits else f"the output is {list(result.shape)}, not the size it asks for"


def _fake_quant(op: Op, inputs: list[Tensor], result: Tensor) -> str | None:
    bits = int(op.options["num_bits"])  # type: ignore[arg-type]
    fits = inputs[0].dtype == result.dtype == np.float32 and 2 <= bits <= 16
    return None if fits else f"{bits} bits on {inputs[0].dtype}"


_ANY = 1 << 16
_ELEMENTWISE = Rule(1, 1, 1, check=_same)
_COMPARED = Rule(2, 2, check=_comparison)
_RULES = {
    "CONV_2D": Rule(2, 3, 1, check=_conv),
    "DEPTHWISE_CONV_2D": Rule(3, 3, 1, check=_depthwise),
    "FULLY_CONNECTED": Rule(2, 3, 1, check=_fully_connected),
    "AVERAGE_POOL_2D": Rule(1, 1, 1, check=_pool),
    "MAX_POOL_2D": Rule(1, 1, 1, check=_pool),
    "RESHAPE": Rule(1, 2, 1, check=_reshape),
    "PAD": Rule(2, 2, 1, check=_pad),
    "CONCATENATION": Rule(1, _ANY, _ANY, check=_concatenation),
    "QUANTIZE": Rule(1, 1, 1, mixed=True, check=_same),
    "DEQUANTIZE": Rule(1, 1, 1, mixed=True, check=_same),
    "FAKE_QUANT": Rule(1, 1, 1, check=_fake_quant),
    "TOPK_V2": Rule(2, 2, outputs=2),
    "SPLIT": Rule(2, 2, check=_split, outputs=None),
    "SPLIT_V": Rule(3, 3, check=_split, outputs=None),
    "UNPACK": Rule(1, 1, check=_unpack, outputs=None),
    "PACK": Rule(1, _ANY, check=_pack),
    "RESIZE_BILINEAR": Rule(2, 2, check=_resize),
    "RESIZE_NEAREST_NEIGHBOR": Rule(2, 2, check=_resize),
    "TRANSPOSE_CONV": Rule(3, 4),
    "ADD": Rule(2, 2, 2, check=_sum),
    "SUB": Rule(2, 2, 2, check=_sum),
    "MUL": Rule(2, 2, 2, check=_broadcast),
    "SQUARED_DIFFERENCE": Rule(2, 2, check=_squared_difference),
}
_RULES |= dict.fromkeys(("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"), _COMPARED)
_RULES |= dict.fromkeys("HARD_SWISH LEAKY_RELU LOGISTIC RELU RELU6 SOFTMAX TANH".split(), _ELEMENTWISE)  # noqa: SIM905
_TAKES = {
    1: """ABS CAST CEIL COS DEPTH_TO_SPACE ELU EXP FLOOR GELU L2_NORMALIZATION LOG LOGICAL_NOT LOG_SOFTMAX
        NEG RANK RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SHAPE SIGN SIN SPACE_TO_DEPTH SQRT SQUARE SQUEEZE
        ZEROS_LIKE""",
    2: """ARG_MAX ARG_MIN BATCH_MATMUL BROADCAST_TO CUMSUM DIV EXPAND_DIMS FILL FLOOR_DIV FLOOR_MOD
        GATHER GATHER_ND LOGICAL_AND LOGICAL_OR MAXIMUM MEAN MINIMUM
        MIRROR_PAD POW PRELU REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD
        REVERSE_V2 SUM TILE TRANSPOSE""",
    3: "BATCH_TO_SPACE_ND PADV2 RANGE SELECT SELECT_V2 SLICE SPACE_TO_BATCH_ND",
    4: "ONE_HOT STRIDED_SLICE",
}
_RULES |= {kind: Rule(count, count) for count, kinds in _TAKES.items() for kind in kinds.split()}
