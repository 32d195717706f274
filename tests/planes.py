"""Tensors in planes for tests: an arena with guard bytes, pictures in it, and kernels run on copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import edgekit._native as native
import numpy as np
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
FLIP = native.FLIP
STORED = st.integers(FLIP - 128, FLIP + 127)


def kernel_levels(family: str) -> list[str]:
    return [level for name, level in native.kernels() if name == family]


def signed(stored: NDArray[Any]) -> NDArray[np.int64]:
    """Stored bytes as the numbers that kernels compute with."""
    return stored.astype(np.int64) if FLIP else stored.astype(np.int8).astype(np.int64)


def stored(values: NDArray[Any]) -> Bytes:
    return np.asarray(values).astype(np.int64).astype(np.uint8)


@dataclass(frozen=True)
class Picture:
    """A tensor in planes: its numbers as in native/ek.h."""

    images: int
    height: int
    width: int
    planes: int
    pitch: int
    period: int
    before: int
    after: int
    base: int
    stride: int

    @property
    def pixels(self) -> int:
        return ((self.images - 1) * self.period + self.height) * self.pitch

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.planes, self.images, self.height, self.width, 4)

    def view(self, arena: Bytes) -> Bytes:
        """The picture: (planes, images, height, width, 4)."""
        steps = (self.stride, 4 * self.period * self.pitch, 4 * self.pitch, 4, 1)
        return as_strided(arena[self.base :], self.shape, steps)

    def span(self, arena: Bytes) -> Bytes:
        """Picture and margins: (planes, bytes)."""
        size = 4 * (self.before + self.pixels + self.after)
        return as_strided(arena[self.base - 4 * self.before :], (self.planes, size), (self.stride, 1))

    def slack(self, arena: Bytes) -> Bytes:
        start = self.base + 4 * (self.pixels + self.after)
        return as_strided(arena[start:], (self.planes, native.SLACK), (self.stride, 1))

    def put(self, arena: Bytes, values: Bytes, zero_point: int) -> None:
        self.span(arena)[...] = zero_point % 256
        self.view(arena)[...] = values

    def read(self, name: str = "input") -> dict[str, int]:
        return {name: self.base, f"{name}_stride": self.stride, f"{name}_pitch": self.pitch}

    def size(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("images", "height", "width", "period")}

    def written(self) -> dict[str, int]:
        return self.read("output") | self.size() | {"before": self.before, "after": self.after}


class Memory:
    """Allots an arena, whose bytes are random at first."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = 64

    def bytes(self, count: int) -> int:
        place = self.size
        self.size += -(-count // 64) * 64 + 64 * int(self.rng.integers(0, 2))
        return place

    def picture(
        self, size: Sequence[int], planes: int, margins: Sequence[int] = (0, 0), spare: Sequence[int] = (0, 0)
    ) -> Picture:
        """`size` is (images, height, width), `margins` pixels before and after, `spare` rows and columns."""
        images, height, width = size
        before, after = margins
        pitch, period = width + spare[1], height + spare[0]
        pixels = ((images - 1) * period + height) * pitch
        lead = -(-4 * before // 64) * 64
        stride = lead + 4 * (pixels + after) + native.SLACK + 4 * int(self.rng.integers(0, 3))
        base = self.bytes(planes * stride) + lead
        return Picture(images, height, width, planes, pitch, period, before, after, base, stride)

    def arena(self) -> Bytes:
        raw = np.zeros(self.size + 128, np.uint8)
        start = -raw.ctypes.data % native.ALIGNMENT
        arena = raw[start : start + self.size + 64]
        arena[...] = self.rng.integers(0, 256, arena.shape)
        return arena

    def values(self, shape: tuple[int, ...]) -> Bytes:
        """Random bytes, extremes among them."""
        values = self.rng.integers(0, 256, shape).astype(np.uint8)
        ends = np.where(self.rng.random(shape) < 0.5, 0, 255).astype(np.uint8)
        return np.where(self.rng.random(shape) < 0.2, ends, values)


def aligned_copy(arena: Bytes) -> Bytes:
    raw = np.zeros(arena.size + 64, np.uint8)
    start = -raw.ctypes.data % native.ALIGNMENT
    copy = raw[start : start + arena.size]
    copy[...] = arena
    return copy


def run_levels(
    family: str, fields: dict[str, Any], arena: Bytes, expected: Bytes, out: Picture | None, seed: int = 0
) -> None:
    """Every level turns `arena` into `expected`, units in any order; the output's slack may be anything."""
    op = native.Op(family, fields)
    units = op.units(arena.size)
    for level in kernel_levels(family):
        got = aligned_copy(arena)
        rng = np.random.default_rng(seed)
        cuts = np.unique([0, units, *rng.integers(0, units + 1, 2)])
        for i in rng.permutation(len(cuts) - 1):
            op.run(level, got, int(cuts[i]), int(cuts[i + 1]))
        if out is not None:
            out.slack(got)[...] = out.slack(expected)
        np.testing.assert_array_equal(got, expected, err_msg=f"{family} {level}")


@dataclass(frozen=True)
class Scene:
    """What most tests vary: a picture's size (images, height, width), surroundings, a seed for the rest."""

    size: tuple[int, int, int]
    spare: tuple[int, int]
    margins: tuple[int, int]
    planes: int
    zero: int  # stored
    seed: int

    def out(self, memory: Memory, planes: int | None = None) -> Picture:
        return memory.picture(self.size, planes or self.planes, self.margins, self.spare)


BOOLS = st.booleans()
SEEDS = st.integers(0, 2**32 - 1)
SCENES = st.builds(
    Scene,
    st.tuples(
        st.integers(1, 3), st.integers(1, 9), st.integers(1, 40)
    ),  # wide enough for odd ends of vectors
    st.tuples(st.integers(0, 3), st.integers(0, 4)),
    st.tuples(st.integers(0, 50), st.integers(0, 50)),
    st.integers(1, 4),
    STORED,
    SEEDS,
)
