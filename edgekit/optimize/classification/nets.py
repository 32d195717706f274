"""Classifiers that a recipe may name: `NETWORKS[name](classes=..., **options)`. Inputs (n, 3, h, w)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

MOBILENET = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def unit(
    inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """A convolution padded as TFLite's SAME (of even sides), batch norm, ReLU."""
    uneven = stride == 2 and size == 3
    layers: list[nn.Module] = [nn.ZeroPad2d((0, 1, 0, 1))] if uneven else []
    padding = 0 if uneven else size // 2
    layers += [
        nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if activation else []))


def pooled(inputs: int, outputs: int) -> nn.Sequential:
    """A unit that halves the sides by max pooling, before the batch norm: that is a quarter of its work.

    The norm's factors stay 1, as only positive ones may trade places with the pooling (see `sink_pools`).
    """
    norm = nn.BatchNorm2d(outputs)
    norm.weight.requires_grad_(requires_grad=False)
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.MaxPool2d(2), norm, nn.ReLU())


class Residual(nn.Module):
    """Two convolutions and the sum with the input, by a pointwise convolution where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = unit(inputs, outputs, 3, stride)
        self.second = unit(outputs, outputs, activation=False)
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.short(x))


class ResNet(nn.Module):
    """A residual network for small pictures (He et al. 2016, section 4.2): `depth` blocks for each width."""

    def __init__(
        self, classes: int, depth: int = 1, widths: Sequence[int] = (16, 32, 64), stem_stride: int = 1
    ) -> None:
        super().__init__()
        self.stem = unit(3, widths[0], 3, stem_stride)
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for number in range(depth):
                blocks.append(Residual(inputs, outputs, 2 if stage and not number else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class VGG(nn.Module):
    """A plain network for small pictures (after Simonyan and Zisserman 2015): the first convolution sees all
    pixels; each of `widths` then is two convolutions, the first followed by a pooling that halves the sides.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (48, 96, 128), stem: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = [unit(3, stem)]
        inputs = stem
        for outputs in widths:
            layers += [pooled(inputs, outputs), unit(outputs, outputs)]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class MobileNet(nn.Module):
    """MobileNetV1 (Howard et al. 2017) of a width; channels are multiples of 8."""

    def __init__(self, classes: int, width: float = 0.25, dropout: float = 0.0) -> None:
        super().__init__()
        scaled = [(max(8, round(outputs * width / 8) * 8), stride) for outputs, stride in MOBILENET]
        inputs = max(8, round(32 * width / 8) * 8)
        layers = [unit(3, inputs, 3, 2)]
        for outputs, stride in scaled:
            layers += [unit(inputs, inputs, 3, stride, groups=inputs), unit(inputs, outputs, 1)]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.features(x).mean((2, 3))))


class Enlarged(nn.Module):
    """A network that sees its pictures `times` larger: what it learned on large ones serves small ones."""

    def __init__(self, network: nn.Module, times: int) -> None:
        super().__init__()
        self.network, self.times = network, times

    def forward(self, x: Tensor) -> Tensor:
        return self.network(functional.interpolate(x, scale_factor=self.times, mode="bilinear"))


def _resnet(depth: int) -> Callable[..., nn.Module]:
    return lambda classes, **options: ResNet(classes, depth, **options)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "resnet8": _resnet(1),
    "resnet14": _resnet(2),
    "resnet20": _resnet(3),
    "resnet": ResNet,
    "vgg": VGG,
    "mobilenet": MobileNet,
}
