"""The layers of a quantised network that may be pruned: their weights as matrices, their inputs as rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.convolution import Window, window_of

_BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
Real = NDArray[np.float32]
UNGAINLY = ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")  # kinds that engines run densely, zeros or not
_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")
_CUTS = {"RELU": (0.0, math.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Layer:
    """One operator with constant weights: outputs = matrix * scale @ inputs + bias.

    `matrix` (outputs, inputs) has the weights less their zero point, a convolution's inputs row by row of
    its window with the channels innermost; `channels` is how many of these there are. `scale` is (outputs,).
    `limits` are the least and the largest whole number that a weight may be. Tensors are given by their
    index; `bias` is -1 where there is none. `reason` says why the layer must stay as it is, if it must.
    """

    number: int  # of the operator
    name: str
    kind: str
    source: int
    result: int
    weights: int
    bias: int
    shape: tuple[int, ...]  # of the weights
    matrix: NDArray[np.int64]
    scale: NDArray[np.float64]
    limits: tuple[int, int]
    channels: int
    window: Window | None = None
    reason: str = ""

    @property
    def real(self) -> NDArray[np.float64]:
        """The weights as real numbers."""
        return self.matrix * self.scale[:, None]

    @property
    def size(self) -> int:
        return self.matrix.size


def find_layers(graph: Graph) -> list[Layer]:
    """Every convolution and product with a constant matrix of 8 bits, in the order in which they run."""
    layers = []
    for number, op in enumerate(graph.ops):
        if op.kind not in _KINDS or len(op.inputs) < 2 or min(op.inputs[:2]) < 0:
            continue
        weights = graph.tensors[op.inputs[1]]
        if weights.data is not None and weights.dtype in _BYTES and weights.scale is not None:
            layers.append(_layer(graph, number, op, weights))
    return layers


def _place_of_bias(op: Op) -> int:
    return 3 if op.kind == "TRANSPOSE_CONV" else 2


def _bias(op: Op) -> int:
    """The tensor of the bias; -1 where there is none."""
    place = _place_of_bias(op)
    return op.inputs[place] if op.kind != "BATCH_MATMUL" and len(op.inputs) > place else -1


def _layer(graph: Graph, number: int, op: Op, weights: Tensor) -> Layer:
    source, window = op.inputs[2 if op.kind == "TRANSPOSE_CONV" else 0], None
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        window, source = window_of(graph, op, (weights.shape[1], weights.shape[2]))
    matrix = _as_matrix(op, np.asarray(weights.data)).astype(np.int64)
    zero = int(weights.zero_point[0]) if weights.zero_point is not None else 0
    info, scale = np.iinfo(weights.dtype), np.asarray(weights.scale, np.float64)
    least = max(int(info.min), -127) if weights.dtype == np.int8 else int(info.min)
    return Layer(
        number, weights.name, op.kind, source, op.outputs[0], op.inputs[1], _bias(op), weights.shape,
        matrix - zero, np.broadcast_to(scale, matrix.shape[:1]),
        (least - zero, int(info.max) - zero), matrix.shape[1] if window is None else weights.shape[3],
        window, _reason(graph, op, weights),
    )  # fmt: skip


def _as_matrix(op: Op, data: NDArray[Any]) -> NDArray[Any]:
    """Weights as they are stored to (outputs, inputs)."""
    if op.kind == "BATCH_MATMUL":
        last = data.reshape(-1, data.shape[-1])
        return last if op.options["adj_y"] else last.T
    if op.kind == "DEPTHWISE_CONV_2D":
        return data.reshape(-1, data.shape[-1]).T
    return data.reshape(data.shape[0], -1)


def _as_stored(op: Op, matrix: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The inverse of `_as_matrix`."""
    if op.kind == "DEPTHWISE_CONV_2D" or (op.kind == "BATCH_MATMUL" and not op.options["adj_y"]):
        matrix = matrix.T
    return np.ascontiguousarray(matrix).reshape(shape)


