"""One-shot pruning: each method against its definition, and whole networks before and after."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from nets import Net, run_content
from numpy.typing import NDArray

from edgekit import engine, model
from edgekit.cli import main
from edgekit.device import load_device
from edgekit.errors import BudgetError, UsageError
from edgekit.latency import predict
from edgekit.model.graph import Graph
from edgekit.optimize.oneshot import Calibration, Goal, prune
from edgekit.optimize.oneshot.budget import Candidate, allocate, spend
from edgekit.optimize.oneshot.calibration import cut_by
from edgekit.optimize.oneshot.depthwise import solve, windows_of
from edgekit.optimize.oneshot.elimination import eliminate
from edgekit.optimize.oneshot.latency import layer_ms
from edgekit.optimize.oneshot.layers import (
    bias_of,
    find_layers,
    input_rows,
    real_values,
    replaced,
)
from edgekit.optimize.oneshot.masks import trace
from edgekit.optimize.oneshot.pattern import parse_pattern
from edgekit.optimize.oneshot.refit import Moments, Problem, damped, refit, round_weights
from edgekit.optimize.oneshot.sparsegpt import find_mask
from edgekit.plan import prepare

Array = NDArray[np.float64]
FREE = parse_pattern("unstructured")


def least_squares(inputs: int, outputs: int, seed: int) -> tuple[Array, Array, Problem]:
    """Inputs x that depend on each other, outputs y, and the problem of finding y from x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5 * inputs, inputs)) @ rng.normal(size=(inputs, inputs))
    y = x @ rng.normal(size=(inputs, outputs)) + rng.normal(size=(5 * inputs, outputs))
    return x, y, Problem(x.T @ x, y.T @ x)


def error_without(x: Array, y: Array, gone: tuple[int, ...]) -> float:
    """The least squared error of y from the other columns of x, by numpy's own least squares."""
    left = np.delete(x, gone, axis=1)
    return float(np.square(y - left @ np.linalg.lstsq(left, y, rcond=None)[0]).sum())


@examples(20)
@given(st.integers(0, 10**6))
def test_each_step_is_the_cheapest_of_all(seed: int) -> None:
    x, y, problem = least_squares(5, 1, seed)
    order = eliminate(problem.best[None], problem.hessian, 1)
    gone: tuple[int, ...] = ()
    for block, loss in zip(order.blocks[0], order.losses[0], strict=True):
        before = error_without(x, y, gone)
        steps = [error_without(x, y, (*gone, i)) - before for i in range(5) if i not in gone]
        assert loss == pytest.approx(min(steps), rel=1e-6, abs=1e-6 * before)
        gone = (*gone, int(block))
        assert error_without(x, y, gone) - before == pytest.approx(loss, rel=1e-6, abs=1e-6 * before)


def test_the_first_weight_to_go_is_the_best_of_all_subsets() -> None:
    for seed in range(20):
        x, y, problem = least_squares(6, 1, seed)
        order = eliminate(problem.best[None], problem.hessian, 1)
        best = min(range(6), key=lambda i: error_without(x, y, (i,)))
        assert order.blocks[0, 0] == best


def test_greedy_is_close_to_the_best_of_all_subsets() -> None:
    greedy, best = [], []
    for seed in range(20):
        x, y, problem = least_squares(8, 1, seed)
        gone = tuple(eliminate(problem.best[None], problem.hessian, 1).blocks[0, :4].tolist())
        greedy.append(error_without(x, y, gone))
        best.append(min(error_without(x, y, other) for other in itertools.combinations(range(8), 4)))
    assert all(g >= b * (1 - 1e-9) for g, b in zip(greedy, best, strict=True))
    assert sum(greedy) <= 1.6 * sum(best)


