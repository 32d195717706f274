"""Numbers taken together, and pictures of another size: as the reference kernels do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from single import (
    FLOAT,
    INT8,
    INT32,
    UINT8,
    compare,
    constant,
    numbers,
    quantised,
    refuses,
    single,
    tensor,
    unsigned,
)

SEEDS = st.integers(0, 2**31)
BYTES = st.sampled_from([INT8, INT8, UINT8])
VALUES = st.sampled_from([INT8, INT8, UINT8, FLOAT])
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple)
FACTORS = st.floats(2**-9, 2, width=32)
PICTURES = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(1, 70))


@pytest.mark.parametrize("kind", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
@examples(30)
@given(SHAPES, st.sampled_from([INT8, UINT8, FLOAT, INT32, np.dtype(np.int64)]), SEEDS, st.data())
def test_reductions(
    kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    axes = data.draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=4))
    keep = data.draw(st.booleans())
    gone = {axis % len(shape) for axis in axes}
    left = [1 if i in gone else n for i, n in enumerate(shape) if keep or i not in gone]
    source, result = tensor(shape, dtype), tensor(left, dtype)
    if dtype.itemsize == 1:
        source = data.draw(quantised(shape, dtype))
        result = replace(source, shape=tuple(left))
        if kind in ("MEAN", "SUM") and data.draw(st.booleans()):
            result = data.draw(quantised(tuple(left), dtype))
    graph = single(kind, [source, constant(axes)], [result], keep_dims=keep)
    if refuses(graph) != "scales that are too far apart":
        compare(graph, seed, twin=unsigned(graph) if kind == "SUM" and dtype == INT8 else None)


@examples(20)
@given(SHAPES, st.sampled_from([FLOAT, INT32, np.dtype(np.int64)]), SEEDS, st.data())
def test_products_along_axes(
    shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    left = tensor([n for i, n in enumerate(shape) if i not in axes], dtype)
    graph = single("REDUCE_PROD", [tensor(shape, dtype), constant(sorted(axes))], [left], keep_dims=False)
    values = numbers(graph.tensors[0], seed)
    compare(graph, inputs=[values / 4 if dtype == FLOAT else values | 1])
    byte = single("REDUCE_PROD", [tensor(shape), constant(sorted(axes))], [tensor(left.shape)])
    assert refuses(byte) == "a product of int8"


@pytest.mark.parametrize("kind", ["REDUCE_ANY", "REDUCE_ALL"])
@examples(10)
@given(SHAPES, SEEDS, st.data())
def test_any_and_all(kind: str, shape: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    axis, dtype = data.draw(st.integers(0, len(shape) - 1)), np.dtype(np.bool_)
    left = tensor((*shape[:axis], *shape[axis + 1 :]), dtype)
    compare(single(kind, [tensor(shape, dtype), constant([axis])], [left], keep_dims=False), seed)


@examples(30)
@given(SHAPES, st.sampled_from([FLOAT, INT32, np.dtype(np.int64)]), SEEDS, st.data())
def test_running_sums(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    options = {name: data.draw(st.booleans()) for name in ("exclusive", "reverse")}
    ends = tensor(shape, dtype)
    compare(single("CUMSUM", [ends, constant(axis)], [ends], **options), seed)


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@examples(30)
@given(PICTURES, VALUES, SEEDS, st.data())
def test_pools(
    kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    padding = data.draw(st.sampled_from(["SAME", "VALID"]))
    window = [data.draw(st.integers(1, min(n, 5) if padding == "VALID" else 5)) for n in shape[1:3]]
    stride = [data.draw(st.integers(1, 3)) for _ in window]
    out = [
        -(-n // s) if padding == "SAME" else (n - w) // s + 1
        for n, w, s in zip(shape[1:3], window, stride, strict=True)
    ]
    source = tensor(shape, dtype) if dtype == FLOAT else data.draw(quantised(shape, dtype))
    result = replace(source, shape=(shape[0], *out, shape[3]))
    activation = data.draw(st.sampled_from(["NONE", "NONE", "RELU", "RELU6"]))
    graph = single(
        kind, [source], [result], padding=padding, filter_height=window[0], filter_width=window[1],
        stride_h=stride[0], stride_w=stride[1], fused_activation_function=activation,
    )  # fmt: skip
    compare(graph, seed)


@examples(40)
@given(
    st.integers(1, 5),
    st.integers(1, 300),
    BYTES,
    SEEDS,
    FACTORS,
    FACTORS,
)
def test_softmax(rows: int, depth: int, dtype: np.dtype[Any], seed: int, scale: float, beta: float) -> None:
    source = tensor((rows, depth), dtype, scale)
    result = tensor((rows, depth), dtype, 1 / 256, np.iinfo(dtype).min)
    compare(single("SOFTMAX", [source], [result], beta=beta), seed)
    narrow = numbers(source, seed) // 8
    compare(single("SOFTMAX", [source], [result], beta=beta), inputs=[narrow])


@examples(40)
@given(st.integers(1, 5), st.integers(1, 300), BYTES, SEEDS, FACTORS)
def test_logarithms_of_softmax(rows: int, depth: int, dtype: np.dtype[Any], seed: int, scale: float) -> None:
    source = tensor((rows, depth), dtype, scale)
    result = tensor((rows, depth), dtype, 1 / 16, np.iinfo(dtype).max)
    graph = single("LOG_SOFTMAX", [source], [result])
    compare(graph, seed)
    compare(graph, inputs=[numbers(source, seed) // 8])
    ends = tensor((rows, depth), FLOAT)
    compare(single("LOG_SOFTMAX", [ends], [ends]), seed, near=1e-6)


@examples(30)
@given(st.integers(1, 5), st.integers(1, 300), SEEDS, FACTORS)
def test_softmax_of_floats(rows: int, depth: int, seed: int, beta: float) -> None:
    ends = tensor((rows, depth), FLOAT)
    compare(single("SOFTMAX", [ends], [ends], beta=beta), seed, near=1e-6)


@pytest.mark.parametrize("kind", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@examples(40)
@given(PICTURES, VALUES, SEEDS, st.data())
def test_resizing(
    kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    aligned, halves = data.draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    size = [data.draw(st.one_of(st.integers(1, 25), st.just(2 * n))) for n in shape[1:3]]
    inputs = [tensor(shape, dtype), constant(size)]
    result = tensor((shape[0], *size, shape[3]), dtype)
    graph = single(kind, inputs, [result], align_corners=aligned, half_pixel_centers=halves)
    # the reference interpolates uint8 in float32, whose last bit depends on how it was compiled
    compare(graph, seed, apart=int(kind == "RESIZE_BILINEAR" and dtype == np.uint8))
