"""The detector: YOLOX-Nano's topology (Ge et al. 2021) without batch norms, as teacher and as student.

Submodules are registered in the order in which they run, so that the convolutions of an ONNX file and those
of the network pair up by counting. Feature maps are NCHW; the student's outputs are raw maps of 16 channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
WIDTHS = (64, 128, 256)  # channels of the three feature maps that the head reads
STEM_GROUPS = (4, 4, 4, 4)  # channels of the student's stem that share a scale, those of least range first
HEAD_WIDTH = 64
OUTPUT_WIDTH = 16  # four box values, ten class logits, two spare so that the count divides by eight


class Unit(nn.Module):
    """Convolution and activation."""

    def __init__(self, shape: tuple[int, int], *, size: int = 1, stride: int = 1, deep: bool = False) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(
            *shape, size, stride, (size - 1) // 2, groups=shape[0] if deep else 1
        )
        self.act: nn.Module = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class Separable(nn.Module):
    """A depthwise 3x3 unit followed by a pointwise one."""

    def __init__(self, shape: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        self.deep = Unit((shape[0], shape[0]), size=3, stride=stride, deep=True)
        self.point = Unit(shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.point(self.deep(x))


class Bottleneck(nn.Module):
    """Pointwise, separable, and the sum with the input where there is a shortcut."""

    def __init__(self, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.first = Unit((width, width))
        self.second = Separable((width, width))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return y + x if self.shortcut else y


class Csp(nn.Module):
    """A cross-stage partial layer: half of the channels go through the bottlenecks."""

    def __init__(self, shape: tuple[int, int], depth: int = 1, *, shortcut: bool = False) -> None:
        super().__init__()
        half = shape[1] // 2
        self.main = Unit((shape[0], half))
        self.side = Unit((shape[0], half))
        self.blocks = nn.Sequential(*(Bottleneck(half, shortcut=shortcut) for _ in range(depth)))
        self.join = Unit((shape[1], shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        side = self.side(x)
        return self.join(torch.cat((self.blocks(self.main(x)), side), 1))


class Pyramid(nn.Module):
    """Spatial pyramid pooling: 5, 9 and 13 pixels wide, as a chain of three 5 pixel pools."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Unit((width, width // 2))
        self.last = Unit((width * 2, width))
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        five = self.pool(x)
        nine = self.pool(five)
        return self.last(torch.cat((x, five, nine, self.pool(nine)), 1))


class FocusStem(nn.Module):
    """Every second pixel to channels, then a 3x3 convolution: the teacher's stem."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = Unit((12, 16), size=3)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = x[..., ::2, :], x[..., 1::2, :]
        return self.unit(torch.cat((top[..., ::2], bottom[..., ::2], top[..., 1::2], bottom[..., 1::2]), 1))


class SplitStem(nn.Module):
    """The Focus stem as 6x6 convolutions of stride 2, and the depthwise layers that read them.

    Its channels differ a thousandfold in range, more than one int8 scale can serve. So they are made in
    groups of like range, each with a scale of its own; what the depthwise layers make of them is even again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            nn.Sequential(
                Unit((3, width), size=6, stride=2), Unit((width, width), size=3, stride=2, deep=True)
            )
            for width in STEM_GROUPS
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([group(x) for group in self.groups], 1)


class Trunk(nn.Module):
    """CSPDarknet and the path aggregation network: an image to features c3, c4, c5, p3, p4, p5."""

    def __init__(self, stem: FocusStem | SplitStem) -> None:
        super().__init__()
        self.stem = stem
        first = Unit((16, 32)) if isinstance(stem, SplitStem) else Separable((16, 32), 2)
        self.dark2 = nn.Sequential(first, Csp((32, 32), shortcut=True))
        self.dark3 = nn.Sequential(Separable((32, 64), 2), Csp((64, 64), 3, shortcut=True))
        self.dark4 = nn.Sequential(Separable((64, 128), 2), Csp((128, 128), 3, shortcut=True))
        self.dark5 = nn.Sequential(Separable((128, 256), 2), Pyramid(256), Csp((256, 256)))
        self.lateral5 = Unit((256, 128))
        self.down4 = Csp((256, 128))
        self.lateral4 = Unit((128, 64))
        self.down3 = Csp((128, 64))
        self.step3 = Separable((64, 64), 2)
        self.up4 = Csp((128, 128))
        self.step4 = Separable((128, 128), 2)
        self.up5 = Csp((256, 256))

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


def _branch() -> nn.Sequential:
    return nn.Sequential(*(Separable((HEAD_WIDTH, HEAD_WIDTH)) for _ in range(2)))


class TeacherLevel(nn.Module):
    """One level of the decoupled head: box 4, objectness 1, classes 80, all raw logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = Unit((width, HEAD_WIDTH))
        self.classes = _branch()
        self.class_logits = nn.Conv2d(HEAD_WIDTH, 80, 1)
        self.boxes = _branch()
        self.box_values = nn.Conv2d(HEAD_WIDTH, 4, 1)
        self.objectness = nn.Conv2d(HEAD_WIDTH, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        box = self.boxes(x)
        return torch.cat((self.box_values(box), self.objectness(box), self.class_logits(self.classes(x))), 1)


class StudentLevel(nn.Module):
    """One level of the head: both branches joined, then one pointwise convolution to 16 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = Unit((width, HEAD_WIDTH))
        self.classes = _branch()
        self.boxes = _branch()
        self.output: nn.Module = nn.Conv2d(2 * HEAD_WIDTH, OUTPUT_WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.output(torch.cat((self.classes(x), self.boxes(x)), 1))


class Detector(nn.Module):
    """Trunk and head: images (n, 3, h, w), BGR 0..255, to one map per stride."""

    def __init__(self, trunk: Trunk, levels: Iterable[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.levels = nn.ModuleList(levels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        _, _, _, p3, p4, p5 = self.trunk(x)
        return self.levels[0](p3), self.levels[1](p4), self.levels[2](p5)


def teacher_network() -> Detector:
    return Detector(Trunk(FocusStem()), map(TeacherLevel, WIDTHS))


def student_network() -> Detector:
    return Detector(Trunk(SplitStem()), map(StudentLevel, WIDTHS))
