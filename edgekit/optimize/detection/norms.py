"""Batch norms for a network that has none, so that it can be trained on at the rates of one that has.

The published weights have theirs folded in: channels then differ a thousandfold in range, and a step that
moves one of them destroys another. Behind a batch norm all are of one size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.optimize.detection.nets import Unit

LEAST_DEVIATION = 1e-3  # a channel that hardly moves is not blown up further


@torch.no_grad()
def insert_norms(network: nn.Module, photos: Iterable[Tensor]) -> None:
    """Put a batch norm behind each unit's convolution, of which in evaluation nothing is to be seen.

    Its statistics are those of `photos`, batches (n, 3, h, w); the convolution's outputs get unit variance.
    """
    units = [one for one in network.modules() if isinstance(one, Unit)]
    for unit, (mean, variance) in zip(units, _statistics(network, units, photos), strict=True):
        conv: Any = unit.conv
        unit.norm = norm = nn.BatchNorm2d(conv.out_channels).to(conv.weight.device)
        deviation = variance.sqrt().clamp(min=LEAST_DEVIATION)
        norm.running_mean.copy_((mean - conv.bias) / deviation)
        norm.running_var.copy_(variance / deviation.square())
        norm.weight.copy_(deviation * (norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(mean)
        conv.weight.div_(deviation.reshape(-1, 1, 1, 1))
        conv.bias = None


def has_norms(state: Iterable[str]) -> bool:
    """Whether a network's state, by the names of its tensors, is one with batch norms."""
    return any(name.endswith("norm.running_mean") for name in state)


def make_room(network: nn.Module) -> None:
    """Batch norms behind each unit, for a state that has them."""
    for unit in network.modules():
        if isinstance(unit, Unit):
            conv: Any = unit.conv
            unit.norm, conv.bias = nn.BatchNorm2d(conv.out_channels), None


def _statistics(
    network: nn.Module, units: list[Unit], photos: Iterable[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of each channel of the units' convolutions."""
    sums: dict[nn.Module, list[Tensor]] = {}

    def see(conv: nn.Module, _inputs: object, output: Tensor) -> None:
        wide = output.double()
        parts = (wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), torch.tensor(wide[:, 0].numel()))
        known = sums.get(conv)
        sums[conv] = list(parts) if known is None else [a + b for a, b in zip(known, parts, strict=True)]

    hooks = [unit.conv.register_forward_hook(see) for unit in units]
    for images in photos:
        network(images)
    for hook in hooks:
        hook.remove()
    seen = []
    for unit in units:
        total, squares, count = sums[unit.conv]
        mean = total / count
        seen.append((mean.float(), (squares / count - mean.square()).clamp(min=0).float()))
    return seen