def _reason(graph: Graph, op: Op, weights: Tensor) -> str:
    """Why weights of this operator must stay as they are; empty if they need not."""
    readers, points = graph.readers[op.inputs[1]], weights.zero_point
    bias = _bias(op)
    reasons = {
        "depthwise": op.kind == "DEPTHWISE_CONV_2D",
        "transposed": op.kind == "TRANSPOSE_CONV",
        "its weights are shared": len(readers) > 1 or op.inputs[1] in graph.outputs,
        "grouped": op.kind == "CONV_2D" and weights.shape[3] != graph.tensors[op.inputs[0]].shape[3],
        "shuffled weights": op.options.get("weights_format", "DEFAULT") != "DEFAULT",
        "several matrices": op.kind == "BATCH_MATMUL" and math.prod(weights.shape[:-2]) != 1,
        "a transposed input": bool(op.options.get("adj_x")),
        "several zero points": points is not None and len(set(points.tolist())) > 1,
        "scales on another axis": len(np.asarray(weights.scale)) > 1 and weights.axis != 0,
        "a bias that is computed": bias >= 0 and graph.tensors[bias].data is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def replaced(graph: Graph, layer: Layer, matrix: NDArray[np.int64], bias: NDArray[np.float64]) -> Graph:
    """The graph with other weights, and another bias in real numbers, for one layer."""
    tensors = list(graph.tensors)
    weights, op = tensors[layer.weights], graph.ops[layer.number]
    zero = int(weights.zero_point[0]) if weights.zero_point is not None else 0
    stored = _as_stored(op, (matrix + zero).astype(weights.dtype), weights.shape)
    tensors[layer.weights] = replace(weights, data=stored)
    ops = list(graph.ops)
    if layer.bias >= 0 and len(graph.readers[layer.bias]) == 1:
        tensors[layer.bias] = _with_bias(graph, layer, bias)
    elif layer.bias >= 0:  # others read the old one
        tensors.append(_with_bias(graph, layer, bias))
        ops[layer.number] = replace(op, inputs=(*op.inputs[: _place_of_bias(op)], len(tensors) - 1))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def bias_of(graph: Graph, layer: Layer) -> NDArray[np.float64]:
    """The bias in real numbers, (outputs,)."""
    if layer.bias < 0:
        return np.zeros(len(layer.matrix))
    stored = np.asarray(graph.tensors[layer.bias].data, np.float64).reshape(-1)
    return stored * _bias_scale(graph, layer)


def _bias_scale(graph: Graph, layer: Layer) -> NDArray[np.float64]:
    """Of input times weights, as the kernels have it, whatever the bias itself says."""
    if graph.tensors[layer.bias].dtype.kind == "f":
        return np.ones(len(layer.matrix))
    source = graph.tensors[layer.source].scale
    return layer.scale * (1.0 if source is None else float(source[0]))


def _with_bias(graph: Graph, layer: Layer, bias: NDArray[np.float64]) -> Tensor:
    tensor = graph.tensors[layer.bias]
    stored = bias / _bias_scale(graph, layer)
    if tensor.dtype.kind == "i":
        limits = np.iinfo(tensor.dtype)
        stored = np.clip(np.rint(stored), limits.min, limits.max)
    return replace(tensor, data=stored.astype(tensor.dtype).reshape(tensor.shape))


def output_limits(graph: Graph, op: Op) -> tuple[float, float] | None:
    """The least and the largest real number that an operator can give, where its activation cuts off some."""
    tensor = graph.tensors[op.outputs[0]]
    activation = op.options.get("fused_activation_function", "NONE")
    if activation not in _CUTS or tensor.dtype not in _BYTES:
        return None
    info = np.iinfo(tensor.dtype)
    least, largest = real_values(tensor, np.array([info.min, info.max])).tolist()
    return max(least, _CUTS[activation][0]), min(largest, _CUTS[activation][1])


def real_values(tensor: Tensor, stored: NDArray[Any]) -> Real:
    """What the stored numbers of a tensor mean."""
    if tensor.scale is None or tensor.dtype.kind == "f":
        return np.asarray(stored, np.float32)
    zero = 0 if tensor.zero_point is None else int(tensor.zero_point[0])
    return (np.asarray(stored, np.float32) - np.float32(zero)) * tensor.scale[0]


def input_rows(layer: Layer, real: Real, result_shape: tuple[int, ...], places: NDArray[np.int64]) -> Real:
    """The inputs of some of the layer's sums: (len(places), inputs).

    `real` is one inference's input of the layer; `places` count the rows of its output, a convolution's
    pixels from the top left.
    """
    if layer.window is None:
        return real.reshape(-1, layer.matrix.shape[1])[places]
    window = layer.window
    _, height, width, _ = real.shape
    image, pixel = np.divmod(places, result_shape[1] * result_shape[2])
    y, x = np.divmod(pixel, result_shape[2])
    rows = y[:, None] * window.stride_y - window.top + np.arange(window.height) * window.dilation_y
    columns = x[:, None] * window.stride_x - window.left + np.arange(window.width) * window.dilation_x
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    taken = real[
        image[:, None, None], np.clip(rows, 0, height - 1)[:, :, None],
        np.clip(columns, 0, width - 1)[:, None, :],
    ]  # fmt: skip
    return np.where(inside[..., None], taken, np.float32(0)).reshape(len(places), -1)
