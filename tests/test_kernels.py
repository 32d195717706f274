"""Every ISA level of every kernel gives the bytes of the scalar one, which gives those of the definition."""

from __future__ import annotations

import os
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import INT8, layer, random_input

from edgekit import fully_connected
from edgekit.fully_connected import FullyConnected, scale_of, zero_point_of
from edgekit.graph import Graph

LEVELS = [level for family, level in native.kernels() if family == "fc_s8"]
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
GUARD = 77


def pack(graph: Graph) -> tuple[FullyConnected, Any]:
    assert fully_connected.check(graph, graph.ops[0]) is None
    step = fully_connected.pack(graph, graph.ops[0], 0, 0)
    return step, native.FullyConnected(
        step.rows, step.depth, step.cols, step.weights, step.bias, step.bias_u8, step.scale,
        step.zero_point, step.low, step.high, step.reaches_min,
    )  # fmt: skip


def run(graph: Graph, level: str, x: NDArray[np.int8], shift: int = 1) -> NDArray[np.int8]:
    """Run one level on buffers that are not aligned and have guard bytes around them."""
    step, kernel = pack(graph)
    source = np.full(x.size + 64 + shift, GUARD, np.int8)
    target = np.full(step.rows * step.cols + 64 + shift, GUARD, np.int8)
    inside = slice(shift, shift + x.size)
    source[inside] = x.ravel()
    out = target[shift : shift + step.rows * step.cols].reshape(step.rows, step.cols)
    kernel.run(level, source[inside].reshape(x.shape), out)
    assert np.all(target[:shift] == GUARD)
    assert np.all(target[shift + out.size :] == GUARD)
    return out.copy()


def definition(graph: Graph, x: NDArray[np.int8]) -> NDArray[np.int64]:
    """The layer in numpy, by the words of native/ek.h."""
    source, weights, result = graph.tensors[:3]
    bias = graph.tensors[3].data if len(graph.tensors) > 3 else None
    sums = (x.astype(np.int64) - zero_point_of(source)) @ np.asarray(weights.data, np.int64).T
    sums = sums if bias is None else sums + bias
    scaled = sums * (scale_of(source) * np.asarray(weights.scale, float) / scale_of(result))
    rounded = np.trunc(scaled)
    rounded += np.where(np.abs(scaled - rounded) >= 0.5, np.sign(scaled), 0)
    low, high = fully_connected.clamp(str(graph.ops[0].options["fused_activation_function"]), result)
    return np.asarray(np.clip(rounded.astype(np.int64) + zero_point_of(result), low, high))


LAYERS = st.builds(
    layer,
    st.integers(1, 9),
    st.integers(1, 70),
    st.integers(1, 150),
    st.integers(0, 2**32 - 1),
    channels=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    reach=st.sampled_from([127, 128]),
    bias=st.booleans(),
    input_zero_point=INT8,
    output_zero_point=INT8,
)


