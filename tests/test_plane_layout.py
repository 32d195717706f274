"""Between plain tensors and planes, and pixels from place to place: every level gives what numpy does."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from planes import BOOLS, SCENES, Bytes, Memory, Scene, aligned_copy, run_levels

STEPS = st.sampled_from([(1, 1), (2, 2), (3, 3), (1, 2), (2, 1), (3, 2)])
CHANNELS = st.integers(1, 9)


def quads_of(plain: Bytes, flip: int, zero_point: int) -> Bytes:
    """(images, height, width, channels) to (planes, images, height, width, 4)."""
    channels = plain.shape[3]
    padded = np.full((*plain.shape[:3], -(-channels // 4) * 4), zero_point % 256, np.uint8)
    padded[..., :channels] = plain ^ flip
    return padded.reshape(*plain.shape[:3], -1, 4).transpose(3, 0, 1, 2, 4)


def taken(length: int, step: int, first: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where `length` pixels of a phase come from along an axis of `size` pixels, and whether from inside."""
    places = np.arange(length) * step + first
    return places.clip(0, size - 1), (places >= 0) & (places < size)


def phase_of(quads: Bytes, scene: Scene, steps: tuple[int, int], first: tuple[int, int]) -> Bytes:
    """One phase of pictures in planes, whose pixel (0, 0) is pixel `first`."""
    (y, inside_y), (x, inside_x) = (
        taken(scene.size[1 + axis], steps[axis], first[axis], quads.shape[2 + axis]) for axis in (0, 1)
    )
    inside = inside_y[:, None] & inside_x
    return np.where(inside[:, :, None], quads[:, :, y][:, :, :, x], np.uint8(scene.zero % 256))


@given(SCENES, CHANNELS, STEPS, BOOLS)
def test_pack_planes(scene: Scene, channels: int, steps: tuple[int, int], flips: bool) -> None:
    memory = Memory(scene.seed)
    rows, columns, top, left = (int(memory.rng.integers(1, 30)) for _ in range(4))
    shape, flip = (scene.size[0], rows, columns, channels), 0x80 if flips else 0
    place = memory.bytes(int(np.prod(shape)))
    out = scene.out(memory, steps[0] * steps[1] * -(-channels // 4))
    arena = memory.arena()
    quads = quads_of(arena[place : place + int(np.prod(shape))].reshape(shape), flip, scene.zero)
    top, left = top - 5, left - 5
    parts = [phase_of(quads, scene, steps, (a - top, b - left)) for a, b in np.ndindex(steps)]
    expected = aligned_copy(arena)
    out.put(expected, np.concatenate(parts), scene.zero)
    fields = {"input": place, "rows": rows, "columns": columns, "channels": channels}
    fields |= {
        "step_y": steps[0],
        "step_x": steps[1],
        "top": top,
        "left": left,
        "flip": flip,
        "zero_point": scene.zero,
    }
    run_levels("pack_planes", fields | out.written(), arena, expected, out, scene.seed)


@given(SCENES, CHANNELS, st.integers(0, 5), BOOLS)
def test_unpack_planes(scene: Scene, channels: int, gap: int, flips: bool) -> None:
    memory = Memory(scene.seed)
    source = scene.out(memory, -(-channels // 4))
    pixels, row_bytes, flip = int(np.prod(scene.size)), channels + gap, 0x80 if flips else 0
    place = memory.bytes(pixels * row_bytes)
    arena = memory.arena()
    expected = aligned_copy(arena)
    plain = source.view(arena).transpose(1, 2, 3, 0, 4).reshape(pixels, -1)[:, :channels] ^ flip
    expected[place : place + pixels * row_bytes].reshape(pixels, row_bytes)[:, :channels] = plain
    fields = source.read() | source.size()
    fields |= {"output": place, "channels": channels, "row_bytes": row_bytes, "flip": flip}
    run_levels("unpack_planes", fields, arena, expected, None, scene.seed)


@given(SCENES, STEPS)
def test_split_phases(scene: Scene, steps: tuple[int, int]) -> None:
    memory = Memory(scene.seed)
    rows, columns = (int(memory.rng.integers(1, 40)) for _ in range(2))
    top, left = (int(memory.rng.integers(0, 5)) for _ in range(2))
    wanted = int(memory.rng.integers(1, 1 << steps[0] * steps[1]))
    phases = [phase for bit, phase in enumerate(np.ndindex(steps)) if wanted >> bit & 1]
    source = memory.picture((scene.size[0], rows, columns), scene.planes, (3, 3), scene.spare[::-1])
    out = scene.out(memory, scene.planes * len(phases))
    arena = memory.arena()
    source.put(arena, memory.values(source.shape), scene.zero)
    parts = [phase_of(source.view(arena), scene, steps, (a - top, b - left)) for a, b in phases]
    expected = aligned_copy(arena)
    out.put(expected, np.concatenate(parts), scene.zero)
    fields = source.read() | out.written() | {"input_period": source.period, "rows": rows, "columns": columns}
    fields |= {"planes": scene.planes, "step_y": steps[0], "step_x": steps[1]}
    fields |= {"top": top, "left": left, "phases": wanted}
    run_levels("split_phases", fields | {"zero_point": scene.zero}, arena, expected, out, scene.seed)


@given(SCENES, STEPS)
def test_join_phases(scene: Scene, steps: tuple[int, int]) -> None:
    memory = Memory(scene.seed)
    images, height, width = scene.size
    rows, columns = (-(-size // step) for size, step in zip(scene.size[1:], steps, strict=True))
    source = memory.picture((images, rows, columns), scene.planes * steps[0] * steps[1], spare=scene.spare)
    out = scene.out(memory)
    arena = memory.arena()
    phases = source.view(arena).reshape(*steps, scene.planes, images, rows, columns, 4)
    whole = phases.transpose(2, 3, 4, 0, 5, 1, 6).reshape(scene.planes, images, rows * steps[0], -1, 4)
    expected = aligned_copy(arena)
    out.put(expected, whole[:, :, :height, :width], scene.zero)
    fields = source.read() | out.written() | {"input_period": source.period, "planes": scene.planes}
    fields |= {"step_y": steps[0], "step_x": steps[1], "zero_point": scene.zero}
    run_levels("join_phases", fields, arena, expected, out, scene.seed)


@given(SCENES, st.sampled_from([0, 1, 2, 3, 4]))
def test_resize_planes(scene: Scene, factor: int) -> None:
    """By a whole factor, or with sources in any order."""
    memory = Memory(scene.seed)
    sources = [np.arange(n, dtype=np.int32) // max(factor, 1) for n in scene.size[1:]]
    if not factor:
        sources = [memory.rng.integers(0, 30, n).astype(np.int32) for n in scene.size[1:]]
    rows, columns = (int(places.max()) + 1 for places in sources)
    source = memory.picture((scene.size[0], rows, columns), scene.planes, spare=scene.spare[::-1])
    out = scene.out(memory)
    arena = memory.arena()
    expected = aligned_copy(arena)
    out.put(expected, source.view(arena)[:, :, sources[0]][:, :, :, sources[1]], scene.zero)
    fields: dict[str, Any] = source.read() | out.written() | {"input_period": source.period}
    fields |= {"planes": scene.planes, "zero_point": scene.zero}
    fields |= {"source_rows": sources[0], "source_columns": sources[1]}
    run_levels("resize_planes", fields, arena, expected, out, scene.seed)
