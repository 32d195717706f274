"""A detector's graph by torch.fx, with fake-quantised convolutions and roundings kept whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from edgekit.optimize.quantize import FakeConv, FixedScale


class Maps(nn.Module):
    """A detector without the features that only training wants."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)[0]


class Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FakeConv | FixedScale) or super().is_leaf_module(m, module_qualified_name)


def trace(network: nn.Module) -> fx.GraphModule:
    """The traced network without operations that nothing reads."""
    traced = fx.GraphModule(network, Tracer().trace(network))
    traced.graph.eliminate_dead_code()
    return traced


def before(node: fx.Node) -> fx.Node:
    """The node that is the first argument."""
    return node.args[0]
