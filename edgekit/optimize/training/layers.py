"""Layers with the arithmetic of TFLite's int8 kernels, in floating point, for training.

Weights: symmetric, one scale per output channel, max |w| / 127 at each step. Activations: one scale and zero
point per tensor, ranges that always hold 0. Biases: whole steps of input scale times weight scale.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LOWEST, HIGHEST = -128, 127
LEAST_WEIGHT_SCALE = 1e-6  # smaller ones give gains that kernels refuse
BIAS_STEPS = 2.0**30  # a bias must fit an int32 with room for the sum
Quant = tuple[float, int]  # scale, zero point


class ActivationRange(nn.Module):
    """Rounds a tensor to int8 steps of its range, which is the mean of what it sees while it observes.

    A range that was never set lets everything through. Tensors that need one scale share it by `join`: the
    range is then the union. `fixed` are a scale and zero point that a kernel prescribes. What lies below
    `least` need not be told apart: the range ends there.
    """

    def __init__(self, average: float = 0.99, fixed: Quant | None = None) -> None:
        super().__init__()
        self.average, self.fixed, self.observing, self.rounds = average, fixed, True, True
        self.least = -math.inf
        self.group: list[ActivationRange] = [self]
        self.seen = False  # no tensor: asking an accelerator for it would stop the training at each layer
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.low: Tensor
        self.high: Tensor

    def get_extra_state(self) -> dict[str, bool]:
        return {"seen": self.seen}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        self.seen = state["seen"]

    def join(self, other: ActivationRange) -> None:
        """Share one scale with `other` and all that it shares with."""
        if other.group is not self.group:
            self.group.extend(other.group)
            for member in other.group:
                member.group = self.group

    @property
    def is_set(self) -> bool:
        return self.fixed is not None or any(m.seen for m in self.group)

    def quant(self) -> Quant:
        """Scale (a float32 value) and zero point."""
        scale, zero = self.steps()
        return float(scale), int(zero)

    def steps(self) -> tuple[Any, Any]:
        """Scale and zero point: numbers where they are prescribed, else tensors beside the range."""
        if self.fixed is not None:
            return self.fixed
        low, high = self.low, self.high
        if len(self.group) > 1:
            low = torch.stack([m.low for m in self.group]).amin()
            high = torch.stack([m.high for m in self.group]).amax()
        low, high = low.clamp(min=self.least).double(), high.double()
        span = high - low
        scale = ((span + (span == 0)) / 255).float()
        return scale, (LOWEST - low / scale.double()).round().clamp(LOWEST, HIGHEST).int()

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.observing and self.training and self.fixed is None:
            self.observe(x)
        if not self.is_set or not self.rounds:
            return x
        return torch.fake_quantize_per_tensor_affine(x, *self.steps(), LOWEST, HIGHEST)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
        share = 1 - self.average if self.seen else 1.0
        self.low.lerp_(low, share)
        self.high.lerp_(high, share)
        self.seen = True


class _QuantWeights:
    """What layers with int8 weights share; `source` is the range of what they read."""

    outputs_axis = 0  # of the weights: where the output channels stand
    rounds = True  # or weights and biases are taken as they are
    weight: Tensor
    bias: Tensor | None
    _source: tuple[ActivationRange, ...]

    @property
    def source(self) -> ActivationRange:
        return self._source[0]

    def read_from(self, source: ActivationRange) -> None:
        self._source = (source,)  # in a tuple, so that it is not this layer's submodule too

    def weight_scales(self) -> Tensor:
        """(o,) float32 scale of each output channel."""
        return self._weight_scales(self._input_scale() if self.source.is_set else None)

    def integers(self) -> tuple[Tensor, Tensor]:
        """int8 weights in torch's order and int32 biases (o,), as floats: what the file will hold."""
        scales = self.weight_scales()
        return self._weight_steps(scales), self._bias_steps((self._input_scale() * scales).double())

    def bias_scales(self) -> Tensor:
        """(o,) float32: input scale times weight scale."""
        return self._input_scale() * self.weight_scales()

    def rounded(self) -> tuple[Tensor, Tensor | None]:
        """Weights and bias as int8 arithmetic has them; gradients pass straight through."""
        if not self.source.is_set or not self.rounds:
            return self.weight, self.bias
        input_scale = self._input_scale()
        scales = self._weight_scales(input_scale)
        near = self._weight_steps(scales) * self._column(scales)
        weight = self.weight + (near - self.weight).detach()
        if self.bias is None:
            return weight, None
        bias_scales = (input_scale * scales).double()
        near_bias = (self._bias_steps(bias_scales) * bias_scales).to(self.bias.dtype)
        return weight, self.bias + (near_bias - self.bias).detach()

    def _weight_scales(self, input_scale: Tensor | None) -> Tensor:
        """So that every weight has a step, and every bias has one where the scale of the input is known."""
        rows = self.weight.detach().float().abs().movedim(self.outputs_axis, 0)
        scales = (rows.reshape(len(rows), -1).amax(1) / HIGHEST).clamp(min=LEAST_WEIGHT_SCALE)
        if self.bias is not None and input_scale is not None:
            room = self.bias.detach().float().abs() / (input_scale * BIAS_STEPS)
            scales = torch.maximum(scales, room)
        return scales

    def _weight_steps(self, scales: Tensor) -> Tensor:
        weight = self.weight.detach().float()
        return (weight / self._column(scales)).round().clamp(-HIGHEST, HIGHEST)

    def _bias_steps(self, bias_scales: Tensor) -> Tensor:
        if self.bias is None:
            return torch.zeros_like(bias_scales)
        return (self.bias.detach().double() / bias_scales).round()

    def _input_scale(self) -> Tensor:
        """() float32."""
        scale = self.source.steps()[0]
        return scale if isinstance(scale, Tensor) else self.weight.new_full((), scale, dtype=torch.float32)

    def _column(self, scales: Tensor) -> Tensor:
        """One value per output channel in the shape that the weights are divided by."""
        return scales.reshape(*[1] * self.outputs_axis, -1, *[1] * (self.weight.ndim - 1 - self.outputs_axis))


