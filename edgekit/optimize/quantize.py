"""Quantisation in training: folded batch norms, fake int8 weights per channel, fixed activation scales.

ReLU6 bounds every activation by 0 and 6, so one scale, 6/255 with zero point -128, serves all inner tensors:
sums, concatenations, pools and resizes need no requantisation, and there are no ranges to observe.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.optimize.nets import Blend, StudentLevel, Unit

Network = TypeVar("Network", bound=nn.Module)
ACTIVATION_SCALE = 6.0 / 255.0
WEIGHT_SCALES = 1e-6, 128.0  # XNNPACK refuses gains outside 2**-32..2**8
PIXEL_SCALE = 1.0  # of the input, 0..255
OUTPUT_SCALE = 1.0 / 16.0  # outputs lie in -8..7.94, zero point 0


class FixedScale(nn.Module):
    """Round to multiples of a scale within `low..high` steps, gradient straight through."""

    def __init__(self, scale: float, zero_point: int, *, capped: bool) -> None:
        super().__init__()
        self.scale, self.zero_point, self.capped = scale, zero_point, capped

    def forward(self, x: Tensor) -> Tensor:
        if self.capped:
            x = functional.relu6(x)
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, -128, 127)


class FakeConv(nn.Conv2d):
    """A convolution whose weights are rounded to int8 per output channel, max |w| / 127 each step."""

    input_scale = ACTIVATION_SCALE

    def weight_scales(self) -> Tensor:
        return (self.weight.detach().abs().amax((1, 2, 3)) / 127).clamp(*WEIGHT_SCALES)

    def forward(self, x: Tensor) -> Tensor:
        scales = self.weight_scales()
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(self.weight, scales, zeros, 0, -127, 127)
        bias = self.bias + (self.rounded_bias(scales) - self.bias).detach()
        return functional.conv2d(x, weight, bias, self.stride, self.padding, 1, self.groups)

    def rounded_bias(self, scales: Tensor) -> Tensor:
        """The bias in whole steps of input scale times weight scale, as the file will hold it."""
        steps = scales * self.input_scale
        return (self.bias / steps).round() * steps


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> FakeConv:
    """One convolution with bias that does what convolution and batch norm do."""
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return fake(conv, conv.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor)


def fake(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> FakeConv:
    """A FakeConv of the geometry of `conv`."""
    made = FakeConv(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups
    )
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made


def quantized(student: Network) -> Network:
    """A copy of a student with folded norms and fake quantisation, ready for training or export."""
    network = copy.deepcopy(student)
    for module in list(network.modules()):
        if isinstance(module, Unit):
            module.conv = fold(module.conv, module.norm)
            module.norm = nn.Identity()
            if module.conv.in_channels == 3:
                module.conv.input_scale = PIXEL_SCALE
            module.act = FixedScale(ACTIVATION_SCALE, -128, capped=True)
        elif isinstance(module, StudentLevel):
            output = module.output
            module.output = nn.Sequential(
                fake(output, output.weight, output.bias), FixedScale(OUTPUT_SCALE, 0, capped=False)
            )
        elif isinstance(getattr(module, "cap", None), Blend):
            module.cap = FixedScale(ACTIVATION_SCALE, -128, capped=True)
    return network.to(memory_format=torch.channels_last)


def is_quantized(network: nn.Module) -> bool:
    """Whether a network has been through `quantized`."""
    return any(isinstance(module, FakeConv) for module in network.modules())
