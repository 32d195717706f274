"""Layers with constant weights, CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED on int8, seen in one way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Op, Tensor
from edgekit.plan import fully_connected
from edgekit.plan.simplify.arithmetic import Integers, multiply, round_half_away, sum_factors
from edgekit.plan.simplify.draft import Draft
from edgekit.plan.simplify.padding import own_padding

_RANKS = {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 4, "FULLY_CONNECTED": 2}
_ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """One layer. `weights` is (outputs, taps, inputs), or (taps, outputs) where it is `depthwise`.

    A FULLY_CONNECTED may read several times the channels of its source: they follow one another.
    """

    op: Op
    source: Tensor
    tensor: Tensor  # the weights as they are stored
    bias: Tensor | None
    result: Tensor
    pads: bool

    @property
    def depthwise(self) -> bool:
        return self.op.kind == "DEPTHWISE_CONV_2D"

    @property
    def outputs(self) -> int:
        return self.tensor.shape[-1 if self.depthwise else 0]

    @property
    def weights(self) -> NDArray[Any]:
        data = np.asarray(self.tensor.data)
        shape = (-1, self.outputs) if self.depthwise else (self.outputs, -1, data.shape[-1])
        return data.reshape(shape)

    @property
    def start(self) -> Integers:
        """What the sums start with."""
        if self.bias is None:
            return np.zeros(self.outputs, np.int64)
        return np.asarray(self.bias.data, np.int64).reshape(-1)

    def stored(self, sums: Integers) -> tuple[Mask, Integers]:
        """What the layer stores for a sum per output, and where that is sure."""
        factors = np.broadcast_to(
            sum_factors(self.op.kind, self.source, self.tensor, self.result), sums.shape
        )
        sure = np.abs(sums) * np.maximum(factors, 1) * 2 < 2**31
        sums = np.where(sure, sums, 0)
        scaled = round_half_away(sums * factors) if _RANKS[self.op.kind] == 2 else multiply(sums, factors)
        low, high = fully_connected.clamp(str(self.op.options["fused_activation_function"]), self.result)
        return sure, np.clip(scaled + fully_connected.zero_point_of(self.result), low, high)


def read_layer(draft: Draft, op: Op) -> Layer | None:
    """The layer that the operator is; None if it is none or one that is not understood."""
    rank = _RANKS.get(op.kind)
    if rank is None or len(op.inputs) not in (2, 3) or len(op.outputs) != 1 or min(op.inputs[:2]) < 0:
        return None
    source, weights = (draft.tensor(i) for i in op.inputs[:2])
    bias = draft.tensor(op.inputs[2]) if len(op.inputs) == 3 and op.inputs[2] >= 0 else None
    result = draft.tensor(op.outputs[0])
    ends = fully_connected.is_int8(source) and fully_connected.is_int8(result)
    if not ends or not _fits(op, weights, source, result) or not _is_bias(bias, result.shape[-1]):
        return None
    if op.options["fused_activation_function"] not in _ACTIVATIONS:
        return None
    pads = rank == 4 and any(own_padding(op, [source, weights], result))
    return Layer(op, source, weights, bias, result, pads)


def _fits(op: Op, weights: Tensor, source: Tensor, result: Tensor) -> bool:
    if not source.shape or 0 in (*source.shape, *result.shape) or len(weights.shape) != _RANKS[op.kind]:
        return False
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    if result.shape[-1:] != (weights.shape[axis],) or not _is_plain(weights, axis):
        return False
    depth, channels = weights.shape[-1], source.shape[-1]
    if op.kind == "FULLY_CONNECTED":
        rows = math.prod(source.shape) % depth == depth % channels == 0
        return rows and op.options["weights_format"] == "DEFAULT"
    fits = depth % channels == 0 and weights.shape[0] == 1 if axis else depth == channels
    return fits and len(source.shape) == len(result.shape) == 4


def _is_plain(weights: Tensor, axis: int) -> bool:
    """Whether they are constant whole numbers, with a scale for all or for each output."""
    if weights.data is None or weights.scale is None or np.any(weights.zero_point):
        return False
    one = len(weights.scale) == 1 or weights.axis == axis
    return one and weights.dtype in (np.int8, np.int16)


def _is_bias(bias: Tensor | None, outputs: int) -> bool:
    if bias is None:
        return True
    plain = bias.scale is None or len(bias.scale) in (1, outputs)
    return plain and bias.data is not None and bias.dtype == np.int32 and bias.shape == (outputs,)


def emit_layer(draft: Draft, layer: Layer, weights: NDArray[Any], start: Integers) -> None:
    """Emit the layer with other weights and another start, in the same layout."""
    op, inputs = layer.op, list(layer.op.inputs)
    tensor = replace(layer.tensor, data=weights.reshape(layer.tensor.shape).astype(layer.tensor.dtype))
    inputs[1] = draft.add(tensor)
    if layer.bias is not None:
        inputs[2] = draft.add(replace(layer.bias, data=start.astype(np.int32)))
    elif np.any(start):
        inputs[2:] = [draft.add(_new_bias(layer, start))]
    draft.emit(replace(op, inputs=tuple(inputs)))


def _new_bias(layer: Layer, start: Integers) -> Tensor:
    scale = np.asarray(layer.source.scale) * np.asarray(layer.tensor.scale)
    return Tensor(
        f"{layer.tensor.name}_bias", start.shape, np.dtype(np.int32), scale, data=start.astype(np.int32)
    )
