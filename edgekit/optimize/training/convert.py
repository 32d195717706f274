"""A quantised torch model to an int8 `.tflite`: torch.fx nodes to operators, NCHW to NHWC.

Known: convolutions (depthwise, grouped, dilated, any stride and padding), linear layers, batch norms, ReLU,
ReLU6, SiLU, Hardswish, Hardsigmoid, LeakyReLU, sigmoid, tanh, softmax, sums, differences and products (with
numbers too), concatenation, max and average pools, means, resizes, zero padding, reshapes, permutations.
"""

from __future__ import annotations

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
from edgekit.graph import Graph, Op, Tensor
from edgekit.model import write
from edgekit.optimize.training.layers import ActivationRange, Quant, QuantConv2d, QuantLinear, QuantScale
from edgekit.optimize.training.quantization import ACTIVATIONS, SIZES, graph_of, ranges

INT8, INT32 = np.dtype(np.int8), np.dtype(np.int32)
BIAS_LIMITS = np.iinfo(np.int32)
TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1, "RESIZE_NEAREST_NEIGHBOR": 3,
    "RESIZE_BILINEAR": 3, "HARD_SWISH": 1, "QUANTIZE": 2,
}  # fmt: skip
ARITHMETIC = {operator.add: "ADD", operator.sub: "SUB", operator.mul: "MUL"}
MAPS: dict[type[nn.Module], str] = {
    nn.ReLU: "RELU", nn.ReLU6: "RELU6", nn.Hardswish: "HARD_SWISH", nn.Sigmoid: "LOGISTIC", nn.Tanh: "TANH",
}  # fmt: skip


def export(model: nn.Module, example: torch.Tensor, path: Path | str | None = None, name: str = "") -> bytes:
    """The `.tflite` of a quantised model, written to `path` if one is given.

    `example` is one input (1, c, h, w) or (1, n), for its shape. Images in the file are (1, h, w, c).
    ModelError for an operation that has no int8 form and for ranges that were never set.
    """
    content = write(build(model, example, name))
    if path is not None:
        Path(path).write_bytes(content)
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
            ShapeProp(traced).propagate(example[:1].float())
    finally:
        for module, was in modes.items():
            module.training = was
    return _Converter(traced).run(name or type(model).__name__, outputs)