@pytest.mark.parametrize(("rows", "width"), [(1, 2), (1, 4), (2, 2), (4, 1), (3, 4)])
def test_blocks_cost_what_least_squares_says(rows: int, width: int) -> None:
    x, y, problem = least_squares(12, 2 * rows, 7)
    weights = problem.best.reshape(2, rows, 12)
    order = eliminate(weights, problem.hessian, width)
    for group in range(2):
        mine = y[:, group * rows : (group + 1) * rows]
        for steps in range(1, 12 // width):
            gone = order.blocks[group, :steps, None] * width + np.arange(width)
            grown = error_without(x, mine, tuple(gone.ravel())) - error_without(x, mine, ())
            assert order.losses[group, :steps].sum() == pytest.approx(grown, rel=1e-6)


@pytest.mark.parametrize(("rows", "width", "keep"), [(1, 1, 0), (2, 2, 0), (1, 1, 2)])
def test_blocks_that_go_together_go_in_nearly_the_greedy_order(
    monkeypatch: pytest.MonkeyPatch, rows: int, width: int, keep: int
) -> None:
    rng = np.random.default_rng(4)
    hessian = 0.9 ** np.abs(np.subtract.outer(np.arange(64), np.arange(64)))  # neighbours see much the same
    weights, of = rng.normal(size=(6, rows, 64)), 4 if keep else 0
    greedy = eliminate(weights, hessian, width, keep, of)
    monkeypatch.setattr("edgekit.optimize.oneshot.elimination._TOGETHER", 16)
    together = eliminate(weights, hessian, width, keep, of)
    assert all(len(set(blocks)) == len(blocks) for blocks in together.blocks.tolist())
    for steps in range(2, 64 // width - 8, 5) if not keep else (32,):
        assert together.losses[:, :steps].sum() <= 1.03 * greedy.losses[:, :steps].sum()
        for group in range(6):
            gone = (together.blocks[group, :steps, None] * width + np.arange(width)).ravel()
            inverse = np.linalg.inv(hessian)[np.ix_(gone, gone)]
            taken = weights[group][:, gone]
            cost = float(np.einsum("ri,ij,rj->", taken, np.linalg.inv(inverse), taken))
            assert together.losses[group, :steps].sum() == pytest.approx(cost, rel=1e-6)
    if keep:
        left = np.ones((6, 64), np.bool_)
        np.put_along_axis(left, together.blocks, values=False, axis=1)
        assert (left.reshape(6, -1, of).sum(axis=2) == keep).all()


def test_refit_is_least_squares_on_what_is_left() -> None:
    x, y, problem = least_squares(10, 6, 1)
    mask = np.random.default_rng(0).random((6, 10)) < 0.5
    mask[2] = False
    weights = refit(problem, mask)
    assert not weights[~mask].any()
    for row, alive in enumerate(mask):
        expected = np.linalg.lstsq(x[:, alive], y[:, row], rcond=None)[0]
        np.testing.assert_allclose(weights[row, alive], expected, rtol=1e-7)


def test_few_samples_are_not_learnt_by_heart() -> None:
    x, y, _ = least_squares(20, 4, 9)
    true = np.linalg.lstsq(x, y, rcond=None)[0].T
    before = true + np.random.default_rng(3).normal(size=true.shape) * 0.2
    few, rest = slice(0, 12), slice(12, None)

    def moments(part: slice) -> Moments:
        some, ends = x[part], y[part]
        count = len(some)
        means = np.zeros(20), np.zeros(4)
        power = np.square(ends).mean(axis=0)
        return Moments(some.T @ some / count, ends.T @ some / count, power, *means, count)

    careful, rash = (damped(moments(few), before, damping).best for damping in (0.01, -0.4 * 20 / 12))
    assert moments(few).error(rash) < moments(few).error(careful)
    assert moments(rest).error(careful) < moments(rest).error(rash)


def test_rounding_keeps_zeros_and_errs_less_than_the_nearest_numbers() -> None:
    _, _, problem = least_squares(24, 8, 2)
    mask = np.random.default_rng(1).random((8, 24)) < 0.6
    weights = refit(problem, mask)
    scale = np.abs(weights).max(axis=1) / 7
    rounded = round_weights(problem, weights, scale, (-127, 127))
    nearest = np.clip(np.rint(weights / scale[:, None]), -127, 127)

    def error(whole: NDArray[Any]) -> float:
        off = whole * scale[:, None] - weights
        return float(np.einsum("oi,ij,oj->", off, problem.hessian, off))

    assert not rounded[~mask].any()
    assert error(rounded) < 0.8 * error(nearest)


def test_rounding_is_exact_where_inputs_are_independent() -> None:
    problem = Problem(np.eye(6), np.arange(12.0).reshape(2, 6))
    rounded = round_weights(problem, problem.best, np.array([0.7, 3.0]), (-127, 3))
    np.testing.assert_array_equal(rounded, np.minimum(np.rint(problem.best / [[0.7], [3.0]]), 3))


@pytest.mark.parametrize(("name", "keep", "of"), [("2:4", 2, 4), ("1:4", 1, 4), ("4:8", 4, 8)])
@pytest.mark.parametrize("channels", [8, 6])
def test_so_many_of_so_many_stay(name: str, keep: int, of: int, channels: int) -> None:
    _, _, problem = least_squares(3 * channels, 5, 3)
    pattern = parse_pattern(name)
    mask = trace(problem, np.ones((5, 3 * channels), np.int64), channels, pattern).mask(pattern.sparsity or 0)
    apart = np.pad(mask.reshape(5, 3, channels), ((0, 0), (0, 0), (0, -channels % of)))
    counts = apart.reshape(-1, of).sum(axis=1)
    assert counts.max() <= keep
    assert counts.min() == (keep if channels % of == 0 else min(counts))


@pytest.mark.parametrize("pattern", ["1x4", "4x4", "4x1", "3x2"])
@pytest.mark.parametrize("channels", [8, 6])
def test_blocks_are_zero_as_a_whole(pattern: str, channels: int) -> None:
    shape = parse_pattern(pattern)
    _, _, problem = least_squares(2 * channels, 9, 4)
    mask = trace(problem, np.ones((9, 2 * channels), np.int64), channels, shape).mask(0.5)
    apart = mask.reshape(9, 2, channels)
    for row in range(0, 9, shape.rows):
        for start in range(0, channels, shape.width):
            block = apart[row : row + shape.rows, :, start : start + shape.width]
            assert np.all(block.all(axis=(0, 2)) | ~block.any(axis=(0, 2)))
    assert 0.2 < 1 - mask.mean() < 0.65


def test_what_is_zero_goes_first_and_costs_nothing() -> None:
    _, _, problem = least_squares(16, 4, 5)
    weights = np.random.default_rng(2).integers(1, 9, (4, 16))
    weights[:, ::2] = 0
    how = trace(problem, weights, 16, FREE)
    assert how.least == 0.5
    np.testing.assert_array_equal(how.mask(0.2), weights != 0)
    assert how.loss(0.5) < 1e-9 * how.loss(0.75)
    assert not how.mask(0.75)[weights == 0].any()


def test_sparsegpt_counts_its_errors() -> None:
    _, _, problem = least_squares(20, 3, 6)
    mask, loss = find_mask(problem.best[:, None], problem.hessian, 0.5, FREE)
    left = refit(problem, mask[:, 0]) - problem.best
    least = float(np.einsum("oi,ij,oj->", left, problem.hessian, left))
    assert mask.mean() == pytest.approx(0.5)
    assert least <= loss * (1 + 1e-9)  # no order of making up for errors beats making up for all at once
    every, nothing = find_mask(problem.best[:, None], problem.hessian, 0.0, FREE)
    assert every.all()
    assert nothing == 0


def test_long_rows_are_pruned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, problem = least_squares(32, 4, 8)
    exact = trace(problem, np.ones((4, 32), np.int64), 32, FREE)
    monkeypatch.setattr("edgekit.optimize.oneshot.masks.LONGEST", 16)
    quick = trace(problem, np.ones((4, 32), np.int64), 32, FREE)
    assert quick.mask(0.5).mean() == pytest.approx(0.5)
    assert exact.loss(0.5) < quick.loss(0.5) < 20 * exact.loss(0.5)


@given(st.data())
def test_a_budget_is_spent_as_brute_force_would(data: st.DataObject) -> None:
    layers, choices = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    numbers = st.lists(st.integers(0, 16), min_size=choices, max_size=choices)
    costs = [np.array(data.draw(numbers), float) for _ in range(layers)]
    losses = [np.array(data.draw(numbers), float) for _ in range(layers)]
    budget = float(data.draw(st.sampled_from([1, 2, 4, 8, 16, 32])))
    every = [
        (sum(float(cost[i]) for cost, i in zip(costs, numbers, strict=True)),
         sum(float(loss[i]) for loss, i in zip(losses, numbers, strict=True)))
        for numbers in itertools.product(range(choices), repeat=layers)
    ]  # fmt: skip
    fitting = [loss for cost, loss in every if cost <= budget]
    found = allocate(costs, losses, budget)
    if found is None:
        assert not fitting
        return
    assert sum(cost[i] for cost, i in zip(costs, found, strict=True)) <= budget
    assert sum(loss[i] for loss, i in zip(losses, found, strict=True)) == min(fitting)


@pytest.mark.parametrize("text", ["", "0x4", "1x65", "4:2", "4:4", "0:4", "1x", "2x4x1", "nonsense", "1 x4"])
def test_other_patterns_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected unstructured"):
        parse_pattern(text)


# ---- networks ------------------------------------------------------------------------------------


def scaled(net: Net, rng: np.random.Generator, shape: tuple[int, ...]) -> int:
    """Weights whose rows have different sizes, as trained ones."""
    sizes = rng.uniform(20, 127, (shape[0], *[1] * (len(shape) - 1)))
    return net.weights(np.clip(rng.normal(size=shape) * sizes / 2, -127, 127).astype(np.int8))


def convolutional(seed: int = 0) -> Graph:
    """Convolutions with strides, dilation and a PAD before, a depthwise one, a sum, and a classifier."""
    net, rng = Net(), np.random.default_rng(seed)
    x = net.input(1, 9, 10, 3)

    def conv(source: int, shape: tuple[int, ...], out: tuple[int, ...], **options: Any) -> int:
        bias = net.bias(rng.integers(-2000, 2000, shape[0]))
        return net.op("CONV_2D", [source, scaled(net, rng, shape), bias], out, scale=0.4, **options)

    one = {"stride_w": 1, "stride_h": 1}
    a = conv(x, (8, 3, 3, 3), (1, 9, 10, 8), fused_activation_function="RELU", **one)
    pad = net.op("PAD", [a, net.constant([[0, 0], [1, 0], [0, 1], [0, 0]])], (1, 10, 11, 8), scale=0.4)
    b = conv(pad, (12, 2, 3, 8), (1, 5, 5, 12), padding="VALID", stride_w=2, stride_h=2)
    c = conv(b, (12, 3, 3, 12), (1, 5, 5, 12), dilation_w_factor=2, dilation_h_factor=2, **one)
    depthwise = net.constant(rng.integers(-90, 90, (1, 3, 3, 12)), "int8", scale=0.02, zero_point=0)
    d = net.op(
        "DEPTHWISE_CONV_2D", [c, depthwise, net.bias(rng.integers(-900, 900, 12))], (1, 5, 5, 12), scale=0.6,
        depth_multiplier=1, **one,
    )  # fmt: skip
    e = net.op("ADD", [b, d], (1, 5, 5, 12), scale=0.6)
    pooled = net.op("MEAN", [e, net.constant([1, 2])], (1, 12), scale=0.3)
    ends = [pooled, scaled(net, rng, (6, 12)), net.bias(rng.integers(-99, 99, 6))]
    f = net.op("FULLY_CONNECTED", ends, (1, 6), scale=0.5)
    return net.graph(net.op("SOFTMAX", [f], (1, 6), beta=0.01, scale=1 / 256, zero_point=-128))


def transformer(tokens: int = 6, width: int = 16, heads: int = 2) -> Graph:
    """One block as in a ViT: patches, attention, a network for each token, and a classifier."""
    net, rng = Net(scale=0.05, zero_point=0), np.random.default_rng(3)
    each = width // heads

    def linear(source: int, inputs: int, outputs: int, scale: float = 0.2, **options: Any) -> int:
        ends = [
            source,
            scaled(net, rng, (outputs, inputs)),
            net.bias(rng.integers(-500, 500, outputs), 0.001),
        ]
        return net.op(
            "FULLY_CONNECTED", ends, (1, tokens, outputs), scale=scale, keep_num_dims=True, **options
        )

    def split(source: int) -> int:
        apart = net.op(
            "RESHAPE", [source, net.constant([1, tokens, heads, each])], (1, tokens, heads, each), scale=0.2
        )
        return net.transpose(apart, 0, 2, 1, 3, scale=0.2)

    x = net.input(1, tokens, 12)
    embedded = linear(x, 12, width)
    q, k, v = (split(linear(embedded, width, width)) for _ in range(3))
    scores = net.op("BATCH_MATMUL", [q, k], (1, heads, tokens, tokens), adj_y=True, scale=0.2)
    weights = net.op(
        "SOFTMAX", [scores], (1, heads, tokens, tokens), beta=0.2, scale=1 / 256, zero_point=-128
    )
    mixed = net.transpose(
        net.op("BATCH_MATMUL", [weights, v], (1, heads, tokens, each), scale=0.2), 0, 2, 1, 3, scale=0.2
    )
    joined = net.op("RESHAPE", [mixed, net.constant([1, tokens, width])], (1, tokens, width), scale=0.2)
    matrix = net.constant(rng.integers(-90, 90, (width, width)), "int8", scale=0.01, zero_point=0)
    projected = net.op("BATCH_MATMUL", [joined, matrix], (1, tokens, width), scale=0.2)
    rest = net.op("ADD", [embedded, projected], (1, tokens, width), scale=0.3)
    wide = linear(rest, width, 4 * width, 0.3, fused_activation_function="RELU")
    out = net.op("ADD", [rest, linear(wide, 4 * width, width, 0.4)], (1, tokens, width), scale=0.5)
    pooled = net.op("MEAN", [out, net.constant([1])], (1, width), scale=0.5)
    head = [pooled, scaled(net, rng, (5, width)), net.bias(np.zeros(5), 0.01)]
    return net.graph(net.op("FULLY_CONNECTED", head, (1, 5), scale=0.5))


def smooth_inputs(graph: Graph, count: int, seed: int = 0) -> Calibration:
    """Inputs whose numbers depend on their neighbours, as those of pictures do."""
    rng = np.random.default_rng(seed)
    tensor = graph.tensors[graph.inputs[0]]
    low = np.iinfo(tensor.dtype).min
    raw = rng.normal(size=(count, *tensor.shape)).cumsum(axis=2).cumsum(axis=3) * 9
    return Calibration([[np.clip(v + low + 128, low, low + 255).astype(tensor.dtype)] for v in raw])


def quiet(_line: str) -> None:
    pass


NETS: dict[str, Callable[[], Graph]] = {"convolutional": convolutional, "transformer": transformer}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "2:4"])
def test_a_pruned_network_runs_alike_everywhere(name: str, pattern: str) -> None:
    graph = NETS[name]()
    shown = smooth_inputs(graph, 24)
    goal = Goal(parse_pattern(pattern), None if pattern == "2:4" else 0.5)
    pruned, report = prune(graph, shown, goal, quiet)
    content = model.write(pruned, sparse=True)
    again = model.read_bytes(content)
    layers = [layer for layer in find_layers(again) if not layer.reason]
    zeros = 1 - sum(np.count_nonzero(x.matrix) for x in layers) / sum(x.size for x in layers)
    assert zeros == pytest.approx(report.sparsity)
    assert zeros >= (0.35 if pattern == "2:4" else 0.5)
    exact = engine.load_graph(again, name, exact=True)
    for inputs in smooth_inputs(graph, 5, seed=9).inputs:
        for one, other in zip(exact.run(inputs), run_content(content, again, inputs), strict=True):
            np.testing.assert_array_equal(one, other)


