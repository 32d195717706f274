"""Entries in runs of four and of two whose products are added up in 16 bits, on AVX2 and ARMv8.0.

Widening products costs AVX2 as much as multiplying, and ARMv8.0 half of it. It may wait until the products of
several entries are added up, where these stay within 16 bits whatever the input is: on AVX2 those of pairs
of weights, by sign; on ARM those of single weights, whatever their signs. Large entries are put beside
small ones, so that most find company.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekit.plan.pack import LARGEST_PAIR, Entries, join_entries

Numbers = NDArray[np.int64]
PART = 1 << 12  # words that are put in order at once
KEY_BITS, PLACE_BITS = 14, 32  # of what entries are sorted by, and of their number
LARGEST_SUM = 255  # of magnitudes of weights whose products with int8 ARM adds up


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of entries of the same length."""

    members: Numbers  # (runs, length)
    group: Numbers
    reach: NDArray[np.int32]  # (what is limited, runs), added up

    def pick(self, chosen: NDArray[np.bool_]) -> _Runs:
        return _Runs(self.members[chosen], self.group[chosen], self.reach[:, chosen])


def in_runs(entries: Entries, isa: str) -> tuple[Entries, NDArray[np.int32]]:
    """The entries, each list in fours, then twos, then the rest; and EK_CONV's runs in native/ops_conv.h."""
    records, runs = np.empty_like(entries.records), []
    for part, start in _in_parts(entries):
        ordered, ends = _in_runs(part, isa)
        records[start : start + len(part.records)] = ordered.records
        runs.append(ends + start)
    return Entries(entries.group, entries.starts, records), np.concatenate(runs)


def _in_parts(entries: Entries) -> Iterator[tuple[Entries, int]]:
    """Some lists after another, and the entry at which they start: all together would take much memory."""
    starts, first = entries.starts, 0
    step = PART // entries.group
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + step, "right")) - 1
        last = min(max(last, first + 1), len(starts) - 1)
        some = slice(starts[first], starts[last])
        part = Entries(entries.group, starts[first : last + 1] - starts[first], entries.records[some])
        yield part, int(starts[first])
        first = last


@dataclass(frozen=True, eq=False)
class Lists:
    """The lists of some channels after another, with runs and flipped of EK_CONV in native/ops_conv.h."""

    entries: Entries
    runs: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    flipped: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    owed: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # to the biases

    @property
    def fields(self) -> dict[str, NDArray[np.int32]]:
        """Those of EK_CONV."""
        more = {"runs": self.runs, "flipped": self.flipped}
        return self.entries.fields | {name: array for name, array in more.items() if array.size}


def join_lists(parts: Sequence[Lists], groups: int) -> Lists:
    """All of them; without runs, also empty ones for what `groups` there are beyond them."""
    entries = join_entries([part.entries for part in parts], groups)
    first = np.cumsum([0, *(len(part.entries.records) for part in parts[:-1])], dtype=np.int32)
    runs = [part.runs + start for part, start in zip(parts, first, strict=True)]
    flipped = [part.flipped + start for part, start in zip(parts, first, strict=True)]
    owed = [part.owed for part in parts]
    return Lists(entries, np.concatenate(runs), np.concatenate(flipped), np.concatenate(owed))


def with_flipped(entries: Entries) -> Lists:
    """Lists for AVX2, in runs, and what is flipped of them behind each."""
    parts = []
    for part, _ in _in_parts(entries):
        plain, flipped, owed = part_flipped(part)
        plain, runs = _in_runs(plain, "avx2")
        before = flipped.starts[:-1]
        parts.append(Lists(behind(plain, flipped), runs + before[:, None], plain.starts[1:] + before, owed))
    return join_lists(parts, len(entries.starts) - 1)


def part_flipped(entries: Entries) -> tuple[Entries, Entries, NDArray[np.int32]]:
    """Lists without what AVX2 lists twice as a pair of weights reaches too far, lists of what stands for it,
    and what that adds to each channel's bias: see `flipped` in native/ops_conv.h.

    w * x = 255 * w - w * (255 - x): with the second byte of a pair inverted its weight has the other sign,
    and two weights of one sign become two that never reach too far. Other pairs of a group may come to do so.
    """
    lists, count, group = _numbers(entries), len(entries.records), entries.group
    alike = np.zeros(count + 2, bool)  # in the same place as the one before
    alike[1:count] = (np.diff(lists) == 0) & (np.diff(entries.records[:, 0]) == 0)
    first = np.flatnonzero(~alike[:count] & alike[1 : count + 1] & ~alike[2:])
    whole = _weights(entries.records[first, 1:]) + _weights(entries.records[first + 1, 1:])
    turned = whole * np.tile(np.array([[1], [-1]], np.int32), (2 * group, 1))
    reach = np.abs(turned[::2] + turned[1::2]).max(axis=0, initial=0)
    fits = (reach <= LARGEST_PAIR) & (np.abs(whole).max(axis=0, initial=0) <= 127)
    first, whole, turned = first[fits], whole[:, fits], turned[:, fits]
    words = np.ascontiguousarray(turned.T.astype(np.int8)).view(np.int32)
    stays = np.ones(count, bool)
    stays[first] = stays[first + 1] = False
    owed = np.zeros((len(entries.starts) - 1, group), np.int32)
    np.add.at(owed, lists[first], 255 * (whole[1::4] + whole[3::4]).T)
    flipped = np.concatenate([entries.records[first, :1], words], axis=1)
    plain, others = _listed(entries.records[stays], lists[stays], owed), _listed(flipped, lists[first], owed)
    return plain, others, owed.ravel()