class _Converter:
    """Turns nodes into operators one by one.

    `values` holds the tensor of each node that has one. A value of four axes lies as NHWC unless its node is
    in `plain`: what a reshape or a permutation made lies as torch has it.
    """

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.modules = dict(traced.named_modules())
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.values: dict[fx.Node, int] = {}
        self.plain: set[fx.Node] = set()
        self.handlers: dict[Any, Callable[[fx.Node, Any], None]] = {
            QuantConv2d: self._convolution,
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
        return Graph(self._named(results, outputs), tuple(self.ops), tuple(inputs), tuple(results), name)

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
                raise ModelError(f"{node.name}: {shown} has no int8 form here: {_KNOWN}")
            self.handlers[kind](node, module)

    # ---- what stands around a node ----

    def _module(self, node: fx.Node) -> Any:
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def _fused(self, node: fx.Node) -> bool:
        """Whether an activation is done by the operator before it."""
        if not isinstance(self._module(node), ACTIVATIONS):
            return False
        source = before(node)
        absorbs = isinstance(self._module(source), QuantConv2d | QuantLinear) or source.target in ARITHMETIC
        return absorbs and len(source.users) == 1

    def _activation(self, node: fx.Node) -> str:
        """The activation that is fused with a node."""
        user = next(iter(node.users))
        return MAPS[type(self._module(user))] if self._fused(user) else "NONE"

    def _quant(self, node: fx.Node) -> Quant:
        """Scale and zero point of what a node makes: of the range behind it, else of what it reads."""
        for user in node.users:
            module = self._module(user)
            if isinstance(module, ActivationRange):
                return module.quant()
            if self._fused(user):
                return self._quant(user)
        sources = [one for one in node.all_input_nodes if one in self.values]
        return self._quant_of(self.values[sources[0]])

    def _quant_of(self, index: int) -> Quant:
        tensor = self.tensors[index]
        if tensor.scale is None or tensor.zero_point is None:
            raise ModelError(f"{tensor.name} has no scale")
        return float(tensor.scale[0]), int(tensor.zero_point[0])

    def value(self, node: Any) -> int:
        if node not in self.values:
            raise ModelError(f"{node}: has no tensor in the file: {_KNOWN}")
        return self.values[node]

    # ---- tensors and operators ----

    def _tensor(self, node: fx.Node, quant: Quant, name: str, *, plain: bool = False) -> int:
        shape = shape_of(node)
        if plain and len(shape) == 4:
            self.plain.add(node)
        elif len(shape) == 4:
            shape = tuple(shape[axis] for axis in TO_NHWC)
        return self._add(name, shape, quant)

    def _add(self, name: str, shape: Sequence[int], quant: Quant) -> int:
        scale, zero = np.array([quant[0]], np.float32), np.array([quant[1]], np.int64)
        self.tensors.append(Tensor(name, tuple(shape), INT8, scale, zero))
        return len(self.tensors) - 1

    def _constant(self, name: str, values: Any) -> int:
        data = np.asarray(values, np.int32)
        self.tensors.append(Tensor(name, data.shape, INT32, data=data))
        return len(self.tensors) - 1

    def _emit(self, kind: str, inputs: Sequence[int], node: fx.Node, options: dict[str, Any] | None = None,
              *, plain: bool = False) -> None:  # fmt: skip
        """An operator whose result is that of `node`."""
        self.values[node] = self._tensor(node, self._quant(node), node.name, plain=plain)
        self._op(kind, inputs, self.values[node], options)

    def _op(
        self, kind: str, inputs: Sequence[int], output: int, options: dict[str, Any] | None = None
    ) -> None:
        self.ops.append(Op(kind, tuple(inputs), (output,), options or {}, VERSIONS.get(kind, 2)))

    def _moved(self, source: int, order: Sequence[int], name: str) -> int:
        """A transposed copy of a tensor."""
        tensor = self.tensors[source]
        result = self._add(name, [tensor.shape[axis] for axis in order], self._quant_of(source))
        self._op("TRANSPOSE", [source, self._constant(f"{name}_order", order)], result)
        return result

    def _nhwc(self, node: Any) -> int:
        """The value of a node as kernels want it."""
        source = self.value(node)
        return self._moved(source, TO_NHWC, f"{node.name}_nhwc") if node in self.plain else source

    def _torch_order(self, node: Any) -> int:
        """The value of a node with its bytes in torch's order."""
        source = self.value(node)
        shape = self.tensors[source].shape
        if len(shape) != 4 or node in self.plain or shape[1] * shape[2] == 1 or shape[3] == 1:
            return source
        return self._moved(source, TO_NCHW, f"{node.name}_nchw")

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

    def _convolution(self, node: fx.Node, conv: QuantConv2d) -> None:
        source, sides = before(node), _sides(conv)
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
        steps, bias = layer.integers()
        stored = steps.numpy().astype(np.int8)
        if not order:
            stored = stored.reshape(1, 1, 1, -1)
        elif deep:  # (c * m, 1, kh, kw) to (1, kh, kw, c * m)
            stored = stored.transpose(1, 2, 3, 0)
        else:
            stored = stored.transpose(order)
        if deep and stored.shape[0] != 1:
            raise ModelError(f"{name}: its groups do not divide its channels evenly")
        scales = layer.weight_scales().numpy().astype(np.float32)
        axis = 3 if deep else 0
        one = self._parameters(f"{name}_weights", np.ascontiguousarray(stored), scales, axis)
        integers = bias.numpy().clip(BIAS_LIMITS.min, BIAS_LIMITS.max).astype(np.int32)
        return one, self._parameters(f"{name}_bias", integers, layer.bias_scales().numpy(), 0)

    def _parameters(self, name: str, data: NDArray[Any], scales: NDArray[np.float32], axis: int) -> int:
        zeros = np.zeros(len(scales), np.int64)
        self.tensors.append(Tensor(name, data.shape, data.dtype, scales, zeros, axis, data))
        return len(self.tensors) - 1

    def _padded(self, source: int, sides: tuple[int, ...], window: Any, name: str) -> tuple[int, str]:
        """The tensor to slide over and its padding; an explicit PAD where neither SAME nor VALID fits.

        `sides` are left, right, top, bottom; `window` has kernel_size, stride and dilation.
        """
        if not any(sides):
            return source, "VALID"
        _, height, width, _ = self.tensors[source].shape
        size, step, gaps = _pair(window.kernel_size), _pair(window.stride), _pair(window.dilation)
        reach = [gap * (one - 1) + 1 for one, gap in zip(size, gaps, strict=True)]
        if sides == _same(width, reach[1], step[1]) + _same(height, reach[0], step[0]):
            return source, "SAME"
        return self._pad_by(source, sides, name), "VALID"

    def _pad_by(self, source: int, sides: Sequence[int], name: str, lowest: bool = False) -> int:
        """A copy with margins of zeros, or of the lowest value."""
        if min(sides) < 0:
            raise ModelError(f"{name}: negative padding cuts, which is not known here")
        left, right, top, bottom = sides
        tensor, quant = self.tensors[source], self._quant_of(source)
        images, height, width, channels = tensor.shape
        shape = (images, height + top + bottom, width + left + right, channels)
        amounts = self._constant(f"{name}_margins", [[0, 0], [top, bottom], [left, right], [0, 0]])
        result = self._add(f"{name}_padded", shape, quant)
        inputs = [source, amounts]
        if lowest and quant[1] != INT8_MIN:
            fill = np.array(INT8_MIN, np.int8)
            self.tensors.append(
                Tensor(f"{name}_lowest", (), INT8, np.array([quant[0]]), np.array([quant[1]]), 0, fill)
            )
            self._op("PADV2", [*inputs, len(self.tensors) - 1], result)
        else:
            self._op("PAD", inputs, result)
        return result

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

    def _max_pool(self, node: fx.Node, pool: nn.MaxPool2d) -> None:
        _check_pool(node, pool)
        if _pair(pool.dilation) != (1, 1):
            raise ModelError(f"{node.name}: a dilated pool has no int8 form")
        source, sides = self._nhwc(before(node)), _both(pool.padding)
        data, padding = source, "VALID"
        if any(sides):
            data, padding = self._padded_pool(source, sides, pool, node.name)
        self._emit("MAX_POOL_2D", [data], node, _window(pool, padding))

    def _padded_pool(self, source: int, sides: tuple[int, ...], pool: Any, name: str) -> tuple[int, str]:
        """As `_padded`, with margins that are never the largest."""
        _, height, width, _ = self.tensors[source].shape
        size, step = _pair(pool.kernel_size), _pair(pool.stride)
        if sides == _same(width, size[1], step[1]) + _same(height, size[0], step[0]):
            return source, "SAME"
        return self._pad_by(source, sides, name, lowest=True), "VALID"

    def _average_pool(self, node: fx.Node, pool: nn.AvgPool2d) -> None:
        _check_pool(node, pool)
        if pool.divisor_override is not None:
            raise ModelError(f"{node.name}: divisor_override has no int8 form")
        source, sides = self._nhwc(before(node)), _both(pool.padding)
        padding = "VALID"
        if any(sides) and pool.count_include_pad:
            source = self._pad_by(source, sides, node.name)
        elif any(sides):
            _, height, width, _ = self.tensors[source].shape
            size, step = _pair(pool.kernel_size), _pair(pool.stride)
            if sides != _same(width, size[1], step[1]) + _same(height, size[0], step[0]):
                raise ModelError(f"{node.name}: padding {pool.padding} without counting it has no int8 form")
            padding = "SAME"
        self._emit("AVERAGE_POOL_2D", [source], node, _window(pool, padding))

    def _global_pool(self, node: fx.Node, pool: nn.AdaptiveAvgPool2d) -> None:
        if _pair(pool.output_size) != (1, 1):
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
        order = _order(node, len(shape_of(source)))
        if len(order) == 4 and source not in self.plain:
            order = [TO_NHWC.index(axis) for axis in order]
        if list(order) == sorted(order):
            self.values[node] = self.value(source)
        else:
            self.values[node] = self._moved(self.value(source), order, node.name)
        if len(order) == 4:
            self.plain.add(node)


INT8_MIN = -128
_KNOWN = "use what `edgekit.optimize.training.convert` lists"


def before(node: fx.Node) -> Any:
    """The node that is the first argument."""
    return node.args[0]


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of a node's value as torch has it."""
    return tuple(node.meta["tensor_meta"].shape)


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


def _both(padding: Any) -> tuple[int, int, int, int]:
    """Torch's padding of height and width as left, right, top, bottom."""
    height, width = _pair(padding)
    return width, width, height, height


def _sides(conv: QuantConv2d) -> tuple[int, ...]:
    """Left, right, top, bottom."""
    if conv.padding == "valid":
        return 0, 0, 0, 0
    if conv.padding != "same":
        return _both(conv.padding)
    totals = [gap * (size - 1) for gap, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    return totals[1] // 2, totals[1] - totals[1] // 2, totals[0] // 2, totals[0] - totals[0] // 2


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TFLite's SAME pads before and after an axis."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _check_pool(node: fx.Node, pool: Any) -> None:
    if pool.ceil_mode:
        raise ModelError(f"{node.name}: a pool with ceil_mode has no int8 form: pad the input instead")


def _window(pool: Any, padding: str) -> dict[str, Any]:
    size, step = _pair(pool.kernel_size), _pair(pool.stride)
    return {
        "padding": padding,
        "stride_w": step[1],
        "stride_h": step[0],
        "filter_width": size[1],
        "filter_height": size[0],
    }


def _order(node: fx.Node, rank: int) -> list[int]:
    """The axes of a permute or transpose, in the order that they take."""
    given = node.args[1:] if len(node.args) > 1 else tuple(node.kwargs.values())
    if node.target == "transpose":
        order = list(range(rank))
        one, other = (int(axis) % rank for axis in given)
        order[one], order[other] = order[other], order[one]
        return order
    axes: Any = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    return [int(axis) % rank for axis in axes]
