"""Channels of one tensor brought to one range, so that one int8 scale serves them all.

A ReLU lets a positive factor through, and a depthwise layer takes its inverse into its own channel, whose
int8 scale is its own: what the network computes stays the same. After Nagel et al. 2019, Data-Free
Quantization Through Weight Equalization and Bias Correction, whose ranges come from the batch norm too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.optimize.training.tracing import Traced

DEVIATIONS = 3.0  # the range of a channel is the mean plus so many deviations
LEAST_SHARE = 1 / 256  # of the widest range: a channel that hardly moves is not blown up further


@torch.no_grad()
def equalize(traced: Traced) -> None:
    """Even out every batch norm whose ReLU is read by one depthwise layer, in place."""
    for node in traced.graph.nodes:
        norm = traced.module(node)
        if isinstance(norm, nn.BatchNorm2d) and norm.affine:
            reader = _depthwise_reader(traced, node)
            if reader is not None:
                share = _shares(norm)
                norm.weight.div_(share)
                norm.bias.div_(share)
                each = reader.out_channels // reader.in_channels  # that read the same channel
                reader.weight.mul_(share.repeat_interleave(each).reshape(-1, 1, 1, 1))


def _depthwise_reader(traced: Traced, node: fx.Node) -> Any:
    """The depthwise layer behind the ReLU behind a node, if nothing else reads either."""
    activation = _only_reader(node)
    if activation is None or not isinstance(traced.module(activation), nn.ReLU):
        return None
    reader = _only_reader(activation)
    layer = None if reader is None else traced.module(reader)
    return layer if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels else None


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _shares(norm: Any) -> Tensor:
    """(c,) the range of each channel behind the ReLU as a share of the widest."""
    widest = norm.bias + DEVIATIONS * norm.weight.abs()
    return (widest / widest.max().clamp(min=1e-6)).clamp(min=LEAST_SHARE)
