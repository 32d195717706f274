"""Whole networks on the native engine: `exact` gives TFLite's reference bytes, fast the same everywhere."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import edgekit._native as native
import numpy as np
import pytest
from examples import examples
from hypothesis import assume, currently_in_test_context, given
from hypothesis import strategies as st
from mixed_nets import mixed_net
from nets import Net, random_inputs, run_reference
from numpy.typing import NDArray
from picture_nets import LAYERS, Step, picture_net, single_layer, with_float_ends

from edgekit import engine, model, plan
from edgekit.errors import ModelError
from edgekit.model.graph import Graph

CHOICES = st.randoms(use_true_random=False)
DTYPES = st.sampled_from(["int8", "int8", "uint8"])
MODELS = (
    "coral_mobilenet_v1_0.25_128_quant", "coral_tf2_mobilenet_v2_1.0_224_ptq", "emza_ssd_slim_120x160x1_int8",
    "mlperf_ad01_int8", "mlperf_kws_ref_model", "mlperf_pretrainedResnet_quant", "mlperf_vww_96_int8",
    "nxp_yolov8n_full_integer_quant_416", "openmv_blazeface_front_128", "openmv_fomo_face_detection",
    "openmv_yolo_lc_192", "pine_yolov5n-int8",
)  # fmt: skip


def prepared(graph: Graph) -> Graph:
    made = plan.prepare(graph)
    reason = plan.refusal(made)
    if currently_in_test_context():  # scales drawn at random may ask for too much
        assume(reason is None or not reason.endswith("sums beyond 32 bits"))
    assert reason is None
    return made


def outputs(graph: Graph, inputs: list[NDArray[Any]], **options: Any) -> list[NDArray[Any]]:
    return engine.NativeEngine(graph, **options).run(inputs)


def assert_equal(got: list[NDArray[Any]], expected: list[NDArray[Any]]) -> None:
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("name", MODELS)
def test_real_networks_are_exact(name: str, shared: Path) -> None:
    graph = model.read(shared / f"data/models/{name}.tflite")
    inputs = random_inputs(graph, 1)
    assert_equal(outputs(prepared(graph), inputs, exact=True), run_reference(graph, inputs))


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [(96, 32, 32, "VALID"), (60, 20, 33, "SAME"), (130, 64, 64, "VALID"), (40, 3, 500, "SAME")],
)
def test_long_strides_are_exact(size: int, window: int, stride: int, padding: str) -> None:
    """As a vision transformer cuts a picture into patches; where there is one output, any stride is none."""
    net, rng = Net(), np.random.default_rng(1)
    count = -(-size // stride) if padding == "SAME" else (size - window) // stride + 1
    weights = net.weights(rng.integers(-127, 128, (8, window, window, 3)), 0.0002)
    ends = [net.input(1, size, size, 3), weights, net.bias(np.zeros(8), 0.00002)]
    options = {"padding": padding, "stride_h": stride, "stride_w": stride}
    graph = net.graph(net.op("CONV_2D", ends, (1, count, count, 8), scale=0.3, **options))
    inputs = random_inputs(graph, 1)
    assert_equal(outputs(prepared(graph), inputs, exact=True), run_reference(graph, inputs))
    for level in native.cpu_levels():
        assert_equal(outputs(prepared(graph), inputs, isa=level), outputs(prepared(graph), inputs))


def test_a_longer_stride_is_refused() -> None:
    net = Net()
    ends = [net.input(1, 200, 200, 1), net.weights(np.ones((1, 3, 3, 1))), net.bias([0])]
    graph = net.graph(net.op("CONV_2D", ends, (1, 2, 2, 1), stride_h=150, stride_w=150))
    assert plan.refusal(plan.prepare(graph)) == "operator 0 CONV_2D: a stride of 150; 64 are the most"


def test_an_invalid_network_is_refused(shared: Path) -> None:
    with pytest.raises(ModelError, match="operator 0 CUSTOM:fake-op-double: not among the native kernels"):
        engine.load(shared / "data/models/coral_invalid_model_invoking_error.tflite", "native")


@examples(150)
@given(CHOICES, st.integers(1, 9), DTYPES, st.booleans())
def test_random_networks_are_exact(choices: Random, length: int, dtype: str, real: bool) -> None:
    graph = picture_net(choices, length, dtype)
    graph = with_float_ends(graph) if real else graph
    inputs = random_inputs(graph, choices.randint(0, 99))
    assert_equal(outputs(prepared(graph), inputs, exact=True), run_reference(graph, inputs))


@examples(100)
@given(st.integers(0, 2**32), st.integers(1, 9), DTYPES)
def test_networks_that_move_pictures_about_are_exact(seed: int, length: int, dtype: str) -> None:
    graph = mixed_net(Random(seed), length, dtype)
    inputs = random_inputs(graph, seed)
    made = prepared(graph)
    assert_equal(outputs(made, inputs, exact=True), run_reference(graph, inputs))
    assert_equal(outputs(made, inputs, isa="scalar"), outputs(made, inputs, threads=2))


@examples(60)
@given(CHOICES, st.integers(1, 9), DTYPES)
def test_every_level_and_number_of_threads_gives_the_same_bytes(
    choices: Random, length: int, dtype: str
) -> None:
    graph = prepared(picture_net(choices, length, dtype))
    inputs = random_inputs(graph, choices.randint(0, 99))
    expected = outputs(graph, inputs, isa="scalar")
    for level in native.cpu_levels()[1:]:
        for threads in (1, 2, 4):
            loaded = engine.NativeEngine(graph, threads, isa=level)
            for _ in range(2):
                assert_equal(loaded.run(inputs), expected)


@examples(40)
@given(st.integers(0, 2**32), st.integers(0, 255), st.sampled_from(["SAME", "VALID"]), st.booleans())
def test_transposed_convolutions_of_uint8_are_exact(seed: int, zero: int, padding: str, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    rows, columns, depth, height, width, stride, channels = rng.integers(1, 6, 7).tolist()
    stride = int(rng.choice([stride, 9]))  # the plain kernel's
    if padding == "SAME":
        size = (rows * stride, columns * stride)
    else:
        size = ((rows - 1) * stride + height, (columns - 1) * stride + width)
    net, shape = Net("uint8"), (2, *size, channels)
    x = net.input(2, rows, columns, depth)
    kernel = rng.integers(0, 256, (channels, height, width, depth))
    weights = net.constant(kernel, "uint8", scale=0.02, zero_point=zero)
    bias = [net.bias(rng.integers(-9000, 9000, channels))] if biased else []
    ends = [net.constant(shape), weights, x, *bias]
    options = {"padding": padding, "stride_h": stride, "stride_w": stride}
    graph = net.graph(net.op("TRANSPOSE_CONV", ends, shape, scale=1.7, zero_point=99, **options))
    inputs = random_inputs(graph, seed)
    expected = run_reference(graph, inputs)
    for level in native.cpu_levels():
        assert_equal(outputs(prepared(graph), inputs, isa=level, exact=True), expected)
        fast = outputs(prepared(graph), inputs, isa=level)[0].astype(int)
        assert np.abs(fast - expected[0]).max() <= 1


def enlarged(size: int, stride: int, scale: float = 1.7) -> Graph:
    """A network of one TRANSPOSE_CONV with a window of that size."""
    net, shape = Net(), (1, 6 * stride, 4 * stride, 8)
    kernel = net.weights(np.random.default_rng(3).integers(-99, 100, (8, size, size, 8)))
    options = {"padding": "SAME", "stride_h": stride, "stride_w": stride, "scale": scale}
    ends = [net.constant(shape), kernel, net.input(1, 6, 4, 8)]
    return net.graph(net.op("TRANSPOSE_CONV", ends, shape, **options))


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        (2, 2, {"conv", "join_phases"}),
        (3, 1, {"conv"}),
        (1, 2, {"conv", "join_phases"}),
        (64, 32, {"conv", "join_phases"}),
        (1, 8, {"transpose_conv"}),
        (2, 65, {"transpose_conv"}),
    ],
)
def test_transposed_convolutions_are_convolutions(size: int, stride: int, expected: set[str]) -> None:
    """But for those of which hardly any phase has a weight."""
    families = {step.family for step in plan.build(prepared(enlarged(size, stride)), "scalar").steps}
    assert families - {"pack_planes", "unpack_planes"} == expected


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
@examples(40)
@given(choices=CHOICES, dtype=DTYPES)
def test_a_layer_differs_by_one_at_most(layer: Step, choices: Random, dtype: str) -> None:
    graph = single_layer(choices, layer, dtype)
    inputs = random_inputs(graph, choices.randint(0, 99))
    for got, expected in zip(outputs(prepared(graph), inputs), run_reference(graph, inputs), strict=True):
        assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avxvnni", "avx512vnni", "neon", "neondot"])
def test_plans_for_every_level_are_made_on_any_machine(isa: str) -> None:
    graph = prepared(picture_net(Random(3), 8))
    made = plan.build(graph, isa, threads=4)
    assert made.isa == isa
    assert made.arena_bytes > 0
    assert {number for number in made.operators if number >= 0} <= set(range(len(graph.ops) + 1))


def test_fast_outputs_are_those_of_every_other_machine() -> None:
    """Networks, inputs and outputs as they were once written: no release and no CPU may give other bytes."""
    with np.load(Path(__file__).parent / "golden" / "native_fast.npz") as kept:
        for number in range(12):
            graph = prepared(model.read_bytes(kept[f"{number}_network"].tobytes()))
            inputs = [kept[f"{number}_input_{place}"] for place in range(len(graph.inputs))]
            for place, got in enumerate(outputs(graph, inputs)):
                np.testing.assert_array_equal(got, kept[f"{number}_output_{place}"])


def test_a_gate_of_one_value_a_channel_is_multiplied_in_planes() -> None:
    net = Net()
    x = net.input(2, 9, 9, 8)
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "NONE"}
    weights, bias = net.weights(np.ones((8, 1, 1, 8))), net.bias(np.zeros(8))
    y = net.op("CONV_2D", [x, weights, bias], (2, 9, 9, 8), scale=0.2, **options)
    pooled = net.op("MEAN", [y, net.constant([1, 2])], (2, 1, 1, 8), keep_dims=True, scale=0.2)
    gated = net.op("MUL", [pooled, y], (2, 9, 9, 8), scale=0.4, fused_activation_function="NONE")
    steps = plan.build(net.graph(gated), "scalar").steps
    assert [step.family for step in steps].count("mul_planes") == 1