def _numbers(entries: Entries) -> Numbers:
    """Of each entry the number of its list."""
    return np.repeat(np.arange(len(entries.starts) - 1), np.diff(entries.starts))


def _listed(records: NDArray[np.int32], lists: Numbers, like: NDArray[np.int32]) -> Entries:
    starts = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=len(like)))])
    return Entries(records.shape[1] - 1, starts.astype(np.int32), records)


def behind(entries: Entries, others: Entries) -> Entries:
    """Each list with another one behind it."""
    order = np.argsort(np.concatenate([_numbers(entries), _numbers(others)]), kind="stable")
    records = np.concatenate([entries.records, others.records])[order]
    return Entries(entries.group, entries.starts + others.starts, records)


def _in_runs(entries: Entries, isa: str) -> tuple[Entries, NDArray[np.int32]]:
    reach, limit = (_pairs, LARGEST_PAIR) if isa == "avx2" else (_magnitudes, LARGEST_SUM)
    group = _numbers(entries)
    ones = _Runs(np.arange(len(group))[:, None], group, reach(entries.records[:, 1:]))
    ones, twos = _join(ones, limit)
    twos, fours = _join(twos, limit)
    kinds = (fours, twos, ones)
    order = np.concatenate([runs.members.reshape(-1) for runs in kinds])
    groups = np.concatenate([np.repeat(runs.group, runs.members.shape[1]) for runs in kinds])
    order = order[np.argsort(groups, kind="stable")]
    return Entries(entries.group, entries.starts, entries.records[order]), _ends(entries.starts, fours, twos)


def _magnitudes(words: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.abs(_weights(words))


def _weights(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """As (4 * channels of a group, entries)."""
    return np.ascontiguousarray(np.ascontiguousarray(words).view(np.int8).T, np.int32)


def _pairs(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """The positive and the negative parts of pairs of weights."""
    first, second = (_weights(words)[i::2] for i in range(2))
    parts = [np.maximum(sign * first, 0) + np.maximum(sign * second, 0) for sign in (1, -1)]
    return np.stack(parts, axis=1).reshape(2 * len(first), len(words))


def _join(runs: _Runs, limit: int) -> tuple[_Runs, _Runs]:
    """Those left alone, and those joined in twos.

    First who is large in a row meets who is large in the next one, then the large meet the small, and at
    last neighbours in size meet: who is too large for all others leaves nobody else alone.
    """
    joined = []
    for row in range(0, len(runs.reach), 2):
        tilt = runs.reach[row] - runs.reach[row + 1]
        runs, twos = _join_some(runs, _opposites(runs, tilt), limit)
        joined.append(twos)
    for pairs in (_opposites, _neighbours):
        runs, twos = _join_some(runs, pairs(runs, runs.reach.max(axis=0, initial=0)), limit)
        joined.append(twos)
    return runs, _Runs(
        np.concatenate([twos.members for twos in joined]),
        np.concatenate([twos.group for twos in joined]),
        np.concatenate([twos.reach for twos in joined], axis=1),
    )


def _join_some(runs: _Runs, pairs: tuple[Numbers, Numbers], limit: int) -> tuple[_Runs, _Runs]:
    """Those left alone, and those pairs that fit."""
    one, other = pairs
    reach = runs.reach[:, one] + runs.reach[:, other]
    fits = np.all(reach <= limit, axis=0)
    members = np.concatenate([runs.members[one], runs.members[other]], axis=1)
    alone = np.ones(len(runs.group), bool)
    alone[one[fits]] = alone[other[fits]] = False
    return runs.pick(alone), _Runs(members, runs.group[one], reach).pick(fits)


def _opposites(runs: _Runs, key: NDArray[np.int32]) -> tuple[Numbers, Numbers]:
    """In each group the first and the last by that key, and so on."""
    order, first, end = _in_order(runs, key)
    low = np.arange(len(order))
    high = first + end - 1 - low
    return order[low[low < high]], order[high[low < high]]


def _neighbours(runs: _Runs, key: NDArray[np.int32]) -> tuple[Numbers, Numbers]:
    """In each group the first two by that key, and so on."""
    order, first, end = _in_order(runs, key)
    place = np.arange(len(order))
    leads = ((place - first) % 2 == 0) & (place + 1 < end)
    return order[place[leads]], order[place[leads] + 1]


def _in_order(runs: _Runs, key: NDArray[np.int32]) -> tuple[Numbers, Numbers, Numbers]:
    """The runs by group and key, and for each place in that order where its group begins and ends."""
    keys = (runs.group << KEY_BITS) + key + (1 << KEY_BITS - 1)
    numbered = (keys << PLACE_BITS) + np.arange(len(keys))
    order = np.sort(numbered) & (1 << PLACE_BITS) - 1  # in a third of the time that lexsort takes
    group, sizes = runs.group[order], np.bincount(runs.group)
    ends = np.cumsum(sizes)
    return order, (ends - sizes)[group], ends[group]


def _ends(starts: NDArray[np.int32], fours: _Runs, twos: _Runs) -> NDArray[np.int32]:
    groups = len(starts) - 1
    in_fours = starts[:-1] + 4 * np.bincount(fours.group, minlength=groups)
    return np.stack([in_fours, in_fours + 2 * np.bincount(twos.group, minlength=groups)], axis=1).astype(
        np.int32
    )
