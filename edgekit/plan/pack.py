"""Weights of convolutions as the kernels eat them: lists of quads that are not zero.

A list belongs to a group of output channels; an entry is a place in the input (which plane, which tap) and
one word of four int8 weights for each channel of the group. With one channel a group only its own nonzero
quads are listed: that is the sparse form. With 4, 8 or 32 a quad is listed once for all of them: the dense
form, which loads each input once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.layout import ALIGNMENT, QUAD

PART = 1 << 13  # entries that are made at once, of four words or fewer
LARGEST_PAIR = 32767 // 255  # of two weights of one sign, that AVX2's vpmaddubsw adds up in 16 bits


@dataclass(frozen=True, eq=False)
class Entries:
    """What EK_CONV in native/ops_conv.h calls starts, entries and offsets."""

    group: int
    starts: NDArray[np.int32]
    records: NDArray[np.int32]  # (entries, 1 + group); of planar input (entries, 5); or (entries, group)
    offsets: NDArray[np.int32] | None = None  # of the last kind

    @property
    def fields(self) -> dict[str, NDArray[np.int32]]:
        """Those of EK_CONV."""
        own = {"starts": self.starts, "entries": self.records}
        return own if self.offsets is None else own | {"offsets": self.offsets}


def quads_of(weights: NDArray[np.integer]) -> NDArray[np.int16]:
    """(outputs, height, width, inputs) to (outputs, height * width * quads, 4), with zeros where nothing was.

    Outputs, too, are filled up with zeros, to a multiple of 8.
    """
    outputs, height, width, inputs = weights.shape
    padded = np.zeros((-(-outputs // 8) * 8, height, width, -(-inputs // QUAD) * QUAD), np.int16)
    padded[:outputs, :, :, :inputs] = weights
    return padded.reshape(len(padded), -1, QUAD)


def group_starts(outputs: int, groups: int, inputs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each output the first quad of its group of inputs, and where in that quad the group starts."""
    first = np.arange(outputs) // (outputs // groups) * inputs
    return first // QUAD, first % QUAD


def align_groups(weights: NDArray[np.int16], shift: NDArray[np.int64], room: int) -> NDArray[np.int16]:
    """Weights (outputs, height, width, inputs of a group) with the inputs where they stand in their quads.

    Those of each output move by its `shift`, which is `room` at most.
    """
    outputs, height, width, inputs = weights.shape
    if not room:
        return weights
    aligned = np.zeros((outputs, height, width, inputs + room), weights.dtype)
    for offset in sorted(set(shift.tolist())):
        rows = shift == offset
        aligned[rows, :, :, offset : offset + inputs] = weights[rows]
    return aligned


def words_of(quads: NDArray[np.int16], *, narrow_pairs: bool = False, least: int = -128) -> NDArray[np.int32]:
    """Quads as words of four int8 that add up to them: (outputs, quads, layers), as few layers as will do.

    A weight below `least` or beyond int8 is split. With `narrow_pairs` no two neighbours of a word reach
    beyond what AVX2 can add in 16 bits: the second of such a pair goes to the next layer.
    """
    layers = []
    rest = quads
    while True:
        layer = np.clip(rest, least, 127)
        if narrow_pairs:
            layer = _narrow(layer)
        layers.append(layer.astype(np.int8).view("<i4")[..., 0])
        if np.array_equal(layer, rest):
            return np.stack(layers, axis=2)
        rest = rest - layer


def _narrow(layer: NDArray[np.int16]) -> NDArray[np.int16]:
    narrowed = layer.copy()
    both = layer[..., ::2] + layer[..., 1::2]  # beyond it only if they have the same sign
    narrowed[..., 1::2][(both > LARGEST_PAIR) | (both < -LARGEST_PAIR)] = 0
    return narrowed


