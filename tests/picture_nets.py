"""Random small networks of pictures, with all that convolutional networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from growing import Growing
from nets import Net

from edgekit.model.graph import Graph

LONGEST = 4000  # numbers of a picture


def picture_net(choices: Random, length: int, dtype: str = "int8") -> Graph:
    """A network of up to `length` layers on pictures, most with something behind them that is none."""
    return PictureNet(choices, dtype).grow(length)


def single_layer(choices: Random, kind: Step, dtype: str = "int8") -> Graph:
    """A network of one layer, or two inputs and what joins them."""
    growing = PictureNet(choices, dtype)
    source, made = growing.unchanged(growing.live[0]), None
    while made is None:
        made = kind(growing, source)
    return growing.net.graph(made)


class PictureNet(Growing):
    """Each step may give one more picture."""

    def grow(self, length: int) -> Graph:
        steps = [step for step in STEPS if self.dtype == "int8" or step not in INT8_ONLY]
        for _ in range(length):
            x = self.choices.choice(self.live[-2:])
            y = self.choices.choice(steps)(self, x)
            if y is not None:
                self.live.append(y)
        ends = [i for i in (self.live[-1], self.choices.choice(self.live)) if i not in self.sources]
        ends = list(dict.fromkeys(ends)) or [self.activation(self.live[0])]
        return self.net.graph(self.tail(ends[0]), *ends[1:])

    def convolution(self, x: int) -> int | None:
        x = self.choices.choice([x, x, self.pad(x)])
        images, _, _, channels = self.shape(x)
        found = self.window(x, self.choices.choice([1, 1, 3, 5]))
        if found is None:
            return None
        options, window, sizes = found
        groups = self.choices.choice([1, 1, 1, *(n for n in range(1, channels + 1) if channels % n == 0)])
        outputs = groups * self.choices.choice([1, 2, 3, 4, 8, self.choices.randint(1, 40)])
        outputs = outputs if outputs <= 40 else groups
        kernel, bias, facts = self.weights((outputs, *window, channels // groups), 0, x)
        down, across = options.pop("spread")
        options |= {"dilation_h_factor": down, "dilation_w_factor": across} | self.options() | facts
        return self.net.op("CONV_2D", [x, kernel, bias], (images, *sizes, outputs), version=5, **options)

    def depthwise(self, x: int) -> int | None:
        x = self.choices.choice([x, x, self.pad(x)])
        images, _, _, channels = self.shape(x)
        found = self.window(x, self.choices.choice([3, 3, 5, 4]))
        if found is None:
            return None
        options, window, sizes = found
        if self.choices.choice([True, True, False]):
            window, sizes, options = self._usual(x, options)
        multiplier = self.choices.choice([1, 1, 1, 2, 3]) if channels <= 12 else 1
        kernel, bias, facts = self.weights((1, *window, channels * multiplier), 3, x)
        down, across = options.pop("spread")
        options |= {"dilation_h_factor": down, "dilation_w_factor": across, "depth_multiplier": multiplier}
        options |= self.options() | facts
        shape = (images, *sizes, channels * multiplier)
        return self.net.op("DEPTHWISE_CONV_2D", [x, kernel, bias], shape, version=3, **options)

    def transposed_convolution(self, x: int) -> int | None:
        choose = self.choices.choice
        images, height, width, channels = self.shape(x)
        window, steps = [choose([1, 2, 3, 4, 5]) for _ in range(2)], [choose([1, 2, 2, 3]) for _ in range(2)]
        padding, outputs = choose(["SAME", "VALID"]), choose([1, 3, 4, 8, self.choices.randint(1, 20)])
        given = zip((height, width), steps, window, strict=True)
        sizes = [n * s if padding == "SAME" else max((n - 1) * s + w, s) for n, s, w in given]
        if images * sizes[0] * sizes[1] * outputs > LONGEST:
            return None
        kernel, bias, facts = self.weights((outputs, *window, channels), 0, x)
        shape = (images, *sizes, outputs)
        ends = [self.net.constant(shape), kernel, x, *[bias] * choose([1, 1, 0])]
        options = {"padding": padding, "stride_h": steps[0], "stride_w": steps[1]} | self.options() | facts
        return self.net.op("TRANSPOSE_CONV", ends, shape, version=4, **options)

    def _usual(self, x: int, options: dict[str, Any]) -> tuple[list[int], list[int], dict[str, Any]]:
        """A square window as networks have them."""
        size, stride = self.choices.choice([3, 5]), self.choices.choice([1, 2])
        sizes = [-(-length // stride) for length in self.shape(x)[1:3]]
        steps = {"stride_h": stride, "stride_w": stride, "padding": "SAME", "spread": (1, 1)}
        return [size, size], sizes, options | steps

    def pad(self, x: int) -> int:
        rows = [[0, 0], *([self.choices.randint(0, 2) for _ in range(2)] for _ in range(2)), [0, 0]]
        shape = tuple(size + sum(row) for size, row in zip(self.shape(x), rows, strict=True))
        return self.net.op("PAD", [x, self.net.constant(rows)], shape, **self.like(x))

    def residual(self, x: int) -> int | None:
        """A convolution that keeps the shape, or two, and the sum with what went in."""
        images, height, width, channels = self.shape(x)
        ends = [x, x]
        for side in range(self.choices.choice([1, 2])):
            size = self.choices.choice([1, 3])
            kernel, bias, facts = self.weights((channels, size, size, channels), 0, x)
            options = {"stride_h": 1, "stride_w": 1, "padding": "SAME"} | self.options() | facts
            shape = (images, height, width, channels)
            ends[side] = self.net.op("CONV_2D", [x, kernel, bias], shape, version=3, **options)
            self.live += [ends[side]] if self.choices.random() < 0.3 else []
        self.choices.shuffle(ends)
        return self.sum_of(ends)

    def sum_of(self, ends: list[int]) -> int:
        kind = self.choices.choice(["ADD", "ADD", "SUB"])
        facts = self.same_or(ends[0], max(map(self.scale, ends)) * 1.5)
        version = 2 if kind == "ADD" else 3
        return self.net.op(kind, ends, self.shape(ends[0]), version=version, **facts, **self.options())

    def addition(self, x: int) -> int:
        return self.sum_of([x, self.choices.choice(self.peers(x))])

    def product(self, x: int) -> int:
        other = self.choices.choice(self.peers(x))
        facts = self.facts(self.scale(x) * self.scale(other) * 128)
        return self.net.op("MUL", [x, other], self.shape(x), version=2, **facts, **self.options())

    def squeeze_and_excite(self, x: int) -> int:
        images, _, _, channels = self.shape(x)
        axes = self.net.constant(self.choices.choice([[1, 2], [2, 1], [-3, -2]]))
        shape = (images, 1, 1, channels)
        pooled = self.net.op("MEAN", [x, axes], shape, version=2, keep_dims=True, **self.same_or(x, 0.05))
        kernel, bias, facts = self.weights((channels, 1, 1, channels), 0, pooled)
        options = {"stride_h": 1, "stride_w": 1, **facts}
        gate = self.logistic(self.net.op("CONV_2D", [pooled, kernel, bias], shape, version=3, **options))
        ends = [x, gate]
        self.choices.shuffle(ends)
        return self.net.op("MUL", ends, self.shape(x), version=2, **self.same_or(x))

    def logistic(self, x: int) -> int:
        facts = {"scale": 1 / 256, "zero_point": self.shift - 128}
        return self.net.op("LOGISTIC", [x], self.shape(x), version=2, **facts)

    def silu(self, x: int) -> int:
        facts = self.same_or(x, self.scale(x))
        return self.net.op("MUL", [x, self.logistic(x)], self.shape(x), version=2, **facts)

    def activation(self, x: int) -> int:
        kind = self.choices.choice(["RELU", "RELU6", "HARD_SWISH", "LEAKY_RELU", "TANH", "QUANTIZE"])
        facts = self.same_or(x, self.scale(x))
        if kind == "TANH":
            facts = {"scale": 1 / 128, "zero_point": self.shift}
        options = {"alpha": 0.1} if kind == "LEAKY_RELU" else {}
        version = 1 if kind == "HARD_SWISH" else 2
        return self.net.op(kind, [x], self.shape(x), version=version, **facts, **options)

    def concatenation(self, x: int) -> int | None:
        peers = [i for i in self.peers(x, channels=False) if self.like(i) == self.like(x)]
        ends = [x, *(self.choices.choice(peers) for _ in range(self.choices.randint(1, 3)))]
        total = sum(self.shape(i)[3] for i in ends)
        if total > 60:
            return None
        shape = (*self.shape(x)[:3], total)
        axis = self.choices.choice([3, -1])
        return self.net.op("CONCATENATION", ends, shape, version=2, axis=axis, **self.like(x))

    def split(self, x: int) -> int | None:
        channels = self.shape(x)[3]
        parts = self.choices.choice([n for n in range(1, 5) if channels % n == 0])
        shape = (*self.shape(x)[:3], channels // parts)
        outs = [self.net.tensor(shape, **self.like(x)) for _ in range(parts)]
        axis = self.net.constant(self.choices.choice([3, -1]))
        self.live += self.net.ops_of("SPLIT", [axis, x], outs, {"num_splits": parts, "version": 2})
        return None

    def pool(self, x: int) -> int | None:
        found = self.window(x, self.choices.choice([2, 3, 5]))
        if found is None:
            return None
        options, (height, width), _ = found
        del options["spread"]
        steps, padded = (options["stride_h"], options["stride_w"]), options["padding"] == "SAME"
        lengths = zip(self.shape(x)[1:3], (height, width), steps, strict=True)
        sizes = [-(-(n if padded else n - size + 1) // step) for n, size, step in lengths]
        if min(sizes) < 1:
            return None
        kind = self.choices.choice(["MAX_POOL_2D", "AVERAGE_POOL_2D"])
        options |= {"filter_height": height, "filter_width": width} | self.options() | self.like(x)
        return self.net.op(kind, [x], (self.shape(x)[0], *sizes, self.shape(x)[3]), version=2, **options)

    def resize(self, x: int) -> int | None:
        images, height, width, channels = self.shape(x)
        sizes = [self.choices.choice([2 * n, n, self.choices.randint(1, 20)]) for n in (height, width)]
        if images * sizes[0] * sizes[1] * channels > LONGEST:
            return None
        ways = self.choices.choice([(False, False), (True, False), (False, True)])
        options = dict(zip(("align_corners", "half_pixel_centers"), ways, strict=True))
        inputs, shape = [x, self.net.constant(sizes)], (images, *sizes, channels)
        return self.net.op("RESIZE_NEAREST_NEIGHBOR", inputs, shape, version=3, **options, **self.like(x))

    def unchanged(self, x: int) -> int:
        """The picture by way of a convolution that leaves it as it is: so it stands in planes."""
        facts, channels = self.like(x), self.shape(x)[3]
        one = np.full((1, 1, 1, channels), 1 + self.shift)
        kernel = self.net.constant(one, self.dtype, scale=1.0, zero_point=self.shift)
        bias = self.net.bias(np.zeros(channels), facts["scale"])
        options = {"stride_h": 1, "stride_w": 1, "depth_multiplier": 1, **facts}
        self.live.append(self.net.op("DEPTHWISE_CONV_2D", [x, kernel, bias], self.shape(x), **options))
        return self.live[-1]

    # What comes behind the pictures

    def tail(self, x: int) -> int:
        return self.choices.choice(TAILS)(self, x)

    def itself(self, x: int) -> int:
        return x

    def to_float(self, x: int) -> int:
        return self.net.op("DEQUANTIZE", [x], self.shape(x), dtype="float32", version=2)

    def flat(self, x: int) -> int:
        shape = (self.shape(x)[0], int(np.prod(self.shape(x)[1:])))
        return self.net.op("RESHAPE", [x, self.net.constant(shape)], shape, **self.like(x))

    def transposed(self, x: int) -> int:
        order = self.choices.choice([[0, 3, 1, 2], [0, 2, 1, 3], [0, 2, 3, 1]])
        return self.net.transpose(x, *order, **self.like(x))

    def fully_connected(self, x: int) -> int:
        """Of all numbers of an image, or of its means."""
        if self.choices.random() < 0.5:
            shape = (self.shape(x)[0], self.shape(x)[3])
            axes = self.net.constant([1, 2])
            x = self.net.op("MEAN", [x, axes], shape, version=2, **self.same_or(x, 0.05))
        else:
            x = self.flat(x)
        kernel, bias, facts = self.weights((self.choices.randint(1, 40), self.shape(x)[1]), 0, x)
        shape = (self.shape(x)[0], self.shape(kernel)[0])
        return self.net.op("FULLY_CONNECTED", [x, kernel, bias], shape, version=4, **facts, **self.options())


def with_float_ends(graph: Graph) -> Graph:
    """The network with its inputs in float32, each quantised first."""
    net = Net()
    net.tensors, net.ops = list(graph.tensors), []
    for number, index in enumerate(graph.inputs):
        tensor = graph.tensors[index]
        real = replace(tensor, name=f"real {number}", dtype=np.dtype(np.float32), scale=None, zero_point=None)
        net.tensors.append(real)
        net.ends[0].append(len(net.tensors) - 1)
        net.ops_of("QUANTIZE", [net.ends[0][-1]], [index], {})
    net.ops += graph.ops
    return net.graph(*graph.outputs)


Step = Callable[[PictureNet, int], int | None]
_N = PictureNet
LAYERS: list[Step] = [
    _N.convolution, _N.depthwise, _N.transposed_convolution, _N.addition, _N.product, _N.pool, _N.resize,
    _N.activation, _N.concatenation,
]  # fmt: skip
STEPS: list[Step] = [
    *[_N.convolution] * 6, *[_N.depthwise] * 3, _N.transposed_convolution, *[_N.residual] * 3, _N.addition,
    _N.product,
    *[_N.concatenation] * 3, _N.split, _N.pool, _N.resize, _N.activation, _N.silu, _N.squeeze_and_excite,
    _N.logistic,
]  # fmt: skip
INT8_ONLY: list[Step] = [_N.product]
TAILS: list[Callable[[PictureNet, int], int]] = [
    *[_N.itself] * 3, _N.to_float, _N.flat, _N.transposed, *[_N.fully_connected] * 2,
]  # fmt: skip
