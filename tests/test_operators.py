"""Graphs whose operators do not fit their tensors never reach the interpreter, which would crash on some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import convolution, network

from edgekit import engine, model
from edgekit.errors import ModelError
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.model.operators import complaint, new_shape

FLOAT, BYTE = np.dtype(np.float32), np.dtype(np.int8)
HUGE = np.array([1e30], np.float32)


def changed(graph: Graph, index: int, **facts: Any) -> Graph:
    """The graph with other facts in one of its tensors."""
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **facts)
    return replace(graph, tensors=tuple(tensors))


def small(kind: str, shapes: list[tuple[int, ...]], **options: Any) -> Graph:
    """One operator on float tensors, the last of which is its output."""
    tensors = tuple(Tensor(f"t{i}", shape, FLOAT) for i, shape in enumerate(shapes))
    last = len(shapes) - 1
    return Graph(tensors, (Op(kind, tuple(range(last)), (last,), options),), tuple(range(last)), (last,))


def depthwise(inputs: int) -> Graph:
    one = np.ones((1, 3, 3, 2), np.float32)
    tensors = (
        Tensor("x", (1, 4, 4, 2), FLOAT),
        Tensor("w", one.shape, FLOAT, data=one),
        Tensor("b", (2,), FLOAT, data=one[0, 0, 0]),
        Tensor("y", (1, 4, 4, 2), FLOAT),
    )
    options: dict[str, Any] = {"stride_w": 1, "stride_h": 1, "depth_multiplier": 1}
    return Graph(tensors, (Op("DEPTHWISE_CONV_2D", tuple(range(inputs)), (3,), options),), (0,), (3,))


WRONG = {
    "operator 0 CONV_2D: the output is [1, 4, 4, 9], not [1, 4, 4, 8]": changed(
        convolution(), 3, shape=(1, 4, 4, 9)
    ),
    "tensor 'features' is int8 without one scale": changed(convolution(), 3, scale=None, zero_point=None),
    "weights without scales": changed(convolution(), 1, scale=None, zero_point=None),
    "types float32, int8": changed(convolution(), 0, dtype=FLOAT, scale=None, zero_point=None),
    "scales that multiply its sums by": changed(convolution(), 1, scale=HUGE, zero_point=None),
    "FAKE_QUANT: 0 bits on float32": small("FAKE_QUANT", [(2,), (2,)]),
    "a bias [4] for 8 outputs": changed(convolution(), 2, shape=(4,), data=np.zeros(4, np.int32), scale=None),
    "weights [8, 3, 3, 3] do not fit the input [1, 8, 8, 2]": changed(convolution(), 0, shape=(1, 8, 8, 2)),
    "operator 1 AVERAGE_POOL_2D: the output is [1, 1, 1, 9]": changed(convolution(), 4, shape=(1, 1, 1, 9)),
    "operator 3 RESHAPE": changed(network(), 6, data=np.array([2, 5, -1], np.int32)),
    "operator 0 QUANTIZE: shape [2, 9]": changed(network(), 0, shape=(2, 9)),
    "DEPTHWISE_CONV_2D: 2 inputs; it takes 3 to 3": depthwise(2),
    "SLICE: 1 inputs; it takes 3 to 3": small("SLICE", [(2,), (2,)]),
    "ADD: shapes [2, 3] and [4] to [2, 3]": small("ADD", [(2, 3), (4,), (2, 3)]),
    "CONCATENATION: axis 3 of 2": small("CONCATENATION", [(2, 3), (2, 3), (2, 6)], axis=3),
    "inputs that do not make up [2, 7]": small("CONCATENATION", [(2, 3), (2, 3), (2, 7)], axis=1),
    "PAD: margins float32 [2, 2] for 2 axes": small("PAD", [(2, 3), (2, 2), (2, 3)]),
    "SOFTMAX: shape [2, 3] to [6]": small("SOFTMAX", [(2, 3), (6,)]),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message: str) -> None:
    with pytest.raises(ModelError) as caught:
        engine.load_graph(WRONG[message], "test", "tflite")
    assert message in str(caught.value)


def test_scales_that_the_interpreter_aborts_on_are_refused() -> None:
    ends = [
        Tensor(name, (2,), BYTE, np.array([scale], np.float32))
        for name, scale in (("a", 1), ("b", 1e30), ("c", 1))
    ]
    graph = Graph(tuple(ends), (Op("ADD", (0, 1), (2,)),), (0, 1), (2,))
    with pytest.raises(ModelError, match="scales that are too far apart: 1 and 1e"):
        engine.load_graph(graph, "test")


def test_what_fits_runs() -> None:
    assert complaint(convolution()) is None
    assert complaint(network()) is None
    (out,) = engine.load_graph(depthwise(3), "test").run(np.ones((1, 4, 4, 2), np.float32))
    assert out[0, :, :, 0].tolist() == [[5, 7, 7, 5], [7, 10, 10, 7], [7, 10, 10, 7], [5, 7, 7, 5]]


def test_real_models_have_no_complaint(shared: Path) -> None:
    for path in sorted((shared / "data/models").glob("*.tflite")):
        assert complaint(model.read(path)) is None


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [
        ((6,), (6,)),
        ((3, -1), (3, 2)),
        ((-1, 4), None),
        ((-1, -1), None),
        ((0, -1), None),
        ((7,), None),
        ((-2, -3), None),
    ],
)
def test_a_shape_with_one_gap_is_filled(wanted: tuple[int, ...], shape: tuple[int, ...] | None) -> None:
    op = Op("RESHAPE", (0,), (1,), {"new_shape": wanted})
    assert new_shape(op, [Tensor("x", (2, 3), FLOAT)]) == shape
