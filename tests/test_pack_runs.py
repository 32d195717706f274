"""Entries in runs: the same entries, and no run beyond 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from edgekit.plan.pack import Entries
from edgekit.plan.pack_runs import in_runs


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
