"""What the convolution kernels cost, and which of them a layer gets.

The unit is a cycle of one core. A kernel walks its entries once a tile of pixels: an entry costs its dot
products or its loads, whichever takes longer, and a little for the loop; a tile costs its requantisation
and stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.layout import QUAD


@dataclass(frozen=True)
class Kernel:
    """The kernel for groups of so many channels: cycles by the number n of vectors in a tile.

    An entry costs max(least_entry, fixed_entry + n * entry), four channels of a tile fixed_store + n * store.
    One that walks strips of up to `strip` pixels, of a row or of two, leaves out margins.
    `far` is what an entry costs more where a channel has LONG_LIST of them: the first cache loses what one
    list has read before the next one reads it too. `fetch` is what it costs once, to come from beyond the
    second cache. Lists of fewer than SHORT_LIST entries a channel leave registers for tiles of `short_tile`.
    `abreast` tiles are walked channel by channel where their inputs fit the first cache together. Long lists
    cost CROWDED times as much where a tile's own inputs take more than `near` bytes.
    """

    tiles: tuple[int, ...]  # numbers of vectors that are worth trying
    least_entry: float
    fixed_entry: float
    entry: float
    fixed_store: float
    store: float
    strip: int = 0
    far: float = 0
    fetch: float = 0
    short_tile: int = 0
    abreast: int = 1
    near: int = 1 << 30

    @property
    def most(self) -> int:
        """Vectors in the largest tile."""
        return max(self.tiles[-1], self.short_tile)

    def tiles_for(self, entries: int, channels: int) -> tuple[int, ...]:
        """Those that are worth trying for a layer of so many entries."""
        is_short = self.short_tile and entries < SHORT_LIST * channels
        return (*self.tiles, self.short_tile) if is_short else self.tiles


@dataclass(frozen=True)
class Unit:
    """What an ISA level has: pixels in a vector, convolution kernels by channels in a group.

    `planar` is the kernel for input that is spread to planes of one channel, where an entry has four weights
    from anywhere and a vector four times the pixels; `spread` is what spreading a vector of a channel takes.
    `gathered` are the most bytes that a tile puts beside each other before it reads them again and again.
    """

    pixels: int
    kernels: dict[int, Kernel]
    planar: Kernel | None = None
    spread: float = 0
    gathered: int = 0


Picture = tuple[int, int, int]  # images, height, width

LONG_LIST = 64
SHORT_LIST = 7  # entries a channel; runs of fewer end too often to be foreseen
CROWDED = 1.1
STEP = 1500  # cycles of a step more: its call and its first misses

# x86: measured on one core of 3 GHz, in the first cache, planar ones within networks. ARM: counted
# instructions and port models.
UNITS = {
    "avx512vnni": Unit(
        16,
        {
            1: Kernel((4, 5, 6, 7), 2.5, 0, 0.92, 35, 9, far=1),
            4: Kernel((3, 4, 5, 6), 5.6, 0, 2.1, 9, 13),
            8: Kernel((3,), 5.6, 0, 4.7, 9, 13),
            32: Kernel((64,), 8, 0, 17.6, 0, 55, strip=14),
        },
        Kernel((1, 2, 3, 4), 0, 0.5, 9.2, 32, 48),
        9.6,
    ),
    "avxvnni": Unit(
        8,
        {
            1: Kernel((4, 7, 8, 10, 12, 13, 14), 2.4, 0, 0.65, 47, 3.5, fetch=3.2, abreast=2),
            4: Kernel((2, 3), 5.3, 0, 2.25, 0, 6, fetch=8),
            16: Kernel((64,), 5.3, 5.2, 3.6, 0, 20, strip=6, fetch=7),
        },
        Kernel((1, 2), 0, 0.7, 4.3, 31, 76),
        4.7,
    ),
    "avx2": Unit(
        8,
        {
            1: Kernel(
                (4, 7, 8, 10, 12, 13), 1.5, 0.5, 0.9, 47, 4.4, fetch=3.2, short_tile=14, abreast=2, near=20480
            ),
            4: Kernel((2, 3), 2.4, 0, 3.6, 15, 12, fetch=8),
        },
        Kernel((1, 2), 0, 0.7, 7, 18, 19),
        7,
        gathered=30 * 1024,
    ),
    "neon": Unit(4, {1: Kernel((4, 5, 6, 7, 8), 0, 2.7, 2, 85, 21), 4: Kernel((2, 8), 0, 0, 10, 0, 40)}),
    "neondot": Unit(
        4,
        {
            1: Kernel((4, 6, 8, 10, 12, 13, 14), 0, 1.2, 0.5, 0, 10),
            4: Kernel((4, 5, 6, 12), 0, 0.7, 2, 0, 10),
        },
    ),
    "scalar": Unit(4, {1: Kernel((4,), 0, 1, 10, 0, 40), 4: Kernel((4,), 0, 1, 40, 0, 40)}),
}


@dataclass(frozen=True)
class Choice:
    """A kernel for a layer: channels in a group, vectors in a tile, the cycles that it is thought to take.

    A planar kernel reads planes of one channel, and its vectors have four times the pixels.
    """

    group: int
    tile: int
    cycles: float
    is_planar: bool = False


def entries_by_group(used: NDArray[np.bool_], group: int) -> int:
    """How many entries the layer has in groups of `group`; `used` is (channels, quads): those not zero."""
    whole = len(used) // group * group
    count = np.count_nonzero(used[:whole].reshape(-1, group, used.shape[1]).any(axis=1))
    return int(count + np.count_nonzero(used[whole:].any(axis=0)))


def pieces(kernel: Kernel, tile: int, vectors: int, picture: Picture, pixels: int) -> tuple[int, float]:
    """The tiles or strips in which a kernel walks so many vectors of `pixels`, and the vectors in each.

    Of tiles that are walked abreast each counts.
    """
    tile = min(tile, kernel.most)
    if not kernel.strip:
        tiles = -(-vectors // tile)
        return tiles, vectors / tiles
    images, height, width = picture
    one, two = -(-width // kernel.strip), -(-2 * width // kernel.strip)
    strips = images * (height // 2 * min(two, 2 * one) + height % 2 * one)
    return strips, images * height * width / pixels / strips


def count_entries(isa: str, parts: Iterable[NDArray[np.bool_]]) -> dict[int, int]:
    """How many entries a layer has for each kernel, by the channels in its groups.

    `parts` say which quads of some channels after another are not zero; all but the last are whole groups.
    """
    counts = dict.fromkeys(UNITS[isa].kernels, 0)
    for used in parts:
        for group in counts:
            counts[group] += entries_by_group(used, group)
    return counts


def choose(
    isa: str, counts: Mapping[int, int], channels: int, pixels: int, picture: Picture, planes: int
) -> list[Choice]:
    """The kernels that could run a layer over that many pixels, margins included; best first.

    `counts` are those of `count_entries`, `channels` those of its output, `planes` those of its input.
    """
    unit = UNITS[isa]
    choices = [
        Choice(group, tile, _cycles(kernel, entries, channels, *walked) * crowd)
        for group, kernel in unit.kernels.items()
        for entries in [counts[group]]
        for tile in kernel.tiles_for(entries, channels)
        for walked in [pieces(kernel, tile, -(-pixels // unit.pixels), picture, unit.pixels)]
        for is_near in [planes * QUAD * unit.pixels * tile <= kernel.near]
        for crowd in [1 if is_near or entries < LONG_LIST * channels else CROWDED]
    ]
    return sorted(choices, key=lambda choice: choice.cycles)


def choose_planar(isa: str, nonzero: NDArray[np.integer], planes: int, pixels: int) -> list[Choice]:
    """The planar kernels for outputs with so many weights that are not zero, best first.

    The cycles include those of spreading an input of that many planes of quads.
    """
    unit = UNITS[isa]
    if unit.planar is None:
        return []
    entries, vectors = int(np.sum(-(-nonzero // QUAD))), -(-pixels // (QUAD * unit.pixels))
    spread = STEP + unit.spread * planes * QUAD * vectors
    choices = [
        Choice(1, tile, spread + _cycles(unit.planar, entries, len(nonzero), *walked), is_planar=True)
        for tile in unit.planar.tiles
        for walked in [pieces(unit.planar, tile, vectors, (1, 1, pixels), unit.pixels)]
    ]
    return sorted(choices, key=lambda choice: choice.cycles)


def _cycles(kernel: Kernel, entries: int, channels: int, tiles: int, each: float) -> float:
    entry = max(kernel.least_entry, kernel.fixed_entry + each * kernel.entry)
    entry += kernel.far if entries >= LONG_LIST * channels else 0
    store = kernel.fixed_store + each * kernel.store
    return entries * kernel.fetch + tiles * (entries * entry + -(-channels // QUAD) * store)
