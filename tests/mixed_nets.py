"""Random networks in which pictures change their shape between the layers: what exporters put around them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from picture_nets import LONGEST, STEPS, PictureNet

from edgekit.model.graph import Graph


def mixed_net(choices: Random, length: int, dtype: str = "int8") -> Graph:
    """A network of up to `length` layers and movements."""
    return MixedNet(choices, dtype).grow_mixed(length)


class MixedNet(PictureNet):
    def grow_mixed(self, length: int) -> Graph:
        steps: list[Mixed] = [*STEPS, *MOVES * 2] if self.dtype == "int8" else [*LAYERS_OF_BOTH, *MOVES]
        for _ in range(length):
            x = self.choices.choice(self.live[-2:])
            y = self.choices.choice(steps)(self, x)
            if y is not None:
                self.live.append(y)
        end = self.live[-1] if self.live[-1] not in self.sources else self.activation(self.live[-1])
        return self.net.graph(self.tail(end))

    def joined(self, x: int) -> int | None:
        """Along another axis than that of the channels."""
        axis, shape = self.choices.choice([0, 1, 2, -3]), self.shape(x)
        ends = [x] * self.choices.randint(1, 3)
        if self.choices.random() < 0.5:
            ends += [i for i in self.peers(x) if self.like(i) == self.like(x)][:1]
        if len(ends) * int(np.prod(shape)) > LONGEST:
            return None
        result = list(shape)
        result[axis] *= len(ends)
        return self.net.op("CONCATENATION", ends, tuple(result), version=2, axis=axis, **self.like(x))

    def reshaped(self, x: int) -> int:
        images, height, width, channels = self.shape(x)
        shape = self.choices.choice(
            [
                (images, width, height, channels),
                (images, height * width, 1, channels),
                (images, 1, width, height * channels),
                (1, images * height, width, channels),
            ]
        )
        asked = list(shape)
        asked[self.choices.randrange(4)] = -1
        wanted = self.net.constant(self.choices.choice([asked, list(shape)]))
        return self.net.op("RESHAPE", [x, wanted], shape, **self.like(x))

    def turned(self, x: int) -> int:
        order = self.choices.choice([[0, 2, 1, 3], [0, 3, 1, 2], [0, 2, 3, 1], [1, 0, 2, 3]])
        return self.net.transpose(x, *order, **self.like(x))

    def there_and_back(self, x: int) -> int:
        """To channels first and, past a function, back."""
        first = self.net.transpose(x, 0, 3, 1, 2, **self.like(x))
        made = self.activation(first)
        return self.net.transpose(made, 0, 2, 3, 1, **self.like(made))

    def cut(self, x: int) -> int:
        shape = self.shape(x)
        begins = [0, *(self.choices.randint(0, min(2, n - 1)) for n in shape[1:])]
        ends = [
            n - (self.choices.randint(0, 1) if n - b > 1 else 0) for n, b in zip(shape, begins, strict=True)
        ]
        steps = [1, self.choices.choice([1, 2]), self.choices.choice([1, 2]), 1]
        sizes = tuple(-(-(e - b) // s) for b, e, s in zip(begins, ends, steps, strict=True))
        inputs = [x, *(self.net.constant(part) for part in (begins, ends, steps))]
        return self.net.op("STRIDED_SLICE", inputs, sizes, version=2, **self.like(x))

    def to_depth(self, x: int) -> int | None:
        images, height, width, channels = self.shape(x)
        if height % 2 or width % 2 or channels > 12:
            return None
        shape = (images, height // 2, width // 2, 4 * channels)
        return self.net.op("SPACE_TO_DEPTH", [x], shape, version=2, block_size=2, **self.like(x))

    def wide_pad(self, x: int) -> int | None:
        """Margins as exporters of other frameworks write them, larger than the windows need."""
        rows = [[0, 0], *([self.choices.randint(0, 4) for _ in range(2)] for _ in range(2)), [0, 0]]
        shape = tuple(n + sum(row) for n, row in zip(self.shape(x), rows, strict=True))
        if int(np.prod(shape)) > LONGEST:
            return None
        padded = self.net.op("PAD", [x, self.net.constant(rows)], shape, **self.like(x))
        layer: Mixed = self.choices.choice([MixedNet.convolution, MixedNet.depthwise, MixedNet.pool])
        return layer(self, padded)

    def residual_of_another_scale(self, x: int) -> int:
        """A sum whose operands and result all have scales of their own, and an activation."""
        other = self.net.op("QUANTIZE", [x], self.shape(x), version=2, **self.facts(self.scale(x) * 2))
        made = self.convolution(x) if self.choices.random() < 0.5 else None
        ends = [made if made is not None and self.shape(made) == self.shape(x) else x, other]
        self.choices.shuffle(ends)
        return self.sum_of(ends)


Mixed = Callable[[Any, int], int | None]
MOVES: list[Mixed] = [
    MixedNet.joined, MixedNet.reshaped, MixedNet.turned, MixedNet.there_and_back, MixedNet.cut,
    MixedNet.to_depth, MixedNet.wide_pad, MixedNet.residual_of_another_scale,
]  # fmt: skip
LAYERS_OF_BOTH: list[Mixed] = [step for step in STEPS if step is not PictureNet.product]
