"""Channels that hold one number, whatever the input, are taken into the biases of those that read them.

A layer whose weights for an output are all zero stores one number there: its bias, scaled and clamped. What
reads that number adds a constant to its sums, so its bias can do so and its weights there become zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.fully_connected import zero_point_of
from edgekit.plan.simplify.arithmetic import Integers, requantize_values
from edgekit.plan.simplify.draft import Draft, rewrite, same_scales
from edgekit.plan.simplify.layers import Layer, Mask, emit_layer, read_layer
from edgekit.plan.simplify.values import whole


@dataclass(frozen=True)
class Known:
    """Per channel of a tensor, its last axis: whether it is constant, and what it stores then."""

    mask: Mask
    values: Integers

    def tiled(self, size: int) -> Known:
        """The same for an axis on which the channels follow one another again and again."""
        times = size // len(self.mask)
        return Known(np.tile(self.mask, times), np.tile(self.values, times))


Follow = Callable[[Op, list[Tensor], Tensor, list["Known | None"]], "Known | None"]


def fold_constant_channels(graph: Graph) -> Graph:
    return rewrite(graph, _Folding().rule)


class _Folding:
    def __init__(self) -> None:
        self._known: dict[int, Known] = {}

    def rule(self, draft: Draft, op: Op) -> bool:
        if layer := read_layer(draft, op):
            return self._layer(draft, layer)
        follow = _FOLLOW.get(op.kind)
        known = [self._known.get(i) for i in op.inputs]
        if not follow or not any(known) or len(op.outputs) != 1:
            return False
        result = draft.tensor(op.outputs[0])
        found = (
            follow(op, draft.inputs(op), result, known) if result.shape and 0 not in result.shape else None
        )
        if found is not None and found.mask.any():
            self._known[op.outputs[0]] = found
        return False

    def _layer(self, draft: Draft, layer: Layer) -> bool:
        weights, start = layer.weights, layer.start
        known, emitted = self._known.get(layer.op.inputs[0]), False
        if known is not None:
            mask, change = _given(layer, known)
            part = weights[..., mask]
            if part.any() and np.all(np.abs(start + change) < 2**31):
                weights, start, emitted = weights.copy(), start + change, True
                weights[..., mask] = 0
                emit_layer(draft, layer, weights, start)
        axes = 0 if layer.depthwise else (1, 2)
        sure, values = layer.stored(start)
        dead = sure & ~weights.any(axis=axes)
        if dead.any():
            self._known[layer.op.outputs[0]] = Known(dead, values)
        return emitted


def _given(layer: Layer, known: Known) -> tuple[Mask, Integers]:
    """On the last axis of the weights: what constant channels meet; and what they add to the sums."""
    zero_point = zero_point_of(layer.source)
    weights = layer.weights
    if layer.depthwise:
        times = layer.outputs // len(known.mask)
        known = Known(np.repeat(known.mask, times), np.repeat(known.values, times))
    else:
        known = known.tiled(weights.shape[-1])
    away = np.where(known.mask, known.values - zero_point, 0)
    mask = known.mask & (away == 0) if layer.pads else known.mask
    away = np.where(mask, away, 0)
    if layer.depthwise:
        return mask, weights.sum(axis=0, dtype=np.int64) * away
    return mask, weights[..., mask].sum(axis=1, dtype=np.int64) @ away[mask]


def _copy(op: Op, inputs: list[Tensor], result: Tensor, known: list[Known | None]) -> Known | None:
    """An operator whose output holds nothing but values of its input, channel by channel."""
    fits = inputs[0].shape[-1] == result.shape[-1] and same_scales(inputs[0], result)
    return known[0] if fits and op.options.get("fused_activation_function", "NONE") == "NONE" else None


def _reshape(op: Op, inputs: list[Tensor], result: Tensor, known: list[Known | None]) -> Known | None:
    del op
    fits = known[0] is not None and result.shape[-1] % inputs[0].shape[-1] == 0
    return known[0].tiled(result.shape[-1]) if known[0] and fits else None


def _pad(op: Op, inputs: list[Tensor], result: Tensor, known: list[Known | None]) -> Known | None:
    same = _copy(op, inputs, result, known)
    return Known(same.mask & (same.values == zero_point_of(result)), same.values) if same else None


def _quantize(op: Op, inputs: list[Tensor], result: Tensor, known: list[Known | None]) -> Known | None:
    del op
    values = requantize_values(known[0].values, inputs[0], result) if known[0] else None
    return Known(known[0].mask, values) if known[0] and values is not None else None


def _concatenation(op: Op, inputs: list[Tensor], result: Tensor, known: list[Known | None]) -> Known | None:
    axis, rank = whole(op, "axis"), len(result.shape)
    plain = op.options["fused_activation_function"] == "NONE" and same_scales(*inputs, result)
    if not plain or axis not in (-1, rank - 1) or sum(t.shape[-1] for t in inputs) != result.shape[-1]:
        return None
    parts = [
        one or Known(np.zeros(t.shape[-1], bool), np.zeros(t.shape[-1], np.int64))
        for one, t in zip(known, inputs, strict=True)
    ]
    return Known(np.concatenate([p.mask for p in parts]), np.concatenate([p.values for p in parts]))


_FOLLOW: dict[str, Follow] = {
    "RESHAPE": _reshape, "PAD": _pad, "QUANTIZE": _quantize, "CONCATENATION": _concatenation,
    "MAX_POOL_2D": _copy, "AVERAGE_POOL_2D": _copy, "RESIZE_NEAREST_NEIGHBOR": _copy,
}  # fmt: skip
