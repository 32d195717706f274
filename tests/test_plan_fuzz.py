"""Steps with wrong fields: each is refused, or touches nothing outside its arena."""

from __future__ import annotations

from random import Random
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from picture_nets import picture_net

from edgekit import plan
from edgekit.plan.step import Fields, Step

GUARD = 1 << 14
CASES = 120  # a family


def real_steps() -> dict[str, list[tuple[Step, int]]]:
    """Steps of random networks and the sizes of their arenas, by family."""
    found: dict[str, list[tuple[Step, int]]] = {}
    for seed in range(60):
        made = plan.build(
            plan.prepare(picture_net(Random(seed), 6)), native.cpu_levels()[-1], exact=seed % 2 == 1
        )
        for step in made.steps:
            if made.arena_bytes < 1 << 18:
                found.setdefault(step.family, []).append((step, made.arena_bytes))
    return found


STEPS = real_steps()


def mutated(fields: Fields, choices: Random) -> Fields:
    """One to three fields changed: numbers by a little or to an end, arrays in an element or in length."""
    changed = dict(fields)
    for name in choices.choices(sorted(fields), k=choices.randint(1, 3)):
        value = changed[name]
        if isinstance(value, np.ndarray):
            changed[name] = _array(value, choices)
        else:
            ends = [0, 1, -1, 2**31 - 1, -(2**31), 4096]
            near = [int(value) + step for step in (1, -1, 4, -4, 64)] + [2 * int(value), int(value) // 2]
            changed[name] = choices.choice(ends + near)
    return changed


def _array(value: np.ndarray[Any, Any], choices: Random) -> np.ndarray[Any, Any]:
    if not value.size or choices.random() < 0.3:
        return np.ascontiguousarray(value.reshape(-1)[: value.size // 2])
    copy = value.copy()
    at = choices.randrange(copy.size)
    if copy.dtype.kind == "f":
        copy.reshape(-1)[at] = choices.choice([np.nan, -1, 1e30, 0])
    else:
        limits = np.iinfo(copy.dtype)
        copy.reshape(-1)[at] = choices.choice([limits.max, limits.min, 0, 5])
    return copy


@pytest.mark.parametrize("family", sorted(STEPS))
def test_a_wrong_step_is_refused_or_stays_in_its_arena(family: str) -> None:
    choices, ran = Random(family), 0
    for _ in range(CASES):
        step, arena_bytes = choices.choice(STEPS[family])
        raw = np.full(arena_bytes + 2 * GUARD + native.ALIGNMENT, 77, np.uint8)
        start = GUARD + -(raw.ctypes.data + GUARD) % native.ALIGNMENT
        arena = raw[start : start + arena_bytes]
        try:
            op = native.Op(family, mutated(step.fields, choices))
            units = op.units(arena_bytes)
        except (ValueError, OverflowError):
            continue
        if units > 1 << 16:
            continue
        for level in (level for name, level in native.kernels() if name == family):
            op.run(level, arena)
        ran += 1
        assert np.all(raw[:start] == 77)
        assert np.all(raw[start + arena_bytes :] == 77)
    assert ran
