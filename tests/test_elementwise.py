"""Functions of one and of two numbers give the bytes of TFLite's reference kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from single import FLOAT, INT8, INT32, SCALES, UINT8, compare, numbers, quantised, refuses, single, tensor

from edgekit import engine
from edgekit.errors import ModelError

SEEDS = st.integers(0, 2**31)
BYTES = st.sampled_from([INT8, INT8, UINT8])
WIDE = [np.dtype(name) for name in ("float32", "int32", "int64")]
ACTIVATIONS = st.sampled_from(["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
SIGNED = ("ABS", "ELU", "EXP", "LOG", "NEG", "RSQRT", "SQRT")
UNARY = (
    *SIGNED,
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOGISTIC",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "TANH",
)
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")


@st.composite
def shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Two shapes that can be broadcast, and the result."""
    full = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    first, second = (tuple(n if draw(st.integers(0, 3)) else 1 for n in full) for _ in range(2))
    second = second[draw(st.integers(0, len(second))) if draw(st.booleans()) else 0 :]
    return first, second, np.broadcast_shapes(first, second)


@pytest.mark.parametrize("kind", UNARY)
@examples(25)
@given(st.data())
def test_tables(kind: str, data: st.DataObject) -> None:
    """Every byte is looked up."""
    dtype = INT8 if kind in SIGNED else data.draw(BYTES)
    choices: dict[str, dict[str, Any]] = {
        "LEAKY_RELU": {"alpha": data.draw(SCALES)},
        "GELU": {"approximate": data.draw(st.booleans())},
    }
    options = choices.get(kind, {})
    source, result = (data.draw(quantised((2, 128), dtype)) for _ in range(2))
    if kind == "LOGISTIC":
        result = replace(result, scale=np.array([1 / 256], np.float32))
    if kind == "EXP":
        source, result = (
            replace(t, scale=np.array([s], np.float32)) for t, s in ((source, 0.02), (result, 0.9))
        )
    if kind == "NEG":
        source = result = replace(source, zero_point=np.array([0]))
    if kind in ("RSQRT", "SQRT"):
        source = replace(source, zero_point=np.array([-128]))
    every = np.arange(256, dtype=np.uint8).view(dtype).reshape(2, 128)
    compare(single(kind, [source], [result], **options), inputs=[every])


