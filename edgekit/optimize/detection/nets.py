"""The detector: YOLOX-Nano's topology (Ge et al. 2021), as teacher and as student.

Submodules are registered in the order in which they run, so that the convolutions of an ONNX file and those
of the network pair up by counting. Feature maps are NCHW; the student's outputs are raw maps of 16 channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
WIDTHS = (64, 128, 256)  # channels of the three feature maps that the head reads
HEAD_WIDTH = 64
OUTPUT_WIDTH = 16  # four box values, ten class logits, two spare so that the count divides by eight


@dataclass(frozen=True, slots=True)
class Style:
    """What teacher and student differ in: a student has its own stem, its own head, and batch norms."""

    student: bool

    def norm(self, width: int) -> nn.Module:
        return nn.BatchNorm2d(width, eps=1e-3, momentum=0.03) if self.student else nn.Identity()


TEACHER = Style(student=False)
STUDENT = Style(student=True)


class Unit(nn.Module):
    """Convolution, batch norm unless it is folded, activation."""

    def __init__(
        self, shape: tuple[int, int], style: Style, *, size: int = 1, stride: int = 1, deep: bool = False
    ) -> None:
        super().__init__()
        groups = shape[0] if deep else 1
        bias = not style.student
        self.conv: nn.Module = nn.Conv2d(*shape, size, stride, size // 2, groups=groups, bias=bias)
        self.norm = style.norm(shape[1])
        self.act: nn.Module = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Separable(nn.Module):
    """A depthwise 3x3 unit followed by a pointwise one."""

    def __init__(self, shape: tuple[int, int], style: Style, stride: int = 1) -> None:
        super().__init__()
        self.deep = Unit((shape[0], shape[0]), style, size=3, stride=stride, deep=True)
        self.point = Unit(shape, style)

    def forward(self, x: Tensor) -> Tensor:
        return self.point(self.deep(x))


class Bottleneck(nn.Module):
    """Pointwise, separable, and the sum with the input where there is a shortcut."""

    def __init__(self, width: int, style: Style, *, shortcut: bool) -> None:
        super().__init__()
        self.first = Unit((width, width), style)
        self.second = Separable((width, width), style)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return y + x if self.shortcut else y


class Csp(nn.Module):
    """A cross-stage partial layer: half of the channels go through the bottlenecks."""

    def __init__(
        self, shape: tuple[int, int], style: Style, depth: int = 1, *, shortcut: bool = False
    ) -> None:
        super().__init__()
        half = shape[1] // 2
        self.main = Unit((shape[0], half), style)
        self.side = Unit((shape[0], half), style)
        self.blocks = nn.Sequential(*(Bottleneck(half, style, shortcut=shortcut) for _ in range(depth)))
        self.join = Unit((shape[1], shape[1]), style)

    def forward(self, x: Tensor) -> Tensor:
        side = self.side(x)
        return self.join(torch.cat((self.blocks(self.main(x)), side), 1))


class Pyramid(nn.Module):
    """Spatial pyramid pooling: 5, 9 and 13 pixels wide, as a chain of three 5 pixel pools."""

    def __init__(self, width: int, style: Style) -> None:
        super().__init__()
        self.first = Unit((width, width // 2), style)
        self.last = Unit((width * 2, width), style)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        five = self.pool(x)
        nine = self.pool(five)
        return self.last(torch.cat((x, five, nine, self.pool(nine)), 1))


class FocusStem(nn.Module):
    """Every second pixel to channels, then a 3x3 convolution: the teacher's stem."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.unit = Unit((12, 16), style, size=3)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = x[..., ::2, :], x[..., 1::2, :]
        return self.unit(torch.cat((top[..., ::2], bottom[..., ::2], top[..., 1::2], bottom[..., 1::2]), 1))


class PlainStem(nn.Module):
    """A 3x3 convolution of stride 2, padded below and to the right (SAME of TFLite): the student's stem.

    Its channels differ a hundredfold in range. ReLU lets `quantize` even them out; SiLU would not.
    """

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.unit = Unit((3, 16), style, size=3, stride=2)
        self.unit.conv.padding = (0, 0)
        self.unit.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(functional.pad(x, (0, 1, 0, 1)))


