"""A network with fake quantisation, traced by torch.fx, to an int8 `.tflite`: no calibration, no converter.

Known: convolutions (dense and depthwise) and sums with their activation, concatenation, max pooling, nearest
neighbour doubling, zero padding. Every tensor is NHWC; the scales are those that training rounded to.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from edgekit.errors import ModelError
from edgekit.model import Graph, Op, Tensor, write
from edgekit.optimize.nets import STRIDES
from edgekit.optimize.quantize import PIXEL_SCALE, FakeConv, FixedScale
from edgekit.optimize.tracing import Maps, before, trace

VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}  # of the int8 forms; every other operator here has 2
INPUT_QUANT = (PIXEL_SCALE, -128)
INT32 = np.iinfo(np.int32)
Quant = tuple[float, int]  # scale, zero point
Sides = tuple[int, int, int, int]  # padding: left, right, top, bottom


def export(network: nn.Module, size_px: int, name: str) -> bytes:
    """The `.tflite` of a quantised detector; its outputs are called `boxes_scores_<stride>`."""
    maps = Maps(network).eval()
    names = tuple(f"boxes_scores_{stride}" for stride in STRIDES)
    return write(build(maps, (3, size_px, size_px), name, names))


def build(network: nn.Module, shape: tuple[int, int, int], name: str, outputs: tuple[str, ...]) -> Graph:
    """The graph of a module from an image (c, h, w) to a tuple of maps. ModelError: unknown operation."""
    traced = trace(network)
    with torch.no_grad():
        ShapeProp(traced).propagate(torch.zeros(1, *shape))
    return _Builder(traced, outputs).run(name)


class _Builder:
    """Turns fx nodes into operators, one by one; `values` holds the tensor of each node that has one."""

    def __init__(self, traced: fx.GraphModule, outputs: tuple[str, ...]) -> None:
        self.traced, self.output_names = traced, outputs
        self.modules = dict(traced.named_modules())
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.values: dict[fx.Node, int] = {}
        self.handlers: dict[Any, Callable[[fx.Node], None]] = {
            torch.cat: self._concatenate,
            functional.interpolate: self._double,
            nn.MaxPool2d: self._pool,
            FixedScale: self._rounded,
            nn.Identity: self._skip,
            functional.pad: self._later,
            FakeConv: self._later,
            operator.add: self._later,
        }

    def run(self, name: str) -> Graph:
        inputs, results = [], []
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._tensor(node, INPUT_QUANT, "image")
                inputs.append(self.values[node])
            elif node.op == "output":
                results = [self.values[one] for one in node.args[0]]
            else:
                self._handle(node)
        self._rename(results)
        return Graph(tuple(self.tensors), tuple(self.ops), tuple(inputs), tuple(results), name)

    def _handle(self, node: fx.Node) -> None:
        kind = type(self.modules[str(node.target)]) if node.op == "call_module" else node.target
        if kind not in self.handlers:
            raise ModelError(f"{node.name}: the exporter does not know {kind}: use the operations it lists")
        self.handlers[kind](node)

    def _later(self, _node: fx.Node) -> None:
        """Written together with the rounding, or the convolution, that follows."""

    def _skip(self, node: fx.Node) -> None:
        source = before(node)
        if source in self.values:
            self.values[node] = self.values[source]

    def _rounded(self, node: fx.Node) -> None:
        """A convolution or a sum, with the activation and scale of the rounding behind it."""
        rounding: Any = self.modules[str(node.target)]
        quant = (float(rounding.scale), int(rounding.zero_point))
        activation = "RELU6" if rounding.capped else "NONE"
        source = self._through(before(node))
        if source.target is operator.add:
            inputs = [self.values[self._through(one)] for one in source.args if isinstance(one, fx.Node)]
            self._emit("ADD", inputs, node, quant, {"fused_activation_function": activation})
        elif source.op == "call_module" and isinstance(self.modules[str(source.target)], FakeConv):
            self._convolution(source, node, quant, activation)
        else:
            raise ModelError(
                f"{node.name}: a rounding stands behind {source.name}, not a convolution or a sum"
            )

    def _through(self, node: fx.Node) -> fx.Node:
        """The node itself, or what stands before identities."""
        while node.op == "call_module" and isinstance(self.modules[str(node.target)], nn.Identity):
            node = before(node)
        return node

    def _convolution(self, node: fx.Node, rounded: fx.Node, quant: Quant, activation: str) -> None:
        conv: Any = self.modules[str(node.target)]
        source, sides = self._through(before(node)), (conv.padding[1],) * 2 + (conv.padding[0],) * 2
        if source.target is functional.pad:
            sides = tuple(a + b for a, b in zip(sides, source.args[1], strict=True))
            source = self._through(before(source))
        data, padding = self._padded(self.values[source], sides, conv, rounded)
        deep = conv.groups > 1
        if deep and (conv.groups != conv.in_channels or conv.out_channels != conv.in_channels):
            raise ModelError(
                f"{node.name}: {conv.groups} groups of {conv.in_channels} channels: 1 or all are known"
            )
        weights = self._weights(node.name, conv, deep=deep, scale=self._quant(data)[0])
        options: dict[str, Any] = {
            "padding": padding,
            "stride_w": conv.stride[1],
            "stride_h": conv.stride[0],
            "fused_activation_function": activation,
        }
        if deep:
            options["depth_multiplier"] = 1
        self._emit("DEPTHWISE_CONV_2D" if deep else "CONV_2D", [data, *weights], rounded, quant, options)

    def _padded(self, data: int, sides: Sides, conv: Any, rounded: fx.Node) -> tuple[int, str]:
        """The tensor to convolve and its padding; an explicit PAD where neither SAME nor VALID fits."""
        _, height, width, channels = self.tensors[data].shape
        if not any(sides):
            return data, "VALID"
        size, step = conv.kernel_size, conv.stride
        if sides == _same(width, size[1], step[1]) + _same(height, size[0], step[0]):
            return data, "SAME"
        left, right, top, bottom = sides
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        shape = (1, height + top + bottom, width + left + right, channels)
        source = self.tensors[data]
        padded = self._add(
            Tensor(f"{rounded.name}_padded", shape, np.dtype(np.int8), source.scale, source.zero_point)
        )
        constant = self._add(Tensor(f"{rounded.name}_padding", (4, 2), np.dtype(np.int32), data=amounts))
        self.ops.append(Op("PAD", (data, constant), (padded,), {}, 2))
        return padded, "VALID"

    def _weights(self, name: str, conv: Any, *, deep: bool, scale: float) -> tuple[int, int]:
        """Indices of the int8 weights and of the int32 bias at scale input x weights."""
        scales = conv.weight_scales().numpy().astype(np.float32)
        weights = conv.weight.detach().numpy()
        stored = np.clip(np.rint(weights / scales[:, None, None, None]), -127, 127).astype(np.int8)
        stored = stored.transpose(1, 2, 3, 0) if deep else stored.transpose(0, 2, 3, 1)
        bias_scales = (scales.astype(np.float64) * scale).astype(np.float32)
        bias = np.clip(
            np.rint(conv.bias.detach().numpy().astype(np.float64) / bias_scales), INT32.min, INT32.max
        )
        zeros = np.zeros(len(scales), np.int64)
        data = np.ascontiguousarray(stored)
        axis = 3 if deep else 0
        one = self._add(Tensor(f"{name}_weights", data.shape, np.dtype(np.int8), scales, zeros, axis, data))
        two = Tensor(
            f"{name}_bias", bias.shape, np.dtype(np.int32), bias_scales, zeros, 0, bias.astype(np.int32)
        )
        return one, self._add(two)

    def _concatenate(self, node: fx.Node) -> None:
        parts: Any = node.args[0]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis != 1:
            raise ModelError(f"{node.name}: concatenation along axis {axis}: only channels (1) are known")
        inputs = [self.values[self._through(one)] for one in parts]
        quants = {self._quant(one) for one in inputs}
        if len(quants) > 1:
            raise ModelError(
                f"{node.name}: joins tensors of different scales: give them one scale in training"
            )
        self._emit("CONCATENATION", inputs, node, quants.pop(), {"axis": 3})

    def _double(self, node: fx.Node) -> None:
        if node.kwargs.get("scale_factor") != 2.0 or node.kwargs.get("mode", "nearest") != "nearest":
            raise ModelError(f"{node.name}: only nearest neighbour interpolation by 2 is known")
        source = self.values[self._through(before(node))]
        size = np.array(_shape(node)[1:3], np.int32)
        constant = self._add(Tensor(f"{node.name}_size", (2,), np.dtype(np.int32), data=size))
        self._emit("RESIZE_NEAREST_NEIGHBOR", [source, constant], node, self._quant(source), {})

    def _pool(self, node: fx.Node) -> None:
        pool: Any = self.modules[str(node.target)]
        if pool.stride != 1 or pool.padding * 2 + 1 != pool.kernel_size:
            raise ModelError(f"{node.name}: only pooling of stride 1 that keeps the size is known")
        source = self.values[self._through(before(node))]
        options: dict[str, Any] = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
        options |= {"filter_width": pool.kernel_size, "filter_height": pool.kernel_size}
        self._emit("MAX_POOL_2D", [source], node, self._quant(source), options)

    def _emit(
        self, kind: str, inputs: list[int], node: fx.Node, quant: Quant, options: dict[str, Any]
    ) -> None:
        self.values[node] = self._tensor(node, quant, node.name)
        self.ops.append(Op(kind, tuple(inputs), (self.values[node],), options, VERSIONS.get(kind, 2)))

    def _tensor(self, node: fx.Node, quant: Quant, name: str) -> int:
        scale, zero = np.array([quant[0]], np.float32), np.array([quant[1]], np.int64)
        return self._add(Tensor(name, _shape(node), np.dtype(np.int8), scale, zero))

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _quant(self, index: int) -> Quant:
        tensor = self.tensors[index]
        if tensor.scale is None or tensor.zero_point is None:
            raise ModelError(f"{tensor.name}: has no scale: give it one in training")
        return float(tensor.scale[0]), int(tensor.zero_point[0])

    def _rename(self, results: list[int]) -> None:
        for index, name in zip(results, self.output_names, strict=True):
            self.tensors[index] = dataclasses.replace(self.tensors[index], name=name)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """NHWC shape of a node's value."""
    batch, channels, height, width = node.meta["tensor_meta"].shape
    return batch, height, width, channels


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TFLite's SAME pads before and after an axis."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2