@settings(max_examples=80, deadline=None)
@given(LAYERS, st.integers(0, 5))
@example(layer(1, 640, 128, reach=128, activation="RELU", input_zero_point=89, output_zero_point=-128), 3)
@example(layer(4, 1030, 65, channels=False, input_zero_point=-128, output_zero_point=127), 0)
def test_levels_agree_with_the_definition(graph: Graph, shift: int) -> None:
    x = random_input(graph, shift)
    expected = definition(graph, x)
    for level in LEVELS:
        np.testing.assert_array_equal(run(graph, level, x, shift), expected, err_msg=level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_largest_products_are_exact(level: str) -> None:
    """-128 * -128 everywhere: what a 16-bit sum of two products cannot hold."""
    graph = layer(3, 64, 20, reach=128, bias=False, channels=False, input_zero_point=0)
    weights = graph.tensors[1]
    object.__setattr__(weights, "data", np.full(weights.shape, -128, np.int8))
    for value in (-128, 127):
        x = np.full((3, 64), value, np.int8)
        np.testing.assert_array_equal(run(graph, level, x), definition(graph, x))


@pytest.mark.parametrize("level", LEVELS)
def test_ties_round_away_from_zero_and_what_lies_just_below_does_not(level: str) -> None:
    graph = layer(1, 1, 6, bias=False, channels=False, input_zero_point=0, output_zero_point=0)
    step, _ = pack(graph)
    step.weights[...] = 0
    step.scale[:6] = [0.5, 0.5, 0.5, 0.49999999999999994, 1.4999999999999998, 2.4999999999999996]
    step.bias[:6] = step.bias_u8[:6] = [1, -1, 3, 1, 1, 1]
    kernel = native.FullyConnected(
        1, 1, 6, step.weights, step.bias, step.bias_u8, step.scale, 0, -128, 127, False
    )  # fmt: skip
    out = np.zeros((1, 6), np.int8)
    kernel.run(level, np.zeros((1, 1), np.int8), out)
    assert out.tolist() == [[1, -1, 2, 0, 1, 2]]


def test_weights_are_packed_without_loss() -> None:
    matrix = np.arange(-60, 60, dtype=np.int8).reshape(20, 6)
    packed = fully_connected.pack_weights(matrix)
    assert packed.shape == (2, 2, 16, 4)
    assert packed.ctypes.data % 64 == 0
    plain = packed.transpose(0, 2, 1, 3).reshape(32, 8)
    np.testing.assert_array_equal(plain[:20, :6], matrix)
    assert not plain[20:].any()
    assert not plain[:, 6:].any()


def test_the_door_refuses_what_c_could_not_bear() -> None:
    step, kernel = pack(layer(2, 5, 3))
    names = ("rows", "depth", "cols", "weights", "bias", "bias_u8", "scale", "zero_point", "low", "high")
    good = {name: getattr(step, name) for name in names} | {"reaches_min": False}
    wrong: list[dict[str, Any]] = [
        {"rows": -1}, {"depth": 9}, {"depth": 0}, {"cols": 17}, {"weights": step.weights[:, :1].copy()},
        {"bias": step.bias[:8]}, {"bias_u8": np.zeros(32, np.int32)[1:17]}, {"scale": -step.scale - 1},
        {"scale": step.scale * np.nan}, {"zero_point": 200}, {"low": 5, "high": 4}, {"high": 300},
    ]  # fmt: skip
    for mistake in wrong:
        with pytest.raises(ValueError, match=r"impossible|another|aligned|scale"):
            native.FullyConnected(**good | mistake)
    for x, out in (((2, 4), (2, 3)), ((1, 5), (2, 3)), ((2, 5), (2, 4))):
        with pytest.raises(ValueError, match="shape"):
            kernel.run("scalar", np.zeros(x, np.int8), np.zeros(out, np.int8))
    with pytest.raises(ValueError, match="no level 'mmx'"):
        kernel.run("mmx", np.zeros((2, 5), np.int8), np.zeros((2, 3), np.int8))


def test_a_plan_refuses_offsets_outside_its_arena() -> None:
    _, kernel = pack(layer(2, 5, 3))
    for places in ((0, 192), (0, 8), (-64, 0), (64, 64), (0, 2**60)):
        with pytest.raises(ValueError, match=r"arena|overlap"):
            native.Plan("scalar", 192, [], [], [("fc", *places, kernel)])
    with pytest.raises(ValueError, match="arena"):
        native.Plan("scalar", 192, [(0, 193)], [], [])
    with pytest.raises(ValueError, match="another size"):
        native.Plan("scalar", 192, [(0, 10)], [], []).run([np.zeros(11, np.int8)], [])


def test_levels_of_this_cpu_start_with_scalar_and_end_with_what_was_wanted() -> None:
    levels = native.cpu_levels()
    assert levels[0] == "scalar"
    assert set(levels) <= set(native.known_levels())
    assert levels[-1] == os.environ.get("WANT_ISA", levels[-1])
    assert list(levels) == LEVELS


def test_a_level_lowers_the_cpu() -> None:
    levels = native.cpu_levels()
    assert [native.best_level(level) for level in levels] == list(levels)
    for level in native.known_levels():
        assert native.known_levels().index(native.best_level(level)) <= native.known_levels().index(level)