@examples(60)
@given(st.floats(-30, 8), st.floats(-18, 8), BYTES, st.integers(0, 255))
def test_hard_swish_takes_scales_that_are_far_apart(
    source_log: float, result_log: float, dtype: np.dtype[Any], zero: int
) -> None:
    zero += int(np.iinfo(dtype).min)
    source, result = (
        tensor((256,), dtype, float(np.float32(2.0**log)), zero) for log in (source_log, result_log)
    )
    graph = single("HARD_SWISH", [source], [result])
    if refuses(graph) != "scales that are too far apart":
        compare(graph, inputs=[np.arange(256, dtype=np.uint8).view(dtype)])


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "PRELU", *COMPARISONS])
@examples(40)
@given(shapes(), BYTES, SEEDS, st.data())
def test_quantised_pairs(kind: str, three: Any, dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    dtype = INT8 if kind == "SQUARED_DIFFERENCE" else dtype
    a, b, c = three if kind != "PRELU" else (three[2], three[1], three[2])
    first, second, result = (data.draw(quantised(shape, dtype)) for shape in (a, b, c))
    options = {"fused_activation_function": data.draw(ACTIVATIONS)} if kind in ("ADD", "SUB", "MUL") else {}
    if kind in COMPARISONS:
        result = tensor(c, np.dtype(np.bool_))
    if data.draw(st.booleans()):
        second = replace(second, data=numbers(second, seed))
    if options and refuses(single(kind, [first, second], [result], **options)):
        return  # an activation beyond the output's range
    compare(single(kind, [first, second], [result], **options), seed)


@pytest.mark.parametrize(
    "kind", ["ADD", "SUB", "MUL", "DIV", "PRELU", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", *COMPARISONS]
)
@examples(30)
@given(shapes(), st.sampled_from(WIDE), SEEDS, st.data())
def test_numbers(kind: str, three: Any, dtype: np.dtype[Any], seed: int, data: st.DataObject) -> None:
    dtype = FLOAT if kind in ("DIV", "PRELU") else dtype
    if kind == "SQUARED_DIFFERENCE" and dtype == np.int64:
        dtype = INT32
    a, b, c = three if kind != "PRELU" else (three[2], three[1], three[2])
    if kind == "PRELU" and len(c) > 4:
        a, b, c = a[-4:], b[-4:], c[-4:]
    first, second = tensor(a, dtype), tensor(b, dtype)
    result = tensor(c, np.dtype(np.bool_) if kind in COMPARISONS else dtype)
    options = {}
    if kind in ("ADD", "SUB", "MUL", "DIV") and dtype == FLOAT:
        options = {"fused_activation_function": data.draw(ACTIVATIONS)}
    if data.draw(st.booleans()):
        second = replace(second, data=numbers(second, seed))
    compare(single(kind, [first, second], [result], **options), seed)


@pytest.mark.parametrize("kind", ["FLOOR_DIV", "FLOOR_MOD", "POW"])
@examples(30)
@given(shapes(), st.sampled_from(WIDE), SEEDS)
def test_quotients_and_powers(kind: str, three: Any, dtype: np.dtype[Any], seed: int) -> None:
    dtype = FLOAT if kind == "POW" else INT32 if kind == "FLOOR_DIV" and dtype == np.int64 else dtype
    first, second, result = (tensor(shape, dtype) for shape in three)
    x, y = numbers(first, seed), numbers(second, seed + 1)
    if dtype != FLOAT:
        x, y = x // 2**20, y // 2 ** (8 * dtype.itemsize - 5)
        second = replace(second, data=np.where(y == 0, 7, y))
    x = np.abs(x) if kind == "POW" else x
    inputs = [x] if second.data is not None else [x, y]
    compare(single(kind, [first, second], [result]), inputs=inputs, near=1e-6 if kind == "POW" else 0)


@examples(30)
@given(shapes(), st.sampled_from(["DIV", "FLOOR_DIV", "FLOOR_MOD"]), SEEDS)
def test_computed_divisors(three: Any, kind: str, seed: int) -> None:
    first, second, result = (tensor(shape, INT32) for shape in three)
    options = {"fused_activation_function": "NONE"} if kind == "DIV" else {}
    x, y = numbers(first, seed), numbers(second, seed + 1) // 2**27
    compare(
        single(kind, [first, second], [result], **options),
        inputs=[np.maximum(x, 1 - 2**31), np.where(y == 0, 7, y)],
    )


@examples(40)
@given(shapes(), BYTES, SEEDS, st.floats(4.1, 60), st.booleans(), st.data())
def test_quotients_of_bytes(
    three: Any, dtype: np.dtype[Any], seed: int, factor: float, known: bool, data: st.DataObject
) -> None:
    """Where the reference's own shifts are defined: 16 steps or more, by an output of a quarter or less."""
    first, second, result = (data.draw(quantised(shape, dtype)) for shape in three)
    assert first.scale is not None
    assert second.scale is not None
    result = replace(result, scale=first.scale / (second.scale * np.float32(factor)))
    zeros = [int(np.asarray(tensor.zero_point)[0]) for tensor in (first, second)]
    x, y = numbers(first, seed), numbers(second, seed + 1)
    x = np.where(np.abs(x.astype(int) - zeros[0]) < 16, np.iinfo(dtype).min, x).astype(dtype)
    x = np.where(np.abs(x.astype(int) - zeros[0]) < 16, np.iinfo(dtype).max, x).astype(dtype)
    y = np.where(y == zeros[1], np.iinfo(dtype).min if zeros[1] > 0 else 1 + zeros[1], y).astype(dtype)
    second = replace(second, data=y) if known else second
    graph = single("DIV", [first, second], [result], fused_activation_function=data.draw(ACTIVATIONS))
    if refuses(graph) != "an activation beyond the output's range":
        compare(graph, inputs=[x] if known else [x, y])


def test_a_divisor_of_0_is_said() -> None:
    for kind, ends, zero in (("DIV", tensor((5,)), 3), ("FLOOR_MOD", tensor((5,), INT32), 0)):
        options = {"fused_activation_function": "NONE"} if kind == "DIV" else {}
        made = engine.load_graph(single(kind, [ends, ends], [ends], **options), "test", "native")
        good = np.array([1, 2, 4, 5, 6], ends.dtype)
        made.run([good, good])
        with pytest.raises(ModelError, match="a divisor that the network computes, or is given, is 0"):
            made.run([good, np.array([1, 2, zero, 5, 6], ends.dtype)])


@examples(20)
@given(shapes(), st.sampled_from([INT8, UINT8, INT32]), SEEDS)
def test_bits(three: Any, dtype: np.dtype[Any], seed: int) -> None:
    first, second, result = (tensor(shape, dtype, None) for shape in three)
    compare(single("BITWISE_XOR", [first, second], [result]), seed)
    by = (numbers(second, seed).astype(np.int64) % 40 - 4).astype(dtype)
    compare(single("RIGHT_SHIFT", [first, second], [result]), inputs=[numbers(first, seed), by])


def test_angles() -> None:
    ends = tensor((3, 700), FLOAT)
    compare(single("ATAN2", [ends, ends], [ends]), near=1e-6)
    assert refuses(single("ATAN2", [ends, tensor((1, 700), FLOAT)], [ends])) == "operands of different shapes"


@examples(20)
@given(st.integers(2, 6), st.sampled_from([INT32, FLOAT]), SEEDS)
def test_sums_of_many(count: int, dtype: np.dtype[Any], seed: int) -> None:
    ends = tensor((3, 50), dtype)
    compare(single("ADD_N", [ends] * count, [ends]), seed)


@pytest.mark.parametrize("kind", ["LOGICAL_AND", "LOGICAL_OR"])
@examples(15)
@given(shapes(), SEEDS)
def test_truth(kind: str, three: Any, seed: int) -> None:
    first, second, result = (tensor(shape, np.dtype(np.bool_)) for shape in three)
    compare(single(kind, [first, second], [result]), seed)
    compare(single("LOGICAL_NOT", [first], [first]), seed)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("NEG", "int32"), ("NEG", "int64"), ("ABS", "int32"), ("SIGN", "int32")]
)
def test_signs_of_whole_numbers(kind: str, dtype: str) -> None:
    ends = tensor((3, 700), np.dtype(dtype))
    compare(single(kind, [ends], [ends]), inputs=[np.maximum(numbers(ends, 1), 1 - 2**31)])


