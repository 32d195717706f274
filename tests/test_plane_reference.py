"""The arithmetic of kernels on planes is that of TFLite's reference kernels: networks of one operator."""

from __future__ import annotations

from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from nets import Net, random_inputs, run_reference
from numpy.typing import NDArray
from planes import FLIP, SEEDS, Memory, Picture, kernel_levels

from edgekit.model.graph import Tensor
from edgekit.plan.arithmetic import multiplier
from edgekit.plan.pack_depthwise import pack_depthwise
from edgekit.plan.pictures import nearest

Plain = NDArray[np.int8]
SIZES = st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 20), st.integers(1, 9))
WIDE = {"low": FLIP - 128, "high": FLIP + 127}
FEW = examples(30)


class Stage:
    """An arena in which one operation on planes reads and writes plain tensors."""

    def __init__(self, seed: int) -> None:
        self.memory = Memory(seed)
        self.inputs: list[tuple[Picture, Plain, int]] = []

    def input(self, plain: Plain, zero_point: int, margin: int = 0) -> Picture:
        images, height, width, channels = plain.shape
        around = margin * (width + margin) + margin
        picture = self.memory.picture(
            (images, height, width), -(-channels // 4), (around,) * 2, (margin,) * 2
        )
        self.inputs.append((picture, plain, zero_point))
        return picture

    def output(self, shape: tuple[int, ...]) -> Picture:
        images, height, width, channels = shape
        first = self.inputs[0][0]
        spare = (first.period - first.height, first.pitch - first.width)
        return self.memory.picture((images, height, width), -(-channels // 4), (0, 0), spare)

    def run(self, family: str, fields: dict[str, Any], out: Picture, channels: int) -> list[Plain]:
        """What each level gives."""
        arena = self.memory.arena()
        for picture, plain, zero_point in self.inputs:
            padded = np.zeros((*plain.shape[:3], picture.planes * 4), np.int16)
            padded[..., : plain.shape[3]] = plain
            quads = (padded + FLIP).astype(np.uint8).reshape(*plain.shape[:3], -1, 4).transpose(3, 0, 1, 2, 4)
            picture.put(arena, quads, zero_point + FLIP)
        op, results = native.Op(family, fields | {"planes": out.planes}), []
        for level in kernel_levels(family):
            op.run(level, arena)
            quads = out.view(arena).transpose(1, 2, 3, 0, 4)
            plain = quads.reshape(*quads.shape[:3], -1)[..., :channels].astype(np.int16)
            results.append((plain - FLIP).astype(np.int8))
        return results


def scale_near(rng: np.random.Generator, spread: float = 3.0) -> float:
    return float(np.float32(0.05 * 2.0 ** rng.uniform(-spread, spread)))


def zero_near(rng: np.random.Generator) -> int:
    return int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))


def describe(tensor: Tensor) -> tuple[np.float32, int]:
    assert tensor.scale is not None
    assert tensor.zero_point is not None
    return tensor.scale[0], int(tensor.zero_point[0])


@FEW
@given(SIZES, SEEDS, st.sampled_from(["ADD", "SUB", "MUL"]))
def test_sums_and_products(shape: tuple[int, int, int, int], seed: int, kind: str) -> None:
    rng, net = np.random.default_rng(seed), Net()
    ends = [net.input(*shape, scale=scale_near(rng), zero_point=zero_near(rng)) for _ in range(2)]
    result = net.op(
        kind, ends, shape, scale=scale_near(rng) * (1 if kind == "MUL" else 4), zero_point=zero_near(rng)
    )
    graph = net.graph(result)
    (s1, z1), (s2, z2), (s3, z3) = (describe(tensor) for tensor in graph.tensors)
    values = random_inputs(graph, seed)
    stage = Stage(seed)
    a, b = (stage.input(v, z) for v, z in zip(values, (z1, z2), strict=True))
    out = stage.output(shape)
    fields: dict[str, Any] = out.written() | WIDE | {"exact": 1, "first": a.base, "first_stride": a.stride}
    fields |= {"second": b.base, "second_stride": b.stride, "zero_point": z3 + FLIP}
    fields |= {"first_zero": z1 + FLIP, "second_zero": z2 + FLIP}
    if kind == "MUL":
        fields["multiplier"], fields["shift"] = multiplier(float(s1 * s2 / s3))
    else:
        most = 2 * max(float(s1), float(s2))
        fields["first_weight"], fields["first_shift"] = multiplier(float(s1) / most)
        fields["second_weight"], fields["second_shift"] = multiplier(float(s2) / most)
        fields["multiplier"], fields["shift"] = multiplier(most / (2.0**20 * float(s3)))
        fields["subtract"] = int(kind == "SUB")
    expected = run_reference(graph, values)[0]
    for got in stage.run("mul_planes" if kind == "MUL" else "add_planes", fields, out, shape[3]):
        np.testing.assert_array_equal(got, expected)


@FEW
@given(SIZES, SEEDS, st.booleans(), st.sampled_from(["SAME", "VALID"]), st.integers(1, 3), st.integers(1, 5))
def test_pools(
    shape: tuple[int, int, int, int], seed: int, averages: bool, padding: str, stride: int, window: int
) -> None:
    images, rows, columns, channels = shape
    window = window if padding == "SAME" else min(window, rows, columns)
    if padding == "SAME":
        sizes = [-(-n // stride) for n in (rows, columns)]
        before = [
            max(0, (m - 1) * stride + window - n) // 2 for m, n in zip(sizes, (rows, columns), strict=True)
        ]
    else:
        sizes, before = [(n - window) // stride + 1 for n in (rows, columns)], [0, 0]
    net = Net(zero_point=-7)
    kind = "AVERAGE_POOL_2D" if averages else "MAX_POOL_2D"
    options = {"padding": padding, "stride_w": stride, "stride_h": stride, "filter_width": window}
    result = net.op(
        kind, [net.input(*shape)], (images, *sizes, channels), filter_height=window, version=2, **options
    )
    graph = net.graph(result)
    values = random_inputs(graph, seed)
    stage = Stage(seed)
    source = stage.input(values[0], -7, 1)
    out = stage.output((images, *sizes, channels))
    fields = (
        source.read()
        | out.written()
        | WIDE
        | {"input_period": source.period, "rows": rows, "columns": columns}
    )
    fields |= {"average": int(averages), "window_height": window, "window_width": window, "stride_y": stride}
    fields |= {"stride_x": stride, "top": before[0], "left": before[1], "zero_point": FLIP - 7}
    expected = run_reference(graph, values)[0]
    for got in stage.run("pool_planes", fields, out, channels):
        np.testing.assert_array_equal(got, expected)


@FEW
@given(SIZES, SEEDS, st.booleans(), st.booleans())
def test_means(shape: tuple[int, int, int, int], seed: int, keeps: bool, same: bool) -> None:
    images, rows, columns, channels = shape
    rng, net = np.random.default_rng(seed), Net()
    facts = {"scale": scale_near(rng), "zero_point": zero_near(rng)}
    other = facts if same else {"scale": scale_near(rng), "zero_point": zero_near(rng)}
    ends = [net.input(*shape, **facts), net.constant([1, 2])]
    result = net.op(
        "MEAN", ends, (images, 1, 1, channels) if keeps else (images, channels), keep_dims=keeps, **other
    )
    graph = net.graph(result)
    values = random_inputs(graph, seed)
    stage = Stage(seed)
    source = stage.input(values[0], 5, 1)
    place = stage.memory.bytes(images * channels)
    (s1, z1), (s2, z2) = describe(graph.tensors[0]), describe(graph.tensors[2])
    fields = source.read() | {name: getattr(source, name) for name in ("images", "height", "width", "period")}
    fixed, shift = multiplier(float(s1) / float(s2))
    gain = min((rows * columns).bit_length() - 1, 32, 31 + shift)
    fields |= {"multiplier": (fixed << gain) // (rows * columns), "shift": shift - gain}
    fields |= {"bias": -(z1 + FLIP) * rows * columns, "zero_point": z2, "output": place, "channels": channels}
    expected = run_reference(graph, values)[0].reshape(-1)
    arena = stage.memory.arena()
    padded = np.zeros((*shape[:3], source.planes * 4), np.int16)
    padded[..., :channels] = values[0]
    source.put(arena, (padded + FLIP).astype(np.uint8).reshape(*shape[:3], -1, 4).transpose(3, 0, 1, 2, 4), 5)
    for level in kernel_levels("mean_planes"):
        native.Op("mean_planes", fields).run(level, arena)
        np.testing.assert_array_equal(arena[place : place + images * channels].view(np.int8), expected)


@FEW
@given(
    SIZES, st.tuples(st.integers(1, 30), st.integers(1, 50)), SEEDS, st.sampled_from([(0, 0), (1, 0), (0, 1)])
)
def test_nearest_neighbours(
    shape: tuple[int, int, int, int], size: tuple[int, int], seed: int, way: tuple[int, int]
) -> None:
    net = Net()
    source_index, target = net.input(*shape), (shape[0], *size, shape[3])
    options = {"align_corners": bool(way[0]), "half_pixel_centers": bool(way[1])}
    result = net.op(
        "RESIZE_NEAREST_NEIGHBOR", [source_index, net.constant(size)], target, version=3, **options
    )
    graph = net.graph(result)
    values = random_inputs(graph, seed)
    stage = Stage(seed)
    source = stage.input(values[0], 3)
    out = stage.output(target)
    fields: dict[str, Any] = (
        source.read() | out.written() | {"input_period": source.period, "zero_point": FLIP}
    )
    fields["source_rows"] = nearest(shape[1], size[0], **options)
    fields["source_columns"] = nearest(shape[2], size[1], **options)
    expected = run_reference(graph, values)[0]
    for got in stage.run("resize_planes", fields, out, shape[3]):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("window", [3, 5])
@FEW
@given(shape=SIZES, seed=SEEDS)
def test_depthwise_convolutions(
    shape: tuple[int, int, int, int], window: int, stride: int, seed: int
) -> None:
    images, rows, columns, channels = shape
    rng, net = np.random.default_rng(seed), Net()
    sizes = [-(-n // stride) for n in (rows, columns)]
    before = [max(0, (m - 1) * stride + window - n) // 2 for m, n in zip(sizes, (rows, columns), strict=True)]
    weights = rng.integers(-127, 128, (1, window, window, channels)).astype(np.int8)
    scales = rng.uniform(0.5, 2, channels).astype(np.float32) / np.float32(window * 70)
    bias = rng.integers(-2000, 2000, channels).astype(np.int32)
    z1, z2 = zero_near(rng), zero_near(rng)
    source_index = net.input(*shape, scale=1.0, zero_point=z1)
    for data, scale in ((weights, scales), (bias, scales)):
        net.tensors.append(
            Tensor(f"c{len(net.tensors)}", data.shape, data.dtype, scale, None, data.ndim - 1, data)
        )
    options = {"padding": "SAME", "stride_w": stride, "stride_h": stride, "depth_multiplier": 1}
    ends, target = [source_index, 1, 2], (images, *sizes, channels)
    graph = net.graph(
        net.op("DEPTHWISE_CONV_2D", ends, target, scale=1.0, zero_point=z2, version=3, **options)
    )
    values = random_inputs(graph, seed)
    stage = Stage(seed)
    source = stage.input(values[0], z1, window)
    out = stage.output(target)
    sets, packed = pack_depthwise(weights[0].astype(np.int16), "avx2")
    filled = [np.zeros(out.planes * 4, dtype) for dtype in (np.int32, np.float32, np.int32, np.int32)]
    filled[0][:channels] = bias - (z1 + FLIP) * weights[0].astype(np.int64).sum((0, 1))
    pairs = np.array([multiplier(float(scale)) for scale in scales], np.int32)
    filled[2][:channels], filled[3][:channels] = pairs[:, 0], pairs[:, 1]
    fields: dict[str, Any] = (
        source.read() | out.written() | WIDE | {"input_period": source.period, "exact": 1}
    )
    fields |= dict(zip(("bias", "scale", "multiplier", "shift"), filled, strict=True))
    fields |= {
        "input": source.base - 4 * (before[0] * source.pitch + before[1]),
        "sets": sets,
        "stride": stride,
    }
    fields |= {"window_height": window, "window_width": window, "weights": packed, "zero_point": z2 + FLIP}
    expected = run_reference(graph, values)[0]
    for got in stage.run("depthwise", fields, out, channels):
        np.testing.assert_array_equal(got, expected)
