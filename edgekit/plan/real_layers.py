"""Layers of float32 in a network of bytes: CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED on plain tensors.

They are for the one or two layers that bytes are too coarse for: a network that is float32 throughout has a
faster home, the TFLite runtime.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op
from edgekit.model.layers import WEIGHTED, multiply_adds
from edgekit.plan.arithmetic import bounds
from edgekit.plan.lowering import FLOAT, Lower, Lowering, need
from edgekit.plan.simplify.padding import own_padding
from edgekit.plan.step import Fields, Step

LARGEST = float(np.finfo(np.float32).max)
MOST = 0.1  # of a network's multiply-adds: with more, the TFLite runtime is the faster engine


def is_real(graph: Graph, op: Op) -> bool:
    """Whether the operator, a layer with weights, computes on float32."""
    return graph.tensors[op.inputs[0]].dtype == FLOAT


def too_many(graph: Graph) -> str | None:
    """Why a network is for another engine; None unless much of what it computes is float32."""
    layers = [op for op in graph.ops if op.kind in WEIGHTED and op.inputs[1] >= 0]
    total = sum(multiply_adds(graph, op) for op in layers)
    real = sum(multiply_adds(graph, op) for op in layers if is_real(graph, op))
    if real <= MOST * total:
        return None
    return f"so much float32: {real / total:.0%} of the multiply-adds, {MOST:.0%} at most"


def convolution(job: Lowering) -> list[Step]:
    """A CONV_2D or DEPTHWISE_CONV_2D."""
    source, (weights, bias) = job.inputs[0], _parameters(job)
    depthwise = job.op.kind == "DEPTHWISE_CONV_2D"
    weights = weights.reshape(*weights.shape[1:3], 1, -1) if depthwise else weights.transpose(1, 2, 3, 0)
    top, _, left, _ = own_padding(job.op, job.inputs, job.result)
    geometry: Fields = {
        "stride_y": job.whole("stride_h"), "stride_x": job.whole("stride_w"),
        "dilation_y": job.whole("dilation_h_factor"), "dilation_x": job.whole("dilation_w_factor"),
        "top": top, "left": left,
    }  # fmt: skip
    return _steps(job, weights, bias, source.shape, job.result.shape, geometry)


def fully_connected(job: Lowering) -> list[Step]:
    """A FULLY_CONNECTED layer: a convolution of 1 x 1 over a picture of one row."""
    weights, bias = _parameters(job)
    channels, depth = weights.shape
    rows = math.prod(job.inputs[0].shape) // depth
    geometry: Fields = dict.fromkeys(("stride_y", "stride_x", "dilation_y", "dilation_x"), 1)
    ends = (1, 1, rows, depth), (1, 1, rows, channels)
    return _steps(job, weights.T.reshape(1, 1, depth, channels), bias, *ends, geometry)


def _parameters(job: Lowering) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights as they are stored and biases (outputs,), constant float32 both."""
    job.takes(2, 3)
    given, result = job.inputs, job.result
    need(given[0].dtype == given[1].dtype == result.dtype == FLOAT, f"{given[1].dtype} weights on float32")
    need(given[1].data is not None, "weights that are no constant")
    outputs = result.shape[-1]
    bias = np.zeros(outputs, FLOAT)
    if len(given) == 3 and job.op.inputs[2] >= 0:
        known = given[2].data is not None and given[2].dtype == FLOAT
        need(known, "a bias that is no constant float32 vector")
        bias = np.asarray(given[2].data).reshape(-1)
    need(bias.size == outputs, "another bias")
    return np.asarray(given[1].data), bias


def _steps(
    job: Lowering, weights: NDArray[np.float32], bias: NDArray[np.float32],
    source: tuple[int, ...], result: tuple[int, ...], geometry: Fields,
) -> list[Step]:  # fmt: skip
    """`weights` is (rows, columns, inputs that an output sees, outputs)."""
    ends = bounds(job.option("fused_activation_function"))
    low, high = (min(max(end, -LARGEST), LARGEST) for end in ends)
    images, rows, columns, depth = source
    fields: Fields = {
        **job.source(0).fields(), "output": job.output(), "images": images, "rows": rows, "columns": columns,
        "depth": depth, "height": result[1], "width": result[2], "channels": result[3],
        "each": weights.shape[2], "window_height": weights.shape[0], "window_width": weights.shape[1],
        **geometry, "weights": np.ascontiguousarray(weights), "bias": bias, "low": low, "high": high,
    }  # fmt: skip
    return [Step("real_conv", fields, "float32")]


CONVOLUTIONS: dict[str, Lower] = dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), convolution)