@examples(30)
@given(shapes(), BYTES, st.sampled_from(["MAXIMUM", "MINIMUM"]), SEEDS)
def test_extremes_of_bytes(three: Any, dtype: np.dtype[Any], kind: str, seed: int) -> None:
    compare(single(kind, [tensor(three[0], dtype), tensor(three[1], dtype)], [tensor(three[2], dtype)]), seed)


def test_what_is_not_exact_is_refused() -> None:
    def two(first: Any, second: Any, result: Any, kind: str = "ADD") -> str | None:
        return refuses(single(kind, [first, second], [result]))

    byte, narrow = tensor((4,)), tensor((4,), scale=1e-9)
    assert two(byte, byte, narrow) == "scales that are too far apart"
    assert two(byte, tensor((4,), UINT8), byte) == "operands of different types"
    assert two(byte, tensor((3,)), byte) == "an output [4], not [-1]"
    assert two(tensor((4,), np.dtype(np.int16)), byte, byte) is not None
    assert two(byte, byte, byte, "POW") == "quantised int8 numbers"
    assert refuses(single("ADD_N", [], [tensor((4,), FLOAT)])) == "0 inputs"
    whole, real = tensor((4,), INT32), tensor((4,), FLOAT)
    assert two(whole, whole, whole, "POW") == "int32 numbers"
    assert two(real, real, real, "BITWISE_XOR") == "float32 numbers"
    assert two(byte, tensor((4,), scale=0.1), byte, "MAXIMUM") == "another scale or zero point"
    assert refuses(single("LOGISTIC", [byte], [byte])) == "an output scale that is not 1/256"
    assert refuses(single("RELU", [tensor((4,), INT32)], [tensor((4,), INT32)])) is not None
    zeros = tensor((4,), INT32, data=np.zeros(4))
    assert two(tensor((4,), INT32), zeros, tensor((4,), INT32), "FLOOR_MOD") == "a divisor of 0"
    assert two(byte, byte, tensor((4,), np.dtype(np.bool_)), "LOGICAL_OR") == "operands that are no bool"
    assert refuses(single("NEG", [byte], [byte])) == "another scale or a zero point"
    assert refuses(single("RSQRT", [byte], [byte])) == "an input that may be negative"
    assert refuses(single("WHERE", [byte], [byte])) == "not among the native kernels"


@examples(30)
@given(SEEDS, st.data())
def test_conversions(seed: int, data: st.DataObject) -> None:
    shape, half = (3, 70), np.dtype(np.int16)
    ends: Any = st.sampled_from(
        [
            (INT8, INT8), (INT8, UINT8), (UINT8, INT8), (UINT8, UINT8), (FLOAT, INT8), (FLOAT, UINT8),
            (FLOAT, half), (half, INT8), (half, half), (half, INT32), (INT32, INT8), (INT32, half),
        ]
    )  # fmt: skip
    source, result = data.draw(ends)

    def end(dtype: np.dtype[Any]) -> Any:
        if dtype == FLOAT:
            return tensor(shape, dtype)
        zero = 0 if dtype.itemsize > 1 else data.draw(st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
        made = tensor(shape, dtype, None)
        return replace(made, scale=np.array([data.draw(SCALES)], np.float32), zero_point=np.array([zero]))

    compare(single("QUANTIZE", [end(source)], [end(result)]), seed)
    for dtype in (INT8, UINT8, half):
        compare(single("DEQUANTIZE", [end(dtype)], [tensor(shape, FLOAT)]), seed)


NUMBERS = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")


@pytest.mark.parametrize("source", NUMBERS)
@pytest.mark.parametrize("result", NUMBERS)
def test_casts(source: str, result: str) -> None:
    graph = single("CAST", [tensor((300,), np.dtype(source), None)], [tensor((300,), np.dtype(result), None)])
    if refuses(graph):
        assert result == "bool" or (source == "float32" and result in ("int8", "uint8", "int16"))
    else:
        compare(graph)
