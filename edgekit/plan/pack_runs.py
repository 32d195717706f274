"""Entries in runs of four and of two whose products are added up in 16 bits, on AVX2 and ARMv8.0.

Widening products costs AVX2 as much as multiplying, and ARMv8.0 half of it. It may wait until the products of
several entries are added up, where these stay within 16 bits whatever the input is: on AVX2 those of pairs
of weights, by sign; on ARM those of single weights, whatever their signs. Large entries are put beside
small ones, so that most find company.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.pack import LARGEST_PAIR, PART, Entries

Numbers = NDArray[np.int64]
LARGEST_SUM = 255  # of magnitudes of weights whose products with int8 ARM adds up


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of entries of the same length, in order of their groups."""

    members: Numbers  # (runs, length)
    group: Numbers
    reach: NDArray[np.int32]  # (runs, what is limited), added up

    def pick(self, chosen: NDArray[np.bool_]) -> _Runs:
        return _Runs(self.members[chosen], self.group[chosen], self.reach[chosen])


def in_runs(entries: Entries, isa: str) -> tuple[Entries, NDArray[np.int32]]:
    """The entries, each list in fours, then in twos, then the rest; and EK_CONV's runs in native/ops.h."""
    records, runs, starts = np.empty_like(entries.records), [], entries.starts
    first = 0
    while first < len(starts) - 1:  # some lists after another, as all together would take much memory
        last = int(np.searchsorted(starts, starts[first] + PART, "right")) - 1
        last = min(max(last, first + 1), len(starts) - 1)
        some = slice(starts[first], starts[last])
        part = Entries(entries.group, starts[first : last + 1] - starts[first], entries.records[some])
        ordered, ends = _in_runs(part, isa)
        records[some] = ordered.records
        runs.append(ends + starts[first])
        first = last
    return Entries(entries.group, starts, records), np.concatenate(runs)


def _in_runs(entries: Entries, isa: str) -> tuple[Entries, NDArray[np.int32]]:
    reach, limit = (_pairs, LARGEST_PAIR) if isa == "avx2" else (_magnitudes, LARGEST_SUM)
    group = np.repeat(np.arange(len(entries.starts) - 1), np.diff(entries.starts))
    ones = _Runs(np.arange(len(group))[:, None], group, reach(entries.records[:, 1:]))
    ones, twos = _join(ones, limit)
    twos, fours = _join(twos, limit)
    kinds = (fours, twos, ones)
    order = np.concatenate([runs.members.reshape(-1) for runs in kinds])
    groups = np.concatenate([np.repeat(runs.group, runs.members.shape[1]) for runs in kinds])
    order = order[np.argsort(groups, kind="stable")]
    return Entries(entries.group, entries.starts, entries.records[order]), _ends(entries.starts, fours, twos)


def _magnitudes(words: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.abs(np.ascontiguousarray(words).view(np.int8).astype(np.int32))


def _pairs(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """The positive and the negative parts of pairs of weights."""
    pairs = np.ascontiguousarray(words).view(np.int8).reshape(*words.shape, 2, 2).astype(np.int32)
    parts = np.stack([np.maximum(pairs, 0).sum(3), -np.minimum(pairs, 0).sum(3)], axis=3)
    return np.asarray(parts.reshape(len(words), words.shape[1] * 4))


def _join(runs: _Runs, limit: int) -> tuple[_Runs, _Runs]:
    """Those left alone, and those joined in twos: in each group the largest with the smallest, and so on."""
    order = np.lexsort((runs.reach.max(axis=1, initial=0), runs.group))
    first = np.searchsorted(runs.group[order], runs.group[order], "left")
    last = np.searchsorted(runs.group[order], runs.group[order], "right") - 1
    small = np.arange(len(order))
    large = first + last - small
    small, large = order[small[small < large]], order[large[small < large]]
    reach = runs.reach[small] + runs.reach[large]
    fits = np.all(reach <= limit, axis=1)
    members = np.concatenate([runs.members[small], runs.members[large]], axis=1)
    alone = np.ones(len(order), bool)
    alone[small[fits]] = alone[large[fits]] = False
    return runs.pick(alone), _Runs(members, runs.group[small], reach).pick(fits)


def _ends(starts: NDArray[np.int32], fours: _Runs, twos: _Runs) -> NDArray[np.int32]:
    groups = len(starts) - 1
    in_fours = starts[:-1] + 4 * np.bincount(fours.group, minlength=groups)
    return np.stack([in_fours, in_fours + 2 * np.bincount(twos.group, minlength=groups)], axis=1).astype(
        np.int32
    )
