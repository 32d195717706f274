"""Operators with weights, and how much they compute."""

from __future__ import annotations

import math

from edgekit.model.graph import Graph, Op

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def multiply_adds(graph: Graph, op: Op) -> int:
    """Products of the operator when no weight is skipped, those with padding included; 0 without weights."""
    if op.kind not in WEIGHTED:
        return 0
    weights, result = graph.tensors[op.inputs[1]].shape, graph.tensors[op.outputs[0]].shape
    if op.kind == "TRANSPOSE_CONV":  # each pixel of the input meets every weight
        return math.prod(graph.tensors[op.inputs[2]].shape[:3]) * math.prod(weights)
    if op.kind == "FULLY_CONNECTED":
        return math.prod(result) * weights[-1]
    return math.prod(result) * math.prod(weights[1:3] if op.kind == "DEPTHWISE_CONV_2D" else weights[1:])