class QuantConv2d(_QuantWeights, nn.Conv2d):
    """A convolution with int8 weights; it takes over the parameters of the layer that it stands for."""

    @staticmethod
    def of(conv: nn.Conv2d, weight: Any, bias: Any) -> QuantConv2d:
        """A layer of the geometry of `conv` that owns the given parameters."""
        made = QuantConv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            conv.groups, bias is not None,
        )  # fmt: skip
        made.weight, made.bias = weight, bias
        return made.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.rounded()
        return functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class QuantConvTranspose2d(_QuantWeights, nn.ConvTranspose2d):
    """A transposed convolution with int8 weights (i, o, kh, kw)."""

    outputs_axis = 1

    @staticmethod
    def of(conv: nn.ConvTranspose2d, weight: Any, bias: Any) -> QuantConvTranspose2d:
        made = QuantConvTranspose2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
            conv.output_padding, conv.groups, bias is not None, conv.dilation,
        )  # fmt: skip
        made.weight, made.bias = weight, bias
        return made.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.rounded()
        return functional.conv_transpose2d(
            x, weight, bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class QuantLinear(_QuantWeights, nn.Linear):
    """A fully connected layer with int8 weights."""

    @staticmethod
    def of(linear: nn.Linear, weight: Any, bias: Any) -> QuantLinear:
        made = QuantLinear(linear.in_features, linear.out_features, bias is not None)
        made.weight, made.bias = weight, bias
        return made.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.rounded())


class QuantScale(_QuantWeights, nn.Module):
    """A batch norm that no convolution takes in: a factor and an offset per channel of (n, c, h, w)."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.rounded()
        shape = (1, -1, 1, 1)
        return x * weight.reshape(shape) + (0 if bias is None else bias.reshape(shape))


FUSING = (QuantConv2d, QuantConvTranspose2d, QuantLinear)  # with an activation behind them