def test_linear_layers_of_transformers_are_all_pruned() -> None:
    graph = transformer()
    _, report = prune(graph, smooth_inputs(graph, 24), Goal(FREE, 0.6), quiet)
    kinds = [line.kind for line in report.lines]
    assert kinds.count("FULLY_CONNECTED") == 7
    assert kinds.count("BATCH_MATMUL") == 1
    assert all(line.zeros_after > line.zeros_before for line in report.lines if line.weights > 200)


def test_pruning_beats_cutting_the_smallest_weights() -> None:
    graph = convolutional()
    shown, others = smooth_inputs(graph, 48), smooth_inputs(graph, 24, seed=5)
    pruned, _ = prune(graph, shown, Goal(FREE, 0.5), quiet)
    tensors = list(graph.tensors)
    for layer in find_layers(graph):
        if not layer.reason:
            data = np.array(tensors[layer.weights].data)
            data[np.abs(data) <= np.median(np.abs(data))] = 0
            tensors[layer.weights] = replace(tensors[layer.weights], data=data)
    cut = replace(graph, tensors=tuple(tensors))
    logits = graph.ops[-1].inputs[0]
    real = {
        key: np.concatenate([v[0].astype(float) for v in others.values(g, logits)])
        for key, g in (("dense", graph), ("pruned", pruned), ("cut", cut))
    }
    assert (
        np.square(real["pruned"] - real["dense"]).mean() < 0.2 * np.square(real["cut"] - real["dense"]).mean()
    )


