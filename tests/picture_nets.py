"""Random small networks of pictures, with all that convolutional networks are made of.

Every choice is asked of a `random.Random`, so that Hypothesis can shrink a network that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from nets import Net
from numpy.typing import NDArray

from edgekit.graph import Graph, Tensor

Numbers = NDArray[Any]
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
PATTERNS = ("dense", "dense", "random", "quads", "quads", "nothing", "one output")
LONGEST = 4000  # numbers of a picture


def picture_net(choices: Random, length: int, dtype: str = "int8") -> Graph:
    """A network of up to `length` layers on pictures, most with something behind them that is none."""
    return Growing(choices, dtype).grow(length)


def single_layer(choices: Random, kind: Step, dtype: str = "int8") -> Graph:
    """A network of one layer, or two inputs and what joins them."""
    growing = Growing(choices, dtype)
    made = None
    while made is None:
        made = kind(growing, growing.live[0])
    return growing.net.graph(made)


class Growing:
    """`live` has the pictures that may still be read."""

    def __init__(self, choices: Random, dtype: str) -> None:
        self.choices, self.dtype = choices, dtype
        self.net = Net(dtype, 0.1, 3)
        self.shift = 128 if dtype == "uint8" else 0
        images = choices.choice([1, 1, 1, 2, 3])
        shape = (images, choices.randint(1, 20), choices.randint(1, 20), choices.randint(1, 9))
        self.live = [self.net.input(*shape, **self.facts()) for _ in range(choices.choice([1, 1, 2]))]
        self.sources = list(self.live)

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

    # What steps are made of

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.choices.randint(0, 2**32 - 1))

    def shape(self, x: int) -> tuple[int, ...]:
        return self.net.tensors[x].shape

    def scale(self, x: int) -> float:
        scale = self.net.tensors[x].scale
        assert scale is not None
        return float(scale[0])

    def like(self, x: int) -> dict[str, Any]:
        points = self.net.tensors[x].zero_point
        assert points is not None
        return {"scale": self.scale(x), "zero_point": int(points[0])}

    def facts(self, scale: float = 0.1) -> dict[str, Any]:
        """About that scale, if it is one that networks have, and any zero point."""
        factor = self.choices.choice([1.0, 1.0, 0.7, 1.9]) * min(max(scale, 0.002), 2.0) / scale
        zero_point = self.choices.choice([0, 3, -128, 127, self.choices.randint(-128, 127)])
        return {"scale": float(np.float32(scale * factor)), "zero_point": zero_point + self.shift}

    def same_or(self, x: int, scale: float = 0.1) -> dict[str, Any]:
        return self.choices.choice([self.like(x), self.facts(scale)])

    def peers(self, x: int, *, channels: bool = True) -> list[int]:
        """Pictures as large as this one."""
        last = 4 if channels else 3
        return [i for i in self.live if self.shape(i)[:last] == self.shape(x)[:last]]

    def options(self) -> dict[str, Any]:
        return {"fused_activation_function": self.choices.choice(ACTIVATIONS)}

    def numbers(self, shape: tuple[int, ...], axis: int) -> Numbers:
        """Weights in one of several patterns; quads lie along the last axis."""
        rng, pattern = self.rng(), self.choices.choice(PATTERNS)
        reach = self.choices.choice([127, 128, 63])
        data = rng.integers(-reach, min(reach, 127) + 1, shape)
        if pattern == "random":
            data[rng.random(shape) < 0.8] = 0
        if pattern == "quads":
            keep = rng.random((*shape[:-1], -(-shape[-1] // 4))) < 0.2
            data *= np.repeat(keep, 4, axis=-1)[..., : shape[-1]]
        if pattern == "nothing":
            data[...] = 0
        if pattern == "one output":
            data.swapaxes(0, axis)[1:] = 0
        return data

    def weights(self, shape: tuple[int, ...], axis: int, x: int) -> tuple[int, int, dict[str, Any]]:
        """Weights and bias of a layer, and facts of an output that its sums spread over."""
        data, outputs, rng = self.numbers(shape, axis), shape[axis], self.rng()
        spread = max(1.0, float(np.sqrt((data.astype(float) ** 2).sum() / outputs)) * 74)
        per_channel = self.dtype == "int8" and self.choices.choice([True, False])
        scales = (rng.uniform(0.5, 2, outputs if per_channel else 1) * 0.02).astype(np.float32)
        points = np.zeros(len(scales), np.int64)
        if self.dtype == "uint8":
            points[0] = self.choices.choice([128, 128, self.choices.randint(0, 255)])
            data = np.clip(data + points[0], 0, 255)
        kernel = Tensor("w", shape, np.dtype(self.dtype), scales, points, axis, data.astype(self.dtype))
        bias = rng.integers(-20, 20, outputs) * int(spread / 40 + 1)
        scaled = (scales * np.float32(self.scale(x))).astype(np.float32)
        start = Tensor("b", (outputs,), np.dtype(np.int32), scaled, None, 0, bias.astype(np.int32))
        self.net.tensors += [kernel, start]
        scale = self.scale(x) * 0.02 * spread / 50
        return len(self.net.tensors) - 2, len(self.net.tensors) - 1, self.facts(scale)

    def window(self, x: int, size: int) -> tuple[dict[str, Any], list[int], list[int]] | None:
        """Options of a window operator, its height and width, and those of its output."""
        padding, choose = self.choices.choice(["SAME", "SAME", "VALID"]), self.choices.choice
        same = [choose([1, 1, 2, 3]), choose([1, 1, 1, 2, 3]), choose(range(1, size + 1))]
        axes = [same, same] if choose([True, True, False]) else [same, [choose([1, 2, 3]), 1, choose([1, 2, size])]]
        sizes = []
        for length, (stride, spread, width) in zip(self.shape(x)[1:3], axes, strict=True):
            rest = length if padding == "SAME" else length - (width - 1) * spread
            sizes.append(-(-rest // stride))
        if min(sizes) < 1:
            return None
        (down, spread_y, height), (across, spread_x, width) = axes
        found = {"stride_h": down, "stride_w": across, "padding": padding, "spread": (spread_y, spread_x)}
        return found, [height, width], sizes

    # Steps: each may give one more picture

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
        facts = {"TANH": {"scale": 1 / 128, "zero_point": self.shift}}.get(kind, self.same_or(x, self.scale(x)))
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
        lengths = zip(self.shape(x)[1:3], (height, width), (options["stride_h"], options["stride_w"]), strict=True)
        padded = options["padding"] == "SAME"
        sizes = [-(-(n if padded else n - w + 1) // step) for n, w, step in lengths]
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


Step = Callable[[Growing, int], int | None]
_G = Growing
LAYERS: list[Step] = [
    _G.convolution, _G.depthwise, _G.addition, _G.product, _G.pool, _G.resize, _G.activation, _G.concatenation,
]  # fmt: skip
STEPS: list[Step] = [
    *[_G.convolution] * 6, *[_G.depthwise] * 3, *[_G.residual] * 3, _G.addition, _G.product,
    *[_G.concatenation] * 3, _G.split, _G.pool, _G.resize, _G.activation, _G.silu, _G.squeeze_and_excite,
    _G.logistic,
]  # fmt: skip
INT8_ONLY: list[Step] = [_G.product]
TAILS: list[Callable[[Growing, int], int]] = [
    *[_G.itself] * 3, _G.to_float, _G.flat, _G.transposed, *[_G.fully_connected] * 2,
]  # fmt: skip
