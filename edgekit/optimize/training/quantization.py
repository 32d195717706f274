"""Turns a float model, in place, into its int8 twin: batch norms folded, every tensor with a range.

The model stays the object that the training loop has: its layers are replaced where they stand, parameters
stay the same objects (so an optimiser keeps them), and `forward` becomes that of the rewritten graph.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from edgekit.errors import ModelError
from edgekit.optimize.training.equalization import equalize
from edgekit.optimize.training.layers import (
    FUSING,
    ActivationRange,
    Quant,
    QuantConv2d,
    QuantConvTranspose2d,
    QuantLinear,
    QuantScale,
)
from edgekit.optimize.training.pooling import sink_pools
from edgekit.optimize.training.tracing import Traced, trace

RANGES = "activation_ranges"  # the model's submodule that holds them
FIXED: dict[type[nn.Module], Quant] = {
    nn.Sigmoid: (1 / 256, -128),
    nn.Softmax: (1 / 256, -128),
    nn.Tanh: (1 / 128, 0),
}
REPLACED: dict[type[nn.Module], Any] = {
    nn.Conv2d: QuantConv2d,
    nn.ConvTranspose2d: QuantConvTranspose2d,
    nn.Linear: QuantLinear,
}
ROUNDED = (
    *FUSING, QuantScale, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.Sigmoid, nn.Softmax, nn.Tanh,
)  # fmt: skip
SIZES = (getattr, "size", "dim")  # nodes whose value is no tensor
ACTIVATIONS = (nn.ReLU, nn.ReLU6)
ABSORBING: tuple[Any, ...] = (operator.add, operator.sub, operator.mul)
SILU_LEAST = -6.5  # LOGISTIC, in steps of 1/256, is 0 from -ln(511) = -6.24 on, and so is its product
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def quantize(model: nn.Module, average: float = 0.99, input_range: tuple[float, float] | None = None) -> None:
    """Rewrite `model` in place for training with int8 arithmetic. ModelError for what has no int8 form.

    Channels that differ in range are evened out where that is free: see `equalization`.
    `average` is the decay of the mean of the ranges. `input_range` is that of the input, where it is known.
    """
    if is_quantized(model):
        raise ModelError(f"{type(model).__name__} is quantised already")
    traced = traced_for_int8(model)
    sink_pools(traced)
    equalize(traced)
    for node in list(traced.graph.nodes):
        if isinstance(traced.module(node), NORMS):
            _fold(traced, node)
    for node in traced.graph.nodes:
        _replace_layer(traced, node)
    _Ranges(traced, average, input_range).insert()
    graph_module = traced.compile()
    model.forward = graph_module.forward


def traced_for_int8(model: nn.Module) -> Traced:
    """The graph of a float model. ModelError where it cannot be followed or has weights of no int8 form."""
    traced = trace(model)
    _check_called_once(traced)
    for node in traced.graph.nodes:
        layer = traced.module(node)
        if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
            raise ModelError(
                f"{node.target}: padding_mode {layer.padding_mode!r} has no int8 form: only zeros"
            )
        if isinstance(layer, nn.ConvTranspose2d):
            _check_transposed(node, layer)
    return traced


def _check_transposed(node: fx.Node, layer: nn.ConvTranspose2d) -> None:
    """ModelError for what TFLite's TRANSPOSE_CONV cannot say."""
    if layer.groups != 1:
        raise ModelError(f"{node.target}: a transposed convolution of groups has no int8 form: only groups=1")
    if layer.dilation != (1, 1):
        raise ModelError(f"{node.target}: a dilated transposed convolution has no int8 form: only dilation=1")
    if len(node.args) > 1 or node.kwargs:
        raise ModelError(f"{node.target}: is called with an output_size: give the layer an output_padding")


def is_quantized(model: nn.Module) -> bool:
    return hasattr(model, RANGES)


