"""Entries in runs: the same entries, and no run beyond 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from edgekit.plan.pack import Entries, pack_entries, words_of
from edgekit.plan.pack_runs import behind, in_runs, part_flipped


def random_entries(sizes: list[int], group: int, reach: int, seed: int) -> Entries:
    """Lists of those sizes; their weights are such that AVX2 can add the pairs of one entry."""
    random = np.random.default_rng(seed)
    weights = random.integers(-reach, reach + 1, (sum(sizes), group, 4)).astype(np.int8)
    records = np.concatenate([np.arange(sum(sizes))[:, None], weights.view(np.int32)[..., 0]], axis=1)
    return Entries(group, np.cumsum([0, *sizes]).astype(np.int32), records.astype(np.int32))


def largest_sum(run: np.ndarray, isa: str) -> int:
    """Of the products of a run with any bytes, in 16 bits: of single weights, on AVX2 of pairs."""
    weights = np.ascontiguousarray(run[:, 1:]).view(np.int8).astype(int)
    if isa == "neon":
        return int(128 * np.abs(weights).sum(0).max())
    pairs = weights.reshape(len(run), -1, 2)
    return int(255 * max(np.maximum(pairs, 0).sum((0, 2)).max(), -np.minimum(pairs, 0).sum((0, 2)).min()))


@examples(60)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.sampled_from([1, 4, 8]),
    st.sampled_from([("avx2", 1), ("avx2", 10), ("avx2", 30), ("avx2", 64), ("neon", 30), ("neon", 127)]),
    st.integers(0, 2**32 - 1),
)
def test_entries_in_runs(sizes: list[int], group: int, kind: tuple[str, int], seed: int) -> None:
    isa, reach = kind
    entries = random_entries(sizes, group, reach, seed)
    ordered, runs = in_runs(entries, isa)
    for index, (start, end) in enumerate(zip(entries.starts[:-1], entries.starts[1:], strict=True)):
        before, after = entries.records[start:end], ordered.records[start:end]
        np.testing.assert_array_equal(after[after[:, 0].argsort()], before)
        fours, twos = runs[index]
        assert start <= fours <= twos <= end
        assert (fours - start) % 4 == (twos - fours) % 2 == 0
        for length, first, last in ((4, start, fours), (2, fours, twos)):
            for place in range(first, last, length):
                assert largest_sum(ordered.records[place : place + length], isa) <= 32767


def products(entries: Entries, pixels: np.ndarray) -> np.ndarray:
    """What each channel's list gives, an entry's offset being the number of a quad of pixels (quads, 4)."""
    weights = np.ascontiguousarray(entries.records[:, 1:]).view(np.int8).astype(int)
    quads = weights.reshape(len(weights), entries.group, 4)
    each = (quads * pixels[entries.records[:, 0], None]).sum(2)
    before = np.concatenate([np.zeros((1, entries.group), int), np.cumsum(each, axis=0)])
    return np.diff(before[entries.starts], axis=0).ravel()


@examples(100)
@given(
    st.integers(1, 5), st.sampled_from([1, 4]), st.integers(1, 12), st.sampled_from([40, 90, 127, 128]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_inverted_bytes_give_the_same_sums_and_no_pair_reaches_too_far(
    lists: int, group: int, quads: int, reach: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    channels = lists * group
    weights = random.integers(-reach, min(reach, 127) + 1, (channels, quads, 4)).astype(np.int16)
    weights[random.random((channels, quads)) < 0.3] = 0
    words = words_of(weights, narrow_pairs=True)
    split = pack_entries(words, np.zeros(channels, np.int64), np.arange(quads), group, channels)
    plain, flipped, owed = part_flipped(split)
    pixels = random.integers(0, 256, (quads, 4))
    inverted = pixels ^ [0, 255, 0, 255]
    wanted = (weights.astype(int) * pixels).sum((1, 2))
    np.testing.assert_array_equal(products(plain, pixels) + products(flipped, inverted) + owed, wanted)
    assert all(largest_sum(flipped.records[i : i + 1], "avx2") <= 32767 for i in range(len(flipped.records)))
    both = behind(plain, flipped)
    for number, middle in enumerate(plain.starts[1:] + flipped.starts[:-1]):
        start, end = both.starts[number : number + 2]
        assert set(map(tuple, both.records[middle:end])) <= set(map(tuple, flipped.records))
        assert set(map(tuple, both.records[start:middle])) <= set(map(tuple, plain.records))


def test_a_pair_of_one_sign_is_one_entry() -> None:
    weights = np.array([[[127, 127, -100, -90], [127, -127, 1, 1], [3, 4, 5, 6]]], np.int16)
    split = pack_entries(words_of(weights, narrow_pairs=True), np.zeros(1, np.int64), np.arange(3), 1, 1)
    plain, flipped, owed = part_flipped(split)
    assert (len(split.records), len(plain.records), len(flipped.records)) == (4, 2, 1)
    assert owed.tolist() == [255 * (127 - 90)]


def test_channels_that_share_an_entry_invert_it_together_or_not_at_all() -> None:
    weights = np.zeros((4, 1, 4), np.int16)
    weights[0, 0] = 127, 127, -100, -90
    words = words_of(weights, narrow_pairs=True)
    split = pack_entries(words, np.zeros(4, np.int64), np.arange(1), 4, 4)
    plain, flipped, owed = part_flipped(split)
    assert (len(plain.records), len(flipped.records)) == (0, 1)
    assert owed.tolist() == [255 * (127 - 90), 0, 0, 0]
    weights[3, 0] = 127, -127, 0, 0  # which would reach too far, inverted
    split = pack_entries(words_of(weights, narrow_pairs=True), np.zeros(4, np.int64), np.arange(1), 4, 4)
    plain, flipped, owed = part_flipped(split)
    assert (len(plain.records), len(flipped.records)) == (2, 0)
    assert not owed.any()


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize(("isa", "two"), [("avx2", 0x00400040), ("neon", 0x007F007F)])
def test_small_weights_come_in_fours_and_large_ones_in_less(group: int, isa: str, two: int) -> None:
    entries = random_entries([8, 9], group, 8, 0)
    assert in_runs(entries, isa)[1].tolist() == [[8, 8], [16, 16]]
    entries.records[:, 1:] = two
    assert in_runs(entries, isa)[1].tolist() == [[0, 8], [8, 16]]
    if isa == "avx2":
        entries.records[:, 1:] = 0x00410041
        assert in_runs(entries, isa)[1].tolist() == [[0, 0], [8, 8]]
