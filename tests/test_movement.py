"""Operators that only move data give the bytes of TFLite's reference kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from single import FLOAT, INT8, INT32, UINT8, compare, constant, refuses, single, tensor

from edgekit.model.graph import Graph

SEEDS = st.integers(0, 2**31)
DTYPES = st.sampled_from([INT8, INT8, UINT8, FLOAT, INT32])
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple)


@examples(25)
@given(SHAPES, DTYPES, SEEDS, st.data())
def test_transpose(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    inputs = [tensor(shape, dtype), tensor((len(order),), INT32, data=order)]
    compare(single("TRANSPOSE", inputs, [tensor([shape[i] for i in order], dtype)]), seed)


@pytest.mark.parametrize("shape", [(1, 64, 65), (2, 9, 8, 200), (1, 130, 3), (7, 70, 15)])
def test_large_transpositions(shape: tuple[int, ...]) -> None:
    order = (0, *range(2, len(shape)), 1)
    inputs = [tensor(shape), tensor((len(order),), INT32, data=order)]
    compare(single("TRANSPOSE", inputs, [tensor([shape[i] for i in order])]))


@examples(25)
@given(SHAPES, DTYPES, SEEDS, st.data())
def test_slice(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    sizes = [data.draw(st.integers(1, n - s)) for n, s in zip(shape, starts, strict=True)]
    asked = [
        -1 if n == s + c and data.draw(st.booleans()) else c
        for n, s, c in zip(shape, starts, sizes, strict=True)
    ]
    inputs = [tensor(shape, dtype), constant(starts), constant(asked)]
    compare(single("SLICE", inputs, [tensor(sizes, dtype)]), seed)


@examples(25)
@given(SHAPES, DTYPES, SEEDS, st.data())
def test_strided_slice(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    """The shape comes from numpy, whose indexing TensorFlow's follows."""
    masks = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    index: list[Any] = []
    bounds: list[tuple[int, int, int]] = []
    axis = 0
    while axis < len(shape):
        kind = data.draw(st.sampled_from(["range", "range", "shrink", "ellipsis", "new"]))
        bit, size = 1 << len(bounds), shape[axis]
        begin, end = (data.draw(st.integers(-size - 1, size + 1)) for _ in range(2))
        step = data.draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        if kind == "new" and len(shape) + len(index) < 6:
            masks["new_axis_mask"] |= bit
            index.append(None)
        elif kind == "ellipsis" and not masks["ellipsis_mask"]:
            masks["ellipsis_mask"] |= bit
            index.append(...)
            axis += data.draw(st.integers(1, len(shape) - axis))
        elif kind == "shrink":
            begin, end, step = data.draw(st.integers(-size, size - 1)), 0, 1
            masks["shrink_axis_mask"] |= bit
            index.append(begin)
            axis += 1
        else:
            open_begin, open_end = data.draw(st.booleans()), data.draw(st.booleans())
            masks["begin_mask"] |= bit * open_begin
            masks["end_mask"] |= bit * open_end
            index.append(slice(None if open_begin else begin, None if open_end else end, step))
            axis += 1
        bounds.append((begin, end, step))
    result = np.zeros(shape)[tuple(index)]
    if not result.size or len(bounds) > 5:
        return
    inputs = [tensor(shape, dtype), *(constant(list(b)) for b in zip(*bounds, strict=True))]
    compare(single("STRIDED_SLICE", inputs, [tensor(result.shape, dtype)], **masks), seed)


@examples(25)
@given(SHAPES, DTYPES, SEEDS, st.data())
def test_joining_and_cutting(
    shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))

    def part(size: int) -> Any:
        return tensor([size if i == axis % len(shape) else n for i, n in enumerate(shape)], dtype)

    parts = [part(size) for size in sizes]
    whole = part(sum(sizes))
    compare(single("CONCATENATION", parts, [whole], axis=axis), seed)
    cut = [whole, constant(sizes), constant(axis)]
    compare(single("SPLIT_V", cut, parts, num_splits=len(sizes)), seed)
    even = part(sizes[0] * len(sizes))
    equal = [parts[0]] * len(sizes)
    compare(single("SPLIT", [constant(axis), even], equal, num_splits=len(sizes)), seed)


@examples(25)
@given(SHAPES, DTYPES, SEEDS, st.data())
def test_stacking(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    axis, count = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.integers(1, 4))
    at = axis + len(shape) + 1 if axis < 0 else axis
    stacked = tensor([*shape[:at], count, *shape[at:]], dtype)
    parts = [tensor(shape, dtype)] * count
    compare(single("PACK", parts, [stacked], axis=axis, values_count=count), seed)
    compare(single("UNPACK", [stacked], parts, axis=axis, num=count), seed)