def pack_entries(
    words: NDArray[np.int32],
    starts_of: NDArray[np.int64],
    quads: NDArray[np.int64],
    group: int,
    channels: int,
    *,
    apart: bool = False,
) -> Entries:
    """Entries of the first `channels` outputs in groups of `group`; `words` are those of `words_of`.

    `starts_of` has the byte offset at which each output's inputs start, the same throughout a group, and
    `quads` that of each quad from there. Offsets that are kept `apart` leave words to be lines of the cache.
    """
    # (groups, quads and layers, channels): a group lists a quad and layer if one of its channels has it
    grouped = words[:channels].reshape(channels // group, group, -1).transpose(0, 2, 1)
    used = np.asarray(grouped.any(axis=2) if group > 1 else grouped[..., 0] != 0)
    starts = np.zeros(len(grouped) + 1, np.int32)
    np.cumsum(np.count_nonzero(used, axis=1), out=starts[1:])
    count = int(starts[-1])
    records = aligned((count, group), np.int32) if apart else np.empty((count, 1 + group), np.int32)
    offsets = np.empty(count, np.int32) if apart else records[:, 0]
    layered, begins = np.repeat(quads, words.shape[2]).astype(np.int32), starts_of[:channels:group]
    step = max(1, 4 * PART // (max(1, used.shape[1]) * max(4, group)) // 2) * 2
    for first in range(0, len(grouped), step):  # some after another: offsets of all would take much memory
        some = slice(first, min(first + step, len(grouped)))
        listed = slice(starts[some.start], starts[some.stop])
        kept, places = _there_and_back(used[some]), begins[some, None].astype(np.int32) + layered
        offsets[listed] = _there_and_back(places)[kept]
        records[listed, -group:] = _there_and_back(grouped[some])[kept]
    return Entries(group, starts, records, offsets if apart else None)


def aligned(shape: Sequence[int], dtype: type[np.generic]) -> NDArray[Any]:
    """Zeros that start at a multiple of ALIGNMENT."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def _there_and_back(lists: NDArray[Any]) -> NDArray[Any]:
    """Every second list backwards: it starts where the one before has ended, in the first cache."""
    turned = lists.copy()
    turned[1::2] = lists[1::2, ::-1]
    return turned


def pack_planar(weights: NDArray[np.integer], places: NDArray[np.int64]) -> Entries:
    """Entries for planar input of int8 weights (outputs, taps and inputs); `places` has their byte offsets.

    The weights of an output that are not zero are dealt out so that the second of a pair has, if it can, the
    other sign: no pair reaches beyond what AVX2 adds in 16 bits.
    """
    lists = [_in_pairs(row) for row in weights]
    sizes = [-(-len(order) // QUAD) for order in lists]
    starts = np.zeros(len(lists) + 1, np.int32)
    np.cumsum(sizes, out=starts[1:])
    chosen = np.full((int(starts[-1]), QUAD), -1)
    for order, start in zip(lists, starts, strict=False):
        chosen[start:].reshape(-1)[: len(order)] = order
    rows = np.repeat(np.arange(len(lists)), sizes)
    values = np.where(chosen < 0, 0, weights[rows[:, None], chosen]).astype(np.int8)
    # a place without a weight reads what its neighbour reads
    offsets = places[np.where(chosen < 0, chosen.max(axis=1, keepdims=True), chosen)]
    return Entries(1, starts, np.hstack([offsets, values.view("<i4")]).astype(np.int32))


def join_entries(parts: Sequence[Entries], groups: int) -> Entries:
    """The entries of some outputs after another, and none for what `groups` there are beyond them."""
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    starts = np.zeros(groups + 1, np.int32)
    starts[1:] = np.cumsum(np.pad(counts, (0, groups - len(counts))))
    records = [part.records for part in parts]
    offsets = [part.offsets for part in parts if part.offsets is not None]
    if not offsets:
        return Entries(parts[0].group, starts, np.concatenate(records))
    lines = aligned((int(starts[-1]), parts[0].group), np.int32)
    return Entries(parts[0].group, starts, np.concatenate(records, out=lines), np.concatenate(offsets))


def _in_pairs(row: NDArray[np.integer]) -> NDArray[np.intp]:
    """The numbers of the weights that are not zero, in pairs that are narrow; -1 is none."""
    used = np.flatnonzero(row)
    order = used[np.argsort(row[used], kind="stable")]
    half = len(order) // 2
    pairs = np.full((len(order) - half, 2), -1)
    pairs[:, 0] = order[: len(order) - half]
    pairs[:half, 1] = order[::-1][:half]
    both = row[pairs] * (pairs >= 0)
    wide = (np.maximum(both, 0).sum(1) > LARGEST_PAIR) | (np.minimum(both, 0).sum(1) < -LARGEST_PAIR)
    alone = np.full((np.count_nonzero(wide), 2), -1)
    alone[:, 0] = pairs[wide, 1]
    pairs[wide, 1] = -1
    return np.concatenate([pairs, alone]).reshape(-1)
