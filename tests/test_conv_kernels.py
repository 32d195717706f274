"""Convolutions on planes: every ISA level writes the bytes of the scalar kernel, and no others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.plan.pack import Entries
from edgekit.plan.pack_runs import in_runs

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
    rounding: str = "fast"
    fits16: bool = False
    residual: bool = False
    clamped: bool = False
    runs: bool = False
    planar: bool = False
    gathered: bool = False
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
        """Bytes from plane to plane: margins on both sides, slack, and up to 4 pixels more."""
        return 4 * (self.margin * 2 + self.pixels + self.seed % 5) + int(native.SLACK)

    def in_groups(self) -> Shape:
        """With as many channels, also in a block, as groups of that size need."""
        if self.planar or self.group <= 8:
            return self
        whole = [-(-number // self.group) * self.group for number in (4 * self.channels, self.block)]
        return replace(self, channels=whole[0], block=whole[1])

    def places(self) -> tuple[int, int, int, int]:
        """Pixel 0 of the inputs, of the residual and of the outputs; the size of it all."""
        first = GUARD + 4 * self.margin
        residual = first + self.inputs * self.stride + GUARD
        output = residual + self.channels // 4 * self.stride + GUARD
        return first, residual, output, output + self.channels // 4 * self.stride + GUARD


def random_words(random: np.random.Generator, group: int) -> NDArray[np.int32]:
    """Weights of which AVX2 may take pairs: small ones, or large ones beside zeros; on ARM none is -128."""
    lowest = -128 if native.FLIP else -127
    small, large = random.integers(-64, 64, (group, 4)), random.integers(lowest, 128, (group, 2))
    words = np.where(random.random((group, 1)) < 0.5, small, np.kron(large, [1, 0])) >> random.integers(0, 5)
    return words.astype(np.int8).view(np.int32)[:, 0]


def entries_of(shape: Shape, random: np.random.Generator) -> dict[str, Any]:
    """A random pattern for each group, over all planes and nine taps."""
    taps = [shape.pitch * y + x for y in (-1, 0, 1) for x in (-1, 0, 1)]
    taps = [tap for tap in taps if abs(tap) <= shape.margin]
    reach = [plane * shape.stride + 4 * tap for plane in range(shape.inputs) for tap in taps]
    starts, offsets = [0], []
    for _ in range(shape.channels // shape.group):
        offsets += [place for place in reach if random.random() < shape.density]
        starts.append(len(offsets))
    records = np.zeros((len(offsets), 1 + shape.group), np.int32)
    for record, place in zip(records, offsets, strict=True):
        record[:] = place, *random_words(random, shape.group)
    plain = Entries(shape.group, np.array(starts, np.int32), records)
    isa = "avx2" if native.FLIP else "neon"
    entries, runs = in_runs(plain, isa) if shape.runs else (plain, np.zeros((0, 2), np.int32))
    fields = {"starts": entries.starts, "entries": entries.records, "runs": runs}
    if shape.group >= 16:
        fields |= {"entries": records[:, 1:].copy(), "offsets": records[:, 0].copy()}
    if shape.runs and shape.group <= 4 and random.random() < 0.5:
        fields["flipped"] = random.integers(runs[:, 1], entries.starts[1:] + 1, dtype=np.int32)
    return fields


def gathered(shape: Shape, vector: int, entries: dict[str, Any]) -> dict[str, Any]:
    """The same entries, of input that each tile gathers."""
    if not shape.gathered or not shape.runs or shape.group > 8:
        return entries
    before, whole = 4 * shape.margin, 4 * vector
    size = whole * (shape.tile + -(-2 * before // whole))
    records = entries["entries"].copy()
    plane, byte = np.divmod(records[:, 0] + before, shape.stride)
    records[:, 0] = plane * size + byte - before
    facts = {"gathered": size, "gathered_planes": shape.inputs, "gathered_before": before}
    return entries | facts | {"entries": records}


def planar_entries_of(shape: Shape, random: np.random.Generator) -> dict[str, Any]:
    """Lists of up to 30 entries of any four bytes of the inputs."""
    starts = np.cumsum([0, *random.integers(0, 31, shape.channels)]).astype(np.int32)
    first, end = -4 * shape.margin, shape.inputs * shape.stride - 4 * shape.margin
    offsets = random.integers(first, end - shape.pixels - native.SLACK + 1, (int(starts[-1]), 4))
    words = [random_words(random, 1) for _ in offsets]
    return {
        "starts": starts,
        "entries": np.hstack([offsets, np.reshape(words, (-1, 1))]).astype(np.int32),
        "planar": 1,
        "group": 1,
    }


def requantisation(shape: Shape, random: np.random.Generator) -> dict[str, Any]:
    channels, exact, biased = shape.channels, shape.rounding == "exact", shape.rounding == "biased"
    low, high = sorted(random.integers(LOWEST, LOWEST + 256, 2)) if shape.clamped else (LOWEST, LOWEST + 255)
    zero_point = int(random.integers(LOWEST, LOWEST + 256))
    scale = (random.random(channels) * (0.002 if shape.fits16 else 0.02)).astype(np.float32)
    return {
        "exact": exact,
        "fits16": shape.fits16,
        "biased": biased,
        "zero_point": zero_point,
        "low": int(low),
        "high": int(high),
        "bias": random.integers(-20000, 20000, channels, np.int32) + np.int32(native.BIASED * biased),
        "scale": scale,
        "multiplier": random.integers(2**30, 2**31, channels * exact).astype(np.int32),
        "shift": random.integers(-9, 2, channels * exact).astype(np.int32),
        "biased_zero_point": (zero_point - 1.5 * 2**23 * scale)[: channels * biased].astype(np.float32),
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
    entries = (
        planar_entries_of(shape, random)
        if shape.planar
        else gathered(shape, vector, entries_of(shape, random))
    )
    return {
        "input": inputs, "input_stride": shape.stride, "input_pitch": shape.pitch,
        "output": output, "output_stride": shape.stride, "output_pitch": shape.pitch,
        "images": shape.images, "height": shape.height, "width": shape.width,
        "period": shape.height + shape.below, "before": shape.margin, "after": shape.margin,
        "channels": shape.channels, "group": shape.group,
        "vector": vector * (4 if shape.planar else 1), "tile": shape.tile, "block": shape.block,
        **entries, **requantisation(shape, random), **residual_of(shape, random),
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
    group=st.sampled_from([1, 4, 8, 16, 32]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    tile=st.integers(1, 45),
    block=st.sampled_from([8, 16, 64]),
    rounding=st.sampled_from(["fast", "biased", "exact"]),
    residual=st.booleans(),
    clamped=st.booleans(),
    fits16=st.booleans(),
    runs=st.booleans(),
    planar=st.booleans(),
    gathered=st.booleans(),
    seed=st.integers(0, 2**32 - 2),
).map(lambda shape: shape.in_groups())


@examples(150)
@given(SHAPES, st.lists(st.floats(0, 1), max_size=3))
@example(Shape(channels=12, block=8), [])
@example(Shape(width=64, height=16, right=0, below=0, tile=64), [])
@example(Shape(inputs=9, density=1.0, rounding="biased", width=36), [])
@example(Shape(group=32, channels=64, block=32, width=7, height=7, rounding="biased", residual=True), [])
@example(Shape(group=16, channels=48, block=32, width=7, height=7, rounding="biased", residual=True), [])
@example(Shape(group=16, channels=32, block=16, width=3, height=9, images=2, rounding="exact"), [0.4])
@example(Shape(group=32, channels=32, block=32, width=30, images=2, tile=3, rounding="biased"), [0.4])
@example(Shape(planar=True, width=40, height=20, rounding="biased", tile=3, residual=True), [])
@example(Shape(inputs=9, density=1.0, rounding="biased", fits16=True, width=56, tile=20), [])
@example(Shape(width=45, height=9, tile=28, rounding="biased", residual=True), [])
@example(Shape(width=30, height=5, tile=3, runs=True, gathered=True), [0.4])
def test_levels_write_the_bytes_of_the_scalar_kernel(shape: Shape, cuts: list[float]) -> None:
    for level in LEVELS[1:]:
        for between in ([0.0, *cuts, 1.0], cuts):
            written = result(shape, level, PIXELS[level], between)
            expected = result(shape, "scalar", PIXELS[level], between)
            np.testing.assert_array_equal(written, expected, err_msg=level)


@pytest.mark.parametrize("level", LEVELS)
def test_a_vector_of_another_level_is_walked_all_the_same(level: str) -> None:
    shape = Shape(width=30)
    expected = result(shape, "scalar", PIXELS[level], [0, 1])
    for vector in (4, 8, 16):
        np.testing.assert_array_equal(result(shape, level, vector, [0, 1]), expected)


def sums_of(shape: Shape, fields: dict[str, Any], arena: Bytes, channel: int) -> NDArray[np.int32]:
    """The sums of a channel for all pixels, in numpy, by the words of native/ops_conv.h."""
    stored = arena if native.FLIP else arena.view(np.int8)
    group, member = divmod(channel, fields["group"])
    sums = np.full(shape.pixels, fields["bias"][channel], np.int64)
    end = fields["starts"][group + 1]
    plain_end = fields["flipped"][group] if "flipped" in fields else end
    for number in range(fields["starts"][group], end):
        entry = fields["entries"][number]
        if "offsets" in fields:
            entry = np.insert(entry, 0, fields["offsets"][number])
        offsets, word = (
            (entry[:4], entry[4:]) if shape.planar else (entry[0] + np.arange(4), entry[1 + member :][:1])
        )
        if "gathered" in fields:
            plane, byte = np.divmod(offsets + fields["gathered_before"], fields["gathered"])
            offsets = plane * shape.stride + byte - fields["gathered_before"]
        pixels = np.arange(shape.pixels)[:, None] * (1 if shape.planar else 4)
        seen = stored[fields["input"] + offsets + pixels]
        if number >= plain_end:
            seen[:, 1::2] = ~seen[:, 1::2]
        sums += seen.astype(np.int64) @ word.view(np.int8).astype(np.int64)
    return sums.astype(np.int32)


def values_of(fields: dict[str, Any], sums: NDArray[np.int32], channel: int) -> NDArray[np.float32]:
    """Requantised: float64 holds the product exactly, so that like fma it rounds once, to float32."""
    real = sums.view(np.float32) if fields["biased"] else sums.astype(np.float32)
    zero_point = fields["biased_zero_point"][channel] if fields["biased"] else fields["zero_point"]
    product = real.astype(np.float64) * fields["scale"][channel].astype(np.float64)
    rounded = np.rint((product + zero_point).astype(np.float32))
    return np.asarray(np.clip(rounded, fields["low"], fields["high"]))


@examples(25)
@given(SHAPES.filter(lambda shape: not (shape.rounding == "exact" or shape.residual)))
def test_the_scalar_kernel_is_what_the_words_say(shape: Shape) -> None:
    fields, arena = fields_of(shape, 4), arena_of(shape)
    sums = [sums_of(shape, fields, arena, channel) for channel in range(shape.channels)]
    wanted = np.array([values_of(fields, row, channel) for channel, row in enumerate(sums)]).astype(np.uint8)
    native.Op("conv", fields).run("scalar", arena)
    row = np.arange(shape.pixels) // shape.pitch % (shape.height + shape.below)
    is_picture = (np.arange(shape.pixels) % shape.pitch < shape.width) & (row < shape.height)
    for plane in range(shape.channels // 4):
        start = fields["output"] + plane * shape.stride - 4 * shape.margin
        whole = arena[start : start + 4 * (shape.pixels + 2 * shape.margin)].reshape(-1, 4)
        inside = whole[shape.margin : shape.margin + shape.pixels]
        np.testing.assert_array_equal(inside[is_picture], wanted[4 * plane : 4 * plane + 4].T[is_picture])
        ends = whole[: shape.margin], whole[shape.margin + shape.pixels :]
        outside = np.concatenate([inside[~is_picture], *ends])
        assert np.all(outside == np.uint8(fields["zero_point"] % 256))


def test_the_check_refuses_what_would_leave_the_arena() -> None:
    shape = Shape(rounding="exact", residual=True, runs=True)
    good, size = fields_of(shape, 4), shape.places()[3]
    far = np.array(good["entries"])
    far[:, 0] = size
    wrong: list[dict[str, Any]] = [
        {"group": 2}, {"channels": 6}, {"vector": 5}, {"tile": 0}, {"block": 4}, {"entries": far},
        {"entries": -far}, {"entries": far[1:].copy()}, {"starts": good["starts"][1:].copy()},
        {"starts": np.ascontiguousarray(good["starts"][::-1])}, {"starts": good["starts"] * 0},
        {"input": size + 1}, {"output": size - 8}, {"output": 8}, {"residual": size},
        {"bias": good["bias"][1:].copy()}, {"multiplier": -good["multiplier"]}, {"shift": good["shift"] + 40},
        {"low": LOWEST + 9, "high": LOWEST}, {"zero_point": 999}, {"biased": 1}, {"residual_shift": 31},
        {"residual_own": 2**15}, {"residual_low": LOWEST + 255, "residual_high": LOWEST},
        {"input_pitch": shape.pitch + 1}, {"output_stride": 64}, {"width": shape.pitch + 1},
        {"runs": good["runs"][1:].copy()}, {"runs": good["runs"] + 1}, {"planar": 1},
        {"flipped": good["starts"][1:] + 1}, {"flipped": good["starts"][1:-1].copy()},
    ]  # fmt: skip
    near = fields_of(replace(shape, gathered=True), 4)
    around, before = near["gathered"] - 16 * shape.tile, near["gathered_before"]
    misgathered: list[dict[str, Any]] = [
        {"gathered": near["gathered"] - 1}, {"gathered": 16 * shape.tile - 16}, {"gathered": 1 << 16},
        {"gathered_planes": 0}, {"gathered_planes": 2}, {"gathered_planes": 1 << 12}, {"gathered_before": 0},
        {"gathered_before": -4}, {"gathered_before": around + 4}, {"input": before - 4}, {"input": size - 64},
        {"runs": good["runs"][:0].copy()}, {"group": 16},
    ]  # fmt: skip
    wrong += [near | mistake for mistake in misgathered]
    assert native.Op("conv", near).units(size) == 3
    assert native.Op("conv", good).units(size) == 3
    split = fields_of(Shape(group=32, channels=32, block=8), 4)
    with pytest.raises(ValueError, match="blocks that split a group"):
        native.Op("conv", split).units(Shape(channels=32).places()[3])
    for mistake in wrong:
        with pytest.raises(ValueError, match="conv: "):
            native.Op("conv", good | mistake).units(size)
