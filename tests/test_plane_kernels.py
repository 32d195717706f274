"""Sums, products, tables, pools and means on planes: every level gives what numpy does."""

from __future__ import annotations

from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from planes import (
    BOOLS,
    FLIP,
    SCENES,
    STORED,
    Memory,
    Picture,
    Scene,
    aligned_copy,
    run_levels,
    signed,
    stored,
)  # fmt: skip

from edgekit.plan.arithmetic import multiplier, multiply
from edgekit.plan.pieces import pieces

ZEROS = st.tuples(STORED, STORED)


class Pair:
    """Two inputs and an output of the same pitch and period."""

    def __init__(self, scene: Scene, zeros: tuple[int, int]) -> None:
        self.memory = Memory(scene.seed)
        self.inputs = [self.memory.picture(scene.size, scene.planes, (2, 1), scene.spare) for _ in range(2)]
        self.out = scene.out(self.memory)
        self.arena = self.memory.arena()
        for picture, zero in zip(self.inputs, zeros, strict=True):
            picture.put(self.arena, self.memory.values(picture.shape), zero)

    @property
    def values(self) -> list[NDArray[np.int64]]:
        return [signed(picture.view(self.arena)) for picture in self.inputs]

    @property
    def fields(self) -> dict[str, Any]:
        a, b = self.inputs
        own = {"planes": a.planes, "first": a.base, "first_stride": a.stride}
        return self.out.written() | own | {"second": b.base, "second_stride": b.stride}

    def check(self, family: str, fields: dict[str, Any], result: NDArray[np.int64]) -> None:
        expected = aligned_copy(self.arena)
        self.out.put(expected, stored(result.clip(fields["low"], fields["high"])), fields["zero_point"])
        run_levels(family, self.fields | fields, self.arena, expected, self.out)


@given(SCENES, ZEROS, BOOLS)
def test_add_planes(scene: Scene, zeros: tuple[int, int], wide: bool) -> None:
    pair = Pair(scene, zeros)
    one, other = (int(w) for w in pair.memory.rng.integers(-32768, 32768, 2))
    shift = int(pair.memory.rng.integers(14, 17))
    bias = (scene.zero << shift) + (1 << shift - 1) - one * zeros[0] - other * zeros[1]
    a, b = pair.values
    fields = {
        "first_weight": one,
        "second_weight": other,
        "bias": bias,
        "shift": shift,
        "zero_point": scene.zero,
    }
    fields |= {"low": FLIP - 128, "high": FLIP + 127} if wide else {"low": scene.zero, "high": scene.zero}
    pair.check("add_planes", fields, (a * one + b * other + bias) >> shift)


@given(SCENES, ZEROS, BOOLS)
def test_add_planes_exactly(scene: Scene, zeros: tuple[int, int], subtracts: bool) -> None:
    pair = Pair(scene, zeros)
    factors = [
        float(np.float32(2.0 ** pair.memory.rng.uniform(*ends))) for ends in ((-6, -1), (-6, -1), (-21, -17))
    ]
    a, b = (multiply((pair.values[i] - zeros[i]) << 20, multiplier(factors[i])) for i in (0, 1))
    fields = {"exact": 1, "first_zero": zeros[0], "second_zero": zeros[1], "subtract": int(subtracts)}
    fields["first_weight"], fields["first_shift"] = multiplier(factors[0])
    fields["second_weight"], fields["second_shift"] = multiplier(factors[1])
    fields["multiplier"], fields["shift"] = multiplier(factors[2])
    fields |= {"zero_point": scene.zero, "low": FLIP - 128, "high": FLIP + 127}
    pair.check(
        "add_planes", fields, multiply(a - b if subtracts else a + b, multiplier(factors[2])) + scene.zero
    )


@given(SCENES, ZEROS, BOOLS, BOOLS)
def test_mul_planes(scene: Scene, zeros: tuple[int, int], exact: bool, single: bool) -> None:
    pair = Pair(scene, zeros)
    factor = float(np.float32(2.0 ** pair.memory.rng.uniform(-10, 0)))
    a, b = pair.values
    product = (a - zeros[0]) * ((b[:, :, :1, :1] if single else b) - zeros[1])
    result = (
        multiply(product, multiplier(factor))
        if exact
        else once_rounded(product, factor, scene.zero) - scene.zero
    )
    second = pair.inputs[1]
    fields = {"first_zero": zeros[0], "second_zero": zeros[1], "zero_point": scene.zero}
    fields |= {
        "second_step": second.period * second.pitch if single else 0,
        "low": FLIP - 120,
        "high": FLIP + 120,
    }
    pair.check("mul_planes", fields | rescaling(factor, exact=exact), result + scene.zero)


