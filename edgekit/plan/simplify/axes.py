"""How operators work on a tensor whose axes are in another order: their inputs, options and outputs there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Op, Tensor
from edgekit.model.schema import Value
from edgekit.plan.simplify.draft import Draft
from edgekit.plan.simplify.values import data_of, strided, whole

Order = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One operator. Each input in `sources` is the transpose, by `order`, of the tensor that stands there."""

    draft: Draft
    op: Op
    order: Order
    sources: dict[int, int]

    def turns(self, place: int) -> bool:
        """Whether the input at `place` is turned."""
        return place < len(self.op.inputs) and self.op.inputs[place] in self.sources

    def constant(self, place: int) -> NDArray[Any] | None:
        """The data of the input at `place`, None if it is no constant."""
        index = self.op.inputs[place] if place < len(self.op.inputs) else -1
        tensor = self.draft.tensor(index) if index >= 0 else None
        return None if tensor is None or tensor.data is None else tensor.data

    def replaced(self, place: int, data: NDArray[Any]) -> dict[int, int]:
        """The input at `place` with other data."""
        index = self.op.inputs[place]
        like = self.draft.tensor(index)
        return {place: self.draft.constant(like.name, data.astype(like.dtype), like)}


@dataclass(frozen=True)
class Moved:
    """The operator on other axes: what changes in it, and by which order its outputs are transposes."""

    order: Order
    inputs: dict[int, int] = field(default_factory=dict)
    options: dict[str, Value] = field(default_factory=dict)


Move = Callable[[Case], Moved | None]


def inverse(order: Order) -> Order:
    return tuple(int(place) for place in np.argsort(order))


def _elementwise(case: Case) -> Moved | None:
    """Constants are transposed along; a tensor of one element fits any order."""
    inputs: dict[int, int] = {}
    for place, index in enumerate(case.op.inputs):
        if index in case.sources:
            continue
        tensor = case.draft.tensor(index) if index >= 0 else None
        if tensor is None or len(tensor.shape) > len(case.order):
            return None
        if tensor.size_bytes == tensor.dtype.itemsize:
            continue
        if tensor.data is None or (tensor.scale is not None and len(tensor.scale) > 1):
            return None
        inputs[place] = _turned_constant(case, tensor)
    return Moved(case.order, inputs)


def _turned_constant(case: Case, tensor: Tensor) -> int:
    shape = (1,) * (len(case.order) - len(tensor.shape)) + tensor.shape
    data = data_of(tensor).reshape(shape).transpose(inverse(case.order))
    return case.draft.constant(tensor.name, data, tensor)


def _softmax(case: Case) -> Moved | None:
    return Moved(case.order) if case.order[-1] == len(case.order) - 1 else None


def _axis(case: Case, axis: int) -> int | None:
    rank = len(case.order)
    return case.order[axis] if -rank <= axis < rank else None


def _concatenation(case: Case) -> Moved | None:
    axis = _axis(case, whole(case.op, "axis"))
    sizes = [len(case.draft.tensor(i).shape) for i in case.op.inputs if i >= 0]
    moved = _elementwise(case)
    if axis is None or moved is None or set(sizes) != {len(case.order)} or _has_single(case):
        return None
    return Moved(case.order, moved.inputs, {"axis": axis})


def _has_single(case: Case) -> bool:
    """Whether an input stays as it is, which a concatenation cannot have."""
    plain = [case.draft.tensor(i) for i in case.op.inputs if i not in case.sources]
    return any(tensor.data is None for tensor in plain)


def _split(place: int) -> Move:
    """`place` is that of the axis among the inputs."""

    def move(case: Case) -> Moved | None:
        axis = case.constant(place)
        moved = _axis(case, int(axis.ravel()[0])) if axis is not None and axis.size == 1 else None
        if moved is None or axis is None or not case.turns(0 if place else 1):
            return None
        return Moved(case.order, case.replaced(place, np.full(axis.shape, moved)))

    return move


def _rows(*places: int) -> Move:
    """Inputs that have one row an axis."""

    def move(case: Case) -> Moved | None:
        inputs: dict[int, int] = {}
        if not case.turns(0):
            return None
        for place in places:
            rows = case.constant(place)
            if rows is None or rows.ndim == 0 or len(rows) != len(case.order):
                return None
            inputs |= case.replaced(place, rows[list(inverse(case.order))])
        return Moved(case.order, inputs)

    return move


def _strided_slice(case: Case) -> Moved | None:
    moved = _rows(1, 2, 3)(case)
    inputs = case.draft.inputs(case.op)
    if (
        moved is None
        or len(inputs) != 4
        or case.op.options["shrink_axis_mask"]
        or strided(case.op, inputs) is None
    ):
        return None
    masks = {name: _moved_bits(whole(case.op, name), case.order) for name in ("begin_mask", "end_mask")}
    return Moved(case.order, moved.inputs, dict(masks))


def _moved_bits(mask: int, order: Order) -> int:
    return sum(1 << axis for place, axis in enumerate(order) if mask >> place & 1)


def _reduce(case: Case) -> Moved | None:
    data, rank = case.constant(1), len(case.order)
    named = set() if data is None or not case.turns(0) else {int(axis) for axis in data.ravel()}
    if not named or not all(-rank <= axis < rank for axis in named):
        return None
    axes = sorted({axis % rank for axis in named})
    moved = [case.order[axis] for axis in axes]
    if case.draft.tensor(case.op.inputs[0]).dtype.kind == "f" and moved != sorted(moved):
        return None  # floats are summed in another order
    inputs = case.replaced(1, np.array(sorted(moved)))
    if case.op.options["keep_dims"]:
        return Moved(case.order, inputs)
    left = [axis for place, axis in enumerate(case.order) if place not in axes]
    return Moved(tuple(sorted(left).index(axis) for axis in left), inputs)


_UNARY = """ABS CAST DEQUANTIZE ELU EXP GELU HARD_SWISH LEAKY_RELU LOGISTIC NEG QUANTIZE RELU RELU6
    RELU_0_TO_1 RELU_N1_TO_1 RSQRT SQRT SQUARE TANH"""
_BINARY = "ADD DIV MAXIMUM MINIMUM MUL PRELU SQUARED_DIFFERENCE SUB"
MOVES: dict[str, Move] = {
    "SOFTMAX": _softmax, "CONCATENATION": _concatenation, "SPLIT": _split(0), "SPLIT_V": _split(2),
    "PAD": _rows(1), "PADV2": _rows(1), "MIRROR_PAD": _rows(1), "SLICE": _rows(1, 2),
    "STRIDED_SLICE": _strided_slice,
    "MEAN": _reduce, "SUM": _reduce, "REDUCE_MAX": _reduce, "REDUCE_MIN": _reduce,
}  # fmt: skip
MOVES |= dict.fromkeys(f"{_UNARY} {_BINARY}".split(), _elementwise)
