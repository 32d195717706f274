"""Items picked by numbers and truth values that are computed: as the reference kernels do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from single import FLOAT, INT8, INT32, UINT8, compare, constant, numbers, reference, refuses, single, tensor

from edgekit import engine
from edgekit.errors import ModelError

BOOL, INT64 = np.dtype(np.bool_), np.dtype(np.int64)
SEEDS = st.integers(0, 2**31)
VALUES = st.sampled_from([INT8, UINT8, FLOAT, INT32, INT64])
WHOLE = st.sampled_from([INT32, INT64])
SIZES = st.integers(1, 6)
SHAPES = st.lists(SIZES, min_size=1, max_size=4).map(tuple)


@examples(30)
@given(SHAPES, st.sampled_from([INT8, UINT8, FLOAT, INT32, BOOL]), SEEDS, st.data())
def test_selections_are_broadcast(
    shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    three = [tuple(n if data.draw(st.booleans()) else 1 for n in shape) for _ in range(3)]
    result = np.broadcast_shapes(*three)
    inputs = [tensor(three[0], BOOL), *(tensor(s, dtype) for s in three[1:])]
    if data.draw(st.booleans()):
        inputs[2] = replace(inputs[2], data=numbers(inputs[2], seed))
    compare(single("SELECT_V2", inputs, [tensor(result, dtype)]), seed)


@examples(20)
@given(SHAPES, VALUES, st.booleans(), SEEDS)
def test_selections_of_rows(shape: tuple[int, ...], dtype: np.dtype[Any], rows: bool, seed: int) -> None:
    ends = tensor(shape, dtype)
    compare(single("SELECT", [tensor(shape[:1] if rows else shape, BOOL), ends, ends], [ends]), seed)


@examples(30)
@given(SHAPES, st.integers(1, 40), VALUES, SEEDS, st.data())
def test_the_largest_of_each_row(
    rows: tuple[int, ...], depth: int, dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    picks = data.draw(st.integers(1, depth))
    source = tensor((*rows, depth), dtype)
    results = [tensor((*rows, picks), dtype), tensor((*rows, picks), INT32)]
    graph = single("TOPK_V2", [source, constant(picks)], results)
    compare(graph, seed)
    compare(graph, inputs=[numbers(source, seed) // np.asarray(64).astype(dtype)])  # with many ties


@examples(30)
@given(st.lists(SIZES, min_size=1, max_size=4), SHAPES, VALUES, WHOLE, SEEDS, st.data())
def test_computed_indices(
    shape: list[int], more: tuple[int, ...], dtype: np.dtype[Any], whole: np.dtype[Any], seed: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    axis = data.draw(st.integers(0, len(shape) - 1))
    batches = data.draw(st.integers(0, axis))
    index = tensor((*shape[:batches], *more), whole)
    result = tensor((*shape[:axis], *more, *shape[axis + 1 :]), dtype)
    graph = single("GATHER", [tensor(shape, dtype), index], [result], axis=axis, batch_dims=batches)
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, shape[axis], index.shape).astype(whole)
    compare(graph, inputs=[numbers(graph.tensors[0], seed), picked])


@examples(30)
@given(st.lists(SIZES, min_size=1, max_size=4), SHAPES, VALUES, WHOLE, SEEDS, st.data())
def test_indices_of_several_numbers(
    shape: list[int], more: tuple[int, ...], dtype: np.dtype[Any], whole: np.dtype[Any], seed: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    depth = data.draw(st.integers(1, len(shape)))
    result = tensor((*more, *shape[depth:]), dtype)
    graph = single("GATHER_ND", [tensor(shape, dtype), tensor((*more, depth), whole)], [result])
    picked = np.random.default_rng(seed).integers(0, shape[:depth], (*more, depth)).astype(whole)
    compare(graph, inputs=[numbers(graph.tensors[0], seed), picked])


@pytest.mark.parametrize("dtype", [INT8, FLOAT])
def test_embeddings(dtype: np.dtype[Any]) -> None:
    table = tensor((9, 5), dtype, data=numbers(tensor((9, 5), dtype), 1))
    graph = single("EMBEDDING_LOOKUP", [tensor((4,), INT32), table], [tensor((4, 5), dtype)])
    compare(graph, inputs=[np.array([8, 0, 3, 3], np.int32)])


@examples(30)
@given(SHAPES, st.integers(1, 7), st.sampled_from([INT8, FLOAT, INT32, BOOL]), SEEDS, st.data())
def test_one_hot(
    shape: tuple[int, ...], depth: int, dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-1, len(shape)))
    at = axis % (len(shape) + 1)
    result = tensor((*shape[:at], depth, *shape[at:]), dtype)
    values = [tensor((), dtype, data=value) for value in (1, 0)]
    if data.draw(st.booleans()):
        values[0] = replace(values[0], data=None)
    graph = single("ONE_HOT", [tensor(shape, INT32), constant(depth), *values], [result], axis=axis)
    index = np.random.default_rng(seed).integers(-1, depth + 1, shape).astype(np.int32)
    compare(graph, inputs=[index, *(numbers(graph.tensors[i], seed) for i in graph.inputs[1:])])


@examples(30)
@given(st.lists(SIZES, min_size=1, max_size=4), SHAPES, VALUES, SEEDS, st.data())
def test_scattered_updates_add_up(
    shape: list[int], more: tuple[int, ...], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    depth = data.draw(st.integers(1, len(shape)))
    index = np.random.default_rng(seed).integers(0, shape[:depth], (*more, depth)).astype(np.int32)
    updates, computed = tensor((*more, *shape[depth:]), dtype), data.draw(st.booleans())
    places = tensor(index.shape, INT32) if computed else constant(index)
    graph = single("SCATTER_ND", [places, updates, constant(shape)], [tensor(shape, dtype)])
    values = numbers(updates, seed)
    compare(graph, inputs=[index, values] if computed else [values])


def test_an_update_outside_is_said() -> None:
    inputs = [tensor((2, 1), INT32), tensor((2, 3)), constant([4, 3])]
    made = engine.load_graph(single("SCATTER_ND", inputs, [tensor((4, 3))]), "test", "native")
    updates = np.ones((2, 3), np.int8)
    for wrong in (4, -1, -(2**31)):
        with pytest.raises(ModelError, match="reaches outside of its table"):
            made.run([np.array([[1], [wrong]], np.int32), updates])
    (got,) = made.run([np.array([[1], [3]], np.int32), updates])
    assert got.sum(axis=1).tolist() == [0, 3, 0, 3]


def test_an_index_that_reaches_outside_is_said() -> None:
    graph = single("GATHER", [tensor((5, 3)), tensor((4,), INT32)], [tensor((4, 3))], axis=0, batch_dims=0)
    assert "out of bounds" in str(reference(graph, [np.ones((5, 3), np.int8), np.full(4, 5, np.int32)]))
    made = engine.load_graph(graph, "test", "native")
    rows = np.arange(15, dtype=np.int8).reshape(5, 3)
    for wrong in (5, -1, 2**31 - 1):
        with pytest.raises(ModelError, match="reaches outside of its table"):
            made.run([rows, np.array([0, wrong, 1, 2], np.int32)])
    (got,) = made.run([rows, np.array([4, 0, 1, 2], np.int32)])
    np.testing.assert_array_equal(got, rows[[4, 0, 1, 2]])


def test_what_cannot_be_picked_is_refused() -> None:
    byte = tensor((2, 3))
    assert refuses(single("SELECT_V2", [byte, byte, byte], [byte])) == "a condition that is int8"
    wider = tensor((2, 3), INT8, 0.2)
    assert (
        refuses(single("SELECT_V2", [tensor((2, 3), BOOL), byte, wider], [byte]))
        == "another scale or zero point"
    )
    index = tensor((2, 4), INT32)
    results = [tensor((2, 4)), index]
    assert refuses(single("TOPK_V2", [byte, constant(4)], results)) == "4 of 3"
    assert refuses(single("TOPK_V2", [byte, tensor((), INT32)], results)) is not None
