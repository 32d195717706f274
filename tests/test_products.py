"""Sums of products, functions of floats and the largest along an axis: as the reference kernels do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from single import FLOAT, INT8, INT32, SCALES, UINT8, compare, constant, quantised, refuses, single, tensor

from edgekit.model.graph import Tensor

SEEDS = st.integers(0, 2**31)
SIZES = st.integers(1, 9)


@examples(40)
@given(st.tuples(SIZES, st.integers(1, 40), st.integers(1, 90)), SEEDS, st.data())
def test_matrix_products(sizes: tuple[int, int, int], seed: int, data: st.DataObject) -> None:
    rows, depth, columns = sizes
    batches = data.draw(st.lists(st.integers(1, 3), max_size=2))
    few = [n if data.draw(st.booleans()) else 1 for n in batches]
    adj_x, adj_y = data.draw(st.booleans()), data.draw(st.booleans())
    ends = (rows, depth)[:: -1 if adj_x else 1], (depth, columns)[:: -1 if adj_y else 1]
    shapes = [(*batches, *ends[0]), (*few, *ends[1]), (*batches, rows, columns)]
    first, second, result = (data.draw(quantised(shape, INT8)) for shape in shapes)
    assert first.scale is not None
    assert second.scale is not None
    scale = first.scale * second.scale * np.float32(60 * np.sqrt(depth))
    compare(
        single("BATCH_MATMUL", [first, second], [replace(result, scale=scale)], adj_x=adj_x, adj_y=adj_y),
        seed,
    )


@examples(20)
@given(st.tuples(SIZES, st.integers(1, 40), st.integers(1, 90)), SEEDS, st.booleans(), st.booleans())
def test_matrix_products_of_floats(sizes: tuple[int, int, int], seed: int, adj_x: bool, adj_y: bool) -> None:
    rows, depth, columns = sizes
    ends = (rows, depth)[:: -1 if adj_x else 1], (depth, columns)[:: -1 if adj_y else 1]
    first, second, result = (tensor(shape, FLOAT) for shape in ((3, *ends[0]), ends[1], (3, rows, columns)))
    graph = single("BATCH_MATMUL", [first, second], [result], adj_x=adj_x, adj_y=adj_y)
    compare(graph, seed, near=1e-5)


@examples(30)
@given(st.tuples(SIZES, st.integers(1, 40), st.integers(1, 90)), SEEDS, st.booleans(), st.data())
def test_layers_whose_weights_are_computed(
    sizes: tuple[int, int, int], seed: int, biased: bool, data: st.DataObject
) -> None:
    rows, depth, columns = sizes
    shapes = (rows, depth), (columns, depth), (rows, columns)
    source, weights, result = (data.draw(quantised(shape, INT8)) for shape in shapes)
    assert source.scale is not None
    assert weights.scale is not None
    product = source.scale * weights.scale
    result = replace(result, scale=product * np.float32(60 * np.sqrt(depth)))
    bias = np.random.default_rng(seed).integers(-9000, 9000, columns).astype(np.int32)
    inputs = [source, weights, *[Tensor("b", (columns,), INT32, product, None, 0, bias)] * biased]
    activation = data.draw(st.sampled_from(["NONE", "RELU"]))
    graph = single(
        "FULLY_CONNECTED", inputs, [result], fused_activation_function=activation,
        weights_format="DEFAULT", keep_num_dims=False, asymmetric_quantize_inputs=False,
    )  # fmt: skip
    if refuses(graph) != "an activation beyond the output's range":
        compare(graph, seed)


@examples(30)
@given(st.tuples(st.integers(1, 2), SIZES, SIZES, st.integers(1, 12)), SEEDS, st.data())
def test_transposed_convolutions(shape: tuple[int, int, int, int], seed: int, data: st.DataObject) -> None:
    padding = data.draw(st.sampled_from(["SAME", "VALID"]))
    channels = data.draw(st.sampled_from([1, 3, 8, 70]))
    window = [data.draw(st.integers(1, 4)) for _ in range(2)]
    stride = [data.draw(st.integers(1, 3)) for _ in range(2)]
    out = [
        n * s if padding == "SAME" else (n - 1) * s + w
        for n, s, w in zip(shape[1:3], stride, window, strict=True)
    ]
    source, result = data.draw(quantised(shape, INT8)), data.draw(quantised((shape[0], *out, channels), INT8))
    weights = filters((channels, *window, shape[3]), seed, per_channel=data.draw(st.booleans()))
    inputs = [constant(list(result.shape)), weights, source]
    assert source.scale is not None
    assert weights.scale is not None
    if data.draw(st.booleans()):
        numbers = np.random.default_rng(seed).integers(-3000, 3000, channels).astype(np.int32)
        inputs.append(Tensor("b", (channels,), INT32, weights.scale * source.scale, None, 0, numbers))
    graph = single(
        "TRANSPOSE_CONV", inputs, [result], padding=padding, stride_h=stride[0], stride_w=stride[1],
        fused_activation_function=data.draw(st.sampled_from(["NONE", "RELU6"])),
    )  # fmt: skip
    compare(graph, seed)


def filters(shape: tuple[int, ...], seed: int, *, per_channel: bool) -> Tensor:
    rng = np.random.default_rng(seed)
    data = rng.integers(-127, 128, shape).astype(np.int8)
    scale = rng.uniform(0.001, 0.02, shape[0] if per_channel else 1).astype(np.float32)
    return Tensor("w", shape, INT8, scale, None, 0, data)


@examples(30)
@given(st.integers(1, 6), st.integers(1, 300), SEEDS, SCALES, st.integers(-128, 127))
def test_rows_of_length_one(rows: int, depth: int, seed: int, scale: float, zero: int) -> None:
    source, result = tensor((rows, depth), INT8, scale, zero), tensor((rows, depth), INT8, 1 / 128, 0)
    graph = single("L2_NORMALIZATION", [source], [result])
    compare(graph, seed)
    small = np.random.default_rng(seed).integers(-2, 3, (rows, depth)) + zero
    compare(graph, inputs=[np.clip(small, -128, 127).astype(np.int8)])


@pytest.mark.parametrize("kind", ["ARG_MAX", "ARG_MIN"])
@examples(30)
@given(
    st.lists(SIZES, min_size=1, max_size=4), st.sampled_from([INT8, UINT8, FLOAT, INT32]), SEEDS, st.data()
)
def test_largest_and_least(
    kind: str, shape: list[int], dtype: np.dtype[Any], seed: int, data: st.DataObject
) -> None:
    axis, wide = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.booleans())
    left = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    result = tensor(left, np.dtype(np.int64 if wide else np.int32))
    inputs = [tensor(shape, dtype), constant(axis)]
    compare(single(kind, inputs, [result], output_type="INT64" if wide else "INT32"), seed)


SAME = (
    "ABS",
    "NEG",
    "SQUARE",
    "SQRT",
    "RSQRT",
    "FLOOR",
    "CEIL",
    "ROUND",
    "SIGN",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RELU_0_TO_1",
    "LEAKY_RELU",
    "FAKE_QUANT",
)
NEAR = ("HARD_SWISH", "EXP", "LOG", "LOGISTIC", "TANH", "ELU", "GELU", "SIN", "COS")


@pytest.mark.parametrize("kind", [*SAME, *NEAR])
def test_functions_of_floats(kind: str) -> None:
    x = np.random.default_rng(3).normal(0, 4, (3, 3000)).astype(np.float32)
    x = np.abs(x) + np.float32(1e-3) if kind in ("SQRT", "RSQRT", "LOG") else x
    ends = tensor(x.shape, FLOAT)
    choices: dict[str, dict[str, Any]] = {
        "LEAKY_RELU": {"alpha": 0.3}, "GELU": {"approximate": True},
        "FAKE_QUANT": {"min": -3.1, "max": 4.0, "num_bits": 8, "narrow_range": False},
    }  # fmt: skip
    options = choices.get(kind, {})
    for changed in [options, {"approximate": False}] if kind == "GELU" else [options]:
        near = 1e-6 if kind in NEAR else 0
        compare(single(kind, [ends], [ends], **changed), inputs=[x], near=near)


def test_other_products_are_refused() -> None:
    byte = tensor((2, 3, 3))
    assert refuses(single("BATCH_MATMUL", [byte, tensor((2, 4, 3))], [byte])) == "3 times 4 numbers"
    assert (
        refuses(single("BATCH_MATMUL", [tensor((2, 3, 3), UINT8)] * 2, [tensor((2, 3, 3), UINT8)]))
        == "uint8; only int8 with one scale each"
    )
    assert refuses(single("L2_NORMALIZATION", [byte], [byte])) == "an output that is not -1 to 1"
