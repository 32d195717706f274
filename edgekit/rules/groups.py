"""Kinds of things: what automations ask for when it does not matter which animal it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

GROUPS = {
    "animal": {"bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra"},
    "vehicle": {"bicycle", "boat", "bus", "car", "motorcycle", "train", "truck"},
}


def groups_of(labels: Iterable[str]) -> list[str]:
    """The kinds of which a class is among the `labels`, but for one that is a class itself."""
    known = set(labels)
    return [group for group, members in GROUPS.items() if members & known and group not in known]


def count_groups(counts: Mapping[str, int]) -> dict[str, int]:
    """How many there are of each kind, by the number of each class."""
    return {group: sum(counts.get(label, 0) for label in GROUPS[group]) for group in groups_of(counts)}
