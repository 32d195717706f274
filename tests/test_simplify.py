"""Simplified graphs compute the same bytes as before, by TFLite's reference kernels, with fewer operators."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from nets import Array, Net, assert_same, kinds, random_inputs, run_reference
from random_nets import random_net
from strategies import graphs

from edgekit import model
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.simplify import explicit_padding, simplify, to_int8
from edgekit.plan.simplify.arithmetic import multiply, round_half_away
from edgekit.plan.simplify.draft import Draft
from edgekit.plan.simplify.layers import read_layer

REAL = (
    "coral_mobilenet_v1_0.25_128_quant", "emza_ssd_slim_120x160x1_int8", "mlperf_ad01_int8",
    "mlperf_kws_ref_model", "mlperf_pretrainedResnet_quant", "mlperf_vww_96_int8",
    "openmv_blazeface_front_128", "openmv_fomo_face_detection",
)  # fmt: skip


# Passes


def test_what_depends_on_constants_alone_is_computed() -> None:
    net = Net()
    x = net.input(2, 3, 4)
    shape = net.op("SHAPE", [x], (3,), dtype="int32", out_type="INT32")
    first = net.op(
        "STRIDED_SLICE",
        [shape, *(net.constant([i]) for i in (0, 1, 1))],
        (),
        dtype="int32",
        shrink_axis_mask=1,
    )
    half = net.op("MUL", [first, net.constant(6)], (), dtype="int32")
    wanted = net.op("PACK", [half, net.constant(-1)], (2,), dtype="int32", values_count=2)
    y = net.op("RESHAPE", [x, wanted], (12, 2))
    z = net.op("RELU", [y], (12, 2))
    done = simplify(net.graph(z))
    assert kinds(done) == ["RESHAPE", "RELU"]
    assert done.ops[0].options["new_shape"] == (12, 2)
    assert_same(net.graph(z), done)


def test_constants_are_quantised_as_the_kernels_do() -> None:
    net, values = Net(), np.array([[-99, -0.05, 0.05, 0.15, 0.25, 12.7, 99]], np.float32)
    x = net.input(1, 7)
    byte = net.op("QUANTIZE", [net.tensor((1, 7), values, dtype="float32")], (1, 7), scale=0.1, zero_point=4)
    other = net.op("QUANTIZE", [byte], (1, 7), scale=0.013, zero_point=-20)
    real = net.op("DEQUANTIZE", [other], (1, 7), dtype="float32")
    again = net.op("QUANTIZE", [real], (1, 7), scale=0.03, zero_point=1)
    graph = net.graph(net.op("ADD", [x, again], (1, 7), scale=0.2))
    done = simplify(graph)
    assert kinds(done) == ["ADD"]
    assert_same(graph, done, range(3))


def test_folding_stays_within_its_budget() -> None:
    net = Net()
    x, part = net.input(1, dtype="int32"), net.constant(np.ones(1000))
    size = 1000
    for _ in range(20):
        size *= 2
        part = net.op("CONCATENATION", [part, part], (size,), dtype="int32")
    total = net.op("SUM", [part, net.constant([0])], (1,), dtype="int32", keep_dims=True)
    done = simplify(net.graph(net.op("ADD", [x, total], (1,), dtype="int32")))
    assert sum(tensor.size_bytes for tensor in done.tensors if tensor.data is not None) < 2**21
    assert 10 < len(done.ops) < 22


def noops() -> Graph:
    """A chain of operators that hand on what they get."""
    net = Net()
    x, shape = net.input(1, 4, 5, 2), (1, 4, 5, 2)
    unit, zero = net.constant(np.full(2, 13), "int8"), net.constant([[[[3, 3]]]], "int8", scale=0.2)
    window = {"stride_w": 1, "stride_h": 1, "filter_width": 1, "filter_height": 1}
    for kind, others, options in (
        ("PAD", [net.constant(np.zeros((4, 2)))], {}),
        ("TRANSPOSE", [net.constant([0, 1, 2, 3])], {}),
        ("SLICE", [net.constant([0] * 4), net.constant([-1] * 4)], {}),
        (
            "STRIDED_SLICE",
            [net.constant([0] * 4), net.constant(shape), net.constant([1] * 4)],
            {"begin_mask": 4},
        ),
        ("CONCATENATION", [], {"axis": 3}),
        ("MUL", [unit], {}),
        ("ADD", [zero], {}),
        ("SUB", [zero], {}),
        ("QUANTIZE", [], {}),
        ("RESIZE_NEAREST_NEIGHBOR", [net.constant([4, 5])], {"half_pixel_centers": True}),
        ("RESIZE_BILINEAR", [net.constant([4, 5])], {"align_corners": True}),
        ("MAX_POOL_2D", [], window),
        ("AVERAGE_POOL_2D", [], window),
        ("RESHAPE", [net.constant(shape)], {}),
    ):
        x = net.op(kind, [x, *others], shape, **options)
    return net.graph(net.op("RELU", [net.op("MUL", [unit, x], shape)], shape))


def test_operators_that_hand_on_what_they_get_go() -> None:
    done = simplify(noops())
    assert kinds(done) == ["RELU"]
    assert_same(noops(), done, range(3))


@pytest.mark.parametrize("index", range(15))
def test_operators_that_only_look_alike_stay(index: int) -> None:
    graph = noops()
    result = graph.ops[index].outputs[0]
    tensors = list(graph.tensors)
    tensors[result] = replace(tensors[result], scale=np.array([0.25], np.float32))
    assert len(simplify(replace(graph, tensors=tuple(tensors))).ops) > 1


def test_an_output_keeps_its_name_when_its_operator_goes() -> None:
    net = Net()
    x = net.input(2, 3)
    y = net.op("RELU", [x], (2, 3))
    one = net.op("RESHAPE", [y, net.constant([2, 3])], (2, 3), name="one")
    two = net.op("RESHAPE", [y, net.constant([2, 3])], (2, 3), name="two")
    done = simplify(net.graph(one, two))
    assert kinds(done) == ["RELU", "RESHAPE"]
    assert_same(net.graph(one, two), done)


def test_an_input_that_is_an_output_stays() -> None:
    net = Net()
    x = net.input(2, 3)
    graph = net.graph(net.op("RESHAPE", [x, net.constant([2, 3])], (2, 3)))
    assert_same(graph, simplify(graph))


def test_reshapes_in_a_row_are_one() -> None:
    net = Net()
    x = net.input(1, 1, 6, 4)
    a = net.op("SQUEEZE", [x], (6, 4), squeeze_dims=(0, 1))
    b = net.op("EXPAND_DIMS", [a, net.constant(1)], (6, 1, 4))
    c = net.transpose(b, 0, 2, 1)
    d = net.op("RESHAPE", [c, net.constant([3, -1])], (3, 8))
    graph = net.graph(net.op("RELU", [d], (3, 8)))
    done = simplify(graph)
    assert kinds(done) == ["RESHAPE", "RELU"]
    assert_same(graph, done)


def exported() -> Graph:
    """A network as exporters from NCHW make it: every layer between two TRANSPOSEs."""
    net, rng = Net(), np.random.default_rng(3)
    x = net.transpose(net.input(1, 8, 8, 4), 0, 3, 1, 2)
    per_channel = net.constant(rng.integers(-99, 99, (4, 1, 1)), "int8", scale=0.02)
    x = net.op("ADD", [x, per_channel], (1, 4, 8, 8), scale=0.2)
    y = net.op("LOGISTIC", [x], (1, 4, 8, 8), scale=1 / 256, zero_point=-128)
    x = net.op("MUL", [y, x], (1, 4, 8, 8))
    x = net.op("PAD", [x, net.constant([[0, 0], [0, 0], [1, 2], [3, 0]])], (1, 4, 11, 11))
    x = net.op("CONCATENATION", [x, x], (1, 8, 11, 11), axis=1)
    left, right = net.ops_of(
        "SPLIT", [net.constant(-3), x], [net.tensor((1, 4, 11, 11)) for _ in range(2)], {"num_splits": 2}
    )
    x = net.op("MAXIMUM", [left, right], (1, 4, 11, 11))
    x = net.op("SLICE", [x, net.constant([0, 1, 0, 2]), net.constant([1, 3, -1, 5])], (1, 3, 11, 5))
    steps = [net.constant(row) for row in ([0, 0, 1, 4], [0, 0, 11, 0], [1, 1, 2, -1])]
    x = net.op("STRIDED_SLICE", [x, *steps], (1, 3, 5, 5), begin_mask=3, end_mask=11)
    x = net.op("PRELU", [x, net.constant(rng.integers(-99, 99, (3, 1, 1)), "int8")], (1, 3, 5, 5))
    pooled = net.op("MEAN", [x, net.constant([2, 3])], (1, 3), scale=0.05)
    x = net.transpose(net.transpose(x, 0, 2, 3, 1), 0, 3, 1, 2)
    maps = net.op("QUANTIZE", [net.transpose(x, 0, 2, 3, 1)], (1, 5, 5, 3), scale=0.3)
    return net.graph(pooled, maps)


def test_transposes_sink_until_they_cancel() -> None:
    done = simplify(exported())
    assert "TRANSPOSE" not in kinds(done)
    assert len(done.ops) == len(exported().ops) - 4
    assert_same(exported(), done, range(5))


def test_a_transpose_that_nothing_cancels_stays_where_it_was() -> None:
    net = Net()
    x = net.transpose(net.input(2, 3, 4), 2, 0, 1)
    graph = net.graph(net.op("RELU", [x], (4, 2, 3)), net.op("LEAKY_RELU", [x], (4, 2, 3)))
    assert kinds(simplify(graph)) == ["TRANSPOSE", "RELU", "LEAKY_RELU"]


def test_a_transpose_sinks_to_where_there_is_less_to_move() -> None:
    net = Net()
    x = net.transpose(net.input(2, 30, 4), 2, 0, 1)
    graph = net.graph(net.op("REDUCE_MAX", [x, net.constant([2])], (4, 2, 1), keep_dims=True))
    done = simplify(graph)
    assert kinds(done) == ["REDUCE_MAX", "TRANSPOSE"]
    assert_same(graph, done)


def test_both_sides_of_an_addition_must_agree() -> None:
    net = Net()
    x, y = net.input(1, 3, 3, 3), net.input(1, 3, 3, 3)
    total = net.op("ADD", [net.transpose(x, 0, 3, 1, 2), net.transpose(y, 0, 2, 3, 1)], (1, 3, 3, 3))
    graph = net.graph(net.transpose(total, 0, 2, 3, 1))
    done = simplify(graph)
    assert kinds(done).count("TRANSPOSE") == 3
    assert_same(graph, done)


# Channels


class Pruned(Net):
    """Layers of which the given outputs have no weights."""

    def conv(self, x: int, count: int, dead: tuple[int, ...] = (), size: int = 1, **options: Any) -> int:
        given, rng = self.tensors[x].shape, np.random.default_rng(len(self.ops))
        weights = rng.integers(1, 99, (count, size, size, given[3])) * rng.choice(
            [-1, 1], (count, 1, 1, given[3])
        )
        weights[list(dead)] = 0
        bias = self.bias(rng.integers(-999, 999, count))
        steps = {"stride_h": 1, "stride_w": 1, "scale": 0.1, **options}
        return self.op("CONV_2D", [x, self.weights(weights), bias], (*given[:3], count), **steps)

    def depthwise(self, x: int, dead: tuple[int, ...] = (), multiplier: int = 1, **options: Any) -> int:
        given, rng = self.tensors[x].shape, np.random.default_rng(len(self.ops))
        count = given[3] * multiplier
        weights = rng.integers(1, 99, (1, 3, 3, count))
        weights[..., list(dead)] = 0
        inputs = [x, self.weights(weights), self.bias(rng.integers(-999, 999, count))]
        steps = {"stride_h": 1, "stride_w": 1, "depth_multiplier": multiplier, **options}
        return self.op("DEPTHWISE_CONV_2D", inputs, (*given[:3], count), **steps)


def widths(graph: Graph) -> list[int]:
    """How many channels each layer gives."""
    layers = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    return [graph.tensors[op.outputs[0]].shape[-1] for op in graph.ops if op.kind in layers]


def test_outputs_without_weights_vanish_into_the_next_bias() -> None:
    net = Pruned()
    x = net.conv(net.input(1, 5, 5, 3), 6, dead=(0, 2, 5), fused_activation_function="RELU")
    graph = net.graph(net.conv(net.conv(x, 7), 2))
    done = simplify(graph)
    assert widths(done) == [3, 7, 2]
    assert_same(graph, done, range(3))


def test_a_padded_window_sees_whether_a_channel_is_its_zero_point() -> None:
    net = Pruned()
    x = net.conv(net.input(1, 5, 5, 3), 4, dead=(0, 1))
    bias = net.tensors[net.ops[-1].inputs[2]]
    values = np.array([0, 900, 5, 5], np.int32)  # the first is the zero point then, the second is not
    net.tensors[net.ops[-1].inputs[2]] = replace(bias, data=values)
    y = net.conv(net.depthwise(x), 3)
    graph = net.graph(y)
    done = simplify(graph)
    assert widths(done) == [3, 3, 3]
    assert_same(graph, done, range(3))


def test_channels_go_through_depthwise_layers_that_multiply_them() -> None:
    net = Pruned()
    x = net.depthwise(net.conv(net.input(1, 5, 5, 3), 4), dead=(2, 3, 5), multiplier=2)
    graph = net.graph(net.conv(x, 3))
    done = simplify(graph)
    assert widths(done) == [3, 6, 3]
    assert_same(graph, done, range(3))


def test_channels_that_are_added_go_only_together() -> None:
    net = Pruned()
    x = net.input(1, 4, 4, 3)
    one, other = net.conv(x, 5, dead=(0, 1, 2)), net.conv(x, 5, dead=(1, 2, 3))
    total = net.op("ADD", [one, other], (1, 4, 4, 5))
    last = net.conv(total, 3)
    weights = net.ops[-1].inputs[1]
    data = np.array(net.tensors[weights].data)
    data[..., [1, 4]] = 0
    net.tensors[weights] = replace(net.tensors[weights], data=data)
    graph = net.graph(last)
    done = simplify(graph)
    assert widths(done) == [3, 3, 3]
    assert_same(graph, done, range(3))


def test_channels_go_through_concatenations_and_into_flat_layers() -> None:
    net = Pruned()
    x = net.input(1, 4, 4, 3)
    both = net.op(
        "CONCATENATION", [net.conv(x, 3, dead=(1,)), net.conv(x, 2, dead=(0,))], (1, 4, 4, 5), axis=-1
    )
    window = dict.fromkeys(("filter_height", "filter_width", "stride_h", "stride_w"), 2)
    flat = net.op(
        "RESHAPE", [net.op("MAX_POOL_2D", [both], (1, 2, 2, 5), **window)], (1, 20), new_shape=(1, 20)
    )
    weights = net.weights(np.random.default_rng(0).integers(-99, 99, (4, 20)))
    graph = net.graph(net.op("FULLY_CONNECTED", [flat, weights, -1], (1, 4)))
    done = simplify(graph)
    assert widths(done) == [2, 1, 4]
    assert [op.options["new_shape"] for op in done.ops if op.kind == "RESHAPE"] == [(1, 12)]
    assert_same(graph, done, range(3))


def test_one_channel_stays_where_none_is_needed() -> None:
    net = Pruned()
    x = net.conv(net.input(1, 4, 4, 3), 5, dead=(0, 1, 2, 3, 4))
    graph = net.graph(net.conv(x, 2))
    done = simplify(graph)
    assert widths(done) == [1, 2]
    assert_same(graph, done)


@pytest.mark.parametrize(("dead", "left"), [((1,), 8), ((0, 1, 2, 3), 4)])
def test_blocks_of_zeros_stay_in_step(dead: tuple[int, ...], left: int) -> None:
    net = Pruned()
    x = net.conv(net.input(1, 4, 4, 3), 8, dead=dead)
    x = net.conv(x, 2)
    index = net.ops[-1].inputs[1]
    weights = np.array(net.tensors[index].data)
    weights[0, ..., 4:], weights[1, ..., :4] = 0, 0
    net.tensors[index] = replace(net.tensors[index], data=weights)
    graph = net.graph(x)
    done = simplify(graph)
    assert widths(done) == [left, 2]
    assert_same(graph, done)


def test_what_is_asked_for_stays() -> None:
    net = Pruned()
    x = net.conv(net.input(1, 4, 4, 3), 5, dead=(0, 1))
    graph = net.graph(net.conv(x, 2), x)
    done = simplify(graph)
    assert widths(done) == [5, 2]
    assert_same(graph, done)


def test_a_pruned_network_loses_most_of_its_channels(shared: Path) -> None:
    graph = model.read(shared / "data/models/mlperf_vww_96_int8.tflite")
    assert sum(widths(graph)) == 2738
    assert sum(widths(simplify(graph))) == 1184


# Arithmetic


def biases(kind: str, dtype: str, values: Array, scales: tuple[float, float, float]) -> Graph:
    """A layer that stores nothing but its biases; the weights are zero."""
    zero = 0 if dtype == "int8" else 128
    net, count = Net(dtype, scales[0], 0), len(values)
    shapes = {
        "CONV_2D": (count, 1, 1, 1),
        "DEPTHWISE_CONV_2D": (1, 1, 1, count),
        "FULLY_CONNECTED": (count, 1),
    }
    x = net.input(1, 1, 1, 1) if kind != "FULLY_CONNECTED" else net.input(1, 1)
    w = net.constant(np.full(shapes[kind], zero), dtype, scale=scales[1], zero_point=zero)
    b = net.bias(values, float(np.float32(scales[0]) * np.float32(scales[1])))
    steps = {"stride_h": 1, "stride_w": 1, "depth_multiplier": count}
    options: dict[str, Any] = {
        "CONV_2D": {name: steps[name] for name in ("stride_h", "stride_w")}, "DEPTHWISE_CONV_2D": steps,
    }.get(kind, {})  # fmt: skip
    shape = (1, 1, 1, count) if kind != "FULLY_CONNECTED" else (1, count)
    return net.graph(net.op(kind, [x, w, b], shape, scale=scales[2], zero_point=zero, **options))


def stored_biases(graph: Graph) -> Array:
    """What edgekit says that such a layer stores."""
    turned = to_int8(graph)
    number = next(n for n, op in enumerate(turned.ops) if op.kind != "QUANTIZE")
    layer = read_layer(Draft(turned), turned.ops[number])
    assert layer is not None
    sure, values = layer.stored(layer.start)
    assert sure.all()
    return values + (128 if graph.tensors[graph.outputs[0]].dtype == np.uint8 else 0)


LAYERS = [
    (kind, dtype)
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    for dtype in ("int8", "uint8")
]


@pytest.mark.parametrize(("kind", "dtype"), LAYERS)
def test_layers_round_as_the_reference_does(kind: str, dtype: str) -> None:
    for scales in ((0.5, 0.25, 1.0), (0.1, 0.07, 0.09), (2.0, 3.0, 1.7)):
        graph = biases(kind, dtype, np.arange(-700, 700), scales)
        np.testing.assert_array_equal(
            run_reference(graph, random_inputs(graph, 0))[0].ravel(), stored_biases(graph)
        )


@pytest.mark.parametrize(("kind", "dtype"), LAYERS)
def test_the_last_bits_of_a_factor_are_those_of_the_reference(kind: str, dtype: str) -> None:
    rng, seen = np.random.default_rng(0), 0
    while seen < 8:
        one, other = np.exp(rng.uniform(-6, -1, 2)).astype(np.float32)
        last = np.float32(float(one) * float(other) * 2e6)
        exact, single = float(one) * float(other) / float(last), float(one * other) / float(last)
        values = rng.integers(-(2**27), 2**27, 400_000)
        telling = (multiply(values, exact) != multiply(values, single)) | (
            round_half_away(values * exact) != multiply(values, exact)
        )
        values = values[telling][:64]
        if not len(values):
            continue
        seen += len(values)
        graph = biases(kind, dtype, values, (float(one), float(other), float(last)))
        np.testing.assert_array_equal(
            run_reference(graph, random_inputs(graph, 0))[0].ravel(), stored_biases(graph)
        )


def test_adding_zero_to_a_float_is_not_nothing() -> None:
    net = Net("float32")
    x, zero = net.input(1, 2), net.constant([0, 0], "float32")
    y = net.op("RELU", [net.op("SUB", [net.op("ADD", [x, zero], (1, 2)), zero], (1, 2))], (1, 2))
    assert kinds(simplify(net.graph(y))) == ["ADD", "RELU"]


# uint8


def unsigned_layer(zero_point: int) -> Graph:
    """uint8 layers, one of which averages, which int8 does otherwise."""
    net, rng = Net("uint8", 0.05, 120), np.random.default_rng(zero_point)
    x = net.input(1, 9, 9, 3)
    w = net.constant(rng.integers(0, 256, (5, 3, 3, 3)), "uint8", scale=0.01, zero_point=zero_point)
    b = net.bias(rng.integers(-999, 999, 5), 0.0005)
    steps = {"stride_w": 1, "stride_h": 1, "padding": "SAME"}
    x = net.op("CONV_2D", [x, w, b], (1, 9, 9, 5), scale=0.15, fused_activation_function="RELU6", **steps)
    d = net.constant(rng.integers(0, 256, (1, 3, 3, 5)), "uint8", scale=0.02, zero_point=zero_point)
    x = net.op(
        "DEPTHWISE_CONV_2D", [x, d, b], (1, 9, 9, 5), scale=0.3, zero_point=77, depth_multiplier=1, **steps
    )
    window = {"filter_width": 2, "filter_height": 2, "stride_w": 2, "stride_h": 2}
    x = net.op("AVERAGE_POOL_2D", [x], (1, 5, 5, 5), scale=0.3, zero_point=77, **window)
    x = net.op("ADD", [x, net.constant([[[[1, 90, 200, 255, 0]]]], "uint8")], (1, 5, 5, 5))
    f = net.constant(rng.integers(0, 256, (4, 125)), "uint8", scale=0.01, zero_point=zero_point)
    x = net.op("FULLY_CONNECTED", [x, f, -1], (1, 4), scale=0.2, zero_point=200)
    return net.graph(x, net.op("SOFTMAX", [x], (1, 4), scale=1 / 256, zero_point=0, beta=1.0))


def runnable(graph: Graph) -> Graph:
    """The graph with each layer that has int16 weights as the uint8 one that it was, for the interpreter."""
    tensors, ops = list(graph.tensors), []

    def add(tensor: Tensor) -> int:
        tensors.append(tensor)
        return len(tensors) - 1

    def unsigned(tensor: Tensor) -> Tensor:
        return replace(tensor, dtype=np.dtype(np.uint8), zero_point=np.asarray(tensor.zero_point) + 128)

    for op in graph.ops:
        weights = tensors[op.inputs[1]] if len(op.inputs) > 1 else None
        if weights is None or weights.dtype != np.int16 or weights.data is None:
            ops.append(op)
            continue
        least = int(weights.data.min(initial=0))
        stored = (weights.data - least).astype(np.uint8)
        x, y = add(unsigned(tensors[op.inputs[0]])), add(unsigned(tensors[op.outputs[0]]))
        w = add(replace(weights, dtype=stored.dtype, data=stored, zero_point=np.array([-least])))
        ops.append(Op("QUANTIZE", op.inputs[:1], (x,)))
        ops.append(replace(op, inputs=(x, w, *op.inputs[2:]), outputs=(y,)))
        ops.append(Op("QUANTIZE", (y,), op.outputs))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


@pytest.mark.parametrize("zero_point", [0, 100, 128, 255])
def test_uint8_networks_become_int8_ones(zero_point: int) -> None:
    graph = unsigned_layer(zero_point)
    done = to_int8(graph)
    unsigned = [tensor for tensor in done.tensors if tensor.dtype == np.uint8]
    assert len(unsigned) == 5  # the ends, and both sides of the average
    assert all(done.tensors[op.outputs[0]].dtype == np.int8 for op in done.ops if op.kind == "CONV_2D")
    weights = [t for t in done.tensors if t.dtype == np.int16 and t.data is not None]
    assert [int(t.data.min()) >= -255 for t in weights if t.data is not None] == [True] * 3
    assert_same(graph, runnable(simplify(done)), range(4))


def test_what_int8_does_otherwise_stays_uint8() -> None:
    net = Net("uint8")
    x = net.input(1, 4, 4, 2)
    y = net.op("RESIZE_BILINEAR", [x, net.constant([7, 7])], (1, 7, 7, 2))
    z = net.op("CONCATENATION", [y, y], (1, 7, 7, 4), axis=3, scale=0.2)
    assert to_int8(net.graph(z)) == net.graph(z)


# Padding


def padded(margins: list[int], padding: str, size: tuple[int, int], **pad: Any) -> tuple[Graph, Op]:
    """A PAD of an input of (1, 9, 12, 2), and a 3x2 convolution of stride 2."""
    net, rng = Net(), np.random.default_rng(1)
    x = net.input(1, 9, 12, 2)
    top, bottom, left, right = margins
    shape = (1, 9 + top + bottom, 12 + left + right, 2)
    rows = net.constant([[0, 0], [top, bottom], [left, right], [0, 0]])
    value = [net.constant(pad["value"], "int8")] if "value" in pad else []
    x = net.op("PADV2" if value else "PAD", [x, rows, *value], shape, scale=pad.get("scale", 0.1))
    w = net.weights(rng.integers(-99, 99, (3, 3, 2, 2)))
    b = net.bias([0, 100, -100], pad.get("scale", 0.1) * 0.02)
    steps = {"stride_h": 2, "stride_w": 2, "dilation_h_factor": 2}
    y = net.op("CONV_2D", [x, w, b], (1, *size, 3), padding=padding, **steps)
    return net.graph(y), net.ops[-1]


@pytest.mark.parametrize(
    ("margins", "padding", "size", "expected"),
    [
        ([1, 2, 0, 3], "VALID", (4, 7), (1, 2, 0, 3)),
        ([0, 0, 0, 0], "VALID", (3, 6), (0, 0, 0, 0)),
        ([0, 0, 0, 0], "SAME", (5, 6), (2, 2, 0, 0)),
        ([1, 0, 1, 0], "SAME", (5, 7), (1 + 1, 2, 1 + 0, 1)),
    ],
)
def test_padding_is_that_of_the_pad_and_of_the_convolution(
    margins: list[int], padding: str, size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    graph, conv = padded(margins, padding, size)
    got, source = explicit_padding(graph, conv)
    assert (got, source) == (expected, 0)
    again, convolution = padded(list(got), "VALID", size)
    assert explicit_padding(again, convolution) == (expected, 0)
    assert_same(graph, again, range(2))


@pytest.mark.parametrize("pad", [{"value": 4}, {"scale": 0.2}])
def test_a_pad_with_something_else_is_not_read_through(pad: dict[str, float]) -> None:
    graph, conv = padded([1, 1, 1, 1], "VALID", (4, 7), **pad)
    assert explicit_padding(graph, conv) == ((0, 0, 0, 0), conv.inputs[0])


def test_a_pad_with_the_zero_point_is_read_through() -> None:
    graph, conv = padded([1, 1, 1, 1], "VALID", (4, 7), value=3)
    assert explicit_padding(graph, conv) == ((1, 1, 1, 1), 0)


def test_a_pool_pads_by_itself_alone() -> None:
    net = Net()
    x = net.input(1, 4, 4, 2)
    x = net.op("PAD", [x, net.constant([[0, 0], [1, 0], [1, 0], [0, 0]])], (1, 5, 5, 2))
    window = {"filter_width": 2, "filter_height": 3, "stride_w": 2, "stride_h": 2}
    y = net.op("MAX_POOL_2D", [x], (1, 3, 3, 2), padding="SAME", **window)
    assert explicit_padding(net.graph(y), net.ops[-1]) == ((1, 1, 0, 1), x)


# Whole networks


@given(graphs())
def test_any_graph_is_simplified_or_left_as_it_is(graph: Graph) -> None:
    done = simplify(to_int8(graph))
    assert [done.tensors[i].name for i in done.outputs] == [graph.tensors[i].name for i in graph.outputs]


@examples(60)
@given(st.randoms(use_true_random=False), st.integers(1, 14))
def test_operators_that_do_not_fit_are_no_trouble(choices: Random, length: int) -> None:
    graph = random_net(choices, length)
    ops = list(graph.ops)
    place = choices.randrange(len(ops))
    inputs = list(ops[place].inputs)
    inputs[choices.randrange(len(inputs))] = choices.choice([-1, *graph.inputs, *ops[0].inputs])
    ops[place] = replace(ops[place], inputs=tuple(inputs[: choices.randint(0, 4)]))
    damaged = replace(graph, ops=tuple(ops))
    assert len(simplify(damaged).ops) <= len(ops)
    to_int8(damaged)


@examples(60)
@given(st.randoms(use_true_random=False), st.integers(1, 14))
def test_random_networks_give_the_same_bytes(choices: Random, length: int) -> None:
    graph = random_net(choices, length)
    done = simplify(graph)
    assert len(done.ops) <= len(graph.ops)
    assert_same(graph, done)


@pytest.mark.parametrize("name", REAL)
def test_real_networks_give_the_same_bytes(name: str, shared: Path) -> None:
    graph = model.read(shared / f"data/models/{name}.tflite")
    done = simplify(to_int8(graph))
    assert len([kind for kind in kinds(done) if kind != "QUANTIZE"]) <= len(graph.ops)
    inputs = random_inputs(graph, 1)
    for expected, got in zip(
        run_reference(graph, inputs), run_reference(runnable(done), inputs), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
