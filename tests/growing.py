"""A network of pictures while it grows: what the layers of random networks are made of.

Every choice is asked of a `random.Random`, so that Hypothesis can shrink a network that fails.
"""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from nets import Net
from numpy.typing import NDArray

from edgekit.model.graph import Tensor

Numbers = NDArray[Any]
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
PATTERNS = ("dense", "dense", "random", "quads", "quads", "nothing", "one output")


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
        other = same if choose([True, True, False]) else [choose([1, 2, 3]), 1, choose([1, 2, size])]
        axes = [same, other]
        sizes = []
        for length, (stride, spread, width) in zip(self.shape(x)[1:3], axes, strict=True):
            rest = length if padding == "SAME" else length - (width - 1) * spread
            sizes.append(-(-rest // stride))
        if min(sizes) < 1:
            return None
        (down, spread_y, height), (across, spread_x, width) = axes
        found = {"stride_h": down, "stride_w": across, "padding": padding, "spread": (spread_y, spread_x)}
        return found, [height, width], sizes
