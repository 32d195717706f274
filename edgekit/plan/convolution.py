"""CONV_2D and DEPTHWISE_CONV_2D in planes: what they ask of their input, and their steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op
from edgekit.plan.fully_connected import ACTIVATIONS, clamp, is_int8, zero_point_of
from edgekit.plan.layout import Margins
from edgekit.plan.simplify.arithmetic import sum_factors
from edgekit.plan.simplify.padding import explicit_padding

MAX_SUM = 2**31 - 1024
MAX_SCALED = 2.0**30
PART = 1 << 15  # weights that are looked at, and packed, at once
MAX_STRIDE = 64  # as EK_MAX_STEP in native/ek.h


@dataclass(frozen=True)
class Window:
    """How a window moves over a picture; `top` and `left` are the rows and columns it starts outside."""

    height: int
    width: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    top: int
    left: int

    @property
    def words(self) -> str:
        square = self.stride_y == self.stride_x
        stride = str(self.stride_y) if square else f"{self.stride_y}x{self.stride_x}"
        dense = self.dilation_y == self.dilation_x == 1
        dilation = "" if dense else f" dilation {self.dilation_y}x{self.dilation_x}"
        return f"{self.height}x{self.width} stride {stride}{dilation}"

    @property
    def is_plain(self) -> bool:
        """Whether the kernel for depthwise convolutions takes it."""
        return self.stride_y == self.stride_x <= 2 and self.dilation_y == self.dilation_x == 1

    @property
    def phases(self) -> int:
        """A bit for each phase of the picture that the window meets."""
        rows = {y * self.dilation_y % self.stride_y for y in range(self.height)}
        columns = {x * self.dilation_x % self.stride_x for x in range(self.width)}
        return sum(1 << (y * self.stride_x + x) for y in rows for x in columns)

    @property
    def reach_y(self) -> int:
        return (self.height - 1) * self.dilation_y + 1

    @property
    def reach_x(self) -> int:
        return (self.width - 1) * self.dilation_x + 1

    def margins(self, source: tuple[int, ...], result: tuple[int, ...]) -> Margins:
        """Of the source (images, rows, columns, channels), so that every window lies inside."""
        bottom = (result[1] - 1) * self.stride_y + self.reach_y - self.top - source[1]
        right = (result[2] - 1) * self.stride_x + self.reach_x - self.left - source[2]
        return Margins(self.top, self.left, max(0, bottom), max(0, right))


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution with all that does not depend on places.

    Weights are (outputs, height, width, inputs), those of a depthwise one (1, height, width, outputs), as
    they are stored: they are made int16 only while they are packed.
    """

    source: int  # the tensor that the window moves over
    window: Window
    stored: NDArray[Any]
    weight_zero: int
    sums: NDArray[np.int64]  # of the weights of each output channel
    bias: NDArray[np.int64]
    multiplier: NDArray[np.float64]  # from a sum to the stored output, one an output channel
    zero_in: int
    zero_out: int
    low: int
    high: int

    axes: tuple[int, ...]  # of the weights, that are summed over for one output

    @property
    def weights(self) -> NDArray[np.int16]:
        """Less their zero point."""
        return self.stored.astype(np.int16) - np.int16(self.weight_zero)

    def parts(self, multiple: int = 8) -> Iterator[tuple[slice, NDArray[np.int16]]]:
        """The weights of a multiple of so many outputs at once: as int16 all would take twice the file."""
        axis = 3 if self.axes == (0, 1, 2) else 0
        outputs = self.stored.shape[axis]
        step = max(1, PART // max(1, self.stored.size // outputs) // multiple) * multiple
        for start in range(0, outputs, step):
            some = slice(start, min(start + step, outputs))
            part = self.stored[..., some] if axis else self.stored[some]
            yield some, part.astype(np.int16) - np.int16(self.weight_zero)

    @property
    def channels(self) -> int:
        return len(self.bias)

    def reach(self, flip: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The least and the most that each sum can be, over stored bytes from flip - 128 to flip + 127."""
        rising = [np.maximum(part, 0).sum(axis=self.axes, dtype=np.int64) for _, part in self.parts()]
        up = np.concatenate(rising)
        down = up - self.sums
        start = self.bias - (self.zero_in + flip) * self.sums
        least, most = flip - 128, flip + 127
        return start + least * up - most * down, start + most * up - least * down


def window_of(graph: Graph, op: Op, size: tuple[int, int]) -> tuple[Window, int]:
    """The window of a convolution and the tensor that it moves over, read through a PAD before it."""
    (top, _, left, _), source = explicit_padding(graph, op)
    o: dict[str, Any] = op.options
    _, rows, columns, _ = graph.tensors[op.outputs[0]].shape
    strides = (o["stride_h"] if rows > 1 else 1, o["stride_w"] if columns > 1 else 1)
    dilations = (o["dilation_h_factor"], o["dilation_w_factor"])
    return Window(*size, *strides, *dilations, top, left), source


def layer_of(graph: Graph, op: Op) -> Layer:
    """The layer of a CONV_2D or DEPTHWISE_CONV_2D that `refusal` has nothing against."""
    source, weights, result = (graph.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    kernel, zero = np.asarray(weights.data), zero_point_of(weights)
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    outputs = kernel.shape[3] if depthwise else kernel.shape[0]
    bias = graph.tensors[op.inputs[2]].data if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    low, high = clamp(str(op.options["fused_activation_function"]), result)
    axes = (0, 1, 2) if depthwise else (1, 2, 3)
    window, padded = window_of(graph, op, kernel.shape[1:3])
    factors = np.broadcast_to(sum_factors(op.kind, source, weights, result), (outputs,))
    return Layer(
        padded, window, kernel, zero,
        kernel.sum(axis=axes, dtype=np.int64) - zero * (kernel.size // outputs),
        np.zeros(outputs, np.int64) if bias is None else bias.reshape(-1).astype(np.int64),
        factors, zero_point_of(source), zero_point_of(result), low, high, axes,
    )  # fmt: skip


def refusal(graph: Graph, op: Op) -> str | None:
    """Why the native engine cannot run this CONV_2D or DEPTHWISE_CONV_2D; None if it can.

    That the shapes fit each other is for `edgekit.model.operators` to say.
    """
    source, weights, result = (graph.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    if not is_int8(source) or not is_int8(result):
        return f"{source.dtype} to {result.dtype}; only int8 with one scale each"
    if weights.data is None or str(weights.dtype) not in ("int8", "uint8", "int16") or weights.scale is None:
        return f"weights that are no constant integers with a scale: {weights.dtype}"
    bias = graph.tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    if bias is not None and (bias.data is None or str(bias.dtype) != "int32"):
        return "a bias that is no constant int32 vector"
    if weights.zero_point is not None and len(set(weights.zero_point.tolist())) > 1:
        return "weights with several zero points"
    if str(op.options["fused_activation_function"]) not in ACTIVATIONS:
        return f"activation {op.options['fused_activation_function']!r}"
    return overflow(layer_of(graph, op))


def overflow(layer: Layer) -> str | None:
    """Steps are short; sums, and what they are scaled to, must stay within 32 bits."""
    if (stride := max(layer.window.stride_y, layer.window.stride_x)) > MAX_STRIDE:
        return f"a stride of {stride}; {MAX_STRIDE} are the most"
    sums = []
    for _, part in layer.parts():
        sizes = np.abs(part)
        if sizes.max(initial=0) > 255:
            return "weights beyond 9 bits"
        sums.append(sizes.sum(axis=layer.axes, dtype=np.int64))
    reach = 255 * np.concatenate(sums) + np.abs(layer.bias)
    if reach.max(initial=0) >= MAX_SUM or (reach * layer.multiplier).max(initial=0) >= MAX_SCALED:
        return "sums beyond 32 bits"
    return None