class Trunk(nn.Module):
    """CSPDarknet and the path aggregation network: an image to features c3, c4, c5, p3, p4, p5."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.stem: nn.Module = PlainStem(style) if style.student else FocusStem(style)
        self.dark2 = nn.Sequential(Separable((16, 32), style, 2), Csp((32, 32), style, shortcut=True))
        self.dark3 = nn.Sequential(Separable((32, 64), style, 2), Csp((64, 64), style, 3, shortcut=True))
        self.dark4 = nn.Sequential(Separable((64, 128), style, 2), Csp((128, 128), style, 3, shortcut=True))
        self.dark5 = nn.Sequential(
            Separable((128, 256), style, 2), Pyramid(256, style), Csp((256, 256), style)
        )
        self.lateral5 = Unit((256, 128), style)
        self.down4 = Csp((256, 128), style)
        self.lateral4 = Unit((128, 64), style)
        self.down3 = Csp((128, 64), style)
        self.step3 = Separable((64, 64), style, 2)
        self.up4 = Csp((128, 128), style)
        self.step4 = Separable((128, 128), style, 2)
        self.up5 = Csp((256, 256), style)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        c3 = self.dark3(self.dark2(self.stem(x)))
        c4 = self.dark4(c3)
        c5 = self.dark5(c4)
        top = self.lateral5(c5)
        middle = self.lateral4(self.down4(torch.cat((functional.interpolate(top, scale_factor=2.0), c4), 1)))
        p3 = self.down3(torch.cat((functional.interpolate(middle, scale_factor=2.0), c3), 1))
        p4 = self.up4(torch.cat((self.step3(p3), middle), 1))
        p5 = self.up5(torch.cat((self.step4(p4), top), 1))
        return c3, c4, c5, p3, p4, p5


def _branch(style: Style) -> nn.Sequential:
    return nn.Sequential(*(Separable((HEAD_WIDTH, HEAD_WIDTH), style) for _ in range(2)))


class TeacherLevel(nn.Module):
    """One level of the decoupled head: box 4, objectness 1, classes 80, all raw logits."""

    def __init__(self, width: int, style: Style) -> None:
        super().__init__()
        self.stem = Unit((width, HEAD_WIDTH), style)
        self.classes = _branch(style)
        self.class_logits = nn.Conv2d(HEAD_WIDTH, 80, 1)
        self.boxes = _branch(style)
        self.box_values = nn.Conv2d(HEAD_WIDTH, 4, 1)
        self.objectness = nn.Conv2d(HEAD_WIDTH, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        box = self.boxes(x)
        return torch.cat((self.box_values(box), self.objectness(box), self.class_logits(self.classes(x))), 1)


class StudentLevel(nn.Module):
    """One level of the head: both branches joined, then one pointwise convolution to 16 channels."""

    def __init__(self, width: int, style: Style) -> None:
        super().__init__()
        self.stem = Unit((width, HEAD_WIDTH), style)
        self.classes = _branch(style)
        self.boxes = _branch(style)
        self.output: nn.Module = nn.Conv2d(2 * HEAD_WIDTH, OUTPUT_WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.output(torch.cat((self.classes(x), self.boxes(x)), 1))


class Detector(nn.Module):
    """Trunk and head: images (n, 3, h, w), BGR 0..255, to one map per stride."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        level = StudentLevel if style.student else TeacherLevel
        self.trunk = Trunk(style)
        self.levels = nn.ModuleList(level(width, style) for width in WIDTHS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        _, _, _, p3, p4, p5 = self.trunk(x)
        return self.levels[0](p3), self.levels[1](p4), self.levels[2](p5)


def units(network: nn.Module) -> Iterator[Unit]:
    """The convolution units of a network in the order in which they run."""
    return (module for module in network.modules() if isinstance(module, Unit))
