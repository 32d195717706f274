"""An int8 `.tflite` classifier as a torch network: its weights as real numbers, its zeros as they are.

What the kernels of the file compute is spelled out by torch layers, so that the network can be trained on,
quantised and exported again. Batch norms were folded when the file was made and do not come back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit import model
from edgekit.errors import ConfigError, ModelError
from edgekit.model.graph import Graph, Op
from edgekit.plan.simplify import simplify

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "NONE": lambda x: x, "RELU": functional.relu, "RELU6": functional.relu6,
}  # fmt: skip
PASSED = ("QUANTIZE", "DEQUANTIZE")


class Imported(nn.Module):
    """The network of a graph; `forward` follows its operators, so torch.fx can trace it."""

    def __init__(self, graph: Graph, name: str) -> None:
        super().__init__()
        self.graph, self.label = graph, name
        self.layers = nn.ModuleDict()
        for number, op in enumerate(graph.ops):
            if (layer := _layer(graph, op, name)) is not None:
                self.layers[f"{op.kind.lower()}_{number}"] = layer

    def forward(self, x: Tensor) -> Tensor:
        values: dict[int, Any] = {self.graph.inputs[0]: x}
        for number, op in enumerate(self.graph.ops):
            values[op.outputs[0]] = self._result(number, op, values)
        return values[self.graph.outputs[0]]

    def _result(self, number: int, op: Op, values: dict[int, Any]) -> Any:
        name = f"{op.kind.lower()}_{number}"
        inputs = [values[index] for index in op.inputs if index in values]
        if name in self.layers:
            result = self.layers[name](inputs[0])
        elif op.kind in PASSED or (op.kind == "SOFTMAX" and _ends(self.graph, op)):
            return inputs[0]
        elif op.kind in FUNCTIONS:
            result = FUNCTIONS[op.kind](self.graph, op, inputs)
        else:
            raise ModelError(f"{self.label}: operator {number} is {op.kind}, which cannot be trained on here")
        return ACTIVATIONS[str(op.options.get("fused_activation_function", "NONE"))](result)


def _ends(graph: Graph, op: Op) -> bool:
    """Whether nothing is computed with an operator's result but another type."""
    users = [other for other in graph.ops if op.outputs[0] in other.inputs]
    return all(user.kind in PASSED and _ends(graph, user) for user in users)


def _layer(graph: Graph, op: Op, name: str) -> nn.Module | None:
    """The torch layer of an operator that has weights."""
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return None
    if graph.tensors[op.inputs[1]].data is None:
        raise ModelError(f"{name}: weights that are computed cannot be trained on")
    weight, *biases = (torch.from_numpy(graph.tensors[index].real) for index in op.inputs[1:] if index >= 0)
    bias = biases[0] if biases else None
    if op.kind == "FULLY_CONNECTED":
        return _with(nn.Linear(weight.shape[1], weight.shape[0]), weight, bias)
    return _convolution(graph, op, weight, bias)


def _convolution(graph: Graph, op: Op, weight: Tensor, bias: Tensor | None) -> nn.Module:
    options: dict[str, Any] = dict(op.options)
    shape = graph.tensors[op.inputs[0]].shape
    deep = op.kind == "DEPTHWISE_CONV_2D"
    weight = weight.permute(3, 0, 1, 2) if deep else weight.permute(0, 3, 1, 2)
    size = tuple(weight.shape[2:])
    step = (options["stride_h"], options["stride_w"])
    gaps = (options["dilation_h_factor"], options["dilation_w_factor"])
    groups = shape[3] // weight.shape[1]
    conv = nn.Conv2d(shape[3], weight.shape[0], size, step, 0, gaps, groups)
    conv = _with(conv, weight, bias)
    sides = _sides(
        shape, [g * (s - 1) + 1 for g, s in zip(gaps, size, strict=True)], step, options["padding"]
    )
    return nn.Sequential(nn.ZeroPad2d(sides), conv) if any(sides) else conv


def _with(layer: Any, weight: Tensor, bias: Tensor | None) -> Any:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return layer


