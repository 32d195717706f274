"""Random int8 networks in which there is much to simplify. Every choice is asked of a `random.Random`."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from nets import Net, Shape

from edgekit.model.graph import Graph, Tensor

_SCALES = (
    {"scale": 0.1, "zero_point": 3},
    {"scale": 0.1, "zero_point": 3},
    {"scale": 0.07, "zero_point": -20},
)


def random_net(choices: Random, length: int) -> Graph:
    """A network of up to `length` operators."""
    return _Growing(choices).grow(length)


class _Growing:
    """`live` has the tensors that may still be read; each method may add one."""

    def __init__(self, choices: Random) -> None:
        self.net, self.choices = Net(), choices
        shape = tuple(choices.randint(1, 5) for _ in range(4))
        self.live = [self.net.input(*shape) for _ in range(choices.randint(1, 2))]

    def grow(self, length: int) -> Graph:
        steps, reach = self.choices.choice([(_STEPS, 3), (_LAYERS, 1)])
        for _ in range(length):
            x = self.choices.choice(self.live[-reach:])
            step = self.choices.choice(steps)
            y = step(self, x) if self.tensor(x).shape else None
            if y is not None:
                self.live.append(y)
        outputs = [i for i in dict.fromkeys((self.live[-1], self.choices.choice(self.live))) if i > 1]
        return self.net.graph(*(outputs or [self.relu(self.live[0])]))

    def tensor(self, index: int) -> Tensor:
        return self.net.tensors[index]

    def like(self, index: int) -> dict[str, Any]:
        tensor = self.tensor(index)
        assert tensor.scale is not None
        assert tensor.zero_point is not None
        return {"scale": float(tensor.scale[0]), "zero_point": int(tensor.zero_point[0])}

    def other(self) -> dict[str, Any]:
        return self.choices.choice(_SCALES)

    def numbers(self, *shape: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng(self.choices.randint(0, 9999)).integers(-128, 128, shape)

    def peer(self, x: int) -> int:
        """A tensor of the same shape and scale, itself perhaps."""
        shape, like = self.tensor(x).shape, self.like(x)
        return self.choices.choice(
            [i for i in self.live if self.tensor(i).shape == shape and self.like(i) == like]
        )

    def transpose(self, x: int) -> int:
        order = list(range(len(self.tensor(x).shape)))
        self.choices.shuffle(order)
        return self.net.transpose(x, *order, **self.like(x))

    def relu(self, x: int) -> int:
        return self.net.op("RELU", [x], self.tensor(x).shape, **self.other())

    def logistic(self, x: int) -> int:
        return self.net.op("LOGISTIC", [x], self.tensor(x).shape, scale=1 / 256, zero_point=-128)

    def softmax(self, x: int) -> int:
        return self.net.op("SOFTMAX", [x], self.tensor(x).shape, scale=1 / 256, zero_point=-128, beta=1.0)

    def quantize(self, x: int) -> int:
        return self.net.op("QUANTIZE", [x], self.tensor(x).shape, **self.other())

    def there_and_back(self, x: int) -> int:
        shape = self.tensor(x).shape
        real = self.net.op("DEQUANTIZE", [x], shape, dtype="float32", version=2)
        return self.net.op("QUANTIZE", [real], shape, **self.other())

    def binary(self, x: int) -> int:
        kind = self.choices.choice(["ADD", "SUB", "MUL"])
        return self.net.op(kind, [x, self.peer(x)], self.tensor(x).shape, **self.other())

    def maximum(self, x: int) -> int:
        return self.net.op("MAXIMUM", [x, self.peer(x)], self.tensor(x).shape, **self.like(x))

    def with_constant(self, x: int) -> int:
        shape = self.tensor(x).shape
        partial = [
            self.choices.choice([size, size, 1]) for size in shape[self.choices.randrange(len(shape)) :]
        ]
        inputs = [x, self.net.constant(self.numbers(*partial), "int8", **self.other())]
        self.choices.shuffle(inputs)
        return self.net.op(self.choices.choice(["ADD", "MUL"]), inputs, shape, **self.other())

    def times_one(self, x: int) -> int:
        one = self.net.constant(np.full(self.tensor(x).shape[-1:], 13), "int8")
        return self.net.op("MUL", [x, one], self.tensor(x).shape, **self.like(x))

    def concatenation(self, x: int) -> int:
        shape = self.tensor(x).shape
        axis, inputs = self.choices.randrange(len(shape)), [x] * self.choices.randint(1, 2)
        inputs.append(
            self.choices.choice(
                [self.peer(x), self.net.constant(self.numbers(*shape), "int8", **self.like(x))]
            )
        )
        result = (*shape[:axis], shape[axis] * len(inputs), *shape[axis + 1 :])
        axis -= self.choices.choice([0, len(shape)])
        return self.net.op("CONCATENATION", inputs, result, axis=axis, **self.like(x))

    def reshape(self, x: int) -> int:
        shape = self.tensor(x).shape
        size = math.prod(shape)
        wanted = self.choices.choice([(size,), (1, size), (size // shape[-1], shape[-1]), shape[::-1], shape])
        return self.net.op("RESHAPE", [x, self.net.constant(wanted)], wanted, **self.like(x))

    def squeeze(self, x: int) -> int | None:
        shape = self.tensor(x).shape
        if 1 not in shape[:-1]:
            return None
        axis = shape.index(1)
        return self.net.op(
            "SQUEEZE", [x], shape[:axis] + shape[axis + 1 :], squeeze_dims=(axis,), **self.like(x)
        )

    def pad(self, x: int) -> int | None:
        shape = self.tensor(x).shape
        rows = [[self.choices.choice([0, 0, 1]) for _ in range(2)] for _ in shape]
        result = tuple(size + sum(row) for size, row in zip(shape, rows, strict=True))
        return (
            self.net.op("PAD", [x, self.net.constant(rows)], result, **self.like(x))
            if len(shape) < 5
            else None
        )

    def slice(self, x: int) -> int:
        shape = self.tensor(x).shape
        starts = [self.choices.choice([0, 0, size // 2]) for size in shape]
        sizes = [self.choice_of_size(size - start) for start, size in zip(starts, shape, strict=True)]
        return self.net.op(
            "SLICE", [x, self.net.constant(starts), self.net.constant(sizes)], tuple(sizes), **self.like(x)
        )

    def choice_of_size(self, size: int) -> int:
        return self.choices.choice([size, size, self.choices.randint(1, size)])

    def strided_slice(self, x: int) -> int | None:
        shape = self.tensor(x).shape
        steps = [self.choices.choice([1, 1, 2, -1]) for _ in shape]
        starts = [self.choices.randrange(size) for size in shape]
        mask = self.choices.randrange(1 << len(shape))
        firsts = [None if mask >> axis & 1 else start for axis, start in enumerate(starts)]
        sizes = [
            len(range(size)[slice(first, None, step)])
            for size, first, step in zip(shape, firsts, steps, strict=True)
        ]
        rows = [self.net.constant(row) for row in (starts, [7] * len(shape), steps)]
        masks = {"begin_mask": mask, "end_mask": (1 << len(shape)) - 1}
        return (
            self.net.op("STRIDED_SLICE", [x, *rows], tuple(sizes), **masks, **self.like(x))
            if len(shape) < 5
            else None
        )

    def reduction(self, x: int) -> int | None:
        shape = self.tensor(x).shape
        axes = {self.choices.randrange(len(shape)) for _ in range(2)}
        keep = self.choices.choice([True, False])
        result = tuple(
            1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes
        )
        named = self.net.constant([axis - self.choices.choice([0, len(shape)]) for axis in sorted(axes)])
        if not result:
            return None
        if self.choices.choice([True, False]):
            return self.net.op("MEAN", [x, named], result, keep_dims=keep, **self.other())
        return self.net.op("REDUCE_MAX", [x, named], result, keep_dims=keep, **self.like(x))

    def split(self, x: int) -> int | None:
        shape = self.tensor(x).shape
        even = [axis for axis, size in enumerate(shape) if size % 2 == 0]
        if not even:
            return None
        axis = self.choices.choice(even)
        part = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
        halves = [self.net.tensor(part, **self.like(x)) for _ in range(2)]
        named = self.net.constant(axis - self.choices.choice([0, len(shape)]))
        self.live.extend(self.net.ops_of("SPLIT", [named, x], halves, {"num_splits": 2}))
        return None

    def prelu(self, x: int) -> int | None:
        shape = self.tensor(x).shape
        alpha = self.net.constant(self.numbers(*shape[1:]), "int8", **self.other())
        return self.net.op("PRELU", [x, alpha], shape, **self.other()) if len(shape) == 4 else None

    def pool(self, x: int) -> int | None:
        shape, size = self.tensor(x).shape, self.choices.choice([1, 2])
        if len(shape) != 4:
            return None
        result = (shape[0], -(-shape[1] // size), -(-shape[2] // size), shape[3])
        window = dict.fromkeys(("filter_height", "filter_width", "stride_h", "stride_w"), size)
        kind = self.choices.choice(["MAX_POOL_2D", "AVERAGE_POOL_2D"])
        return self.net.op(kind, [x], result, **window, **self.like(x))

    def sparse(self, *shape: int) -> int:
        """Weights in which whole inputs and outputs are zero."""
        data = self.numbers(*shape)
        for axis in (0, -1):
            zero = [i for i in range(shape[axis]) if self.choices.choice([True, False])]
            data.swapaxes(0, axis)[zero] = 0
        return self.net.weights(data)

    def bias(self, count: int, x: int) -> int:
        return self.net.bias(self.numbers(count) * 20, self.like(x)["scale"] * 0.02)

    def convolution(self, x: int) -> int | None:
        shape, size = self.tensor(x).shape, self.choices.choice([1, 1, 3])
        padding = self.choices.choice(["SAME", "VALID"])
        if len(shape) != 4:
            return None
        cut = size - 1 if padding == "VALID" else 0
        place = (shape[0], shape[1] - cut, shape[2] - cut)
        if min(place) < 1:
            return None
        steps = {"stride_h": 1, "stride_w": 1, "padding": padding, **self.other()}
        steps["fused_activation_function"] = self.choices.choice(["NONE", "RELU", "RELU6"])
        if self.choices.choice([True, False]):
            weights = self.sparse(1, size, size, shape[3])
            inputs = [x, weights, self.bias(shape[3], x)]
            return self.net.op("DEPTHWISE_CONV_2D", inputs, (*place, shape[3]), depth_multiplier=1, **steps)
        count = self.choices.randint(1, 6)
        inputs = [x, self.sparse(count, size, size, shape[3]), self.bias(count, x)]
        return self.net.op("CONV_2D", inputs, (*place, count), **steps)

    def fully_connected(self, x: int) -> int | None:
        shape, count = self.tensor(x).shape, self.choices.randint(1, 6)
        inputs = [x, self.sparse(count, shape[-1]), self.choices.choice([-1, self.bias(count, x)])]
        result: Shape = (math.prod(shape) // shape[-1], count)
        return self.net.op("FULLY_CONNECTED", inputs, result, **self.other())


_G = _Growing
_Step = Callable[[_Growing, int], int | None]
_LAYERS: list[_Step] = [
    *[_G.convolution] * 9, _G.binary, _G.concatenation, _G.relu, _G.pool, _G.reshape, _G.fully_connected,
    _G.quantize,
]  # fmt: skip
_STEPS: list[_Step] = [
    *[_G.transpose] * 4, *[_G.convolution] * 5, *[_G.binary] * 2, *[_G.concatenation] * 2, _G.relu,
    _G.logistic, _G.softmax, _G.quantize, _G.there_and_back, _G.maximum, _G.with_constant, _G.times_one,
    _G.reshape, _G.squeeze, _G.pad, _G.slice, _G.strided_slice, _G.reduction, _G.split, _G.prelu, _G.pool,
    _G.fully_connected,
]  # fmt: skip
