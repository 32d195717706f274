"""Layers of float32 among those of bytes: as the reference kernels compute them, and how many there are."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from single import FLOAT, INT8, compare, reference, refuses, single, tensor

from edgekit import plan
from edgekit.engine import native
from edgekit.errors import ModelError
from edgekit.model.graph import Graph, Op, Tensor

SEEDS = st.integers(0, 2**31)
SIZES = st.integers(1, 9)
ACTIVATIONS = st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
# What LiteRT was built for there fuses products and sums
NEAR = 0.0 if platform.machine() in ("x86_64", "AMD64") else 3e-4


def floats(shape: tuple[int, ...], seed: int, spread: float = 0.3) -> Tensor:
    return tensor(shape, FLOAT, data=np.random.default_rng(seed).normal(0, spread, shape))


def spatial(data: st.DataObject, size: tuple[int, int], activation: str) -> tuple[dict[str, Any], list[int]]:
    """Options of a convolution with a random window, and the height and width of its output."""
    stride = [data.draw(st.integers(1, 3)) for _ in range(2)]
    window = [data.draw(st.integers(1, n)) for n in size]
    dilation = [
        data.draw(st.integers(1, max(1, (n - 1) // max(1, w - 1)))) for n, w in zip(size, window, strict=True)
    ]
    padding = data.draw(st.sampled_from(["SAME", "VALID"]))
    reach = [(w - 1) * d + 1 if padding == "VALID" else 1 for w, d in zip(window, dilation, strict=True)]
    out = [(n - r) // s + 1 for n, r, s in zip(size, reach, stride, strict=True)]
    options = {
        "padding": padding, "stride_h": stride[0], "stride_w": stride[1], "dilation_h_factor": dilation[0],
        "dilation_w_factor": dilation[1], "fused_activation_function": activation,
    }  # fmt: skip
    return options, [*window, *out]


@examples(60)
@given(st.tuples(st.integers(1, 2), SIZES, SIZES), st.data(), SEEDS, ACTIVATIONS)
def test_convolutions(shape: tuple[int, int, int], data: st.DataObject, seed: int, activation: str) -> None:
    options, (high, wide, rows, columns) = spatial(data, shape[1:], activation)
    groups, each, outputs = data.draw(st.sampled_from([(1, 5, 70), (1, 1, 3), (3, 2, 4), (4, 1, 1)]))
    weights = floats((groups * outputs, high, wide, each), seed)
    inputs = [tensor((*shape, groups * each), FLOAT), weights, floats((groups * outputs,), seed)]
    result = tensor((shape[0], rows, columns, groups * outputs), FLOAT)
    compare(single("CONV_2D", inputs, [result], **options), seed, near=NEAR)


@examples(60)
@given(st.tuples(st.integers(1, 2), SIZES, SIZES, SIZES), st.data(), SEEDS, ACTIVATIONS)
def test_depthwise_convolutions(
    shape: tuple[int, int, int, int], data: st.DataObject, seed: int, activation: str
) -> None:
    options, (high, wide, rows, columns) = spatial(data, shape[1:3], activation)
    options["depth_multiplier"] = data.draw(st.integers(1, 3))
    channels = shape[3] * options["depth_multiplier"]
    inputs = [tensor(shape, FLOAT), floats((1, high, wide, channels), seed), floats((channels,), seed)]
    result = tensor((shape[0], rows, columns, channels), FLOAT)
    compare(single("DEPTHWISE_CONV_2D", inputs, [result], **options), seed, near=NEAR)


@examples(40)
@given(st.integers(1, 5), st.integers(1, 200), st.integers(1, 90), SEEDS, ACTIVATIONS, st.booleans())
def test_fully_connected_layers(
    rows: int, depth: int, outputs: int, seed: int, activation: str, biased: bool
) -> None:
    inputs = [
        tensor((rows, depth), FLOAT),
        floats((outputs, depth), seed),
        *[floats((outputs,), seed)] * biased,
    ]
    graph = single(
        "FULLY_CONNECTED", inputs, [tensor((rows, outputs), FLOAT)], fused_activation_function=activation,
        weights_format="DEFAULT", keep_num_dims=False, asymmetric_quantize_inputs=False,
    )  # fmt: skip
    compare(graph, seed, near=NEAR)


def layer(source: int, weights: int, bias: int, result: int) -> Op:
    options: dict[str, Any] = {
        "padding": "SAME", "stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1,
        "fused_activation_function": "RELU",
    }  # fmt: skip
    return Op("CONV_2D", (source, weights, bias), (result,), options)


def island(window: int) -> Graph:
    """A convolution of bytes, one of floats with a square window, and one of bytes again."""
    rng, size, real = np.random.default_rng(5), 12, 4

    def parameters(outputs: int, inputs: int) -> list[Tensor]:
        scale = np.full(outputs, 0.01, np.float32)
        data = rng.integers(-127, 128, (outputs, 3, 3, inputs)).astype(np.int8)
        bias = rng.integers(-500, 500, outputs).astype(np.int32)
        zeros = np.zeros(outputs, np.int64)
        return [
            Tensor("w", data.shape, INT8, scale, zeros, 0, data),
            Tensor("b", bias.shape, np.dtype(np.int32), scale * np.float32(0.05), zeros, 0, bias),
        ]

    def picture(channels: int, dtype: np.dtype[Any] = INT8) -> Tensor:
        return tensor((1, size, size, channels), dtype)

    tensors = [
        picture(8), *parameters(8, 8), picture(8), picture(8, FLOAT),
        floats((real, window, window, 8), 1), floats((real,), 2),
        picture(real, FLOAT), picture(real), *parameters(8, real), picture(8),
    ]  # fmt: skip
    ops = [
        layer(0, 1, 2, 3), Op("DEQUANTIZE", (3,), (4,)), layer(4, 5, 6, 7), Op("QUANTIZE", (7,), (8,)),
        layer(8, 9, 10, 11),
    ]  # fmt: skip
    return Graph(tuple(tensors), tuple(ops), (0,), (11,))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("exact", [False, True])
def test_one_of_three_layers_is_of_floats(exact: bool, threads: int) -> None:
    graph = plan.prepare(island(1))
    assert plan.refusal(graph) is None
    x = np.random.default_rng(3).integers(-128, 128, (1, 12, 12, 8)).astype(np.int8)
    expected = reference(island(1), [x])
    assert not isinstance(expected, str), expected
    for isa in native.native_levels():
        engine = native.NativeEngine(graph, threads, exact=exact, isa=isa)
        apart = np.abs(engine.run(x)[0].astype(int) - expected[0]).max()
        assert apart <= (0 if exact and not NEAR else 2)


def test_a_network_that_is_mostly_of_floats_goes_elsewhere() -> None:
    graph = plan.prepare(island(3))
    assert "so much float32: 25% of the multiply-adds, 10% at most" in str(plan.refusal(graph))
    assert native.load_graph(graph, "island").name == "tflite"
    with pytest.raises(ModelError, match="engine=tflite or auto runs it"):
        native.load_graph(graph, "island", "native")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (tensor((4, 1, 1, 8), FLOAT), "weights that are no constant"),
        (tensor((4, 1, 1, 8), INT8, data=np.ones((4, 1, 1, 8))), "int8 weights on float32"),
    ],
)
def test_what_is_refused(wrong: Tensor, why: str) -> None:
    graph = single(
        "CONV_2D",
        [tensor((1, 3, 3, 8), FLOAT), wrong],
        [tensor((1, 3, 3, 4), FLOAT)],
        **layer(0, 1, 2, 3).options,
    )
    assert why in str(refuses(graph))
