"""Any torch model as a torch.fx graph of few kinds of nodes, whatever way its author wrote them.

After `trace`, activations, pools, resizes, flattenings and paddings are modules, sums and products are
`operator.add`, `sub` and `mul`, what does nothing when a network runs (dropout, identity) is gone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from edgekit.errors import ModelError

EXTRA = "rewritten_"  # what the names of modules that only the graph has begin with

Make = Callable[..., nn.Module]


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    return nn.Flatten(start_dim, end_dim)


def _softmax(dim: int | None = None, **_kwargs: Any) -> nn.Module:
    return nn.Softmax(-1 if dim is None else dim)


def _upsample(
    size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    **_kwargs: Any,
) -> nn.Module:  # fmt: skip
    return nn.Upsample(size, scale_factor, mode, align_corners)


def _zero_pad(pad: Any, mode: str = "constant", value: float | None = None) -> nn.Module:
    if mode != "constant" or value:
        raise ModelError(f"padding of mode {mode} with {value}: only zeros are known")
    return nn.ZeroPad2d(tuple(pad))


def _relu_between(minimum: float | None = None, maximum: float | None = None) -> nn.Module:
    if (minimum, maximum) not in ((0, None), (0, 6)):
        raise ModelError(f"clamp between {minimum} and {maximum}: only 0 and 6 are known, which is ReLU6")
    return nn.ReLU6() if maximum else nn.ReLU()


# What a function makes of everything but its first argument.
FUNCTIONS: dict[Any, Make] = {
    functional.relu: lambda **_k: nn.ReLU(),
    torch.relu: nn.ReLU,
    torch.relu_: nn.ReLU,
    functional.relu6: lambda *_a, **_k: nn.ReLU6(),
    functional.silu: lambda **_k: nn.SiLU(),
    functional.hardswish: lambda **_k: nn.Hardswish(),
    functional.hardsigmoid: lambda **_k: nn.Hardsigmoid(),
    functional.leaky_relu: lambda negative_slope=0.01, **_k: nn.LeakyReLU(negative_slope),
    torch.sigmoid: nn.Sigmoid,
    functional.sigmoid: nn.Sigmoid,
    torch.tanh: nn.Tanh,
    functional.tanh: nn.Tanh,
    torch.clamp: lambda *a, **k: _relu_between(*a, *k.values()),
    torch.softmax: _softmax,
    functional.softmax: _softmax,
    torch.flatten: _flatten,
    functional.max_pool2d: nn.MaxPool2d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.interpolate: _upsample,
    functional.pad: _zero_pad,
    functional.dropout: lambda *_a, **_k: nn.Identity(),
    functional.dropout2d: lambda *_a, **_k: nn.Identity(),
}
METHODS: dict[str, Make] = {
    "relu": nn.ReLU,
    "relu_": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softmax": _softmax,
    "flatten": _flatten,
    "clamp": FUNCTIONS[torch.clamp],
    "contiguous": lambda **_k: nn.Identity(),
    "float": nn.Identity,
    "detach": nn.Identity,
}
ARITHMETIC: dict[Any, Any] = {
    operator.iadd: operator.add, torch.add: operator.add, "add": operator.add, "add_": operator.add,
    operator.imul: operator.mul, torch.mul: operator.mul, "mul": operator.mul, "mul_": operator.mul,
    operator.isub: operator.sub, torch.sub: operator.sub, "sub": operator.sub, "sub_": operator.sub,
    torch.concat: torch.cat, torch.mean: "mean", torch.reshape: "reshape", "view": "reshape",
    torch.permute: "permute", torch.transpose: "transpose", torch.squeeze: "squeeze",
    torch.unsqueeze: "unsqueeze",
}  # fmt: skip
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)


class Traced:
    """A graph and its modules by name: those of the model, and those that the rewriting made."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self.model, self.graph = model, graph
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self.made = 0

    def module(self, node: fx.Node) -> Any:
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def become(self, node: fx.Node, module: nn.Module) -> None:
        """Make a node a call of a new module with its first argument."""
        name = f"{EXTRA}{self.made}"
        self.made += 1
        self.modules[name] = module
        node.op, node.target, node.args, node.kwargs = "call_module", name, node.args[:1], {}

    def skip(self, node: fx.Node) -> None:
        """Take a node out: its readers read its first argument."""
        node.replace_all_uses_with(node.args[0])
        self.graph.erase_node(node)

    def drop_unread(self) -> None:
        """Take out what nothing reads."""
        for node in reversed(self.graph.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)

    def compile(self) -> fx.GraphModule:
        """The graph as a module that shares every part with the model."""
        self.drop_unread()
        known = {n.target for n in self.graph.nodes if n.op == "call_module"}
        parts: dict[str, Any] = {name: self.modules[name] for name in known}
        for node in self.graph.nodes:
            if node.op == "get_attr":
                parts[node.target] = operator.attrgetter(node.target)(self.model)
        return fx.GraphModule(parts, self.graph)


def trace(model: nn.Module) -> Traced:
    """Follow a model symbolically, as it runs in evaluation. ModelError where that cannot be done."""
    training = {name: module.training for name, module in model.named_modules()}
    try:
        graph = fx.Tracer().trace(model.eval())
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{type(model).__name__}: torch.fx cannot follow it ({said}): no branches on values"
        ) from error
    finally:
        for name, module in model.named_modules():
            module.training = training[name]
    traced = Traced(model, graph)
    for node in list(graph.nodes):
        _rewrite(traced, node)
    traced.drop_unread()
    return traced


def _rewrite(traced: Traced, node: fx.Node) -> None:
    """Bring one node to the kind that stands for its like."""
    if node.op in ("call_function", "call_method"):
        table: dict[Any, Make] = FUNCTIONS if node.op == "call_function" else METHODS
        if node.target in table and len(node.all_input_nodes) == 1:
            traced.become(node, table[node.target](*node.args[1:], **_options(node)))
        elif node.target in ARITHMETIC:
            target = ARITHMETIC[node.target]
            node.op = "call_method" if isinstance(target, str) else "call_function"
            node.target = target
    module = traced.module(node)
    if isinstance(module, NOTHING):
        traced.skip(node)
    elif isinstance(module, nn.SiLU | nn.Hardsigmoid):
        _spell_out(traced, node, module)


def _options(node: fx.Node) -> dict[str, Any]:
    return {key: value for key, value in node.kwargs.items() if key not in ("input", "inplace")}


def _spell_out(traced: Traced, node: fx.Node, module: nn.Module) -> None:
    """SiLU as x * sigmoid(x), hard sigmoid as relu6(x + 3) / 6: what int8 kernels know."""
    source = node.args[0]
    with traced.graph.inserting_before(node):
        if isinstance(module, nn.SiLU):
            gate = traced.graph.call_function(torch.sigmoid, (source,))
            traced.become(gate, nn.Sigmoid())
            result = traced.graph.call_function(operator.mul, (source, gate))
        else:
            moved = traced.graph.call_function(operator.add, (source, 3.0))
            bounded = traced.graph.call_function(functional.relu6, (moved,))
            traced.become(bounded, nn.ReLU6())
            result = traced.graph.call_function(operator.mul, (bounded, 1 / 6))
    node.replace_all_uses_with(result)
    traced.graph.erase_node(node)
