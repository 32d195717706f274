"""Shifted copies of planes."""

from __future__ import annotations

from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from planes import Memory


def test_copies_are_shifted_by_pixels() -> None:
    memory = Memory(1)
    planes, pixels, stride, shifts = 3, 50, 320, [-4, 0, 7]
    start, output = memory.bytes(planes * stride + 96) + 16, memory.bytes(len(shifts) * planes * stride + 64)
    arena = memory.arena()
    before = arena.copy()
    fields: dict[str, Any] = {
        "input": start, "input_stride": stride, "output": output, "output_stride": stride,
        "planes": planes, "pixels": pixels, "shifts": np.array(shifts, np.int32),
    }  # fmt: skip
    op = native.Op("shift_planes", fields)
    assert op.units(arena.size) == 9
    op.run("scalar", arena)
    for copy, shift in enumerate(shifts):
        for plane in range(planes):
            place, source = output + (copy * planes + plane) * stride, start + plane * stride + 4 * shift
            before[place : place + 4 * pixels] = before[source : source + 4 * pixels]
    np.testing.assert_array_equal(arena, before)
    wrong: list[dict[str, Any]] = [
        {"input": 8}, {"input": output}, {"output": arena.size - 100}, {"pixels": 1000}, {"planes": 0},
        {"output_stride": 64}, {"shifts": np.array([-(2**28)], np.int32)}, {"input_stride": 2**40},
    ]  # fmt: skip
    for mistake in wrong:
        with pytest.raises(ValueError, match="shift_planes: "):
            native.Op("shift_planes", fields | mistake).units(arena.size)