@examples(25)
@given(SHAPES.filter(lambda s: len(s) < 5), DTYPES, SEEDS, st.data())
def test_padding(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    margins = [[data.draw(st.integers(0, 3)) for _ in range(2)] for _ in shape]
    padded = tensor([n + sum(m) for n, m in zip(shape, margins, strict=True)], dtype)
    inputs = [tensor(shape, dtype), constant(margins)]
    compare(single("PAD", inputs, [padded]), seed)
    value = tensor((1,), dtype, data=[7])
    compare(single("PADV2", [*inputs, value], [padded]), seed)


@examples(25)
@given(
    SHAPES.filter(lambda s: len(s) < 5), DTYPES, SEEDS, st.sampled_from(["REFLECT", "SYMMETRIC"]), st.data()
)
def test_mirrored_padding(
    shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, mode: str, data: st.DataObject
) -> None:
    most = [n - (mode == "REFLECT") for n in shape]
    margins = [[data.draw(st.integers(0, m)) for _ in range(2)] for m in most]
    padded = tensor([n + sum(m) for n, m in zip(shape, margins, strict=True)], dtype)
    compare(single("MIRROR_PAD", [tensor(shape, dtype), constant(margins)], [padded], mode=mode), seed)


@examples(25)
@given(SHAPES, DTYPES, SEEDS, st.data())
def test_repeating_picking_reversing(
    shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    source, axis = tensor(shape, dtype), data.draw(st.integers(-len(shape), len(shape) - 1))
    times = [data.draw(st.integers(1, 3)) for _ in shape]
    tiled = tensor([n * m for n, m in zip(shape, times, strict=True)], dtype)
    compare(single("TILE", [source, constant(times)], [tiled]), seed)
    compare(single("REVERSE_V2", [source, constant([axis])], [source]), seed)
    index = data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=5))
    picked = [*shape[: axis % len(shape)], len(index), *shape[axis % len(shape) + 1 :]]
    compare(single("GATHER", [source, constant(index)], [tensor(picked, dtype)], axis=axis), seed)
    ones = [1 if data.draw(st.booleans()) else n for n in shape]
    small = tensor(ones[data.draw(st.integers(0, len(ones) - 1)) if ones[0] == 1 else 0 :], dtype)
    compare(single("BROADCAST_TO", [small, constant(list(shape))], [source]), seed)


BLOCKS = st.integers(1, 3)


@examples(25)
@given(SHAPES.filter(lambda s: len(s) == 4), DTYPES, SEEDS, BLOCKS)
def test_depth(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, block: int) -> None:
    images, height, width, depth = shape
    wide = tensor((images, height * block, width * block, depth), dtype)
    deep = tensor((images, height, width, depth * block**2), dtype)
    compare(single("SPACE_TO_DEPTH", [wide], [deep], block_size=block), seed)
    compare(single("DEPTH_TO_SPACE", [deep], [wide], block_size=block), seed)


@examples(25)
@given(SHAPES.filter(lambda s: len(s) in (3, 4)), DTYPES, SEEDS, st.data())
def test_batches(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    space = len(shape) - 2
    blocks = [data.draw(BLOCKS) for _ in range(space)]
    margins = [[data.draw(st.integers(0, 3)) for _ in range(2)] for _ in blocks]
    for axis, block in enumerate(blocks):
        margins[axis][1] += -(shape[axis + 1] + sum(margins[axis])) % block
    small = [(n + sum(m)) // b for n, m, b in zip(shape[1:-1], margins, blocks, strict=True)]
    many = tensor((shape[0] * int(np.prod(blocks)), *small, shape[-1]), dtype)
    one = tensor(shape, dtype)
    compare(single("SPACE_TO_BATCH_ND", [one, constant(blocks), constant(margins)], [many]), seed)
    compare(single("BATCH_TO_SPACE_ND", [many, constant(blocks), constant(margins)], [one]), seed)


@pytest.mark.parametrize("dtype", [INT8, FLOAT])
def test_other_shapes_of_the_same_bytes(dtype: np.dtype[Any]) -> None:
    source, result = tensor((2, 1, 6), dtype), tensor((2, 6), dtype)
    compare(single("RESHAPE", [source, constant([2, 6])], [result], new_shape=(2, 6)))
    compare(single("SQUEEZE", [source], [result], squeeze_dims=(1,)))
    compare(single("EXPAND_DIMS", [result, constant(1)], [source]))


@examples(20)
@given(SHAPES.filter(lambda s: len(s) > 1), st.sampled_from([UINT8, FLOAT, INT32]), SEEDS, st.data())
def test_reversed_sequences(
    shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    along, rows = data.draw(st.permutations(range(len(shape))))[:2]
    lengths = [data.draw(st.integers(0, shape[along])) for _ in range(shape[rows])]
    ends = tensor(shape, dtype)
    graph = single("REVERSE_SEQUENCE", [ends, constant(lengths)], [ends], seq_dim=along, batch_dim=rows)
    compare(graph, seed)


@examples(20)
@given(SHAPES, DTYPES, SEEDS, st.data())
def test_updated_slices(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    """Starts that reach too far are moved back inside."""
    part = [data.draw(st.integers(1, n)) for n in shape]
    starts = [data.draw(st.integers(-2, n + 1)) for n in shape]
    ends = tensor(shape, dtype)
    compare(single("DYNAMIC_UPDATE_SLICE", [ends, tensor(part, dtype), constant(starts)], [ends]), seed)


def test_shapes_as_numbers() -> None:
    source = tensor((2, 3, 5))
    compare(single("SHAPE", [source], [tensor((3,), INT32)], out_type="INT32"))
    compare(single("RANK", [source], [tensor((), INT32)]))


@pytest.mark.parametrize("dtype", [INT32, FLOAT, np.dtype(np.int64)])
def test_ranges(dtype: np.dtype[Any]) -> None:
    def spread(start: float, limit: float, step: float, count: int) -> Graph:
        inputs = [tensor((), dtype, data=number) for number in (start, limit, step)]
        return single("RANGE", inputs, [tensor((count,), dtype)])

    compare(spread(3, 12, 2, 5))
    compare(spread(7, -2, -3, 3))
    assert refuses(spread(0, 5, 0, 5)) == "a step of 0"
    computed = single("RANGE", [tensor((), dtype)] * 3, [tensor((4,), dtype)])
    assert refuses(computed) == "a range of numbers that are computed"