def once_rounded(sums: NDArray[np.int64], scale: float, zero_point: int) -> NDArray[np.int64]:
    """To nearest even of float(sum) * scale + zero_point, which is rounded once to single precision."""
    exact = sums.astype(np.float32).astype(np.float64) * scale + zero_point
    return np.asarray(np.rint(exact.astype(np.float32)), np.int64)


def rescaling(factor: float, *, exact: bool) -> dict[str, Any]:
    fixed, shift = multiplier(factor)
    return {"exact": 1, "multiplier": fixed, "shift": shift} if exact else {"scale": factor}


def silu_table(scale_in: float, scale_out: float, zeros: tuple[int, int]) -> NDArray[np.uint8]:
    """Of stored bytes: x times its sigmoid."""
    x = scale_in * (np.arange(256) - zeros[0])
    y = x / (1 + np.exp(-x)) / scale_out + zeros[1]
    return np.asarray(np.clip(np.rint(y), 0, 255), np.uint8)


BYTES = st.integers(0, 255)
SILUS = st.builds(silu_table, st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.tuples(BYTES, BYTES))
TABLES = st.one_of(
    SILUS, st.binary(min_size=256, max_size=256).map(lambda given: np.frombuffer(given, np.uint8))
)


def value_of_pieces(form: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The table (256,) by the formula that native/ops_planes.h gives."""
    base, slope, bend, bow = form[:64].reshape(4, 16).astype(int)
    slope, bend = slope.astype(np.int8).astype(int), bend.astype(np.int8).astype(int)
    entries = [
        base[b] + (slope[b] * p + bend[b] * bow[p] >> 5) + (form[64 + 16 * (b // 8) + p] >> b % 8 & 1)
        for b in range(16)
        for p in range(16)
    ]
    return np.array(entries).astype(np.uint8)


@given(TABLES)
def test_pieces_say_the_same_as_their_table(table: NDArray[np.uint8]) -> None:
    form = pieces(table)
    assert form.dtype == np.uint8
    assert len(form) == 0 or np.array_equal(value_of_pieces(form), table)


@pytest.mark.parametrize("scale", [0.02, 0.03, 0.05])
def test_tables_of_silu_have_pieces(scale: float) -> None:
    assert len(pieces(silu_table(scale, scale, (128, 12)))) == 96


@given(SCENES, st.one_of(st.none(), TABLES))
def test_lut_planes(scene: Scene, given_table: NDArray[np.uint8] | None) -> None:
    memory = Memory(scene.seed)
    source, out = memory.picture(scene.size, scene.planes, spare=scene.spare), scene.out(memory)
    arena = memory.arena()
    table = np.zeros(0, np.uint8) if given_table is None else given_table
    expected = aligned_copy(arena)
    out.put(expected, table[source.view(arena)] if len(table) else source.view(arena), scene.zero)
    fields: dict[str, Any] = (
        source.read() | out.written() | {"planes": scene.planes, "zero_point": scene.zero, "table": table}
    )
    run_levels("lut_planes", fields, arena, expected, out)
    if len(table):
        run_levels("lut_planes", fields | {"pieces": pieces(table)}, arena, expected, out)


def rounded_mean(part: NDArray[np.int64]) -> NDArray[np.int64]:
    """Over a window, to nearest with ties away from zero."""
    total, count = part.sum((2, 3)), part.shape[2] * part.shape[3]
    return np.asarray(np.sign(total) * ((2 * np.abs(total) + count) // (2 * count)))


def windows(outputs: int, stride: int, before: int, size: int, inputs: int) -> list[slice]:
    starts = [i * stride - before for i in range(outputs)]
    return [slice(max(start, 0), min(start + size, inputs)) for start in starts]


def pooled(values: NDArray[np.int64], vertical: list[slice], horizontal: list[slice], averages: bool) -> Any:
    result = np.zeros((*values.shape[:2], len(vertical), len(horizontal), 4), np.int64)
    for y, rows in enumerate(vertical):
        for x, columns in enumerate(horizontal):
            part = values[:, :, rows, columns]
            result[:, :, y, x] = rounded_mean(part) if averages else part.max((2, 3))
    return result


@given(SCENES, st.sampled_from([(2, 2), (3, 3), (5, 5), (1, 4), (7, 2), (6, 9)]), st.integers(1, 3), BOOLS)
def test_pool_planes(scene: Scene, window: tuple[int, int], stride: int, averages: bool) -> None:
    memory = Memory(scene.seed)
    images, rows, columns = scene.size
    top, left = (int(memory.rng.integers(0, size)) for size in window)
    height, width = (rows + top - 1) // stride + 1, (columns + left - 1) // stride + 1
    source = memory.picture(scene.size, scene.planes, (3, 3), scene.spare[::-1])
    out = memory.picture((images, height, width), scene.planes, scene.margins, scene.spare)
    arena = memory.arena()
    source.put(arena, memory.values(source.shape), FLIP + 127)
    vertical = windows(height, stride, top, window[0], rows)
    horizontal = windows(width, stride, left, window[1], columns)
    result = pooled(signed(source.view(arena)) - FLIP, vertical, horizontal, averages)
    expected = aligned_copy(arena)
    out.put(expected, stored(result.clip(-100, 120) + FLIP), scene.zero)
    fields = source.read() | out.written() | {"input_period": source.period, "rows": rows, "columns": columns}
    fields |= {"planes": scene.planes, "average": int(averages), "window_height": window[0], "top": top}
    fields |= {"window_width": window[1], "left": left, "stride_y": stride, "stride_x": stride}
    fields |= {"zero_point": scene.zero, "low": FLIP - 100, "high": FLIP + 120}
    run_levels("pool_planes", fields, arena, expected, out)


@given(SCENES, st.integers(1, 17))
def test_mean_planes(scene: Scene, channels: int) -> None:
    memory = Memory(scene.seed)
    source = memory.picture(scene.size, -(-channels // 4), spare=scene.spare)
    images, height, width = scene.size
    place = memory.bytes(images * channels)
    arena = memory.arena()
    factor = 2.0 ** memory.rng.uniform(-3, 1) / (height * width)
    total = signed(source.view(arena)).sum((2, 3)).transpose(1, 0, 2).reshape(images, -1)[:, :channels]
    expected = aligned_copy(arena)
    result = multiply(total - scene.zero * height * width, multiplier(factor)) - 7
    expected[place : place + images * channels] = stored(result.clip(-128, 127)).reshape(-1)
    fixed, shift = multiplier(factor)
    fields = source.read() | source.size() | {"output": place, "channels": channels, "multiplier": fixed}
    fields |= {"shift": shift, "bias": -scene.zero * height * width, "zero_point": -7}
    run_levels("mean_planes", fields, arena, expected, None)


def cases(source: Picture, out: Picture) -> dict[str, dict[str, Any]]:
    """Operations that fit, from one picture to another."""
    both = source.read() | {"input_period": source.period} | out.written() | {"planes": 2, "zero_point": FLIP}
    sums = out.written() | {"planes": 2, "zero_point": FLIP, "low": FLIP, "high": FLIP}
    sums |= {"first": source.base, "second": source.base}
    size = {"rows": 5, "columns": 7}
    pool = size | {"window_height": 1, "window_width": 1, "stride_y": 1, "stride_x": 1}
    pool |= {"low": FLIP, "high": FLIP}
    sources = {"source_rows": np.arange(5, dtype=np.int32), "source_columns": np.arange(7, dtype=np.int32)}
    lut = {name: both[name] for name in both if name != "input_period"}
    plain = size | {"input": 0, "channels": 8, "step_y": 1, "step_x": 1, "zero_point": FLIP}
    return {
        "pack_planes": out.written() | plain, "resize_planes": both | sources, "pool_planes": both | pool,
        "split_phases": both | size | {"step_y": 1, "step_x": 1, "phases": 1}, "lut_planes": lut,
        "join_phases": both | {"step_y": 1, "step_x": 1}, "add_planes": sums, "mul_planes": sums,
    }  # fmt: skip


def test_the_checks_refuse_what_lies_outside_the_arena() -> None:
    memory = Memory(1)
    source, out = (memory.picture((2, 5, 7), 2, margins, (1, 1)) for margins in ((0, 0), (9, 9)))
    wrong: list[dict[str, int]] = [
        {"output": memory.size}, {"output": 0}, {"output_stride": 8}, {"images": 0}, {"height": 2**30},
        {"output_pitch": 6}, {"zero_point": 300}, {"images": 2**23, "period": 2**23}, {"before": -1},
        {"after": -1}, {"period": 4},
    ]  # fmt: skip
    for family, fields in cases(source, out).items():
        assert native.Op(family, fields).units(memory.size) > 0
        with pytest.raises(ValueError, match="outside"):
            native.Op(family, fields).units(out.base)
        for mistake in wrong:
            with pytest.raises(ValueError, match=r"outside|overlap|impossible|another"):
                native.Op(family, fields | mistake).units(memory.size)