def graph_of(model: nn.Module) -> fx.GraphModule:
    """The rewritten graph of a quantised model. ModelError for a float one."""
    owner: Any = getattr(model.forward, "__self__", None)
    if not isinstance(owner, fx.GraphModule) or not is_quantized(model):
        raise ModelError(f"{type(model).__name__} is not quantised: a recipe needs a stage quantize")
    return owner


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters are; the CPU where there are none."""
    return next((one.device for one in model.parameters()), torch.device("cpu"))


def ranges(model: nn.Module) -> list[ActivationRange]:
    return [module for module in model.modules() if isinstance(module, ActivationRange)]


def rounding_parts(model: nn.Module) -> list[tuple[str, Any]]:
    """The layers and ranges that round to int8, with their names as modules."""
    kinds = (*FUSING, QuantScale, ActivationRange)
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]


def observe(model: nn.Module, *, on: bool) -> None:
    """Let the ranges follow what they see in training, or freeze them."""
    for one in ranges(model):
        one.observing = on


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the ranges of a quantised model from batches, without training it."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    for one in ranges(model):
        one.train()
    for images in batches:
        model(images)
    for module, was in training.items():
        module.training = was


def _check_called_once(traced: Traced) -> None:
    """Weights that are read at two places would need two scales. ModelError."""
    called = Counter(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    for name, times in called.items():
        module = traced.modules[name]
        if times > 1 and (isinstance(module, NORMS) or next(module.parameters(), None) is not None):
            raise ModelError(
                f"{name}: {type(module).__name__} is called {times} times, which has no int8 form: "
                "give each call a layer of its own"
            )


def _fold(traced: Traced, node: fx.Node) -> None:
    """Take a batch norm into the convolution or linear layer before it, else make it a `QuantScale`.

    Its offset becomes the layer's bias, as the same parameter.
    """
    norm: Any = traced.module(node)
    source: Any = node.args[0]
    layer: Any = traced.module(source)
    factor, offset = _factor_and_offset(norm)
    takes_it: bool = isinstance(layer, tuple(REPLACED)) and len(source.users) == 1
    with torch.no_grad():
        if takes_it:
            rows = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
            rows.mul_(factor.reshape(-1, *[1] * (rows.ndim - 1)))
            if layer.bias is not None:
                offset = offset + layer.bias * factor
            layer.bias = _parameter(norm.bias, offset)
            _put(traced, str(node.target), nn.Identity())
            traced.skip(node)
        else:
            made = QuantScale(_parameter(norm.weight, factor), _parameter(norm.bias, offset))
            _put(traced, str(node.target), made.train(norm.training))


def _factor_and_offset(norm: Any) -> tuple[Tensor, Tensor]:
    if norm.running_var is None:
        raise ModelError("a batch norm without running statistics cannot be folded: give it some")
    factor = (norm.running_var + norm.eps).rsqrt()
    factor = factor if norm.weight is None else factor * norm.weight.detach()
    offset = -norm.running_mean * factor
    return factor, offset if norm.bias is None else offset + norm.bias.detach()


def _parameter(old: nn.Parameter | None, value: Tensor) -> nn.Parameter:
    """The parameter with a new value, so that the optimiser goes on with it; a new one if there is none."""
    if old is None:
        return nn.Parameter(value)
    old.copy_(value)
    return old


def _replace_layer(traced: Traced, node: fx.Node) -> None:
    layer = traced.module(node)
    if type(layer) in REPLACED:
        _put(traced, str(node.target), REPLACED[type(layer)].of(layer, layer.weight, layer.bias))


def _put(traced: Traced, name: str, module: nn.Module) -> None:
    """Replace a module of the model where it stands."""
    parent, _, last = name.rpartition(".")
    setattr(traced.model.get_submodule(parent), last, module)
    traced.modules[name] = module


class _Ranges:
    """Puts an `ActivationRange` behind every node that makes values, and joins those that share a scale."""

    def __init__(self, traced: Traced, average: float, input_range: tuple[float, float] | None) -> None:
        self.traced, self.average, self.input_range = traced, average, input_range
        self.of: dict[fx.Node, ActivationRange] = {}  # the range of each node's value
        self.fused: set[fx.Node] = set()  # nodes whose activation is part of the same operator
        self.store = nn.ModuleDict()

    def insert(self) -> None:
        setattr(self.traced.model, RANGES, self.store)
        for node in list(self.traced.graph.nodes):
            self._visit(node)
        for node in self.traced.graph.nodes:
            module = self.traced.module(node)
            if isinstance(module, ActivationRange) and self._is_read_by_silu_alone(node):
                module.least = SILU_LEAST
        self.store.train(self.traced.model.training).to(device_of(self.traced.model))

    def _visit(self, node: fx.Node) -> None:
        module = self.traced.module(node)
        if node.op == "placeholder":
            self._round(node, self._input())
        elif isinstance(module, ROUNDED) or node.target in (*ABSORBING, "mean"):
            if any(one in self.of or one in self.fused for one in node.all_input_nodes):
                self._compute(node, module)
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            self._round(node, ActivationRange(self.average))
        elif node.target is torch.cat:
            self._concatenate(node)
        else:
            self._pass(node, module)

    def _is_read_by_silu_alone(self, node: fx.Node) -> bool:
        """Whether nothing but x * sigmoid(x) reads the value x."""
        gates = [user for user in node.users if isinstance(self.traced.module(user), nn.Sigmoid)]
        products = [user for user in node.users if user.target is operator.mul]
        if len(node.users) != 2 or len(gates) != 1 or len(products) != 1:
            return False
        return any(products[0] in rounded.users for rounded in gates[0].users)

    def _input(self) -> ActivationRange:
        if self.input_range is None:
            return ActivationRange(self.average)
        low, high = self.input_range
        scale = float(torch.tensor((high - low) / 255))
        return ActivationRange(self.average, (scale, min(max(round(-128 - low / scale), -128), 127)))

    def _compute(self, node: fx.Node, module: nn.Module | None) -> None:
        """A node whose result has a range of its own, behind the activation that is fused with it."""
        if isinstance(module, (*FUSING, QuantScale)):
            module.read_from(self._source(node))
        if isinstance(module, FUSING) or node.target in ABSORBING:
            users = list(node.users)
            if len(users) == 1 and isinstance(self.traced.module(users[0]), ACTIVATIONS):
                self.fused.add(node)  # the activation gets the range
                return
        self._round(node, ActivationRange(self.average, FIXED.get(type(module))))

    def _source(self, node: fx.Node) -> ActivationRange:
        return self._known(node.args[0])

    def _known(self, node: Any) -> ActivationRange:
        if node not in self.of:
            raise ModelError(f"{node}: its result has no int8 form: use the operations that export lists")
        return self.of[node]

    def _concatenate(self, node: fx.Node) -> None:
        """One scale for all parts; a part whose scale is prescribed is rounded anew."""
        parts: Any = node.args[0]
        for part in parts:
            self._known(part)
            if self.of[part].fixed is not None and any(
                self.of[p].fixed != self.of[part].fixed for p in parts
            ):
                self._round(part, ActivationRange(self.average), reader=node)
        parts = node.args[0]
        for part in parts[1:]:
            self.of[parts[0]].join(self.of[part])
        self.of[node] = self.of[parts[0]]

    def _pass(self, node: fx.Node, module: nn.Module | None) -> None:
        """A node that hands values on: with the range of what it reads."""
        sources = [one for one in node.all_input_nodes if one in self.of]
        if node.op == "output" or node.target in SIZES or not sources:
            return
        self.of[node] = self.of[sources[0]]
        if _averages(node, module):
            made = ActivationRange(self.average, self.of[sources[0]].fixed)
            if made.fixed is None:
                self.of[sources[0]].join(made)
            self._round(node, made)

    def _round(self, node: fx.Node, made: ActivationRange, reader: fx.Node | None = None) -> None:
        """Insert a range behind a node: for all its readers, or for one."""
        name = f"{node.name}_{len(self.store)}"
        self.store[name] = made
        target = f"{RANGES}.{name}"
        self.traced.modules[target] = made
        with self.traced.graph.inserting_after(node):
            rounded = self.traced.graph.create_node("call_module", target, (node,))
        if reader is None:
            node.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)
        else:
            reader.replace_input_with(node, rounded)
        self.of[node] = self.of[rounded] = made


def _averages(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a node's result lies between the steps of what it reads, so that it must be rounded."""
    if node.target is functional.interpolate:
        return node.kwargs.get("mode", "nearest") != "nearest"
    return isinstance(module, nn.AvgPool2d) or (isinstance(module, nn.Upsample) and module.mode != "nearest")
