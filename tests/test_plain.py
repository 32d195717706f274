"""Operators on plain tensors give the bytes of TFLite's reference kernels, at every ISA level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit import model, plain
from edgekit.graph import Graph, Op, Tensor
from edgekit.interpreter import quiet_stderr
from edgekit.lowering import SCRATCH

litert = pytest.importorskip("ai_edge_litert.interpreter")
ALIGNMENT = native.ALIGNMENT
INT8, UINT8, FLOAT = np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.float32)
INT32 = np.dtype(np.int32)


def reference(graph: Graph, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
    """What LiteRT's reference kernels give; None if they refuse the graph."""
    resolver = litert.OpResolverType.BUILTIN_REF
    with quiet_stderr():
        try:
            interpreter = litert.Interpreter(
                model_content=model.write(graph), experimental_op_resolver_type=resolver
            )
            interpreter.allocate_tensors()
            for index, array in zip(graph.inputs, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
        except (RuntimeError, ValueError):
            return None
        return [np.array(interpreter.get_tensor(index)) for index in graph.outputs]


def run(graph: Graph, inputs: Sequence[NDArray[Any]], level: str) -> list[NDArray[Any]]:
    """Run the steps of the one operator: its tensors lie in an arena, one after another, between guard bytes."""
    op = graph.ops[0]
    places, end = {}, ALIGNMENT
    for i in {*graph.inputs, *op.outputs, SCRATCH}:
        size = plain.scratch(graph, op) if i == SCRATCH else graph.tensors[i].size_bytes
        places[i], end = end, end + -(-size // ALIGNMENT) * ALIGNMENT + ALIGNMENT
    raw = np.full(end + ALIGNMENT, 77, np.uint8)
    arena = raw[-raw.ctypes.data % ALIGNMENT :][:end]
    for i, array in zip(graph.inputs, inputs, strict=True):
        arena[places[i] : places[i] + array.nbytes] = array.reshape(-1).view(np.uint8)
    before = arena.copy()
    for step in plain.lower(graph, op, places.__getitem__):
        kernel = native.Op(step.family, step.fields)
        levels = [known for family, known in native.kernels() if family == step.family]
        units = kernel.units(end)
        kernel.run(level if level in levels else "scalar", arena, 0, units // 2)
        kernel.run(level if level in levels else "scalar", arena, units // 2)
    results = []
    for i in op.outputs:
        tensor = graph.tensors[i]
        stretch = slice(places[i], places[i] + tensor.size_bytes)
        results.append(arena[stretch].view(tensor.dtype).reshape(tensor.shape).copy())
        before[stretch] = arena[stretch]
    stretch = slice(places[SCRATCH], places[SCRATCH] + plain.scratch(graph, op))
    before[stretch] = arena[stretch]
    np.testing.assert_array_equal(arena, before, "bytes that are not the outputs' have changed")
    return results


def tensor(
    shape: Sequence[int],
    dtype: np.dtype[Any] = INT8,
    scale: float | None = 0.05,
    zero: int = 3,
    data: Any = None,
) -> Tensor:
    """A tensor; whole numbers of 8 bits have a scale unless told otherwise."""
    quantised = scale is not None and dtype.itemsize < 4 and dtype.kind in "iu"
    data = None if data is None else np.asarray(data, dtype)
    scales, zeros = (np.array([scale], np.float32), np.array([zero])) if quantised else (None, None)
    return Tensor("t", tuple(shape), dtype, scales, zeros, 0, data)


def single(kind: str, inputs: Sequence[Tensor], results: Sequence[Tensor], **options: Any) -> Graph:
    """A graph of one operator; inputs without data are the graph's."""
    tensors = (*inputs, *results)
    count = len(inputs)
    given_ = [i for i in range(count) if inputs[i].data is None]
    outputs = range(count, len(tensors))
    return Graph(
        tensors, (Op(kind, tuple(range(count)), tuple(outputs), options, 2),), tuple(given_), tuple(outputs)
    )


def numbers(tensor: Tensor, seed: int) -> NDArray[Any]:
    """Random numbers for a tensor, extremes among them."""
    rng = np.random.default_rng(seed)
    if tensor.dtype.kind == "f":
        return rng.normal(0, 4, tensor.shape).astype(tensor.dtype)
    if tensor.dtype == np.bool_:
        return rng.random(tensor.shape) < 0.5
    info = np.iinfo(tensor.dtype)
    x = rng.integers(info.min, info.max, tensor.shape, tensor.dtype, endpoint=True)
    return np.where(rng.random(tensor.shape) < 0.05, info.min, x).astype(tensor.dtype)


def compare(graph: Graph, seed: int = 0, *, near: float = 0.0) -> None:
    """Each level against the reference; `near` is how far floats may be apart, relative to 1 or to the number."""
    assert plain.refusal(graph, graph.ops[0]) is None
    inputs = [numbers(graph.tensors[i], seed + i) for i in graph.inputs]
    expected = reference(graph, inputs)
    assert expected is not None, "the reference refuses it"
    for level in native.cpu_levels():
        for got, want in zip(run(graph, inputs, level), expected, strict=True):
            assert got.shape == want.shape
            if near:
                np.testing.assert_allclose(got, want, near, near, err_msg=level)
            else:
                np.testing.assert_array_equal(got, want, err_msg=level)


SEEDS = st.integers(0, 2**31)
DTYPES = st.sampled_from([INT8, INT8, UINT8, FLOAT, INT32])
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple)


@settings(max_examples=60, deadline=None)
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
