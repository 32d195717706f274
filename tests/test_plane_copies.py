"""Copies of planes for convolutions: a channel each."""

from __future__ import annotations

from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from planes import Memory, aligned_copy, kernel_levels


@pytest.mark.parametrize("level", kernel_levels("spread_planes"))
@pytest.mark.parametrize("pixels", [1, 31, 64, 77])
def test_quads_spread_to_channels(level: str, pixels: int) -> None:
    memory, planes = Memory(pixels), 3
    stride, spread = 4 * pixels + native.SLACK + 12, pixels + native.SLACK + 5
    start, output = memory.bytes(planes * stride), memory.bytes(4 * planes * spread)
    arena = memory.arena()
    expected = aligned_copy(arena)
    fields: dict[str, Any] = {
        "input": start, "input_stride": stride, "output": output, "output_stride": spread,
        "planes": planes, "pixels": pixels,
    }  # fmt: skip
    op = native.Op("spread_planes", fields)
    assert op.units(arena.size) == planes
    op.run(level, arena)
    for channel in range(4 * planes):
        place, quads = output + channel * spread, start + channel // 4 * stride
        expected[place : place + pixels] = expected[quads : quads + 4 * pixels].reshape(-1, 4)[:, channel % 4]
        arena[place + pixels : place + spread] = expected[place + pixels : place + spread]
    np.testing.assert_array_equal(arena, expected)
    for mistake in (
        {"planes": 0},
        {"pixels": 10**6},
        {"output_stride": pixels},
        {"output": start},
        {"input": -8},
    ):
        with pytest.raises(ValueError, match="spread_planes: "):
            native.Op("spread_planes", fields | mistake).units(arena.size)
