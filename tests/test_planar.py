"""Convolutions whose zeros stand alone, over input in planes of one channel: the same sums by other lists."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from nets import Net, random_inputs, run_reference
from picture_nets import picture_net

from edgekit import plan
from edgekit.engine import NativeEngine, native_levels
from edgekit.model.graph import Graph
from edgekit.plan import costs
from edgekit.plan.pack import pack_planar

PLANAR = [isa for isa, unit in costs.UNITS.items() if unit.planar]
LEVELS = [isa for isa in PLANAR if isa in native_levels()]
FREE = costs.Kernel((1, 2), 0, 0, 0, 0, 0)


@pytest.fixture
def planar_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for isa in PLANAR:
        monkeypatch.setitem(costs.UNITS, isa, replace(costs.UNITS[isa], planar=FREE, spread=-costs.STEP))


def planar_steps(engine: NativeEngine) -> int:
    return sum(bool(step.fields.get("planar")) for step in engine.plan.steps)


@pytest.mark.usefixtures("planar_is_free")
@pytest.mark.parametrize("isa", LEVELS)
def test_random_networks_give_the_same_bytes(isa: str) -> None:
    planned = 0
    for seed in range(25):
        graph = plan.prepare(picture_net(Random(seed), 6))
        inputs = random_inputs(graph, seed)
        for threads, exact in ((1, False), (2, False), (1, True)):
            engine = NativeEngine(graph, threads, isa=isa, exact=exact)
            usual = NativeEngine(graph, isa="scalar", exact=exact)
            planned += planar_steps(engine)
            for got, expected in zip(engine.run(inputs), usual.run(inputs), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")
    assert planned > 25


def two_readers(share: float) -> Graph:
    """Convolutions with other margins over one picture, one ending in a sum; weights are zero one by one."""
    rng, net = np.random.default_rng(3), Net()
    x = net.input(1, 20, 20, 64)
    ends = []
    for size in (3, 5):
        weights = rng.integers(-127, 128, (64, size, size, 64)) * (rng.random((64, size, size, 64)) < share)
        bias = net.bias(rng.integers(-500, 500, 64))
        options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "NONE"}
        ends.append(net.op("CONV_2D", [x, net.weights(weights), bias], (1, 20, 20, 64), scale=2.0, **options))
    total = net.op("ADD", [ends[0], x], (1, 20, 20, 64), scale=2.0, fused_activation_function="RELU")
    return net.graph(total, ends[1])


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize(("share", "chosen"), [(0.04, 2), (0.5, 0)])
def test_it_is_chosen_where_single_weights_are_left(isa: str, share: float, chosen: int) -> None:
    graph = two_readers(share)
    engine = NativeEngine(plan.prepare(graph), isa=isa, exact=True)
    assert planar_steps(engine) == chosen
    assert sum(step.family == "spread_planes" for step in engine.plan.steps) == (chosen > 0)
    inputs = random_inputs(graph, 1)
    for got, expected in zip(engine.run(inputs), run_reference(graph, inputs), strict=True):
        np.testing.assert_array_equal(got, expected)


@examples(60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 70), st.floats(0, 1))
def test_every_weight_is_listed_once_and_no_pair_is_wide(
    seed: int, outputs: int, inputs: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, (outputs, inputs)) * (rng.random((outputs, inputs)) < share)
    places = rng.permutation(10 * inputs)[:inputs]
    entries = pack_planar(weights, places)
    values = np.ascontiguousarray(entries.records[:, 4:]).view(np.int8).astype(int)
    pairs = values.reshape(-1, 2, 2)
    assert np.maximum(pairs, 0).sum(2).max(initial=0) * 255 <= 32767
    assert np.minimum(pairs, 0).sum(2).min(initial=0) * 255 >= -32768
    for row, start, end in zip(weights, entries.starts[:-1], entries.starts[1:], strict=True):
        found = np.zeros(10 * inputs, int)
        np.add.at(found, entries.records[start:end, :4], values[start:end])
        np.testing.assert_array_equal(found[places], row)
        assert np.count_nonzero(values[start:end]) == np.count_nonzero(row)
