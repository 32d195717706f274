"""FULLY_CONNECTED layers give the bytes of TFLite's reference kernel, at every ISA level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from single import INT8, UINT8, compare, refuses, single, tensor, unsigned
from strategies import INT8 as WHOLE
from strategies import layer

from edgekit.model.graph import Graph
from edgekit.plan import fully_connected, plain

SEEDS = st.integers(0, 2**32 - 1)
ACTIVATIONS = st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])


@examples(30)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 150)), SEEDS,
    st.tuples(st.booleans(), st.booleans()), ACTIVATIONS, st.sampled_from([127, 128]),
    st.tuples(WHOLE, WHOLE),
)  # fmt: skip
def test_layers(
    sizes: tuple[int, int, int], seed: int, ways: tuple[bool, bool], activation: str, reach: int,
    zero_points: tuple[int, int],
) -> None:  # fmt: skip
    graph = layer(
        *sizes, seed, channels=ways[0], activation=activation, reach=reach, bias=ways[1],
        input_zero_point=zero_points[0], output_zero_point=zero_points[1],
    )  # fmt: skip
    compare(graph, seed)


def of_unsigned(graph: Graph, zero_point: int) -> tuple[Graph, Graph]:
    """A layer on uint8 whose weights have that zero point; and the same as it is when it becomes int8."""
    source, weights, result, *bias = unsigned(graph).tensors
    assert weights.data is not None
    weights = replace(
        weights, dtype=UINT8, data=(weights.data ^ -128).view(np.uint8), zero_point=np.array([zero_point])
    )
    wide = np.asarray(weights.data).astype(np.int16) - zero_point
    signed = replace(weights, dtype=np.dtype(np.int16), data=wide, zero_point=np.array([0]))
    twin = replace(graph, tensors=(source, weights, result, *bias))
    return twin, replace(graph, tensors=(graph.tensors[0], signed, graph.tensors[2], *bias))


@examples(40)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 60), SEEDS, st.integers(0, 255))
def test_weights_that_were_unsigned(rows: int, depth: int, cols: int, seed: int, zero_point: int) -> None:
    twin, graph = of_unsigned(layer(rows, depth, cols, seed, channels=False, reach=128), zero_point)
    compare(graph, seed, twin=twin)


def test_weights_with_a_zero_point() -> None:
    graph = layer(5, 30, 20, channels=False, reach=128)
    weights = replace(graph.tensors[1], zero_point=np.array([-9]))
    compare(replace(graph, tensors=(graph.tensors[0], weights, *graph.tensors[2:])))


def test_several_axes_are_kept() -> None:
    graph = layer(6, 10, 20)
    source, weights, result, bias = graph.tensors
    tensors = (replace(source, shape=(2, 3, 10)), weights, replace(result, shape=(2, 3, 20)), bias)
    op = replace(graph.ops[0], options={"keep_num_dims": True})
    compare(replace(graph, tensors=tensors, ops=(op,)))


def thinned(graph: Graph, share: float, seed: int = 0) -> Graph:
    """The layer with only that share of its quads left."""
    weights = graph.tensors[1]
    assert weights.data is not None
    keep = np.random.default_rng(seed).random((weights.shape[0], weights.shape[1] // 4)) < share
    data = weights.data * np.repeat(keep, 4, axis=1)
    return replace(graph, tensors=(graph.tensors[0], replace(weights, data=data), *graph.tensors[2:]))


def form(graph: Graph) -> str:
    return plain.lower(graph, graph.ops[0], lambda _: 0)[0].note.split(",")[0]


@examples(40)
@given(
    st.tuples(st.integers(1, 8), st.integers(8, 60), st.integers(1, 150)), SEEDS, st.floats(0.01, 0.1),
    st.sampled_from([127, 128]), WHOLE,
)  # fmt: skip
def test_sparse_layers(
    sizes: tuple[int, int, int], seed: int, share: float, reach: int, zero_point: int
) -> None:
    rows, quads, cols = sizes
    graph = layer(rows, 4 * quads, cols, seed, reach=reach, input_zero_point=zero_point)
    compare(thinned(graph, share, seed), seed)


def test_the_form_follows_the_zeros() -> None:
    graph = layer(1, 400, 64)
    assert form(graph) == "dense"
    assert form(thinned(graph, 0.05)) == "sparse 1x4"
    assert form(thinned(graph, 0.0)) == "dense"
    assert form(thinned(layer(99, 400, 64), 0.05)) == "dense"


def test_sparse_weights_are_packed_without_loss() -> None:
    matrix = np.array(thinned(layer(1, 40, 37), 0.2).tensors[1].data)
    fields = fully_connected.pack_sparse(matrix)
    starts, offsets, weights = (np.asarray(fields[name]) for name in ("starts", "offsets", "weights"))
    found = np.zeros((48, 40), np.int8)
    for tile in range(3):
        for step in range(starts[tile], starts[tile + 1]):
            for lane in range(16):
                place = offsets[step, lane]
                found[16 * tile + lane, place : place + 4] += weights[step, lane]
    np.testing.assert_array_equal(found[:37], matrix)
    assert not found[37:].any()


def test_weights_are_packed_without_loss() -> None:
    matrix = np.arange(-60, 60, dtype=np.int8).reshape(20, 6)
    packed = fully_connected.pack_weights(matrix)
    assert packed.shape == (2, 2, 16, 4)
    assert packed.ctypes.data % 64 == 0
    plain = packed.transpose(0, 2, 1, 3).reshape(32, 8)
    np.testing.assert_array_equal(plain[:20, :6], matrix)
    assert not plain[20:].any()
    assert not plain[:, 6:].any()


def test_other_layers_are_refused() -> None:
    byte, ends = tensor((3, 5)), [tensor((2, 3), INT8, 0.1)]
    channels = replace(byte, scale=np.full(3, 0.1, np.float32), zero_point=np.zeros(3, np.int64))
    reason = "int8; only int8 with one scale each"
    assert refuses(single("FULLY_CONNECTED", [tensor((2, 5)), channels], ends)) == reason
    reals = tensor((3, 5), np.dtype(np.float32), data=np.ones((3, 5)))
    reason = "weights that are no constant matrix of int8"
    assert refuses(single("FULLY_CONNECTED", [tensor((2, 5)), reals], ends)) == reason
