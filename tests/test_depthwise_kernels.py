"""Depthwise convolutions on planes, and how their weights are packed."""

from __future__ import annotations

from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from planes import FLIP, SCENES, SEEDS, Memory, Scene, aligned_copy, run_levels, signed, stored

from edgekit.plan.arithmetic import multiplier, multiply
from edgekit.plan.pack_depthwise import INVERTED, pack_depthwise


def rounded(
    sums: NDArray[np.int64], factors: NDArray[np.float32], exact: bool, zero: int
) -> NDArray[np.int64]:
    """Sums (..., planes, 4) times a factor a channel, plus the zero point."""
    if exact:
        channels = [
            multiply(sums[..., p, c], multiplier(float(factors[p, c]))) for p, c in np.ndindex(factors.shape)
        ]
        return np.stack(channels, -1).reshape(sums.shape) + zero
    exactly = sums.astype(np.float32).astype(np.float64) * factors + zero
    return np.asarray(np.rint(exactly.astype(np.float32)), np.int64)


def correlate(padded: NDArray[np.int64], weights: NDArray[np.int64], stride: int) -> NDArray[np.int64]:
    """(planes, images, rows, columns, 4) by (height, width, planes, 4) to (images, y, x, planes, 4)."""
    height, width = weights.shape[:2]
    rows, columns = ((n - k) // stride + 1 for n, k in zip(padded.shape[2:4], (height, width), strict=True))
    total = np.zeros((padded.shape[1], rows, columns, padded.shape[0], 4), np.int64)
    for y, x in np.ndindex(height, width):
        part = padded[
            :, :, y : y + (rows - 1) * stride + 1 : stride, x : x + (columns - 1) * stride + 1 : stride
        ]
        total += part.transpose(1, 2, 3, 0, 4) * weights[y, x]
    return total


def requantisation(bias: Any, factors: NDArray[np.float32], way: str, zero: int = 0) -> dict[str, Any]:
    fields = {"bias": bias.astype(np.int32).reshape(-1), "scale": factors.reshape(-1)}
    if way == "biased":
        fields["bias"] = fields["bias"] + np.int32(0x4B400000)
        point = (zero - factors.astype(np.float64) * 12582912).astype(np.float32).reshape(-1)
        return fields | {"biased": 1, "biased_zero_point": point}
    if way == "fast":
        return fields
    pairs = np.array([multiplier(float(factor)) for factor in factors.reshape(-1)], np.int32)
    return fields | {"exact": 1, "multiplier": pairs[:, 0].copy(), "shift": pairs[:, 1].copy()}


WAYS = ["fast", "biased", "exact"]
WINDOWS = [(3, 3), (5, 5), (3, 3), (5, 5), (1, 1), (3, 5), (7, 7), (2, 4), (9, 2), (4, 11), (1, 6)]


class Layer:
    """A random layer over one picture: where it reads, and what it gives."""

    def __init__(self, scene: Scene, window: tuple[int, int], stride: int, reach: int) -> None:
        memory = self.memory = Memory(scene.seed)
        self.window, self.stride, self.planes = window, stride, scene.planes
        images, rows, columns = scene.size
        rows, columns = max(rows, window[0]), max(columns, window[1])
        self.top, self.left = window[0] // 2, window[1] // 2
        room = (self.top + int(memory.rng.integers(0, 2)), self.left + int(memory.rng.integers(0, 3)))
        around = (self.top * (columns + room[1]) + self.left,) * 2
        self.source = memory.picture((images, rows, columns), scene.planes, around, room)
        height = (rows + 2 * self.top - window[0]) // stride + 1
        width = (columns + 2 * self.left - window[1]) // stride + 1
        same = self.source.pitch - width if stride == 1 and memory.rng.integers(0, 3) else -1
        spare = (scene.spare[0], same if same >= 0 else scene.spare[1])
        self.out = memory.picture((images, height, width), scene.planes, scene.margins, spare)
        self.arena = memory.arena()
        self.zero_in = int(memory.rng.integers(FLIP - 128, FLIP + 128))
        self.source.put(self.arena, memory.values(self.source.shape), self.zero_in)
        self.weights = memory.rng.integers(-reach, reach + 1, (*window, 4 * scene.planes)).astype(np.int16)
        self.bias = memory.rng.integers(-30000, 30000, (scene.planes, 4))

    def sums(self) -> NDArray[np.int64]:
        around = ((0, 0), (0, 0), (self.top,) * 2, (self.left,) * 2, (0, 0))
        padded = np.pad(signed(self.source.view(self.arena)), around, constant_values=self.zero_in)
        weights = self.weights.astype(np.int64).reshape(*self.window, self.planes, 4)
        return correlate(padded, weights, self.stride) + self.bias

    def fields(self) -> dict[str, Any]:
        sets, packed = pack_depthwise(self.weights, "avx2" if FLIP else "")
        start = self.source.base - 4 * (self.top * self.source.pitch + self.left)
        own = {
            "input": start,
            "input_period": self.source.period,
            "planes": self.planes,
            "stride": self.stride,
        }
        own |= {"window_height": self.window[0], "window_width": self.window[1], "sets": sets}
        return self.source.read() | self.out.written() | own | {"weights": packed}


def short(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to what `biased` sums ask of scales: 12582912 times it and a zero point are floats."""
    mantissa, exponent = np.frexp(factors)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, 18)), exponent - 18), np.float32)


@given(SCENES, st.sampled_from(WINDOWS), st.integers(1, 2), st.sampled_from(WAYS), st.integers(0, 255))
def test_depthwise(scene: Scene, window: tuple[int, int], stride: int, way: str, reach: int) -> None:
    layer = Layer(scene, window, stride, reach)
    if way == "biased" and np.abs(layer.weights.astype(np.int64)).sum((0, 1)).max() * 255 > 2**22 - 30001:
        way = "fast"  # the sums would not fit
    spread = 40 / (np.sqrt(window[0] * window[1]) * 74 * (reach + 1))
    factors = (layer.memory.rng.uniform(0.5, 2, (scene.planes, 4)) * spread).astype(np.float32)
    if way == "biased":
        factors = short(factors)
    result = rounded(layer.sums(), factors, way == "exact", scene.zero).clip(FLIP - 110, FLIP + 127)
    expected = aligned_copy(layer.arena)
    layer.out.put(expected, stored(result).transpose(3, 0, 1, 2, 4), scene.zero)
    fields = layer.fields() | requantisation(layer.bias, factors, way, scene.zero)
    fields |= {"zero_point": scene.zero, "low": FLIP - 110, "high": FLIP + 127}
    most = 255 * np.abs(layer.weights).sum(axis=(0, 1), dtype=np.int64).reshape(-1, 4) + np.abs(layer.bias)
    fields["fits16"] = bool(np.max(most * factors) < 2**15 - 256)
    run_levels("depthwise", fields, layer.arena, expected, layer.out, scene.seed)


@given(
    st.integers(1, 5),
    st.integers(1, 11),
    st.integers(1, 9),
    st.integers(0, 255),
    st.sampled_from(["", "avx2"]),
    SEEDS,
)
def test_packed_weights_add_up_and_their_pairs_fit(
    height: int, width: int, channels: int, reach: int, isa: str, seed: int
) -> None:
    weights = (
        np.random.default_rng(seed).integers(-reach, reach + 1, (height, width, channels)).astype(np.int16)
    )
    sets, packed = pack_depthwise(weights, isa)
    assert packed.shape == (-(-channels // 4), sets, height, width, 4)
    plain = packed.astype(np.int64).transpose(1, 2, 3, 0, 4).reshape(sets, height, width, -1)
    np.testing.assert_array_equal(plain.sum(0)[..., :channels], weights)
    assert not plain[..., channels:].any()
    assert isa != "avx2" or plain.min() >= -127
    if isa == "avx2" and width > INVERTED:
        pairs = [plain[:, :, [t, t + 2]] for t in range(width - 2) if t % 4 != 2]
        for pair in pairs:
            assert 255 * np.maximum(pair, 0).sum(2).max() <= 32767
            assert 255 * np.minimum(pair, 0).sum(2).min() >= -32768
    elif reach <= 127:
        assert sets == 1  # also on AVX2, whose kernel inverts pixels


def test_a_depthwise_convolution_that_reaches_outside_is_refused() -> None:
    memory = Memory(0)
    source, out = memory.picture((1, 6, 6), 1), memory.picture((1, 4, 4), 1)
    arena = memory.arena()
    factors = np.full((1, 4), 0.01, np.float32)
    fields: dict[str, Any] = source.read() | out.written() | requantisation(np.zeros((1, 4)), factors, "fast")
    fields |= {"input_period": 6, "planes": 1, "window_height": 3, "window_width": 3, "stride": 1, "sets": 1}
    fields |= {"weights": np.zeros((1, 1, 3, 3, 4), np.int8), "zero_point": FLIP, "low": FLIP, "high": FLIP}
    assert native.Op("depthwise", fields).units(arena.size) == 1
    wrong: list[dict[str, Any]] = [
        {"input": -4}, {"input": arena.size - 64}, {"planes": 2}, {"window_height": 4}, {"stride": 3},
        {"scale": np.full(4, np.nan, np.float32)}, {"scale": factors[0, :3].copy()}, {"sets": 2},
        {"bias": np.full(4, 2**31 - 1, np.int32)}, {"images": 2, "input_period": 2**20}, {"low": FLIP + 1},
        {"window_width": 2**23}, {"exact": 1},
    ]  # fmt: skip
    for mistake in wrong:
        with pytest.raises(ValueError, match=r"outside|impossible|another"):
            native.Op("depthwise", fields | mistake).units(arena.size)