def _sides(shape: Any, reach: Any, step: Any, padding: str) -> tuple[int, int, int, int]:
    """Left, right, top, bottom of TFLite's padding."""
    if padding == "VALID":
        return 0, 0, 0, 0
    totals = [
        max((-(-length // s) - 1) * s + r - length, 0)
        for length, s, r in zip(shape[1:3], step, reach, strict=True)
    ]
    return totals[1] // 2, totals[1] - totals[1] // 2, totals[0] // 2, totals[0] - totals[0] // 2


def _pool(graph: Graph, op: Op, inputs: list[Any]) -> Any:
    options: dict[str, Any] = dict(op.options)
    size = (options["filter_height"], options["filter_width"])
    step = (options["stride_h"], options["stride_w"])
    shape = graph.tensors[op.inputs[0]].shape
    sides = _sides(shape, size, step, options["padding"])
    if size == shape[1:3] and not any(sides):
        if op.kind == "AVERAGE_POOL_2D":
            return inputs[0].mean((2, 3), keepdim=True)
        return functional.max_pool2d(inputs[0], size, step)
    if (sides[0], sides[2]) != (sides[1], sides[3]):
        raise ModelError(f"{op.kind} with uneven padding cannot be trained on here")
    if op.kind == "AVERAGE_POOL_2D":
        return functional.avg_pool2d(inputs[0], size, step, (sides[2], sides[0]), count_include_pad=False)
    return functional.max_pool2d(inputs[0], size, step, (sides[2], sides[0]))


def _mean(graph: Graph, op: Op, inputs: list[Any]) -> Any:
    axes = sorted(int(axis) % 4 for axis in np.ravel(np.asarray(graph.tensors[op.inputs[1]].data)))
    if axes != [1, 2] or len(graph.tensors[op.inputs[0]].shape) != 4:
        raise ModelError(f"MEAN over axes {axes} cannot be trained on here, only over a picture")
    return inputs[0].mean((2, 3), keepdim=bool(op.options["keep_dims"]))


def _reshape(graph: Graph, op: Op, inputs: list[Any]) -> Any:
    before, after = graph.tensors[op.inputs[0]].shape, graph.tensors[op.outputs[0]].shape
    x = inputs[0]
    if len(before) == 4 and len(after) != 4:
        x = x.permute(0, 2, 3, 1)
    elif len(after) == 4 and before != after:
        raise ModelError(f"RESHAPE of {list(before)} to {list(after)} cannot be trained on here")
    if len(after) == 2:
        return x.flatten(1)  # whatever the number of classes has become
    return x if before == after else x.reshape(-1, *after[1:])


def _pad(graph: Graph, op: Op, inputs: list[Any]) -> Any:
    amounts = np.asarray(graph.tensors[op.inputs[1]].data)
    (top, bottom), (left, right) = amounts[1].tolist(), amounts[2].tolist()
    return functional.pad(inputs[0], (left, right, top, bottom))


def _add(_graph: Graph, _op: Op, inputs: list[Any]) -> Any:
    if len(inputs) != 2:
        raise ModelError("ADD of a constant cannot be trained on here")
    return inputs[0] + inputs[1]


def _multiply(_graph: Graph, _op: Op, inputs: list[Any]) -> Any:
    if len(inputs) != 2:
        raise ModelError("MUL by a constant cannot be trained on here")
    return inputs[0] * inputs[1]


def _concatenate(graph: Graph, op: Op, inputs: list[Any]) -> Any:
    rank = len(graph.tensors[op.outputs[0]].shape)
    options: dict[str, Any] = dict(op.options)
    axis = options["axis"] % rank
    return torch.cat(inputs, {1: 2, 2: 3, 3: 1}.get(axis, axis) if rank == 4 else axis)


FUNCTIONS: dict[str, Callable[[Graph, Op, list[Any]], Any]] = {
    "ADD": _add,
    "MUL": _multiply,
    "CONCATENATION": _concatenate,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "RESHAPE": _reshape,
    "PAD": _pad,
    "RELU": lambda _g, _o, x: functional.relu(x[0]),
    "RELU6": lambda _g, _o, x: functional.relu6(x[0]),
    "LOGISTIC": lambda _g, _o, x: torch.sigmoid(x[0]),
    "TANH": lambda _g, _o, x: torch.tanh(x[0]),
    "HARD_SWISH": lambda _g, _o, x: functional.hardswish(x[0]),
}


def import_model(path: Path, spread: float = 1.0, *, compact: bool = False) -> Imported:
    """The network of a file; what it takes is `spread` times smaller than the file's real input of a byte.

    A pixel p enters it as (p - centre) / spread, where `centre` is the pixel that the file reads as 0.
    `compact` leaves out the channels that are the same for every picture, which changes nothing else.
    ModelError for a file that is no int8 network of pictures.
    """
    graph = simplify(model.read(path)) if compact else model.read(path)
    source = graph.tensors[graph.inputs[0]]
    if source.dtype.itemsize != 1 or source.scale is None or source.zero_point is None:
        raise ModelError(f"{path}: its input is {source.dtype}: expected an int8 model")
    network = Imported(graph, str(path))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or not layers:
        raise ModelError(f"{path}: expected a network of one input and one output")
    with torch.no_grad():
        layers[0].weight.mul_(float(source.scale[0]) * spread)
    return network


def centre_of(path: Path) -> float:
    """The pixel value that a file reads as 0."""
    graph = model.read(path)
    source = graph.tensors[graph.inputs[0]]
    if source.zero_point is None:
        raise ModelError(f"{path}: its input is {source.dtype}: expected an int8 model")
    return float(source.zero_point[0]) + (128.0 if source.dtype == np.dtype(np.int8) else 0.0)


def renew_head(network: Imported, classes: int) -> None:
    """Replace the last layer by a new one. ConfigError where it is neither linear nor pointwise."""
    name = list(network.layers)[-1]
    old = network.layers[name]
    if isinstance(old, nn.Linear):
        network.layers[name] = nn.Linear(old.in_features, classes)
    elif isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1):
        network.layers[name] = nn.Conv2d(old.in_channels, classes, 1)
    else:
        raise ConfigError("network: head: new needs a model whose last layer is a linear or a pointwise one")
