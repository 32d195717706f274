"""The FULLY_CONNECTED operator on int8: whether the native kernels take it, and its weights packed for them.

What is packed here, the C code trusts; the shapes and bounds are those of `ek_fc_s8` in native/ek.h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Graph, Op, Tensor

ALIGNMENT = 64  # bytes; as in native/ek.h, like the next three
TILE = 16
QUAD = 4
MAX_DEPTH = 32768
MAX_SUM = 2**31 - 1024
MAX_BIAS_SCALE_ERROR = 0.02  # of the output's scale; TFLite refuses a layer beyond it
ACTIVATIONS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class FullyConnected:
    """A packed layer; arrays are aligned and shaped as `ek_fc_s8` in native/ek.h says."""

    input: int
    output: int
    rows: int
    depth: int
    cols: int
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    bias_u8: NDArray[np.int32]
    scale: NDArray[np.float64]
    zero_point: int
    low: int
    high: int
    reaches_min: bool


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
    if weights.data is None or weights.dtype != np.int8 or len(weights.shape) != 2:
        return "weights that are no constant int8 matrix"
    if weights.scale is None or weights.zero_point is None or np.any(weights.zero_point != 0):
        return "weights with a zero point or without a scale"
    if len(weights.scale) > 1 and weights.axis != 0:
        return f"scales on axis {weights.axis} of the weights"
    return None if np.all(weights.scale > 0) else "a scale that is zero"


def _check_sizes(op: Op, source: Tensor, weights: Tensor, result: Tensor) -> str | None:
    cols, depth = weights.shape
    if depth > MAX_DEPTH:
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
    reach = 256 * 128 * weights.shape[1] + largest
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


def pack(graph: Graph, op: Op, input_offset: int, output_offset: int) -> FullyConnected:
    source, weights, result = (graph.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    bias = _bias(graph, op)
    cols, depth = weights.shape
    matrix = np.asarray(weights.data)
    start = np.zeros(cols, np.int64) if bias is None else np.asarray(bias.data, np.int64).reshape(cols)
    sums = matrix.sum(axis=1, dtype=np.int64)
    low, high = clamp(str(op.options["fused_activation_function"]), result)
    return FullyConnected(
        input_offset, output_offset, math.prod(source.shape) // depth, depth, cols,
        pack_weights(matrix), _pad(start - zero_point_of(source) * sums),
        _pad(start - (zero_point_of(source) + 128) * sums), _pad(_scales(source, weights, result)),
        zero_point_of(result), low, high, bool(matrix.min() == -128),
    )  # fmt: skip


def pack_weights(matrix: NDArray[np.int8]) -> NDArray[np.int8]:
    """(cols, depth) to (tiles, quads, 16, 4), aligned, with zeros where there was nothing."""
    cols, depth = matrix.shape
    packed = _aligned((-(-cols // TILE), -(-depth // QUAD), TILE, QUAD), np.int8)
    padded = matrix
    if cols % TILE or depth % QUAD:
        padded = np.zeros((packed.shape[0] * TILE, packed.shape[1] * QUAD), np.int8)
        padded[:cols, :depth] = matrix
    packed[...] = padded.reshape(packed.shape[0], TILE, packed.shape[1], QUAD).transpose(0, 2, 1, 3)
    return packed


def _pad(vector: NDArray[Any]) -> NDArray[Any]:
    padded = _aligned((-(-len(vector) // TILE) * TILE,), np.int32 if vector.dtype.kind == "i" else np.float64)
    padded[: len(vector)] = vector
    return padded


def _aligned(shape: Sequence[int], dtype: type[np.generic]) -> NDArray[Any]:
    """Zeros that start at a multiple of ALIGNMENT."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
