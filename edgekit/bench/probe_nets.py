"""Small synthetic networks whose steps are timed to learn what kernels cost on a machine.

They hold every kind of work that common networks are made of, in shapes and densities from a fixed seed;
they resemble no particular network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor

INT8, FLOAT = np.dtype(np.int8), np.dtype(np.float32)
SCALE = 0.05  # of all activations
# height, channels, channels of the thinner side: early layers to late ones of large networks, then of small
STAGES = (
    (96, 8, 16), (48, 24, 48), (40, 64, 32), (24, 96, 64), (20, 128, 80), (12, 192, 96), (7, 320, 160),
    (32, 16, 8), (24, 8, 16), (12, 32, 16), (6, 64, 32), (3, 128, 64),
)  # fmt: skip
DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
# The largest weights of layers, by turns: where they are small, as a few outliers make them by tensor, AVX2
# and ARMv8.0 add up several products before they widen them.
REACHES = (100, 16)
LADDER = "layers of one shape at each density"  # description of the network that tells rates
LADDER_SHAPE = (20, 128)  # pixels of a side, channels
SHAPES_OF_LAYERS = ((128, 128), (640, 128), (256, 10), (1024, 256))


class _Net:
    """A network under construction: each method adds an operator and gives the number of its result."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.inputs: list[int] = []

    def tensor(
        self, shape: tuple[int, ...], dtype: np.dtype[Any] = INT8, scale: float = SCALE, zero_point: int = 0
    ) -> int:
        scales, points = (
            (None, None) if dtype == FLOAT else (np.array([scale], np.float32), np.array([zero_point]))
        )
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, dtype, scales, points))
        return len(self.tensors) - 1

    def constant(self, data: NDArray[Any], scale: NDArray[np.float32] | None = None, axis: int = 0) -> int:
        name = f"t{len(self.tensors)}"
        self.tensors.append(Tensor(name, data.shape, data.dtype, scale, None, axis, data))
        return len(self.tensors) - 1

    def input(self, shape: tuple[int, ...], dtype: np.dtype[Any] = INT8) -> int:
        self.inputs.append(self.tensor(shape, dtype))
        return self.inputs[-1]

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape

    def add(self, kind: str, inputs: tuple[int, ...], shape: tuple[int, ...], **options: Any) -> int:
        share = (1 / 256, -128) if kind in ("LOGISTIC", "SOFTMAX") else (SCALE, 0)
        result = self.tensor(shape, FLOAT if kind == "DEQUANTIZE" else INT8, *share)
        self.ops.append(Op(kind, inputs, (result,), options))
        return result

    def weighted(self, kind: str, source: int, weights: NDArray[np.int8], shape: tuple[int, ...], axis: int,
                 **options: Any) -> int:  # fmt: skip
        channels = weights.shape[axis]
        fan_in = max(1, weights.size // channels)
        scale = np.full(channels, 0.5 / 64 / np.sqrt(fan_in), np.float32)
        bias = np.asarray(self.rng.integers(-500, 500, channels), np.int32)
        words = self.constant(weights, scale, axis)
        added = self.constant(bias, np.asarray(scale * SCALE, np.float32))
        return self.add(kind, (source, words, added), shape, fused_activation_function="NONE", **options)

    def weights(self, shape: tuple[int, ...], density: float, *, blocks: bool) -> NDArray[np.int8]:
        """Random ones, of which a share is not zero: by themselves or in quads along the last axis."""
        reach = REACHES[len(self.ops) // 2 % len(REACHES)]
        data = self.rng.integers(-reach, reach + 1, shape).astype(np.int8)
        kept = self.rng.random((*shape[:-1], -(-shape[-1] // 4) if blocks else shape[-1])) < density
        kept = np.repeat(kept, 4, axis=-1)[..., : shape[-1]] if blocks else kept
        kept[..., 0] |= ~kept.any(axis=-1)
        return np.where(kept, data, np.int8(0))

    def conv(
        self, source: int, channels: int, window: int, stride: int, density: float, *, blocks: bool
    ) -> int:
        images, height, width, depth = self.shape(source)
        weights = self.weights((channels, window, window, depth), density, blocks=blocks)
        shape = (images, -(-height // stride), -(-width // stride), channels)
        return self.weighted("CONV_2D", source, weights, shape, 0, padding="SAME", **_strides(stride))

    def depthwise(self, source: int, window: int, stride: int) -> int:
        images, height, width, channels = self.shape(source)
        weights = self.weights((1, window, window, channels), 1.0, blocks=False)
        shape = (images, -(-height // stride), -(-width // stride), channels)
        options = {"padding": "SAME", "depth_multiplier": 1, **_strides(stride)}
        return self.weighted("DEPTHWISE_CONV_2D", source, weights, shape, 3, **options)

    def enlarged(self, source: int, channels: int, window: int, stride: int) -> int:
        images, height, width, depth = self.shape(source)
        weights = self.weights((channels, window, window, depth), 0.5, blocks=True)
        shape = (images, stride * height, stride * width, channels)
        sizes = self.constant(np.array(shape, np.int32))
        scale = np.full(channels, 0.5 / 64 / np.sqrt(depth), np.float32)
        words = self.constant(weights, scale)
        return self.add("TRANSPOSE_CONV", (sizes, words, source), shape, padding="SAME",
                        fused_activation_function="NONE", **_strides(stride))  # fmt: skip

    def layer(self, source: int, cols: int, density: float) -> int:
        rows, depth = self.shape(source)
        weights = self.weights((cols, depth), density, blocks=True)
        return self.weighted("FULLY_CONNECTED", source, weights, (rows, cols), 0)

    def pool(self, kind: str, source: int, window: int, stride: int) -> int:
        images, height, width, channels = self.shape(source)
        shape = (images, -(-height // stride), -(-width // stride), channels)
        size = {"filter_width": window, "filter_height": window}
        return self.add(kind, (source,), shape, padding="SAME", **size, **_strides(stride))

    def graph(self, *outputs: int, description: str = "a probe") -> Graph:
        return Graph(tuple(self.tensors), tuple(self.ops), tuple(self.inputs), outputs, description)


def _strides(stride: int) -> dict[str, int]:
    return {"stride_w": stride, "stride_h": stride}


def probe_nets(shrunk: int = 1) -> Iterator[Graph]:
    """All of them, one after another; of pictures that many times smaller, for slow kernels."""
    for number, (full, wide, thin) in enumerate(STAGES):
        size = -(-full // shrunk)
        yield _convolutions(number, size, wide, thin)
        yield _planes(20 + number, size, wide)
    for number, (depth, cols) in enumerate(SHAPES_OF_LAYERS):
        yield _layers(40 + number, depth, cols)
    yield _plain(50)
    yield _ladder(60, *LADDER_SHAPE)


def _convolutions(seed: int, size: int, wide: int, thin: int) -> Graph:
    """A stage of 1x1 and 3x3 convolutions of every density, with a residual."""
    net = _Net(seed)
    value = start = net.conv(net.input((1, size, size, 3)), wide, 3, 1, 1.0, blocks=False)
    for number, density in enumerate(DENSITIES):
        blocks = number % 2 == 1
        value = net.conv(value, thin, 1, 1, density, blocks=blocks)
        value = net.conv(value, wide, 3 if number % 3 == 0 else 1, 1, density, blocks=not blocks)
    value = net.add("ADD", (value, start), net.shape(value), fused_activation_function="NONE")
    value = net.conv(value, thin, 3, 2, 0.3, blocks=True)
    return net.graph(net.conv(value, wide, 3, 1, 1.0, blocks=False))


def _planes(seed: int, size: int, channels: int) -> Graph:
    """What stands between convolutions: depthwise, sums, functions, pools, copies, changes of form."""
    net = _Net(seed)
    value = net.conv(net.input((1, size, size, 3)), channels, 3, 2, 1.0, blocks=False)
    outputs = []
    for window in (3, 5):
        value = other = net.depthwise(value, window, 1)
        value = net.add("LOGISTIC", (value,), net.shape(value))
        value = net.add("ADD", (value, other), net.shape(value), fused_activation_function="NONE")
        value = net.pool("MAX_POOL_2D", value, window, 1)
    rows = net.shape(value)[1]
    larger = net.constant(np.array([2 * rows, 2 * rows], np.int32))
    large = net.add("RESIZE_NEAREST_NEIGHBOR", (value, larger), (1, 2 * rows, 2 * rows, channels))
    both = net.add("CONCATENATION", (large, large), (*net.shape(large)[:3], 2 * channels), axis=3,
                   fused_activation_function="NONE")  # fmt: skip
    value = net.conv(both, channels, 1, 1, 0.2, blocks=True)
    outputs += [net.enlarged(value, channels, window, stride) for window, stride in ((2, 2), (3, 3))]
    outputs.append(net.depthwise(value, 3, 2))
    outputs.append(net.pool("MAX_POOL_2D", value, 2, 2))
    outputs.append(net.conv(value, channels + 1, 1, 1, 0.1, blocks=False))
    scaled = net.add("MUL", (value, large), net.shape(value), fused_activation_function="NONE")
    outputs.append(net.add("MEAN", (scaled, net.constant(np.array([1, 2], np.int32))), (1, channels)))
    outputs += [
        net.pool("AVERAGE_POOL_2D", value, window, stride) for window, stride in ((3, 1), (2, 2), (4, 4))
    ]
    outputs.append(net.pool("AVERAGE_POOL_2D", value, net.shape(value)[1], net.shape(value)[1]))
    return net.graph(*outputs)


def _layers(seed: int, depth: int, cols: int) -> Graph:
    net = _Net(seed)
    start = net.input((1, depth))
    value = [net.layer(start, cols, density) for density in (1.0, 0.2, 0.1)]
    return net.graph(*value)


def _ladder(seed: int, size: int, channels: int) -> Graph:
    """The same 1x1 convolution at each density, in blocks and not."""
    net = _Net(seed)
    value = net.input((1, size, size, channels))
    for blocks in (True, False):
        for density in DENSITIES[1 - blocks :]:
            value = net.conv(value, channels, 1, 1, density, blocks=blocks)
    return net.graph(value, description=LADDER)


def _plain(seed: int) -> Graph:
    """Steps on plain tensors."""
    net = _Net(seed)
    outputs = []
    for rows, columns in ((1, 4), (1, 1000), (1000, 4), (400, 64), (64, 2000)):
        value = net.add("QUANTIZE", (net.input((rows, columns), FLOAT),), (rows, columns))
        soft = net.add("SOFTMAX", (value,), (rows, columns), beta=1.0)
        table = net.add("LOGISTIC", (value,), (rows, columns))
        total = net.add("ADD", (soft, table), (rows, columns), fused_activation_function="NONE")
        wide = net.add("CONCATENATION", (total, value), (rows, 2 * columns), axis=1,
                       fused_activation_function="NONE")  # fmt: skip
        outputs.append(net.add("DEQUANTIZE", (wide,), (rows, 2 * columns)))
        outputs.append(
            net.add("TRANSPOSE", (total, net.constant(np.array([1, 0], np.int32))), (columns, rows))
        )
    return net.graph(*outputs)
