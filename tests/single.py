"""Graphs of one operator: run by the native engine's steps at every ISA level, and by TFLite's kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit import model
from edgekit.engine.interpreter import quiet_stderr
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan import plain
from edgekit.plan.lowering import FAULT, SCRATCH

litert = pytest.importorskip("ai_edge_litert.interpreter")
SCALES = st.floats(0.004, 0.4).map(lambda x: float(np.float32(x)))
ALIGNMENT = native.ALIGNMENT
INT8, UINT8, FLOAT = np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.float32)
INT32 = np.dtype(np.int32)


# LiteRT has one kernel for each, which is not among its reference ones
NOT_IN_REFERENCE = ("CEIL", "ELU", "ROUND")


def reference(graph: Graph, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | str:
    """What LiteRT's reference kernels give, or why they refuse the graph."""
    resolvers = litert.OpResolverType
    resolver = resolvers.BUILTIN_REF
    if graph.ops[0].kind in NOT_IN_REFERENCE:
        resolver = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet_stderr():
        try:
            interpreter = litert.Interpreter(
                model_content=model.write(graph), experimental_op_resolver_type=resolver
            )
            interpreter.allocate_tensors()
            for index, array in zip(graph.inputs, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            return str(error)
        return [np.array(interpreter.get_tensor(index)) for index in graph.outputs]


def run(graph: Graph, inputs: Sequence[NDArray[Any]], level: str) -> list[NDArray[Any]]:
    """Run the steps of the operator: its tensors lie in an arena, one after another, between guard bytes."""
    op = graph.ops[0]
    places, end = {}, ALIGNMENT
    own = {SCRATCH: plain.scratch(graph, op), FAULT: 4}
    for i in {*graph.inputs, *op.outputs, SCRATCH, FAULT}:
        size = own[i] if i in own else graph.tensors[i].size_bytes
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


def constant(values: Any, dtype: np.dtype[Any] = INT32) -> Tensor:
    """Whole numbers that are known: axes, sizes and the like."""
    array = np.asarray(values, dtype)
    return tensor(array.shape, dtype, None, data=array)


@st.composite
def quantised(draw: st.DrawFn, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """A tensor of bytes with any scale and zero point."""
    zero = draw(st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
    return tensor(shape, dtype, draw(SCALES), zero)


def single(kind: str, inputs: Sequence[Tensor], results: Sequence[Tensor], **options: Any) -> Graph:
    """A graph of one operator; inputs without data are the graph's."""
    tensors = (*inputs, *results)
    count = len(inputs)
    given_ = [i for i in range(count) if inputs[i].data is None]
    outputs = range(count, len(tensors))
    op = Op(kind, tuple(range(count)), tuple(outputs), options, 2 if kind == "BROADCAST_TO" else 1)
    return Graph(tensors, (op,), tuple(given_), tuple(outputs))


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


def refuses(graph: Graph) -> str | None:
    """Why the native engine does not take the operator."""
    return plain.refusal(graph, graph.ops[0])


def unsigned(graph: Graph) -> Graph:
    """The same on uint8, for int8 that LiteRT 2.3 does not do as it should: its SUM takes int8 for uint8."""
    ends = {*graph.inputs, *graph.outputs}
    return replace(
        graph, tensors=tuple(_unsigned(t) if i in ends else t for i, t in enumerate(graph.tensors))
    )


def _unsigned(old: Tensor) -> Tensor:
    if old.dtype != INT8 or old.zero_point is None:
        return old
    return replace(old, dtype=UINT8, zero_point=old.zero_point + 128)


def _by_twin(twin: Graph, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | str:
    """What the reference gives for int8 by way of a graph on uint8."""
    given = reference(twin, [(x.view(np.uint8) ^ 128) if x.dtype == INT8 else x for x in inputs])
    return (
        given
        if isinstance(given, str)
        else [(y ^ 128).view(np.int8) if y.dtype == UINT8 else y for y in given]
    )


def compare(
    graph: Graph,
    seed: int = 0,
    *,
    near: float = 0.0,
    apart: int = 0,
    inputs: Sequence[NDArray[Any]] | None = None,
    twin: Graph | None = None,
    used: Callable[[list[NDArray[Any]]], list[NDArray[Any]]] = list,
) -> None:
    """Each level against the reference; floats may be `near` apart, a part of 1 or of them, bytes `apart`."""
    reason = refuses(graph)
    assert reason is None, reason
    inputs = inputs or [numbers(graph.tensors[i], seed + i) for i in graph.inputs]
    expected = reference(graph, inputs) if twin is None else _by_twin(twin, inputs)
    assert not isinstance(expected, str), expected
    for level in native.cpu_levels():
        for got, want in zip(used(run(graph, inputs, level)), used(expected), strict=True):
            assert got.shape == want.shape
            if near:
                np.testing.assert_allclose(got, want, near, near, err_msg=level)
            elif apart:
                assert np.abs(got.astype(np.int64) - want).max(initial=0) <= apart, level
            else:
                np.testing.assert_array_equal(got, want, err_msg=level)
