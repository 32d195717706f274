"""The door to the kernels: levels, operations, programs and streams; fully connected layers by definition."""

from __future__ import annotations

import os
import threading
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import INT8, layer, random_input

from edgekit.model.graph import Graph
from edgekit.plan import fully_connected, plain
from edgekit.plan.fully_connected import scale_of, zero_point_of
from edgekit.plan.step import Fields

LEVELS = [level for family, level in native.kernels() if family == "fc"]
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
GUARD = 77
INPUT = 64


def arena_of(size: int) -> NDArray[np.uint8]:
    raw = np.full(size + native.ALIGNMENT, GUARD, np.uint8)
    return raw[-raw.ctypes.data % native.ALIGNMENT :][:size]


def fields_of(graph: Graph, shift: int = 0) -> tuple[Fields, int]:
    """The fields of a layer whose tensors stand `shift` bytes from aligned places; the size of its arena."""
    source, result = graph.tensors[0], graph.tensors[2]
    output = INPUT + -(-source.size_bytes // 64) * 64 + 128
    places = {0: INPUT + shift, 2: output + shift}
    (step,) = plain.lower(graph, graph.ops[0], places.__getitem__)
    return step.fields, output + result.size_bytes + 64 + shift


def run(fields: Fields, size: int, level: str, x: NDArray[np.int8], cols: int) -> NDArray[np.int8]:
    """Run one level on tensors that have guard bytes around them."""
    arena = arena_of(size)
    place, end = int(fields["input"]), int(fields["output"]) + len(x) * cols
    arena[place : place + x.size] = x.view(np.uint8).reshape(-1)
    expected = arena.copy()
    op = native.Op("fc", fields)
    units = op.units(size)
    op.run(level, arena, units // 2)
    op.run(level, arena, 0, units // 2)
    out = arena[int(fields["output"]) : end].copy()
    expected[int(fields["output"]) : end] = out
    np.testing.assert_array_equal(arena, expected)
    return out.view(np.int8).reshape(len(x), cols)


def definition(graph: Graph, x: NDArray[np.int8]) -> NDArray[np.int64]:
    """The layer in numpy, by the words of native/ops_conv.h."""
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


@examples(80)
@given(LAYERS, st.integers(0, 5))
@example(layer(1, 640, 128, reach=128, activation="RELU", input_zero_point=89, output_zero_point=-128), 3)
@example(layer(4, 1030, 65, channels=False, input_zero_point=-128, output_zero_point=127), 0)
def test_levels_agree_with_the_definition(graph: Graph, shift: int) -> None:
    x, (fields, size) = random_input(graph, shift), fields_of(graph, shift)
    expected = definition(graph, x)
    for level in LEVELS:
        got = run(fields, size, level, x, expected.shape[1])
        np.testing.assert_array_equal(got, expected, err_msg=level)


@pytest.mark.parametrize("level", LEVELS)
def test_the_largest_products_are_exact(level: str) -> None:
    """-128 * -128 everywhere: what a 16-bit sum of two products cannot hold."""
    graph = layer(3, 64, 20, reach=128, bias=False, channels=False, input_zero_point=0)
    weights = graph.tensors[1]
    object.__setattr__(weights, "data", np.full(weights.shape, -128, np.int8))
    fields, size = fields_of(graph)
    for value in (-128, 127):
        x = np.full((3, 64), value, np.int8)
        np.testing.assert_array_equal(run(fields, size, level, x, 20), definition(graph, x))


@pytest.mark.parametrize("level", LEVELS)
def test_ties_round_away_from_zero_and_what_lies_just_below_does_not(level: str) -> None:
    graph = layer(1, 1, 6, bias=False, channels=False, input_zero_point=0, output_zero_point=0)
    fields, size = fields_of(graph)
    scale, start = np.zeros(16), np.zeros(16, np.int32)
    scale[:6] = [0.5, 0.5, 0.5, 0.49999999999999994, 1.4999999999999998, 2.4999999999999996]
    start[:6] = [1, -1, 3, 1, 1, 1]
    changes: Fields = {"weights": np.zeros(64, np.int8), "scale": scale, "bias": start, "bias_u8": start}
    out = run(fields | changes, size, level, np.zeros((1, 1), np.int8), 6)
    assert out.tolist() == [[1, -1, 2, 0, 1, 2]]


def test_an_operation_refuses_what_c_could_not_bear() -> None:
    good, size = fields_of(layer(2, 5, 3))
    weights, bias, scale = (np.asarray(good[name]) for name in ("weights", "bias", "scale"))
    wrong: list[dict[str, Any]] = [
        {"rows": -1}, {"depth": 9}, {"depth": 0}, {"cols": 17}, {"weights": weights.reshape(-1)[:64].copy()},
        {"bias": bias[:8]}, {"bias_u8": np.zeros(17, np.int32)}, {"scale": -scale - 1},
        {"scale": scale * np.nan}, {"zero_point": 200}, {"low": 5, "high": 4}, {"high": 300},
        {"input": -64}, {"input": size}, {"output": size - 2}, {"output": INPUT}, {"output": 2**60},
        {"offsets": np.zeros(16, np.int32)},
    ]  # fmt: skip
    assert native.Op("fc", good).units(size) == 1
    for mistake in wrong:
        with pytest.raises(ValueError, match="fc: "):
            native.Op("fc", good | mistake).units(size)


def test_an_operation_refuses_fields_that_it_does_not_have_or_of_another_type() -> None:
    for family, fields, message in (
        ("nothing", {}, "no operation 'nothing'"),
        ("fc", {"colour": 1}, "fc has no field colour"),
        ("fc", {"bias": np.zeros(16, np.int64)}, "bias is of type 'q', not 'i'"),
    ):
        with pytest.raises(ValueError, match=message):
            native.Op(family, fields)
    with pytest.raises((ValueError, BufferError)):
        native.Op("fc", {"bias": np.zeros((16, 2), np.int32)[:, 0]})
    with pytest.raises(ValueError, match="scale is not aligned"):
        native.Op("fc", {"scale": memoryview(bytearray(137))[1:129].cast("d")})
    with pytest.raises(OverflowError):
        native.Op("fc", {"zero_point": 2**40})
    with pytest.raises(TypeError):
        native.Op("fc", {"bias": 3})


def test_units_and_levels_that_do_not_exist_are_refused() -> None:
    fields, size = fields_of(layer(2, 5, 3))
    op, arena = native.Op("fc", fields), arena_of(size)
    for begin, end in ((-1, 1), (1, 0), (0, 2)):
        with pytest.raises(ValueError, match="units that do not exist"):
            op.run("scalar", arena, begin, end)
    with pytest.raises(ValueError, match="no level 'mmx'"):
        op.run("mmx", arena)
    with pytest.raises(ValueError, match="not aligned"):
        op.run("scalar", arena_of(size + 1)[1:])


def test_a_program_refuses_what_does_not_fit_its_arena() -> None:
    fields, size = fields_of(layer(2, 5, 3))
    step = (native.Op("fc", fields), True)
    with pytest.raises(ValueError, match="fc: "):
        native.Program("scalar", size - 80, [step])
    for arena_bytes in (-1, 2**41):
        with pytest.raises(ValueError, match="impossible arena"):
            native.Program("scalar", arena_bytes, [])
    with pytest.raises(ValueError, match="no ISA level 'mmx'"):
        native.Program("mmx", size, [])
    with pytest.raises(TypeError):
        native.Program("scalar", size, [("fc", True)])


def test_a_stream_refuses_tensors_outside_its_arena_and_arrays_of_another_size() -> None:
    program = native.Program("scalar", 192, [])
    for place in ((0, 193), (192, 1), (-64, 8), (8, 8), (0, -1), (2**60, 1)):
        with pytest.raises(ValueError, match="outside the arena"):
            native.Stream(program, [place], [])
    stream, ten = native.Stream(program, [(0, 10)], [(0, 10)]), np.arange(10, dtype=np.int8)
    out = np.zeros(10, np.int8)
    stream.run([ten], [out])
    np.testing.assert_array_equal(out, ten)
    for inputs, outputs in (([np.zeros(11, np.int8)], [out]), ([ten], [np.zeros(9, np.int8)])):
        with pytest.raises(ValueError, match="another size"):
            stream.run(inputs, outputs)
    with pytest.raises(ValueError, match="wrong number"):
        stream.run([ten, ten], [out])
    with pytest.raises(ValueError, match="number of threads"):
        stream.run([ten], [out], 0)
    with pytest.raises((ValueError, BufferError)):
        stream.run([np.zeros(20, np.int8)[::2]], [out])
    kept = np.zeros(10, np.int8)
    kept.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        stream.run([ten], [kept])


def test_a_stream_runs_in_one_thread_at_a_time() -> None:
    """Whoever comes while it runs is told so, and what runs is not disturbed."""
    fields, size = fields_of(layer(400, 700, 160))
    program = native.Program("scalar", size, [(native.Op("fc", fields), True)])
    stream, told, start = native.Stream(program, [], []), [], threading.Barrier(2)

    def use() -> None:
        start.wait()
        try:
            stream.run([], [])
        except ValueError as error:
            told.append(str(error))

    for _ in range(50):
        threads = [threading.Thread(target=use) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if told:
            break
    assert set(told) == {"the engine is already running in another thread"}
    stream.run([], [])


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
