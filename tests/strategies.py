"""Networks for tests: made by hand from a few numbers, or by Hypothesis from many."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.model.schema import DTYPE_CODES, ENUMS, OPTIONS_OF, Field

INT8 = st.integers(-128, 127)


def layer(
    rows: int,
    depth: int,
    cols: int,
    seed: int = 0,
    *,
    channels: bool = True,
    activation: str = "NONE",
    reach: int = 127,
    bias: bool = True,
    input_zero_point: int = 3,
    output_zero_point: int = -5,
    input_scale: float = 0.05,
) -> Graph:
    """One FULLY_CONNECTED layer whose outputs spread over int8. `reach` 128 lets a weight be -128."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-reach, 128, (cols, depth)).astype(np.int8)
    scale = (rng.random(cols if channels else 1) * 0.02 + 0.001).astype(np.float32)
    spread = float(np.float32(60 * 70 * input_scale * 0.011 * np.sqrt(depth) / 40))
    tensors = [
        Tensor("x", (rows, depth), np.dtype(np.int8), [input_scale], [input_zero_point]),  # type: ignore[arg-type]
        Tensor("w", (cols, depth), np.dtype(np.int8), scale, None, 0, weights),
        Tensor("y", (rows, cols), np.dtype(np.int8), [spread], [output_zero_point]),  # type: ignore[arg-type]
    ]
    inputs = [0, 1]
    if bias:
        values = rng.integers(-20000, 20000, cols).astype(np.int32)
        tensors.append(
            Tensor("b", (cols,), np.dtype(np.int32), scale * np.float32(input_scale), None, 0, values)
        )
        inputs.append(3)
    op = Op("FULLY_CONNECTED", tuple(inputs), (2,), {"fused_activation_function": activation})
    return Graph(tuple(tensors), (op,), (0,), (2,), "a layer")


