"""Channels that use little of 0..6 are scaled up, and their readers' weights down, before quantisation.

Cross-layer equalisation (Nagel et al. 2019) for one fixed activation scale: ReLU6 lets a positive factor pass
as long as the channel stays below 6. Channels that meet in a sum share their factor.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.optimize.nets import Blend
from edgekit.optimize.quantize import FakeConv, FixedScale
from edgekit.optimize.tracing import Maps, before, trace

HEADROOM = 1.1  # the largest value seen becomes 6 / 1.1
MOST = 1e4


def activation_peaks(student: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """The largest activation per channel of every `act` and `cap` module of a float student, by name."""
    peaks: dict[str, Tensor] = {}
    handles = []
    for name, module in student.named_modules():
        if name.endswith(("act", "cap")) and isinstance(module, Blend):
            handles.append(module.register_forward_hook(_recorder(peaks, name)))
    with torch.no_grad():
        for images in batches:
            student.eval()(images)
    for handle in handles:
        handle.remove()
    return peaks


def _recorder(peaks: dict[str, Tensor], name: str) -> Any:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen = output.amax((0, 2, 3))
        peaks[name] = torch.maximum(peaks.get(name, seen), seen)

    return hook


def equalise(network: nn.Module, peaks: dict[str, Tensor]) -> None:
    """Rescale the channels of a fake-quantised network in place by the peaks of its float twin."""
    traced = trace(Maps(network))
    modules = dict(traced.named_modules())
    groups = _Groups()
    channels: dict[fx.Node, list[int]] = {}
    for node in traced.graph.nodes:
        channels[node] = _channels(node, modules, channels, groups, peaks)
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(modules[str(node.target)], FixedScale):
            _scale_written(node, modules, groups.factors(channels[node]))
        elif node.op == "call_module" and isinstance(modules[str(node.target)], FakeConv):
            _scale_read(modules[str(node.target)], groups.factors(channels[before(node)]))


class _Groups:
    """Channels as a union-find forest; each root knows the peak of its group. Channel -1 keeps its scale."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.peaks: list[float] = []

    def new(self, peaks: Iterable[float]) -> list[int]:
        first = len(self.parents)
        self.peaks += peaks
        self.parents += range(first, len(self.peaks))
        return list(range(first, len(self.peaks)))

    def find(self, channel: int) -> int:
        while self.parents[channel] != channel:
            channel = self.parents[channel]
        return channel

    def join(self, one: int, other: int) -> None:
        first, second = self.find(one), self.find(other)
        self.parents[second] = first
        self.peaks[first] = max(self.peaks[first], self.peaks[second])

    def factors(self, channels: list[int]) -> Tensor:
        return torch.tensor(
            [1.0 if one < 0 else self._factor(self.peaks[self.find(one)]) for one in channels]
        )

    @staticmethod
    def _factor(peak: float) -> float:
        return min(max(6.0 / (HEADROOM * peak), 1.0), MOST) if peak > 0 else torch.inf


def _channels(
    node: fx.Node,
    modules: dict[str, nn.Module],
    channels: dict[fx.Node, list[int]],
    groups: _Groups,
    peaks: dict[str, Tensor],
) -> list[int]:
    """The channel numbers of a node's value."""
    if node.op == "placeholder":
        return [-1] * 3
    if node.op == "output":
        return []
    if node.target is torch.cat:
        parts: Any = node.args[0]
        return [channel for part in parts for channel in channels[part]]
    module = modules[str(node.target)] if node.op == "call_module" else None
    if not isinstance(module, FixedScale):
        return channels[before(node)]
    peak = peaks.get(str(node.target).removeprefix("network."))
    if peak is None:
        return [-1] * len(channels[before(node)])
    made = groups.new(peak.tolist())
    if before(node).target is operator.add:
        for term in before(node).args:
            for one, other in zip(made, channels[term], strict=True):
                groups.join(one, other)
    return made


def _scale_written(node: fx.Node, modules: dict[str, nn.Module], factors: Tensor) -> None:
    """Multiply the convolution behind a rounding; a sum scales by itself through its terms."""
    last = before(node)
    while last.op == "call_module" and isinstance(modules[str(last.target)], nn.Identity):
        last = before(last)
    conv = modules[str(last.target)] if last.op == "call_module" else None
    rounding: Any = modules[str(node.target)]
    if isinstance(conv, FakeConv) and rounding.capped:
        with torch.no_grad():
            finite = factors.nan_to_num(posinf=1.0)
            conv.weight.mul_(finite[:, None, None, None])
            conv.bias.mul_(finite)


def _scale_read(conv: Any, factors: Tensor) -> None:
    """Divide a convolution's weights by the factors of what it reads; those of dead channels become 0."""
    shape = (-1, 1, 1, 1) if conv.groups > 1 else (1, -1, 1, 1)
    with torch.no_grad():
        conv.weight.div_(factors.reshape(shape))