def test_the_same_twice() -> None:
    graph = convolutional()
    one, other = (prune(graph, smooth_inputs(graph, 12), Goal(FREE, 0.6), quiet)[0] for _ in range(2))
    assert model.write(one) == model.write(other)


def test_rows_of_a_layer_give_its_sums() -> None:
    graph = convolutional()
    shown = smooth_inputs(graph, 2)
    for layer in find_layers(graph):
        shape = graph.tensors[layer.result].shape
        places = np.arange(int(np.prod(shape[:-1])))
        results = shown.values(graph, layer.source, layer.result)
        for source, stored in results:
            rows = input_rows(layer, real_values(graph.tensors[layer.source], source), shape, places)
            if layer.kind == "DEPTHWISE_CONV_2D":
                sums = np.einsum("nkc,ck->nc", rows.reshape(len(rows), -1, shape[-1]), layer.real)
            else:
                sums = rows @ layer.real.T
            steps = 0.02 * np.asarray(graph.tensors[layer.source].scale)
            bias = np.asarray(graph.tensors[layer.bias].data) * steps
            given = real_values(graph.tensors[layer.result], stored).reshape(sums.shape)
            op = graph.ops[layer.number]
            step = float(np.asarray(graph.tensors[layer.result].scale)[0])
            expected = (
                np.maximum(sums + bias, 0)
                if op.options["fused_activation_function"] == "RELU"
                else sums + bias
            )
            inside = (given > given.min()) & (given < given.max())
            assert inside.any()
            assert np.abs(given - expected)[inside].max() < step