def network() -> Graph:
    """Float in, float out: QUANTIZE, two layers, RESHAPE, DEQUANTIZE."""
    rng = np.random.default_rng(7)

    def quantised(name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> Tensor:
        return Tensor(name, shape, np.dtype(np.int8), [scale], [zero_point])  # type: ignore[arg-type]

    def weights(name: str, cols: int, depth: int) -> Tensor:
        data = rng.integers(-127, 128, (cols, depth)).astype(np.int8)
        return Tensor(name, data.shape, data.dtype, (rng.random(cols) / 50).astype(np.float32), None, 0, data)

    real = np.dtype(np.float32)
    tensors = (
        Tensor("image", (2, 10), real),
        quantised("a", (2, 10), 0.1, 3),
        weights("w1", 21, 10),
        quantised("b", (2, 21), 0.2, -128),
        weights("w2", 6, 21),
        quantised("c", (2, 6), 0.4, 7),
        Tensor("shape", (3,), np.dtype(np.int32), data=np.array([2, 2, -1], np.int32)),
        quantised("d", (2, 2, 3), 0.4, 7),
        Tensor("result", (2, 2, 3), real),
    )
    ops = (
        Op("QUANTIZE", (0,), (1,)),
        Op("FULLY_CONNECTED", (1, 2), (3,), {"fused_activation_function": "RELU6"}),
        Op("FULLY_CONNECTED", (3, 4, -1), (5,)),
        Op("RESHAPE", (5, 6), (7,)),
        Op("DEQUANTIZE", (7,), (8,)),
    )
    return Graph(tensors, ops, (0,), (8,), "float in, float out")


def convolution() -> Graph:
    """A small network of pictures: CONV_2D and AVERAGE_POOL_2D on int8."""
    rng = np.random.default_rng(5)
    weights = rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    byte = np.dtype(np.int8)
    tensors = (
        Tensor("image", (1, 8, 8, 3), byte, [0.05], [0]),  # type: ignore[arg-type]
        Tensor("w", weights.shape, byte, np.full(8, 0.01, np.float32), None, 0, weights),
        Tensor(
            "b",
            (8,),
            np.dtype(np.int32),
            np.full(8, 0.0005, np.float32),
            None,
            0,
            np.arange(8, dtype=np.int32),
        ),
        Tensor("features", (1, 4, 4, 8), byte, [0.1], [-10]),  # type: ignore[arg-type]
        Tensor("pooled", (1, 1, 1, 8), byte, [0.1], [-10]),  # type: ignore[arg-type]
    )
    stride = {"stride_w": 2, "stride_h": 2}
    ops = (
        Op("CONV_2D", (0, 1, 2), (3,), {"padding": "SAME", **stride}, 3),
        Op(
            "AVERAGE_POOL_2D",
            (3,),
            (4,),
            {"padding": "VALID", **stride, "filter_width": 4, "filter_height": 4},
            2,
        ),
    )
    return Graph(tensors, ops, (0,), (4,), "a convolution")


def real_convolution() -> Graph:
    """A network that the native engine refuses: CONV_2D on float32."""
    real = np.dtype(np.float32)
    weights = np.random.default_rng(6).normal(0, 1, (8, 3, 3, 3)).astype(np.float32)
    tensors = (
        Tensor("image", (1, 8, 8, 3), real),
        Tensor("w", weights.shape, real, data=weights),
        Tensor("b", (8,), real, data=np.zeros(8, np.float32)),
        Tensor("features", (1, 4, 4, 8), real),
    )
    op = Op("CONV_2D", (0, 1, 2), (3,), {"padding": "SAME", "stride_w": 2, "stride_h": 2})
    return Graph(tensors, (op,), (0,), (3,), "a convolution on floats")


def random_input(graph: Graph, seed: int) -> NDArray[Any]:
    """Random valid data for the one input of the graph, extremes among them."""
    tensor = graph.tensors[graph.inputs[0]]
    rng = np.random.default_rng(seed)
    if tensor.dtype == np.float32:
        return rng.normal(0, 5, tensor.shape).astype(np.float32)
    low, high = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
    x = rng.integers(low, high + 1, tensor.shape).astype(tensor.dtype)
    return np.where(rng.random(tensor.shape) < 0.1, low, x).astype(tensor.dtype)


def option(field: Field) -> st.SearchStrategy[Any]:
    """Values that the schema allows for this option."""
    if field.type in ENUMS:
        return st.sampled_from(ENUMS[field.type])
    number = st.integers(1 if field.positive else -(2**31), 2**31 - 1)
    return {
        "bool": st.booleans(),
        "int": number,
        "uint": st.integers(0, 2**32 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "string": st.text(max_size=5),
        "ints": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3).map(tuple),
        "floats": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
    }[field.type]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any tensor that a file can hold."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    dtype = draw(st.sampled_from(sorted(DTYPE_CODES, key=str)))
    data = None
    if draw(st.booleans()):
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        raw = draw(st.binary(min_size=count, max_size=count))
        data = np.frombuffer(raw, np.uint8).copy()
        data = (data & 1 if dtype == np.bool_ else data).view(dtype).reshape(shape)
    scale, zero_point, axis = None, None, 0
    if dtype == np.int8 and draw(st.booleans()):
        axis = draw(st.integers(0, max(len(shape) - 1, 0)))
        count = draw(st.sampled_from([1, shape[axis]])) if shape else 1
        scale = np.array(
            draw(st.lists(st.floats(2**-20, 100, width=32), min_size=count, max_size=count)), np.float32
        )
        zero_point = np.array(draw(st.lists(INT8, min_size=count, max_size=count)), np.int64)
    return Tensor(draw(st.text(max_size=8)), shape, dtype, scale, zero_point, axis, data)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph that a file can hold: a chain of operators with any options, over any tensors."""
    known = draw(st.lists(tensors(), min_size=1, max_size=5))
    ready = [i for i, tensor in enumerate(known) if tensor.data is not None]
    inputs = [i for i, tensor in enumerate(known) if tensor.data is None]
    ops = []
    for kind in draw(st.lists(st.sampled_from([*sorted(OPTIONS_OF), "CUSTOM:thing"]), max_size=4)):
        sources = draw(st.lists(st.sampled_from([-1, *ready, *inputs]), max_size=4))
        known.append(Tensor(f"t{len(known)}", (2, 3), np.dtype(np.float32)))
        fields = OPTIONS_OF[kind].fields if kind in OPTIONS_OF else ()
        options = {field.name: draw(option(field)) for field in fields}
        if not fields and kind not in OPTIONS_OF:
            options = {"bytes": draw(st.binary(max_size=9))}
        ops.append(Op(kind, tuple(sources), (len(known) - 1,), options, draw(st.integers(1, 9))))
        ready.append(len(known) - 1)
    return Graph(tuple(known), tuple(ops), tuple(inputs), (len(known) - 1,), draw(st.text(max_size=9)))
