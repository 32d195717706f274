"""A quantised torch model to an int8 `.tflite`: torch.fx nodes to operators, NCHW to NHWC.

Known: convolutions (depthwise, grouped, dilated, transposed; any stride and padding), linear layers, batch
norms, ReLU, ReLU6, SiLU, Hardswish, Hardsigmoid, LeakyReLU, sigmoid, tanh, softmax, sums, differences and
products (with numbers too), concatenation, max and average pools, means, resizes, zero padding, reshapes,
permutations.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from edgekit.errors import ModelError
from edgekit.files import write_bytes
from edgekit.model import write
from edgekit.model.graph import Graph, Tensor
from edgekit.optimize.training.builder import ARITHMETIC, INT8, KNOWN, MAPS, PARTS, TO_NHWC, Builder
from edgekit.optimize.training.geometry import (
    before,
    both,
    check_pool,
    order_of,
    pair,
    part_begin,
    range_begin,
    same,
    shape_of,
    sides_of,
    transposed_padding,
    window,
)  # fmt: skip
from edgekit.optimize.training.layers import (
    ActivationRange,
    QuantConv2d,
    QuantConvTranspose2d,
    QuantLinear,
    QuantScale,
)
from edgekit.optimize.training.mixed import with_floats
from edgekit.optimize.training.quantization import (
    NORMS,
    REPLACED,
    SIZES,
    device_of,
    graph_of,
    ranges,
    traced_for_int8,
)

BIAS_LIMITS = np.iinfo(np.int32)

_log = logging.getLogger("edgekit.optimize")


def export(model: nn.Module, example: torch.Tensor, path: Path | str | None = None, name: str = "") -> bytes:
    """The `.tflite` of a quantised model, written to `path` if one is given.

    `example` is one input (1, c, h, w) or (1, n), for its shape. Images in the file are (1, h, w, c).
    ModelError for an operation that has no int8 form and for ranges that were never set.
    """
    content = write(build(model, example, name))
    if path is not None:
        write_bytes(Path(path), content)
    return content


def build(model: nn.Module, example: torch.Tensor, name: str = "", outputs: Sequence[str] = ()) -> Graph:
    """The graph of a quantised model; `outputs` names its outputs."""
    if any(not one.is_set for one in ranges(model)):
        raise ModelError("no range was ever set: train the quantised model for a step, or calibrate it")
    modes = {module: module.training for module in model.modules()}
    traced = graph_of(model)
    model.eval()
    try:
        with torch.no_grad():
            ShapeProp(traced).propagate(example[:1].float().to(device_of(model)))
    finally:
        for module, was in modes.items():
            module.training = was
    return _Converter(traced).run(name or type(model).__name__, outputs)


def check(model: nn.Module) -> None:
    """ModelError, before anything is trained, for layers of a float model that have no int8 form.

    Functions that it calls are only known with an input: those `export` tells.
    """
    traced = traced_for_int8(model)
    known = _Converter(fx.GraphModule({}, fx.Graph())).handlers
    for node in traced.graph.nodes:
        kind = type(traced.module(node))
        if node.op == "call_module" and kind not in known and not issubclass(kind, (*REPLACED, *NORMS)):
            raise ModelError(f"{node.target}: {kind.__name__} has no int8 form here: {KNOWN}")


def _copied(parameter: torch.Tensor) -> NDArray[np.float32]:
    return np.array(parameter.detach().float().cpu().numpy())


def _as_stored(weights: NDArray[Any], order: Sequence[int], *, deep: bool) -> NDArray[Any]:
    """Weights in torch's order as they lie in the file: by `order`, which a lone batch norm has none of."""
    if not order:
        return weights.reshape(1, 1, 1, -1)
    return np.ascontiguousarray(weights.transpose((1, 2, 3, 0) if deep else order))


