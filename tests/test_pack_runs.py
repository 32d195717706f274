"""Entries in runs: the same entries, and no run beyond 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.pack import Entries
from edgekit.pack_runs import in_runs


def random_entries(sizes: list[int], group: int, reach: int, seed: int) -> Entries:
    """Lists of those sizes; their weights are such that AVX2 can add the pairs of one entry."""
    random = np.random.default_rng(seed)
    weights = random.integers(-reach, reach + 1, (sum(sizes), group, 4)).astype(np.int8)
    records = np.concatenate([np.arange(sum(sizes))[:, None], weights.view(np.int32)[..., 0]], axis=1)
    return Entries(group, np.cumsum([0, *sizes]).astype(np.int32), records.astype(np.int32))


def largest_sum(run: np.ndarray) -> int:
    """Of the products of a run's pairs of weights with any bytes, in 16 bits."""
    weights = np.ascontiguousarray(run[:, 1:]).view(np.int8).reshape(len(run), -1, 2).astype(int)
    return int(255 * max(np.maximum(weights, 0).sum((0, 2)).max(), -np.minimum(weights, 0).sum((0, 2)).min()))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.sampled_from([1, 4, 8]),
    st.sampled_from([1, 10, 30, 64]),
    st.integers(0, 2**32 - 1),
)
def test_entries_in_runs(sizes: list[int], group: int, reach: int, seed: int) -> None:
    entries = random_entries(sizes, group, reach, seed)
    ordered, runs = in_runs(entries)
    for index, (start, end) in enumerate(zip(entries.starts[:-1], entries.starts[1:], strict=True)):
        before, after = entries.records[start:end], ordered.records[start:end]
        np.testing.assert_array_equal(after[after[:, 0].argsort()], before)
        fours, twos = runs[index]
        assert start <= fours <= twos <= end
        assert (fours - start) % 4 == (twos - fours) % 2 == 0
        for length, first, last in ((4, start, fours), (2, fours, twos)):
            for place in range(first, last, length):
                assert largest_sum(ordered.records[place : place + length]) <= 32767


@pytest.mark.parametrize("group", [1, 4])
def test_small_weights_come_in_fours_and_large_ones_alone(group: int) -> None:
    entries = random_entries([8, 9], group, 8, 0)
    assert in_runs(entries)[1].tolist() == [[8, 8], [16, 16]]
    entries.records[:, 1:] = 0x00400040  # 64 in each pair, and so in twos
    assert in_runs(entries)[1].tolist() == [[0, 8], [8, 16]]
    entries.records[:, 1:] = 0x00410041
    assert in_runs(entries)[1].tolist() == [[0, 0], [8, 8]]
