"""Convolutions on planes: every ISA level writes the bytes of the scalar kernel, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

LEVELS = [level for family, level in native.kernels() if family == "conv"]
PIXELS = {"scalar": 4, "avx2": 8, "avxvnni": 8, "avx512vnni": 16, "neon": 4, "neondot": 4}
GUARD = 256
LOWEST = native.FLIP - 128
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shape:
    """What decides how a convolution is walked; all else is drawn from `seed`."""

    images: int = 1
    height: int = 5
    width: int = 7
    right: int = 1
    below: int = 1
    channels: int = 8
    inputs: int = 3
    group: int = 1
    density: float = 0.5
    tile: int = 4
    block: int = 8
    exact: bool = False
    residual: bool = False
    clamped: bool = False
    seed: int = 0

    @property
    def pitch(self) -> int:
        return self.width + self.right

    @property
    def pixels(self) -> int:
        return ((self.images - 1) * (self.height + self.below) + self.height) * self.pitch

    @property
    def margin(self) -> int:
        return self.right + self.pitch * self.below

    @property
    def stride(self) -> int:
        """Bytes from plane to plane: margins on both sides, slack, and what brings the next to an odd place."""
        return 4 * (self.margin * 2 + self.pixels) + native.SLACK + 4 * (self.seed % 5)

    def places(self) -> tuple[int, int, int, int]:
        """Pixel 0 of the inputs, of the residual and of the outputs; the size of it all."""
        first = GUARD + 4 * self.margin
        residual = first + self.inputs * self.stride + GUARD
        output = residual + self.channels // 4 * self.stride + GUARD
        return first, residual, output, output + self.channels // 4 * self.stride + GUARD


def random_word(random: np.random.Generator, group: int) -> Bytes:
    """Weights of which AVX2 may take pairs: small ones, or large ones beside zeros."""
    words = random.integers(-64, 64, (group, 4))
    large = random.integers(-128, 128, (group, 2))
    return np.where(random.random((group, 1)) < 0.5, words, np.kron(large, [1, 0])).astype(np.int8).view(np.uint8)


def entries_of(shape: Shape, random: np.random.Generator) -> dict[str, Any]:
    """A random pattern for each group, over all planes and nine taps."""
    taps = [shape.pitch * y + x for y in (-1, 0, 1) for x in (-1, 0, 1) if abs(shape.pitch * y + x) <= shape.margin]
    reach = [plane * shape.stride + 4 * tap for plane in range(shape.inputs) for tap in taps]
    starts, offsets = [0], []
    for _ in range(shape.channels // shape.group):
        offsets += [place for place in reach if random.random() < shape.density]
        starts.append(len(offsets))
    words = [random_word(random, shape.group) for _ in offsets]
    return {
        "starts": np.array(starts, np.int32),
        "offsets": np.array(offsets, np.int32),
        "words": np.array(words, np.uint8).view(np.int32).reshape(-1),
    }


def requantisation(shape: Shape, random: np.random.Generator) -> dict[str, Any]:
    channels = shape.channels
    low, high = sorted(random.integers(LOWEST, LOWEST + 256, 2)) if shape.clamped else (LOWEST, LOWEST + 255)
    steps = random.integers(-9, 2, channels)
    return {
        "exact": shape.exact,
        "zero_point": int(random.integers(LOWEST, LOWEST + 256)),
        "low": int(low),
        "high": int(high),
        "bias": random.integers(-20000, 20000, channels, np.int32),
        "scale": (random.random(channels) * 0.02).astype(np.float32),
        "multiplier": random.integers(2**30, 2**31, channels if shape.exact else 0).astype(np.int32),
        "shift": steps.astype(np.int32)[: channels if shape.exact else 0],
    }


def residual_of(shape: Shape, random: np.random.Generator) -> dict[str, Any]:
    if not shape.residual:
        return {}
    low, high = sorted(random.integers(LOWEST, LOWEST + 256, 2))
    return {
        "has_residual": 1,
        "residual": shape.places()[1],
        "residual_stride": shape.stride,
        "residual_own": int(random.integers(-(2**15), 2**15)),
        "residual_other": int(random.integers(-(2**15), 2**15)),
        "residual_bias": int(random.integers(-(2**20), 2**20)),
        "residual_shift": int(random.integers(10, 16)),
        "residual_low": int(low),
        "residual_high": int(high),
        "residual_zero_point": int(random.integers(LOWEST, LOWEST + 256)),
    }


def fields_of(shape: Shape, vector: int) -> dict[str, Any]:
    random = np.random.default_rng(shape.seed)
    inputs, _, output, _ = shape.places()
    return {
        "input": inputs, "input_stride": shape.stride, "input_pitch": shape.pitch,
        "output": output, "output_stride": shape.stride, "output_pitch": shape.pitch,
        "images": shape.images, "height": shape.height, "width": shape.width,
        "period": shape.height + shape.below, "before": shape.margin, "after": shape.margin,
        "channels": shape.channels, "group": shape.group, "vector": vector, "tile": shape.tile, "block": shape.block,
        **entries_of(shape, random), **requantisation(shape, random), **residual_of(shape, random),
    }  # fmt: skip


def arena_of(shape: Shape) -> Bytes:
    """Random bytes, from an aligned place on."""
    size = shape.places()[3]
    memory = np.empty(size + native.ALIGNMENT, np.uint8)
    arena = memory[-memory.ctypes.data % native.ALIGNMENT :][:size]
    arena[:] = np.random.default_rng(shape.seed + 1).integers(0, 256, size)
    return arena


def without_slack(shape: Shape, arena: Bytes) -> Bytes:
    for plane in range(shape.channels // 4):
        end = shape.places()[2] + plane * shape.stride + 4 * (shape.pixels + shape.margin)
        arena[end : end + native.SLACK] = 0
    return arena


def result(shape: Shape, level: str, vector: int, cuts: list[float]) -> Bytes:
    """The arena after all units between the first and the last cut, those of the last pair of cuts first."""
    op, arena = native.Op("conv", fields_of(shape, vector)), arena_of(shape)
    units = op.units(arena.size)
    for begin, end in reversed(list(pairwise(sorted(round(cut * units) for cut in cuts)))):
        op.run(level, arena, begin, end)
    return without_slack(shape, arena)


SHAPES = st.builds(
    Shape,
    images=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    right=st.integers(0, 3),
    below=st.integers(0, 2),
    channels=st.sampled_from([8, 16, 24]),
    inputs=st.integers(1, 5),
    group=st.sampled_from([1, 4, 8]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    tile=st.integers(1, 20),
    block=st.sampled_from([8, 16, 64]),
    exact=st.booleans(),
    residual=st.booleans(),
    clamped=st.booleans(),
    seed=st.integers(0, 2**32 - 2),
)


@settings(max_examples=150, deadline=None)
@given(SHAPES, st.lists(st.floats(0, 1), max_size=3))
@example(Shape(channels=12, block=8), [])
@example(Shape(width=64, height=16, right=0, below=0, tile=64), [])
def test_levels_write_the_bytes_of_the_scalar_kernel(shape: Shape, cuts: list[float]) -> None:
    for level in LEVELS[1:]:
        for between in ([0.0, *cuts, 1.0], cuts):
            expected = result(shape, "scalar", PIXELS[level], between)
            np.testing.assert_array_equal(result(shape, level, PIXELS[level], between), expected, err_msg=level)


@pytest.mark.parametrize("level", LEVELS)
def test_a_vector_of_another_level_is_walked_all_the_same(level: str) -> None:
    shape = Shape(width=30)
    expected = result(shape, "scalar", PIXELS[level], [0, 1])
    for vector in (4, 8, 16):
        np.testing.assert_array_equal(result(shape, level, vector, [0, 1]), expected)


def definition(shape: Shape, fields: dict[str, Any], arena: Bytes) -> NDArray[np.int64]:
    """(channels, pixels) without residual, in numpy, by the words of native/ops.h."""
    stored = arena if native.FLIP else arena.view(np.int8)
    words = fields["words"].view(np.int8).reshape(-1, shape.group, 4).astype(np.int64)
    values = np.empty((shape.channels, shape.pixels), np.int64)
    for channel in range(shape.channels):
        group, sums = channel // shape.group, np.full(shape.pixels, fields["bias"][channel], np.int64)
        for entry in range(fields["starts"][group], fields["starts"][group + 1]):
            place = fields["input"] + fields["offsets"][entry]
            quads = stored[place : place + 4 * shape.pixels].reshape(-1, 4).astype(np.int64)
            sums += quads @ words[entry, channel % shape.group]
        # float64 holds sum * scale exactly: like fma, it rounds the product with the zero point once, to float32
        real = sums.astype(np.float32).astype(np.float64) * fields["scale"][channel].astype(np.float64)
        values[channel] = np.rint((real + fields["zero_point"]).astype(np.float32))
    return np.clip(values, fields["low"], fields["high"])


@settings(max_examples=25, deadline=None)
@given(SHAPES.filter(lambda shape: not (shape.exact or shape.residual)))
def test_the_scalar_kernel_is_what_the_words_say(shape: Shape) -> None:
    fields, arena = fields_of(shape, 4), arena_of(shape)
    wanted = definition(shape, fields, arena).astype(np.uint8)
    native.Op("conv", fields).run("scalar", arena)
    row = np.arange(shape.pixels) // shape.pitch % (shape.height + shape.below)
    is_picture = (np.arange(shape.pixels) % shape.pitch < shape.width) & (row < shape.height)
    for plane in range(shape.channels // 4):
        start = fields["output"] + plane * shape.stride - 4 * shape.margin
        whole = arena[start : start + 4 * (shape.pixels + 2 * shape.margin)].reshape(-1, 4)
        inside = whole[shape.margin : shape.margin + shape.pixels]
        np.testing.assert_array_equal(inside[is_picture], wanted[4 * plane : 4 * plane + 4].T[is_picture])
        outside = np.concatenate([inside[~is_picture], whole[: shape.margin], whole[shape.margin + shape.pixels :]])
        assert np.all(outside == np.uint8(fields["zero_point"] % 256))


def test_the_check_refuses_what_would_leave_the_arena() -> None:
    shape = Shape(exact=True, residual=True)
    good, size = fields_of(shape, 4), shape.places()[3]
    far = np.full_like(good["offsets"], size)
    wrong: list[dict[str, Any]] = [
        {"group": 2}, {"channels": 6}, {"vector": 5}, {"tile": 0}, {"block": 4}, {"offsets": far}, {"offsets": -far},
        {"words": good["words"][1:].copy()}, {"starts": good["starts"][1:].copy()}, {"starts": good["starts"] * 0},
        {"starts": np.ascontiguousarray(good["starts"][::-1])}, {"input": size + 1}, {"output": size - 8},
        {"output": 8}, {"residual": size}, {"bias": good["bias"][1:].copy()}, {"multiplier": -good["multiplier"]},
        {"shift": good["shift"] + 40}, {"low": LOWEST + 9, "high": LOWEST}, {"zero_point": 999},
        {"residual_shift": 31}, {"residual_own": 2**15}, {"residual_low": LOWEST + 255, "residual_high": LOWEST},
        {"input_pitch": shape.pitch + 1}, {"output_stride": 64}, {"width": shape.pitch + 1},
    ]  # fmt: skip
    assert native.Op("conv", good).units(size) == 2
    for mistake in wrong:
        with pytest.raises(ValueError, match="conv: "):
            native.Op("conv", good | mistake).units(size)