def unsigned(graph: Graph) -> Graph:
    """The same network as a uint8 one with one scale for the weights, and their zero point not 0."""
    tensors = []
    for tensor in graph.tensors:
        if tensor.dtype != np.int8:
            tensors.append(tensor)
            continue
        points = np.asarray(tensor.zero_point) + 128
        data = (
            None
            if tensor.data is None
            else (tensor.data.astype(np.int16) + 128).clip(1, 255).astype(np.uint8)
        )
        tensors.append(replace(tensor, dtype=np.dtype(np.uint8), zero_point=points, data=data))
    return replace(graph, tensors=tuple(tensors))


def test_zeros_of_uint8_weights_are_their_zero_point() -> None:
    net, rng = Net("uint8", zero_point=120), np.random.default_rng(0)
    x = net.input(1, 6, 6, 4)
    weights = net.constant(rng.integers(1, 256, (8, 3, 3, 4)), "uint8", scale=0.02, zero_point=131)
    bias = net.bias(rng.integers(-900, 900, 8))
    graph = net.graph(net.op("CONV_2D", [x, weights, bias], (1, 6, 6, 8), stride_w=1, stride_h=1, scale=0.5))
    pruned, report = prune(graph, smooth_inputs(graph, 16), Goal(FREE, 0.5), quiet)
    assert 0.5 <= report.sparsity < 0.53
    back = model.read_bytes(model.write(pruned, sparse=True))
    assert np.mean(np.asarray(back.tensors[weights].data) == 131) == pytest.approx(report.sparsity)


def test_a_bias_that_two_layers_share_is_told_apart() -> None:
    net, rng = Net(), np.random.default_rng(1)
    x, bias = net.input(1, 8, 8, 4), net.bias(np.zeros(8))
    ends = [
        net.op(
            "CONV_2D",
            [x, scaled(net, rng, (8, 1, 1, 4)), bias],
            (1, 8, 8, 8),
            stride_w=1,
            stride_h=1,
            scale=0.5,
        )
        for _ in range(2)
    ]
    graph = net.graph(*ends)
    pruned, _ = prune(graph, smooth_inputs(graph, 16), Goal(FREE, 0.5), quiet)
    first, second = (np.asarray(pruned.tensors[op.inputs[2]].data) for op in pruned.ops)
    assert not np.array_equal(first, second)


# ---- latency and sensitivity ---------------------------------------------------------------------


