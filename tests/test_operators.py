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


def split(count: int) -> Graph:
    graph = small("SPLIT", [(1,), (4, 2), (2, 2)], num_splits=count)
    return changed(graph, 0, dtype=np.dtype(np.int32))


def resize(kind: str, shape: tuple[int, ...], size: list[int]) -> Graph:
    """To a picture of 8 x 8, by a size that says something."""
    tensors = (
        Tensor("x", shape, FLOAT),
        Tensor("size", (len(size),), np.dtype(np.int32), data=np.array(size, np.int32)),
        Tensor("y", (1, 8, 8, 2), FLOAT),
    )
    return Graph(tensors, (Op(kind, (0, 1), (2,)),), (0,), (2,))


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
    "SPLIT: an axis that is float32 [1]": small("SPLIT", [(1,), (4, 2), (2, 2)], num_splits=1),
    "SPLIT: 1 outputs, and num_splits is 2": split(2),
    "SPLIT: 0 outputs; it gives more": replace(
        split(2), ops=(replace(split(2).ops[0], outputs=()),), outputs=(1,)
    ),
    "SPLIT_V: sizes float32 [2] for 1 outputs": changed(
        small("SPLIT_V", [(4, 2), (2,), (1,), (2, 2)], num_splits=2), 2, dtype=np.dtype(np.int32)
    ),
    "PACK: 2 inputs, and values_count is 3": small("PACK", [(2,), (2,), (2, 2)], values_count=3),
    "UNPACK: 1 outputs, and num is 2": small("UNPACK", [(2, 2), (2,)], num=2),
    "RESIZE_BILINEAR: a picture [1, 0, 4, 2] to [1, 8, 8, 2]": resize(
        "RESIZE_BILINEAR", (1, 0, 4, 2), [8, 8]
    ),
    "RESIZE_BILINEAR: a size int32 [1]": resize("RESIZE_BILINEAR", (1, 4, 4, 2), [8]),
    "RESIZE_NEAREST_NEIGHBOR: the output is [1, 8, 8, 2], not the size": resize(
        "RESIZE_NEAREST_NEIGHBOR", (1, 4, 4, 2), [8, 0]
    ),
    "SOFTMAX: shape [2, 3] to [6]": small("SOFTMAX", [(2, 3), (6,)]),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message: str) -> None:
    with pytest.raises(ModelError) as caught:
        engine.load_graph(WRONG[message], "test", "tflite")
    assert message in str(caught.value)


def pair(kind: str, dtype: str, scales: tuple[float | None, float | None, float | None]) -> Graph:
    """An operator on two vectors of whole numbers, with a scale or without."""
    tensors = [
        Tensor(name, (2,), np.dtype(dtype), None if scale is None else np.array([scale], np.float32))
        for name, scale in zip("abc", scales, strict=True)
    ]
    if kind in ("EQUAL", "GREATER_EQUAL", "LESS"):
        tensors[2] = Tensor("c", (2,), np.dtype(bool))
    return Graph(tuple(tensors), (Op(kind, (0, 1), (2,)),), (0, 1), (2,))


ABORTING = {
    "ADD: scales that are too far apart: 1 and 1e+30": pair("ADD", "int8", (1, 1e30, 1)),
    "ADD: scales that are too far apart: 0.5 and 16384": pair("ADD", "int16", (0.5, 16384, 0.5)),
    "SUB: scales that are too far apart: 1e-06 and 2": pair("SUB", "uint8", (2, 1, 1e-6)),
    "SQUARED_DIFFERENCE: scales that are too far apart: 0.001 and 4": pair(
        "SQUARED_DIFFERENCE", "int8", (4, 1, 0.001)
    ),
    "SQUARED_DIFFERENCE: int8 without scales": pair("SQUARED_DIFFERENCE", "int8", (None, 1, 1)),
    "operator 0 SQUARED_DIFFERENCE: int8 without scales": changed(
        pair("SQUARED_DIFFERENCE", "int8", (None, 1, 1)), 2, dtype=np.dtype(np.int64)
    ),
    "LESS: a number without a scale": pair("LESS", "int8", (None, 0.1, None)),
    "GREATER_EQUAL: a number without a scale": pair("GREATER_EQUAL", "uint8", (None, None, None)),
    "EQUAL: a number without a scale": pair("EQUAL", "int16", (0.1, None, None)),
}


@pytest.mark.parametrize("message", ABORTING)
def test_scales_that_the_interpreter_aborts_on_are_refused(message: str) -> None:
    with pytest.raises(ModelError) as caught:
        engine.load_graph(ABORTING[message], "test")
    assert message in str(caught.value)


@pytest.mark.parametrize("scales", [(1e-6, 1e6, 1e3), (1e5, 1e5, 1e-1), (1e-5, 1e-5, 1e5)])
def test_products_take_any_scales(scales: tuple[float, float, float]) -> None:
    """As a normalisation of layers has them: variances are small, and their inverse roots large."""
    for dtype in ("int8", "uint8", "int16"):
        loaded = engine.load_graph(pair("MUL", dtype, scales), "test")
        x = np.array([3, 100], loaded.inputs[0].dtype)
        loaded.run([x, x])


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
