"""What the convolution kernels cost, and which of them a layer gets.

The unit is a cycle of one core. A kernel walks its entries once a tile of pixels: an entry costs its dot products or
its loads, whichever takes longer, and a little for the loop; a tile costs its requantisation and stores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.layout import QUAD


@dataclass(frozen=True)
class Unit:
    """What an ISA level's convolution kernels are made of."""

    pixels: int  # in a vector
    dots: float  # vectors multiplied and added up in a cycle
    loads: float  # vectors or words loaded in a cycle
    entry: float  # cycles of an entry beside those
    requantise: float  # cycles of four vectors of sums until they are stored
    tiles: dict[int, tuple[int, ...]]  # vectors in a tile that there are kernels for, by channels in a group


UNITS = {
    "avx512vnni": Unit(16, 2, 2, 0.7, 14, {1: (4, 5, 6, 7), 4: (3, 4, 5, 6), 8: (3,)}),
    "avxvnni": Unit(8, 2, 3, 0.7, 14, {1: (4, 6, 7, 8, 10, 12), 4: (2, 3)}),
    "avx2": Unit(8, 1, 3, 0.7, 14, {1: (4, 6, 7, 8, 10, 12), 4: (2, 3)}),
    "neon": Unit(4, 0.5, 1, 1, 14, {1: (4, 5, 6, 7, 8), 4: (2, 8)}),  # of 8 it makes 4 of 2
    "neondot": Unit(4, 2, 2, 0.7, 10, {1: (4, 6, 8, 10, 12, 13, 14), 4: (4, 5, 6, 12)}),  # of 12, 2 of 6
    "scalar": Unit(4, 0.1, 1, 1, 40, {1: (4,), 4: (4,)}),
}


@dataclass(frozen=True)
class Choice:
    """A kernel for a layer: channels in a group, vectors in a tile, and the cycles that it is thought to take."""

    group: int
    tile: int
    cycles: float


def entries_by_group(used: NDArray[np.bool_], group: int) -> int:
    """How many entries the layer has in groups of `group`; `used` is (channels, quads): which are not zero."""
    whole = len(used) // group * group
    count = np.count_nonzero(used[:whole].reshape(-1, group, used.shape[1]).any(axis=1))
    return int(count + np.count_nonzero(used[whole:].any(axis=0)))


def choose(isa: str, used: NDArray[np.bool_], pixels: int) -> list[Choice]:
    """The kernels that could run the layer over that many pixels, best first."""
    unit = UNITS[isa]
    choices = [
        Choice(group, tile, _cycles(unit, group, tile, entries, len(used), pixels))
        for group, tiles in unit.tiles.items()
        for entries in [entries_by_group(used, group)]
        for tile in tiles
    ]
    return sorted(choices, key=lambda choice: choice.cycles)


def _cycles(unit: Unit, group: int, tile: int, entries: int, channels: int, pixels: int) -> float:
    vectors = -(-pixels // unit.pixels)
    tiles = -(-vectors // tile)
    each = vectors / tiles
    entry = unit.entry + max(group * each / unit.dots, (group + each) / unit.loads)
    store = unit.requantise * each * -(-channels // QUAD)
    return tiles * (entries * entry + store)