@pytest.mark.parametrize("isa", ["raspberry-pi-4", "raspberry-pi-5", "x86-64-avx2"])
def test_fewer_blocks_take_less_time(isa: str) -> None:
    graph, device = convolutional(), load_device(isa)
    layer = find_layers(graph)[1]
    rng = np.random.default_rng(0)
    times = []
    for share in (0.0, 0.5, 0.9):
        blocks = rng.random((12, layer.matrix.shape[1] // 4)) >= share
        times.append(layer_ms(graph, layer, blocks.repeat(4, axis=1), device))
    assert times[0] >= times[1] > times[2] > 0


@pytest.mark.parametrize("share", [0.95, 0.85, 0.75, 0.65])
def test_a_latency_is_kept_and_spent_where_it_hurts_least(share: float) -> None:
    graph, device = convolutional(), load_device("raspberry-pi-4")
    shown = smooth_inputs(graph, 16)
    dense_ms = predict(prepare(graph), device).latency_ms
    goal = Goal(parse_pattern("1x4"), max_ms=share * dense_ms, device=device)
    pruned, report = prune(graph, shown, goal, quiet)
    assert report.ms == (dense_ms, predict(prepare(pruned), device).latency_ms)
    assert report.ms[1] <= share * dense_ms
    assert report.sparsity > 0.05


def test_a_latency_out_of_reach_names_the_nearest() -> None:
    graph, device = convolutional(), load_device("raspberry-pi-4")
    with pytest.raises(BudgetError, match=r"cannot be met on raspberry-pi-4: pruning gets it down to \d"):
        prune(graph, smooth_inputs(graph, 8), Goal(FREE, max_ms=1e-4, device=device), quiet)


def test_the_layer_that_breaks_the_network_is_spared_and_named() -> None:
    net, rng = Net(), np.random.default_rng(2)
    x = net.input(1, 8, 8, 8)
    one = {"stride_w": 1, "stride_h": 1}
    wide = net.op(
        "CONV_2D",
        [x, scaled(net, rng, (32, 1, 1, 8)), net.bias(np.zeros(32))],
        (1, 8, 8, 32),
        scale=0.4,
        **one,
    )
    summed = np.where(rng.random((32, 1, 1, 32)) < 0.1, 90, rng.integers(-2, 3, (32, 1, 1, 32)))
    middle = net.op(
        "CONV_2D", [wide, net.weights(summed.astype(np.int8)), net.bias(np.zeros(32))], (1, 8, 8, 32), **one
    )
    last = net.op(
        "CONV_2D",
        [middle, scaled(net, rng, (4, 1, 1, 32)), net.bias(np.zeros(4))],
        (1, 8, 8, 4),
        scale=0.9,
        **one,
    )
    graph = net.graph(last)
    _, report = prune(graph, smooth_inputs(graph, 16), Goal(FREE, 0.6), quiet)
    noted = [line for line in report.lines if line.note.startswith("sensitive")]
    assert noted
    assert len(noted) <= 2
    assert all(line.zeros_after < report.sparsity for line in noted)
    assert report.lines[1].zeros_after > report.sparsity


def test_a_pattern_spares_small_layers_that_do_much() -> None:
    graph = convolutional()
    effects, weights = (0.03, 0.03, 0.05, 0.04), (1000, 1000, 40, 60)
    candidates = [
        Candidate(
            None, None, None, None, levels=np.array([0.0, 0.5]), losses=np.array([0.0, effect]),  # type: ignore[arg-type]
            sizes=np.array([count, count / 2]), times=np.array([]), effect=effect,
        )
        for effect, count in zip(effects, weights, strict=True)
    ]  # fmt: skip
    assert spend(candidates, Goal(parse_pattern("4:8")), graph) == [0.5, 0.5, 0.0, 0.5]


def test_passes_begin_where_something_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = convolutional()
    layers, shown = find_layers(graph), smooth_inputs(graph, 5)
    later = replaced(graph, layers[-1], layers[-1].matrix // 2, bias_of(graph, layers[-1]))
    sooner = replaced(graph, layers[0], layers[0].matrix // 2, bias_of(graph, layers[0]))
    places = layers[-2].source, layers[-1].result
    networks = (graph, later, sooner)
    plain = [list(shown.values(one, *places)) for one in networks]
    ran: list[int] = []

    def load(part: Graph, label: str, *, exact: bool) -> engine.Engine:
        ran.append(len(part.ops))
        return engine.load_graph(part, label, exact=exact)

    monkeypatch.setattr("edgekit.optimize.oneshot.halfway.load_graph", load)
    shown.hold(graph, number=layers[-2].number)
    ran.clear()
    for one, values in zip(networks, plain, strict=True):
        for found, wanted in zip(shown.values(one, *places), values, strict=True):
            for x, y in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(x, y)
    assert ran[0] == ran[1] < ran[2], "what differs before the place is not served from it"
    monkeypatch.setattr("edgekit.optimize.oneshot.halfway._MOST_BYTES", 1)
    fresh = Calibration(shown.inputs)
    fresh.hold(graph, number=layers[-2].number)
    ran.clear()
    assert len(list(fresh.values(graph, *places))) == 5
    assert ran[0] > len(graph.ops) - layers[-2].number, "too much to be held"


def test_layers_are_tried_on_inputs_that_they_were_not_solved_for() -> None:
    shown = smooth_inputs(convolutional(), 80)
    solved, tried = shown.split(128)
    assert (len(solved.inputs), len(tried.inputs)) == (60, 20)
    assert not {id(one) for one in solved.inputs} & {id(one) for one in tried.inputs}
    assert [len(part.inputs) for part in shown.split(10)] == [70, 10]
    few = Calibration(shown.inputs[:40])
    assert [len(part.inputs) for part in few.split(128)] == [40, 40]


@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "2:4"])
def test_pictures_that_are_all_alike_do_no_harm(pattern: str) -> None:
    graph = convolutional()
    alike = Calibration([smooth_inputs(graph, 1).inputs[0]] * 3)
    goal = Goal(parse_pattern(pattern), None if pattern == "2:4" else 0.5)
    pruned, report = prune(graph, alike, goal, quiet)
    assert report.sparsity > 0.3
    assert report.output_error < 0.1
    assert engine.load_graph(pruned, "net").run(alike.inputs[0])


def test_what_an_activation_cuts_off_counts_as_right() -> None:
    graph = convolutional()
    layer, shown = find_layers(graph)[0], smooth_inputs(graph, 8)
    limits = cut_by(graph, layer)
    assert limits is not None
    assert limits[0] == 0, "RELU"
    assert cut_by(graph, find_layers(graph)[1]) is None
    mask = np.random.default_rng(6).random(layer.matrix.shape) < 0.4
    first = shown.moments(layer, graph, graph)
    pruned = refit(damped(first, layer.real, 1e-3), mask)
    bias = bias_of(graph, layer) + first.output_mean - pruned @ first.input_mean
    second = shown.moments(layer, graph, graph, (pruned, bias))
    again = refit(damped(second, layer.real, 1e-3), mask)
    other = bias_of(graph, layer) + second.output_mean - again @ second.input_mean

    def error(weights: Array, bias: Array) -> float:
        """After the activation."""
        shape = graph.tensors[layer.result].shape
        source, places = graph.tensors[layer.source], np.arange(shape[1] * shape[2])
        rows = [input_rows(layer, real_values(source, x[0]), shape, places) for x in shown.inputs]
        x = np.concatenate(rows)
        then = np.clip(x @ layer.real.T + bias_of(graph, layer), *limits)
        return float(np.square(np.clip(x @ weights.T + bias, *limits) - then).sum())

    assert error(again, other) < 0.97 * error(pruned, bias)


def test_a_depthwise_layer_is_solved_channel_by_channel() -> None:
    graph, rng = convolutional(), np.random.default_rng(5)
    (layer,) = [layer for layer in find_layers(graph) if layer.kind == "DEPTHWISE_CONV_2D"]
    channels, places = layer.matrix.shape
    before = rng.normal(2, 1, (400, places, channels)).astype(np.float32)
    now = 0.8 * before + rng.normal(0.5, 0.3, before.shape).astype(np.float32)
    fine = replace(layer, matrix=100 * layer.matrix, scale=layer.scale / 100, limits=(-(2**31), 2**31))
    rows = [(now[:150], before[:150]), (now[150:], before[150:])]
    seen = windows_of(fine, [(a.reshape(len(a), -1), b.reshape(len(b), -1)) for a, b in rows])
    whole, more = solve(fine, seen, 0.0)
    for channel in range(channels):
        inputs = np.column_stack([now[:, :, channel], np.ones(400)])
        wanted = before[:, :, channel] @ layer.real[channel]
        found = np.linalg.lstsq(inputs, wanted, rcond=None)[0]
        assert whole[channel] * fine.scale[channel] == pytest.approx(found[:-1], abs=2e-3)
        assert more[channel] == pytest.approx(found[-1], abs=0.05)


def added(activation: str = "NONE") -> Graph:
    """Two layers of one input, added up."""
    net, rng = Net(), np.random.default_rng(4)
    x, one = net.input(1, 4, 4, 8), {"stride_w": 1, "stride_h": 1}
    ends = [(scaled(net, rng, (8, 1, 1, 8)), net.bias(rng.integers(-99, 99, 8))) for _ in range(2)]
    both = [net.op("CONV_2D", [x, *end], (1, 4, 4, 8), scale=0.4, **one) for end in ends]
    return net.graph(net.op("ADD", both, (1, 4, 4, 8), scale=0.6, fused_activation_function=activation))


def pixels(shown: Calibration, graph: Graph, tensor: int) -> NDArray[np.float32]:
    """What a tensor of eight channels holds, over all inputs."""
    stored = np.concatenate([values for (values,) in shown.values(graph, tensor)])
    return real_values(graph.tensors[tensor], stored).reshape(-1, 8)


def test_what_the_activation_of_a_sum_cuts_off_counts_as_right() -> None:
    dense = added("RELU")
    layers, shown = find_layers(dense), smooth_inputs(dense, 60)
    assert cut_by(dense, layers[0]) is None, "what it is added to comes later"
    assert cut_by(added(), layers[1]) is None
    limits, layer = cut_by(dense, layers[1]), layers[1]
    assert limits is not None
    assert limits[0] == 0
    keep = np.random.default_rng(6).random(layer.matrix.shape) < 0.4
    other = replaced(dense, layers[0], np.where(keep, layers[0].matrix, 0), bias_of(dense, layers[0]))
    errors, solved = [], None
    for _ in range(2):
        moments = shown.moments(layer, other, dense, solved)
        weights = refit(damped(moments, layer.real, 1e-3), keep)
        bias = bias_of(dense, layer) + moments.output_mean - weights @ moments.input_mean
        solved = weights, bias
        values = zip(
            shown.values(dense, layers[0].source, layers[0].result),
            shown.values(other, layers[0].result),
            strict=True,
        )
        errors.append(0.0)
        for (stored, then), (now,) in values:
            x = real_values(dense.tensors[layer.source], stored).reshape(-1, 8)
            was, became = (
                real_values(dense.tensors[layers[0].result], part).reshape(-1, 8) for part in (then, now)
            )
            wanted = np.clip(x @ layer.real.T + bias_of(dense, layer) + was, *limits)
            errors[-1] += float(np.square(np.clip(x @ weights.T + bias + became, *limits) - wanted).sum())
    assert errors[1] < 0.97 * errors[0]


def test_a_layer_makes_up_for_what_it_is_added_to() -> None:
    dense = added()
    layers, shown = find_layers(dense), smooth_inputs(dense, 6)
    first = layers[0].result
    pruned = replaced(dense, layers[0], np.zeros_like(layers[0].matrix), np.zeros(8))
    drift = [
        real_values(dense.tensors[first], then) - real_values(dense.tensors[first], now)
        for (then,), (now,) in zip(shown.values(dense, first), shown.values(pruned, first), strict=True)
    ]
    before, after = (shown.moments(layers[1], graph, dense) for graph in (dense, pruned))
    missing = np.mean(drift, axis=(0, 1, 2, 3))
    assert np.abs(missing).max() > 0.1
    assert after.output_mean - before.output_mean == pytest.approx(missing, abs=1e-4)
    undone = shown.moments(layers[0], pruned, dense)  # comes first, so that the other has to make up
    assert undone.output_mean == pytest.approx(shown.moments(layers[0], dense, dense).output_mean)


# ---- files ---------------------------------------------------------------------------------------


@examples(20)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([(5, 3, 3, 8), (7, 12), (4, 1, 1, 6)]))
def test_sparse_files_hold_the_same_constants(seed: int, share: float, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    data = np.where(rng.random(shape) < share, 0, rng.integers(-127, 128, shape)).astype(np.int8)
    data = np.tile(data, (8, *[1] * (len(shape) - 1)))
    net = Net()
    if len(shape) == 4:
        ends = [net.input(1, 4, 4, shape[-1]), net.weights(data), net.bias(np.zeros(len(data)))]
        out = net.op("CONV_2D", ends, (1, 4, 4, len(data)), stride_w=1, stride_h=1)
    else:
        ends = [net.input(1, shape[-1]), net.weights(data), net.bias(np.zeros(len(data)))]
        out = net.op("FULLY_CONNECTED", ends, (1, len(data)))
    graph = net.graph(out)
    plain, sparse = model.write(graph), model.write(graph, sparse=True)
    assert len(sparse) <= len(plain)
    again = model.read_bytes(sparse)
    assert [op.kind for op in again.ops] == [op.kind for op in graph.ops]
    np.testing.assert_array_equal(again.tensors[ends[1]].data, data)


def test_sparse_files_are_smaller_and_run_in_the_interpreter() -> None:
    net, rng = Net(), np.random.default_rng(4)
    data = np.where(rng.random((64, 3, 3, 32)) < 0.8, 0, rng.integers(-127, 128, (64, 3, 3, 32)))
    x = net.input(1, 6, 6, 32)
    bias = net.bias(np.arange(64))
    graph = net.graph(
        net.op("CONV_2D", [x, net.weights(data), bias], (1, 6, 6, 64), stride_w=1, stride_h=1, scale=2.0)
    )
    plain, sparse = model.write(graph), model.write(graph, sparse=True)
    assert len(sparse) < 0.6 * len(plain)
    inputs = smooth_inputs(graph, 1).inputs[0]
    for one, other in zip(run_content(plain, graph, inputs), run_content(sparse, graph, inputs), strict=True):
        np.testing.assert_array_equal(one, other)


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, pictures and arrays."""
    graph = convolutional()
    (tmp_path / "net.tflite").write_bytes(model.write(graph))
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        picture = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (20, 16))
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), picture)
    np.savez(tmp_path / "arrays.npz", t0=np.concatenate([i[0] for i in smooth_inputs(graph, 6).inputs]))
    return tmp_path


def run(folder: Path, *flags: str, calibration: str = "pictures") -> int:
    out = ["-o", str(folder / "out.tflite")] if "-o" not in flags else []
    return main(
        [
            "optimize",
            "--one-shot",
            str(folder / "net.tflite"),
            "--calibration",
            str(folder / calibration),
            *out,
            *flags,
        ]
    )


@pytest.mark.parametrize("calibration", ["pictures", "arrays.npz"])
def test_the_command_writes_and_reports(
    folder: Path, capsys: pytest.CaptureFixture[str], calibration: str
) -> None:
    assert run(folder, "--sparsity", "0.5", "--json", calibration=calibration) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["sparsity"] >= 0.5
    assert report["inputs"] == 6
    assert {"name", "zeros_before", "zeros_after", "error", "output_error"} <= report["lines"][0].keys()
    assert "pruning layer 1 of" in captured.err
    assert find_layers(model.read(folder / "out.tflite"))


def test_the_table_names_layers_that_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--pattern", "2:4") == 0
    printed = capsys.readouterr().out
    assert "dense: depthwise" in printed
    assert "out.tflite" in printed


def test_packed_pictures_serve(folder: Path) -> None:
    files = [path.read_bytes() for path in sorted((folder / "pictures").iterdir())]
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(folder / "packed.npz", jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets)
    assert run(folder, "--sparsity", "0.5", calibration="packed.npz") == 0
    packed = (folder / "out.tflite").read_bytes()
    assert run(folder, "--sparsity", "0.5") == 0
    assert (folder / "out.tflite").read_bytes() == packed


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--sparsity", "1"), 2, "less than 1"),
        (("--sparsity", "-0.1"), 2, "0 or more"),
        (("--sparsity", "nan"), 2, "0 or more"),
        (("--sparsity", "0.6", "--pattern", "2:4"), 2, "at most 50%"),
        (("--sparsity", "0.6", "--max-latency-ms", "3"), 2, "one of them"),
        (("--max-latency-ms", "3"), 2, "--device"),
        (("--max-latency-ms", "0", "--device", "raspberry-pi-4"), 2, "more than 0"),
        (("--max-latency-ms", "3", "--device", "raspbery-pi-4"), 2, "did you mean raspberry-pi-4"),
        (("--max-latency-ms", "0.0001", "--device", "raspberry-pi-4"), 3, "cannot be met"),
        ((), 2, "how sparse?"),
        (("--sparsity", "0.5", "--pattern", "5by5"), 2, "expected unstructured"),
        (("--sparsity", "0.5", "--inputs", "0"), 2, "1 or more"),
        (("--sparsity", "0.5", "-o", "/nowhere/at/all/x.tflite"), 1, "cannot write there"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], code: int, words: str
) -> None:
    assert run(folder, *flags) == code
    captured = capsys.readouterr()
    assert words in captured.err.splitlines()[-1]
    assert not captured.out
    assert not (folder / "out.tflite").exists()


def test_pictures_that_cannot_be_used_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = folder / "pictures"
    (pictures / "1.png").write_bytes(b"\x89PNG nothing")
    assert run(folder, "--sparsity", "0.5") == 0
    assert "1.png" in capsys.readouterr().err
    for path in pictures.iterdir():
        path.write_bytes(b"")
    assert run(folder, "--sparsity", "0.5") == 1
    assert "none of 6 pictures" in capsys.readouterr().err
    for path in pictures.iterdir():
        path.unlink()
    assert run(folder, "--sparsity", "0.5") == 1
    assert "no pictures in it" in capsys.readouterr().err
    assert run(folder, "--sparsity", "0.5", calibration="nothing") == 1
    assert "nothing" in capsys.readouterr().err


def test_arrays_with_numbers_that_are_none_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = model.read(folder / "net.tflite").tensors[0]
    np.savez(folder / "nan.npz", np.full((4, *info.shape), np.nan, np.float32))
    assert run(folder, "--sparsity", "0.5", calibration="nan.npz") == 1
    assert "not finite" in capsys.readouterr().err


def test_a_float_model_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net("float32")
    weights = net.constant(np.ones((4, 3)), "float32")
    graph = net.graph(net.op("FULLY_CONNECTED", [net.input(1, 3), weights], (1, 4)))
    (folder / "net.tflite").write_bytes(model.write(graph))
    assert run(folder, "--sparsity", "0.5") == 1
    assert "quantise it to int8 first" in capsys.readouterr().err


def test_a_failure_leaves_the_old_file(folder: Path) -> None:
    (folder / "out.tflite").write_bytes(b"old")
    assert run(folder, "--max-latency-ms", "0.0001", "--device", "raspberry-pi-4") == 3
    assert (folder / "out.tflite").read_bytes() == b"old"


def test_no_training_framework_is_imported() -> None:
    code = "import sys, edgekit.optimize.oneshot; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
