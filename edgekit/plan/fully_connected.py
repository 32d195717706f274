"""The FULLY_CONNECTED operator on bytes: whether the native kernels take it, and its weights packed for them.

The shapes and bounds are those of EK_FC in native/ops_conv.h.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.lowering import FLOAT, SCRATCH, Lowering, need
from edgekit.plan.pack import aligned
from edgekit.plan.step import Fields, Step
from edgekit.plan.strided import Strided, copy

TILE = 16  # as in native/ek.h, like QUAD and MAX_DEPTH
QUAD = 4
PART_TILES = 8  # tiles that are packed at once
MAX_DEPTH = 32768
MAX_SUM = 2**31 - 1024
MAX_SPARSE_ROWS = 8  # with more the dense form, which loads a weight once for several, is faster
GATHER_COST = 4  # of a step that picks its inputs, in steps that take them as they come
MAX_BIAS_SCALE_ERROR = 0.02  # of the output's scale; TFLite refuses a layer beyond it
ACTIVATIONS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def scale_of(tensor: Tensor) -> float:
    """The one scale of the tensor, 0 if it has none."""
    return float(tensor.scale[0]) if tensor.scale is not None else 0.0


def zero_point_of(tensor: Tensor) -> int:
    """The one zero point of the tensor, 0 if it has none."""
    return int(tensor.zero_point[0]) if tensor.zero_point is not None else 0


def is_int8(tensor: Tensor) -> bool:
    """Whether it is a computed int8 tensor with one scale."""
    scaled = tensor.scale is not None and len(tensor.scale) == 1 and scale_of(tensor) > 0
    return tensor.dtype == np.int8 and scaled and tensor.data is None and not tensor.is_variable


def check(graph: Graph, op: Op) -> str | None:
    if len(op.inputs) not in (2, 3) or len(op.outputs) != 1 or min(op.inputs[:2]) < 0:
        return "it takes an input, weights and perhaps a bias"
    source, weights, result = (graph.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    if not is_int8(source) or not is_int8(result):
        return f"{source.dtype} to {result.dtype}; only int8 with one scale each"
    return (
        _check_weights(weights)
        or _check_options(op)
        or _check_sizes(op, source, weights, result)
        or _check_bias(graph, op)
        or _check_reach(graph, op)
    )


def _check_weights(weights: Tensor) -> str | None:
    if weights.data is None or weights.dtype not in (np.int8, np.int16) or len(weights.shape) != 2:
        return "weights that are no constant matrix of int8"
    if weights.scale is None or weights.zero_point is None:
        return "weights without a scale"
    if len(weights.scale) > 1 and (weights.axis != 0 or np.any(weights.zero_point != 0)):
        return f"scales on axis {weights.axis} of the weights, or zero points"
    least, most = int(weights.data.min(initial=0)), int(weights.data.max(initial=0))
    if max(abs(n - int(weights.zero_point[0])) for n in (least, most)) > 255:
        return "weights beyond 8 bits"
    return None if np.all(weights.scale > 0) else "a scale that is zero"


def _centred(weights: Tensor) -> NDArray[np.int16]:
    """The weights less their zero point."""
    return np.asarray(weights.data, np.int16) - np.asarray(weights.zero_point, np.int16)[:1]


def _sets(weights: Tensor) -> list[NDArray[np.int8]]:
    """Matrices of int8 that add up to the weights: one, or more for those that were uint8."""
    if weights.dtype == np.int8 and not np.any(weights.zero_point):
        return [np.asarray(weights.data)]
    rest = _centred(weights)
    sets: list[NDArray[np.int8]] = []
    while not sets or rest.any():
        sets.append(np.clip(rest, -128, 127).astype(np.int8))
        rest = rest - sets[-1]
    return sets


def _check_sizes(op: Op, source: Tensor, weights: Tensor, result: Tensor) -> str | None:
    cols, depth = weights.shape
    if depth * len(_sets(weights)) > MAX_DEPTH:
        return f"{depth} inputs; {MAX_DEPTH} are the most"
    if not depth or not cols or math.prod(source.shape) % depth:
        return f"weights {list(weights.shape)} do not fit the input {list(source.shape)}"
    shape = (
        (*source.shape[:-1], cols)
        if op.options["keep_num_dims"]
        else (math.prod(source.shape) // depth, cols)
    )
    if op.options["keep_num_dims"] and source.shape[-1:] != (depth,):
        return f"weights {list(weights.shape)} do not fit the input {list(source.shape)}"
    return None if result.shape == shape else f"the output is {list(result.shape)}, not {list(shape)}"


def _check_options(op: Op) -> str | None:
    if op.options["weights_format"] != "DEFAULT":
        return f"weights in the format {op.options['weights_format']!r}"
    activation = op.options["fused_activation_function"]
    return None if activation in ACTIVATIONS else f"activation {activation!r}"


def _bias(graph: Graph, op: Op) -> Tensor | None:
    return graph.tensors[op.inputs[2]] if len(op.inputs) == 3 and op.inputs[2] >= 0 else None


def _check_bias(graph: Graph, op: Op) -> str | None:
    bias = _bias(graph, op)
    if bias is None:
        return None
    source, weights, result = (graph.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    if bias.data is None or bias.dtype != np.int32 or math.prod(bias.shape) != weights.shape[0]:
        return "a bias that is no constant int32 vector, one number an output"
    if weights.scale is not None and len(weights.scale) == 1:
        error = abs(scale_of(source) * scale_of(weights) - scale_of(bias))
        if error / scale_of(result) > MAX_BIAS_SCALE_ERROR:
            return "a bias whose scale is not that of input times weights"
    return None


def _check_reach(graph: Graph, op: Op) -> str | None:
    """Sums, and what they are scaled to, must stay within 32 bits."""
    source, weights, result = (graph.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    bias = _bias(graph, op)
    largest = 0 if bias is None or bias.data is None else int(np.abs(bias.data.astype(np.int64)).max())
    reach = 256 * 128 * weights.shape[1] * len(_sets(weights)) + largest
    scaled = reach * max(1.0, float(_scales(source, weights, result).max()))
    return "sums beyond 32 bits" if scaled >= MAX_SUM else None


def _scales(source: Tensor, weights: Tensor, result: Tensor) -> NDArray[np.float64]:
    """From a sum to the stored output, one an output; in TFLite's order, so equal to the last bit."""
    scales = np.asarray(weights.scale, np.float64)
    return np.broadcast_to(scale_of(source) * scales / scale_of(result), weights.shape[:1])


