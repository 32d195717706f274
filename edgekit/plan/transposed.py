"""TRANSPOSE_CONV in planes: one ordinary convolution makes all phases of the output, which are then joined.

Output rows that are a stride apart meet the same rows of the weights, those of one phase. So each phase is a
convolution of stride 1 with every stride-th weight, turned about, and all of them together are one with as
many times more channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.model.graph import Graph, Op
from edgekit.plan.convolution import MAX_STRIDE, Layer, Window, overflow
from edgekit.plan.convolve import add_convolution
from edgekit.plan.fully_connected import clamp, zero_point_of
from edgekit.plan.layout import QUAD, Form, Picture, Value
from edgekit.plan.planner import Places, Planner, read, stored_zero, written
from edgekit.plan.products import margin
from edgekit.plan.simplify.arithmetic import sum_factors
from edgekit.plan.step import Step

MOST_TAPS = 16  # of the phases' windows together, for each of the weights: the others are zero


@dataclass(frozen=True)
class _Axis:
    """Along one axis: output place `stride * q + phase` is made of the input places around q.

    Input place q - t adds its product with weight `phase + before + stride * t`.
    """

    weights: int
    stride: int
    before: int  # how far the window of the first input place begins before the output

    @property
    def first(self) -> int:
        """The least t at which a phase has a weight."""
        return -((self.stride - 1 + self.before) // self.stride)

    @property
    def last(self) -> int:
        return max(0, (self.weights - 1 - self.before) // self.stride)

    @property
    def taps(self) -> int:
        return self.last - self.first + 1

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the weights, so that every phase has as many."""
        before = -self.before - self.stride * self.first
        return before, self.stride * self.taps - before - self.weights


def convolution(planner: Planner, op: Op) -> bool:
    graph = planner.graph
    vertical, horizontal = _axes(graph, op)
    stride_y, stride_x = vertical.stride, horizontal.stride
    taps = vertical.taps * stride_y * horizontal.taps * stride_x
    if max(stride_y, stride_x) > MAX_STRIDE or taps > MOST_TAPS * vertical.weights * horizontal.weights:
        return False
    layer = _layer_of(graph, op, vertical, horizontal)
    if overflow(layer):
        return False
    label = f"{vertical.weights}x{horizontal.weights} transposed, stride {stride_y}x{stride_x}, as "
    if stride_y == stride_x == 1:
        add_convolution(planner, layer, planner.add_planes(op.outputs[0]), None, label)
        return True
    images, height, width, _ = planner.shape(op.outputs[0])
    phases = Value(op.outputs[0], Form(stride_y, stride_x, wanted=0))  # no other form wants no phase
    picture = Picture(images, -(-height // stride_y), -(-width // stride_x), layer.channels // QUAD)
    planner.layout.add(phases, picture)
    add_convolution(planner, layer, phases, None, label)
    _join(planner, phases, planner.add_planes(op.outputs[0]))
    return True


def _axes(graph: Graph, op: Op) -> tuple[_Axis, _Axis]:
    _, height, width, _ = graph.tensors[op.inputs[1]].shape
    _, rows, columns, _ = graph.tensors[op.outputs[0]].shape
    padding, steps = op.options["padding"], (int(op.options[name]) for name in ("stride_h", "stride_w"))  # type: ignore[arg-type]
    return tuple(  # type: ignore[return-value]
        _Axis(weights, stride, margin(size, weights, stride, padding))
        for weights, stride, size in zip((height, width), steps, (rows, columns), strict=True)
    )


def _layer_of(graph: Graph, op: Op, vertical: _Axis, horizontal: _Axis) -> Layer:
    """All phases of a TRANSPOSE_CONV that `plain.refusal` has nothing against; each has quads of its own."""
    source, weights, result = (graph.tensors[i] for i in (op.inputs[2], op.inputs[1], op.outputs[0]))
    given = np.asarray(weights.data)
    channels, depth = given.shape[0], given.shape[3]
    spare = -channels % QUAD
    stored = np.pad(given, ((0, spare), vertical.padding, horizontal.padding, (0, 0)))
    split = (channels + spare, vertical.taps, vertical.stride, horizontal.taps, horizontal.stride, depth)
    turned = stored.reshape(split)[:, ::-1, :, ::-1].transpose(2, 4, 0, 1, 3, 5)
    kernel = np.ascontiguousarray(turned.reshape(-1, vertical.taps, horizontal.taps, depth))
    phases = vertical.stride * horizontal.stride
    bias = graph.tensors[op.inputs[3]].data if len(op.inputs) > 3 and op.inputs[3] >= 0 else None
    factors = np.broadcast_to(sum_factors(op.kind, source, weights, result), (channels,))
    low, high = clamp(str(op.options["fused_activation_function"]), result)
    first = np.zeros(channels, np.int64) if bias is None else bias.reshape(-1).astype(np.int64)
    window = Window(vertical.taps, horizontal.taps, 1, 1, 1, 1, vertical.last, horizontal.last)
    return Layer(
        op.inputs[2], window, kernel, 0, kernel.sum(axis=(1, 2, 3), dtype=np.int64),
        np.tile(np.pad(first, (0, spare)), phases), np.tile(np.pad(factors, (0, spare)), phases),
        zero_point_of(source), zero_point_of(result), low, high, (1, 2, 3),
    )  # fmt: skip


def _join(planner: Planner, phases: Value, out: Value) -> None:
    def emit(places: Places) -> list[Step]:
        fields = read(places, phases) | written(places, out) | {
            "planes": places.of(out).planes, "step_y": phases.form.step_y, "step_x": phases.form.step_x,
            "zero_point": stored_zero(planner, out.tensor),
        }  # fmt: skip
        return [Step("join_phases", fields)]

    planner.node((phases,), (out,), emit)