class _Converter(Builder):
    """Turns nodes into operators one by one."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.floats: set[int] = set()  # tensors that int8 is too coarse for
        self.floats_of: dict[int, NDArray[np.float32]] = {}  # weights and biases that it is too coarse for
        self.handlers: dict[Any, Callable[[fx.Node, Any], None]] = {
            QuantConv2d: self._convolution,
            QuantConvTranspose2d: self._transposed_convolution,
            QuantScale: self._scale,
            QuantLinear: self._linear,
            nn.LeakyReLU: self._leaky,
            nn.Softmax: self._softmax,
            nn.MaxPool2d: self._max_pool,
            nn.AvgPool2d: self._average_pool,
            nn.AdaptiveAvgPool2d: self._global_pool,
            nn.Upsample: self._resize,
            functional.interpolate: self._resize,
            nn.ZeroPad2d: self._pad,
            nn.Flatten: self._reshape,
            torch.cat: self._concatenate,
            operator.getitem: self._slice,
            **dict.fromkeys(PARTS, self._parts),
            "mean": self._mean,
            **dict.fromkeys(("reshape", "squeeze", "unsqueeze"), self._reshape),
            **dict.fromkeys(("permute", "transpose"), self._permute),
            **dict.fromkeys(ARITHMETIC, self._arithmetic),
            **dict.fromkeys(MAPS, self._map),
        }

    def run(self, name: str, outputs: Sequence[str]) -> Graph:
        inputs: list[int] = []
        results: list[int] = []
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._tensor(node, self._quant(node), node.name)
                inputs.append(self.values[node])
            elif node.op == "output":
                given = node.args[0]
                results = [self.value(one) for one in (given if isinstance(given, tuple | list) else [given])]
            elif "tensor_meta" in node.meta and node.target not in SIZES:
                self._handle(node)
        graph = Graph(self._named(results, outputs), tuple(self.ops), tuple(inputs), tuple(results), name)
        return with_floats(graph, self.floats, self.floats_of)

    def _named(self, results: list[int], names: Sequence[str]) -> tuple[Tensor, ...]:
        from dataclasses import replace

        tensors = list(self.tensors)
        for index, name in zip(results, names, strict=False):
            tensors[index] = replace(tensors[index], name=name)
        return tuple(tensors)

    def _handle(self, node: fx.Node) -> None:
        module = self._module(node)
        if isinstance(module, ActivationRange):
            self._round(node, module)
        elif self._fused(node):
            self.values[node] = self.values[before(node)]
        else:
            kind = type(module) if module is not None else node.target
            if kind not in self.handlers:
                shown = getattr(kind, "__name__", str(kind))
                raise ModelError(f"{node.name}: {shown} has no int8 form here: {KNOWN}")
            self.handlers[kind](node, module)

    # ---- operators, in the order of the table ----

    def _round(self, node: fx.Node, module: ActivationRange) -> None:
        """A range: nothing to do, unless the value before it has another scale."""
        source = before(node)
        index = self.value(source)
        if source in self.plain:
            self.plain.add(node)
        self.values[node] = index
        if self._quant_of(index) != module.quant():
            self.values[node] = self._add(f"{node.name}_rounded", self.tensors[index].shape, module.quant())
            self._op("QUANTIZE", [index], self.values[node])
        if not module.rounds:
            self.floats.add(self.values[node])

    def _convolution(self, node: fx.Node, conv: QuantConv2d) -> None:
        source, sides = before(node), sides_of(conv)
        if self._is_merged(source):
            sides = tuple(a + b for a, b in zip(sides, self._module(source).padding, strict=True))
            source = before(source)
        data, padding = self._padded(self._nhwc(source), sides, conv, node.name)
        deep = conv.groups > 1 and conv.groups == conv.in_channels
        weights = self._weights(node.name, conv, (2, 3, 1, 0) if deep else (0, 2, 3, 1), deep=deep)
        options: dict[str, Any] = {
            "padding": padding,
            "stride_w": conv.stride[1],
            "stride_h": conv.stride[0],
            "dilation_w_factor": conv.dilation[1],
            "dilation_h_factor": conv.dilation[0],
            "fused_activation_function": self._activation(node),
        }
        if deep:
            options["depth_multiplier"] = conv.out_channels // conv.in_channels
        self._emit("DEPTHWISE_CONV_2D" if deep else "CONV_2D", [data, *weights], node, options)

    def _transposed_convolution(self, node: fx.Node, conv: QuantConvTranspose2d) -> None:
        """TFLite says by its padding how far the output begins behind the first window; else it is cut."""
        data = self._nhwc(before(node))
        weights, bias = self._weights(node.name, conv, (1, 2, 3, 0), deep=False)
        images, channels, *wanted = shape_of(node)
        _, height, width, _ = self.tensors[data].shape
        padding, size = transposed_padding(conv, (height, width), (wanted[0], wanted[1]))
        options: dict[str, Any] = {
            "padding": padding,
            "stride_w": conv.stride[1],
            "stride_h": conv.stride[0],
            "fused_activation_function": self._activation(node),
        }
        shape = (images, *size, channels)
        inputs = [self._constant(f"{node.name}_shape", shape), weights, data, bias]
        if list(size) == wanted:
            self._emit("TRANSPOSE_CONV", inputs, node, options)
            return
        _log.info("%s: its padding %s costs an operator SLICE", node.name, conv.padding)
        whole = self._add(f"{node.name}_whole", shape, self._quant(node))
        self._op("TRANSPOSE_CONV", inputs, whole, options)
        part = self._part(node.name, [0, *pair(conv.padding), 0], (images, *wanted, channels))
        self._emit("SLICE", [whole, *part], node)

    def _scale(self, node: fx.Node, scale: QuantScale) -> None:
        """A lone batch norm as a depthwise convolution of 1 x 1."""
        weights = self._weights(node.name, scale, (), deep=True)
        options = {"padding": "VALID", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1}
        self._emit("DEPTHWISE_CONV_2D", [self._nhwc(before(node)), *weights], node, options)

    def _linear(self, node: fx.Node, linear: QuantLinear) -> None:
        source = self._torch_order(before(node))
        weights = self._weights(node.name, linear, (0, 1), deep=False)
        options = {
            "fused_activation_function": self._activation(node),
            "keep_num_dims": len(shape_of(node)) > 2,
        }
        self._emit("FULLY_CONNECTED", [source, *weights], node, options, plain=True)

    def _weights(self, name: str, layer: Any, order: Sequence[int], *, deep: bool) -> tuple[int, int]:
        """Indices of the int8 weights and int32 biases: the integers that training rounded to."""
        steps, bias = (one.cpu().numpy() for one in layer.integers())
        stored = _as_stored(steps.astype(np.int8), order, deep=deep)
        if deep and stored.shape[0] != 1:
            raise ModelError(f"{name}: its groups do not divide its channels evenly")
        scales = layer.weight_scales().cpu().numpy().astype(np.float32)
        axis = 3 if deep else 0
        one = self._parameters(f"{name}_weights", stored, scales, axis)
        integers = bias.clip(BIAS_LIMITS.min, BIAS_LIMITS.max).astype(np.int32)
        other = self._parameters(f"{name}_bias", integers, layer.bias_scales().cpu().numpy(), 0)
        if not layer.rounds:
            offsets = torch.zeros(len(scales)) if layer.bias is None else layer.bias
            self.floats_of[one] = _as_stored(_copied(layer.weight), order, deep=deep)
            self.floats_of[other] = _copied(offsets)
        return one, other

    def _is_merged(self, node: fx.Node) -> bool:
        """Whether a padding is done by the convolutions that read it."""
        return isinstance(self._module(node), nn.ZeroPad2d) and all(
            isinstance(self._module(user), QuantConv2d) for user in node.users
        )

    def _pad(self, node: fx.Node, module: nn.ZeroPad2d) -> None:
        if self._is_merged(node):
            return
        self.values[node] = self._pad_by(self._nhwc(before(node)), module.padding, node.name)

    def _map(self, node: fx.Node, module: nn.Module) -> None:
        self._elementwise(MAPS[type(module)], node)

    def _leaky(self, node: fx.Node, module: nn.LeakyReLU) -> None:
        self._elementwise("LEAKY_RELU", node, {"alpha": module.negative_slope})

    def _elementwise(self, kind: str, node: fx.Node, options: dict[str, Any] | None = None) -> None:
        source = before(node)
        self._emit(kind, [self.value(source)], node, options, plain=source in self.plain)

    def _softmax(self, node: fx.Node, module: nn.Softmax) -> None:
        rank, source = len(shape_of(node)), before(node)
        plain = source in self.plain
        last = 1 if rank == 4 and not plain else rank - 1
        if module.dim is None or module.dim % rank != last:
            raise ModelError(f"{node.name}: softmax over axis {module.dim}: only over channels is known")
        self._emit("SOFTMAX", [self.value(source)], node, {"beta": 1.0}, plain=plain)

    def _arithmetic(self, node: fx.Node, _module: None) -> None:
        """A sum, difference or product of tensors, or of a tensor and a number."""
        if node.kwargs.get("alpha", 1) != 1:
            raise ModelError(f"{node.name}: a sum with alpha: multiply first")
        terms = list(node.args)
        plain = all(not isinstance(one, fx.Node) or one in self.plain for one in terms)
        inputs = [self._term(node, one, plain=plain) for one in terms]
        options = {"fused_activation_function": self._activation(node)}
        self._emit(ARITHMETIC[node.target], inputs, node, options, plain=plain)

    def _term(self, node: fx.Node, term: Any, *, plain: bool) -> int:
        if isinstance(term, fx.Node):
            return self.value(term) if plain else self._nhwc(term)
        if not isinstance(term, int | float):
            raise ModelError(f"{node.name}: a constant {type(term).__name__}: only numbers are known")
        scale = np.array([abs(term) / 127 or 1.0], np.float32)
        data = np.array(np.sign(term) * 127, np.int8)
        self.tensors.append(Tensor(f"{node.name}_number", (), INT8, scale, np.array([0]), 0, data))
        return len(self.tensors) - 1

    def _concatenate(self, node: fx.Node, _module: None) -> None:
        parts: Any = node.args[0]
        rank = len(shape_of(node))
        axis = (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)) % rank
        plain = rank != 4 or all(part in self.plain for part in parts)
        if not plain:
            axis = TO_NHWC.index(axis)
        inputs = [self.value(part) if plain else self._nhwc(part) for part in parts]
        self._emit("CONCATENATION", inputs, node, {"axis": axis}, plain=plain)

    def _parts(self, node: fx.Node, _module: None) -> None:
        """A tensor that is about to be taken apart: nothing is done until a part is read."""
        self.values[node] = self.value(before(node))
        if before(node) in self.plain:
            self.plain.add(node)

    def _slice(self, node: fx.Node, _module: None) -> None:
        """A part of a split tensor, or a range of it."""
        source = before(node)
        begin = part_begin(node) if source.target in PARTS else range_begin(node)
        size = list(shape_of(node))
        if len(begin) != len(size):
            raise ModelError(f"{node.name}: an index that drops an axis is not known: take a range")
        plain = source in self.plain or len(size) != 4
        if not plain:
            begin, size = ([one[axis] for axis in TO_NHWC] for one in (begin, size))
        self._emit("SLICE", [self.value(source), *self._part(node.name, begin, size)], node, plain=plain)

    def _max_pool(self, node: fx.Node, pool: nn.MaxPool2d) -> None:
        check_pool(node, pool)
        if pair(pool.dilation) != (1, 1):
            raise ModelError(f"{node.name}: a dilated pool has no int8 form")
        source, sides = self._nhwc(before(node)), both(pool.padding)
        data, padding = source, "VALID"
        if any(sides):
            data, padding = self._padded_pool(source, sides, pool, node.name)
        self._emit("MAX_POOL_2D", [data], node, window(pool, padding))

    def _padded_pool(self, source: int, sides: tuple[int, ...], pool: Any, name: str) -> tuple[int, str]:
        """As `_padded`, with margins that are never the largest."""
        _, height, width, _ = self.tensors[source].shape
        size, step = pair(pool.kernel_size), pair(pool.stride)
        if sides == same(width, size[1], step[1]) + same(height, size[0], step[0]):
            return source, "SAME"
        return self._pad_by(source, sides, name, lowest=True), "VALID"

    def _average_pool(self, node: fx.Node, pool: nn.AvgPool2d) -> None:
        check_pool(node, pool)
        if pool.divisor_override is not None:
            raise ModelError(f"{node.name}: divisor_override has no int8 form")
        source, sides = self._nhwc(before(node)), both(pool.padding)
        padding = "VALID"
        if any(sides) and pool.count_include_pad:
            source = self._pad_by(source, sides, node.name)
        elif any(sides):
            _, height, width, _ = self.tensors[source].shape
            size, step = pair(pool.kernel_size), pair(pool.stride)
            if sides != same(width, size[1], step[1]) + same(height, size[0], step[0]):
                raise ModelError(f"{node.name}: padding {pool.padding} without counting it has no int8 form")
            padding = "SAME"
        self._emit("AVERAGE_POOL_2D", [source], node, window(pool, padding))

    def _global_pool(self, node: fx.Node, pool: nn.AdaptiveAvgPool2d) -> None:
        if pair(pool.output_size) != (1, 1):
            raise ModelError(f"{node.name}: an adaptive pool to {pool.output_size}: only to 1 is known")
        axes = self._constant(f"{node.name}_axes", [1, 2])
        self._emit("MEAN", [self._nhwc(before(node)), axes], node, {"keep_dims": True})

    def _mean(self, node: fx.Node, _module: None) -> None:
        source = before(node)
        rank = len(shape_of(source))
        dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", tuple(range(rank)))
        keep = bool(node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False))
        axes = sorted(axis % rank for axis in (dims if isinstance(dims, tuple | list) else (dims,)))
        plain = source in self.plain or rank != 4
        if not plain and not keep and axes not in ([2, 3], [1, 2, 3]):
            data, plain = self._torch_order(source), True
        else:
            data = self.value(source)
        stored = axes if plain else sorted(TO_NHWC.index(axis) for axis in axes)
        self._emit(
            "MEAN",
            [data, self._constant(f"{node.name}_axes", stored)],
            node,
            {"keep_dims": keep},
            plain=plain,
        )

    def _resize(self, node: fx.Node, module: nn.Upsample | None) -> None:
        mode = module.mode if module is not None else node.kwargs.get("mode", "nearest")
        aligned = module.align_corners if module is not None else node.kwargs.get("align_corners")
        size = self._constant(f"{node.name}_size", shape_of(node)[2:])
        inputs = [self._nhwc(before(node)), size]
        if mode == "nearest":
            self._emit("RESIZE_NEAREST_NEIGHBOR", inputs, node)
        elif mode == "bilinear":
            options = {"align_corners": bool(aligned), "half_pixel_centers": not aligned}
            self._emit("RESIZE_BILINEAR", inputs, node, options)
        else:
            raise ModelError(f"{node.name}: resizing by {mode}: only nearest and bilinear are known")

    def _reshape(self, node: fx.Node, _module: Any) -> None:
        shape = shape_of(node)
        data = self._torch_order(before(node))
        options = {"new_shape": shape}
        self._emit("RESHAPE", [data, self._constant(f"{node.name}_shape", shape)], node, options, plain=True)

    def _permute(self, node: fx.Node, _module: None) -> None:
        """A permutation; to NHWC it costs nothing."""
        source = before(node)
        order = order_of(node, len(shape_of(source)))
        if len(order) == 4 and source not in self.plain:
            order = [TO_NHWC.index(axis) for axis in order]
        if list(order) == sorted(order):
            self.values[node] = self.value(source)
        else:
            self.values[node] = self._moved(self.value(source), order, node.name)
        if len(order) == 4:
            self.plain.add(node)