def clamp(activation: str, tensor: Tensor) -> tuple[int, int]:
    """The stored values between which the activation keeps its output."""
    scale, zero_point = np.float32(scale_of(tensor)), zero_point_of(tensor)
    low, high = -128, 127
    bottom, top = ACTIVATIONS[activation]
    if math.isfinite(bottom):
        low = max(low, zero_point + _round(np.float32(bottom) / scale))
    if math.isfinite(top):
        high = min(high, zero_point + _round(np.float32(top) / scale))
    return low, high


def _round(value: np.float32) -> int:
    """To the nearest whole number, ties away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def lower(job: Lowering) -> list[Step]:
    reason = check(job.graph, job.op)
    need(reason is None, str(reason))
    source, weights = job.inputs[:2]
    rows = math.prod(source.shape) // weights.shape[1]
    sets = _sets(weights)
    if len(sets) == 1:
        return [_layer(job, sets[0], job.place(job.op.inputs[0]), rows)]
    view = Strided.dense((rows, 1, weights.shape[1]), 1).broadcast((rows, len(sets), weights.shape[1]))
    repeated = copy(job.source(0), view, job.place(SCRATCH), Strided.dense(view.shape, 1), 1)
    return [*repeated, _layer(job, np.concatenate(sets, axis=1), job.place(SCRATCH), rows)]


def scratch(job: Lowering) -> int:
    """Bytes for the input as often as there are sets of weights, if there are several."""
    if job.inputs[1].data is None or job.inputs[0].dtype == FLOAT:
        return 0
    sets = len(_sets(job.inputs[1]))
    return sets * math.prod(job.inputs[0].shape) if sets > 1 else 0


def _layer(job: Lowering, matrix: NDArray[np.int8], place: int, rows: int) -> Step:
    source, weights, result = *job.inputs[:2], job.result
    bias = _bias(job.graph, job.op)
    cols, depth = matrix.shape
    start = np.zeros(cols, np.int64) if bias is None else np.asarray(bias.data, np.int64).reshape(cols)
    sums = matrix.sum(axis=1, dtype=np.int64)
    low, high = clamp(str(job.option("fused_activation_function")), result)
    packed, note = _form(matrix, rows)
    return Step("fc", packed | {
        "input": place, "output": job.output(), "rows": rows, "depth": depth, "cols": cols,
        "bias": _pad(start - zero_point_of(source) * sums),
        "bias_u8": _pad(start - (zero_point_of(source) + 128) * sums),
        "scale": _pad(_scales(source, weights, result)), "zero_point": zero_point_of(result),
        "low": low, "high": high, "reaches_min": int(matrix.min() == -128),
    }, note)  # fmt: skip


def _form(matrix: NDArray[np.int8], rows: int) -> tuple[Fields, str]:
    """The weights in the form that takes less time, and why it does."""
    cols, depth = matrix.shape
    dense = -(-cols // TILE) * -(-depth // QUAD)
    if depth % QUAD or rows > MAX_SPARSE_ROWS:
        return {"weights": pack_weights(matrix)}, f"dense, {dense} steps"
    starts = _starts(matrix)
    steps = int(starts[-1])
    if not 0 < steps * GATHER_COST < dense:
        return {"weights": pack_weights(matrix)}, f"dense, {dense} steps; sparse {steps} slower ones"
    return pack_sparse(matrix), f"sparse 1x4, {steps} steps; dense {dense}"


def _quads(matrix: NDArray[np.int8]) -> NDArray[np.int8]:
    """(cols, depth) to (tiles, 16, quads, 4)."""
    cols, depth = matrix.shape
    padded = np.pad(matrix, ((0, -cols % TILE), (0, 0)))
    return padded.reshape(-1, TILE, depth // QUAD, QUAD)


def _starts(matrix: NDArray[np.int8]) -> NDArray[np.int32]:
    """First step of each tile: there are as many as its fullest output has quads that are not zero."""
    counts = [np.count_nonzero(quads.any(axis=3), axis=2).max(axis=1) for quads in _parts(matrix)]
    return np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int32)


def _parts(matrix: NDArray[np.int8]) -> Iterator[NDArray[np.int8]]:
    """The quads of some tiles after another: what is made of all at once would take much memory."""
    for start in range(0, len(matrix), PART_TILES * TILE):
        yield _quads(matrix[start : start + PART_TILES * TILE])


def pack_sparse(matrix: NDArray[np.int8]) -> Fields:
    """EK_FC's weights, starts and offsets in native/ops_conv.h; the depth is a multiple of 4."""
    starts = _starts(matrix)
    weights = aligned((int(starts[-1]), TILE, QUAD), np.int8)
    offsets = aligned((int(starts[-1]), TILE), np.int32)
    for number, quads in enumerate(_parts(matrix)):
        used = quads.any(axis=3)
        tile, lane, quad = np.nonzero(used)
        first = starts[number * PART_TILES + tile]
        step = first + (np.cumsum(used, axis=2, dtype=np.int32) - 1)[tile, lane, quad]
        weights[step, lane] = quads[tile, lane, quad]
        offsets[step, lane] = QUAD * quad
    return {"weights": weights, "starts": starts, "offsets": offsets}


def pack_weights(matrix: NDArray[np.int8]) -> NDArray[np.int8]:
    """(cols, depth) to (tiles, quads, 16, 4), aligned, with zeros where there was nothing."""
    cols, depth = matrix.shape
    packed = aligned((-(-cols // TILE), -(-depth // QUAD), TILE, QUAD), np.int8)
    for start in range(0, len(packed), PART_TILES):
        some = matrix[start * TILE : (start + PART_TILES) * TILE]
        filled = np.pad(some, ((0, -len(some) % TILE), (0, -depth % QUAD)))
        quads = filled.reshape(-1, TILE, packed.shape[1], QUAD)
        packed[start : start + PART_TILES] = quads.transpose(0, 2, 1, 3)
    return packed


def _pad(vector: NDArray[Any]) -> NDArray[Any]:
    padded = aligned((-(-len(vector) // TILE) * TILE,), np.int32 if vector.dtype.kind == "i" else np.float64)
    padded[: len(vector)] = vector
    return padded
