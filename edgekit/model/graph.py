"""A network as value objects: what `edgekit.model` reads from a `.tflite` file and writes to one.

All three check themselves when made, so a graph that exists can be followed without fear: every index is
in range, every tensor has one producer that runs before its readers, constants have the bytes that their
shape asks for, scales are numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekit.errors import ModelError
from edgekit.model.schema import CUSTOM, DTYPE_CODES, ENUMS, OPERATOR_CODES, OPTIONS_OF, Field, Value

MAX_RANK = 8
MAX_ELEMENTS = 2**31 - 1
_LIMITS = {"int": (-(2**31), 2**31 - 1), "uint": (0, 2**32 - 1), "long": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor. `real = scale * (stored - zero_point)` where it is quantised.

    `scale` is (n,) float32 and `zero_point` (n,) int64; n is 1, or `shape[axis]` for one per channel. Both
    are None in a tensor that is not quantised. `data` has the tensor's shape and dtype in a constant and is
    None elsewhere, in a constant without elements too. Anything that numpy takes may be given; it is stored
    in the types named here. Raises ModelError.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: NDArray[np.float32] | None = None
    zero_point: NDArray[np.int64] | None = None
    axis: int = 0
    data: NDArray[Any] | None = None
    is_variable: bool = False

    def __post_init__(self) -> None:
        store = object.__setattr__
        store(self, "dtype", np.dtype(self.dtype))
        store(self, "shape", tuple(int(size) for size in self.shape))
        self._check_shape()
        if self.scale is not None:
            self._store_scales(self.scale, self.zero_point)
        if self.data is not None:
            data = np.asarray(self.data)
            self._check_data(data)
            store(self, "data", data if data.size else None)

    def _fail(self, what: str) -> None:
        raise ModelError(f"tensor {self.name!r}: {what}")

    def _check_shape(self) -> None:
        if self.dtype not in DTYPE_CODES:
            self._fail(f"a .tflite file has no type {self.dtype}")
        if len(self.shape) > MAX_RANK:
            self._fail(f"{len(self.shape)} dimensions, and {MAX_RANK} are the most that edgekit knows")
        if any(size < 0 for size in self.shape) or math.prod(self.shape) > MAX_ELEMENTS:
            self._fail(f"impossible shape {list(self.shape)}")

    def _store_scales(self, scale: ArrayLike, zero_point: ArrayLike | None) -> None:
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        zeros = np.zeros(len(scales)) if zero_point is None else zero_point
        points = np.atleast_1d(np.asarray(zeros)).astype(np.int64)
        if scales.ndim != 1 or points.shape != scales.shape:
            self._fail(f"{scales.size} scales and {points.size} zero points")
        if len(scales) != 1 and not self._has_channels(len(scales)):
            self._fail(f"{len(scales)} scales on axis {self.axis} of shape {list(self.shape)}")
        if not np.all(np.isfinite(scales)) or np.any(scales <= 0):
            self._fail("a scale is not a positive number")
        object.__setattr__(self, "scale", scales)
        object.__setattr__(self, "zero_point", points)
        self._check_zero_points(points)

    def _has_channels(self, count: int) -> bool:
        return 0 <= self.axis < len(self.shape) and self.shape[self.axis] == count

    def _check_zero_points(self, points: NDArray[np.int64]) -> None:
        if self.dtype.kind not in "iu" or self.dtype.itemsize > 4:
            return
        limits = np.iinfo(self.dtype)
        if np.any(points < limits.min) or np.any(points > limits.max):
            self._fail(f"a zero point does not fit {self.dtype}")

    def _check_data(self, data: NDArray[Any]) -> None:
        if data.shape != self.shape or data.dtype != self.dtype:
            self._fail(f"data {list(data.shape)} {data.dtype}, not {list(self.shape)} {self.dtype}")
        if self.is_variable:
            self._fail("a variable that has constant data")

    @property
    def real(self) -> NDArray[np.float32]:
        """The values of a constant."""
        data = np.asarray(self.data, np.float64)
        if self.scale is None or self.zero_point is None:
            return data.astype(np.float32)
        shape = [1] * data.ndim
        if len(self.scale) > 1:
            shape[self.axis] = -1
        scale = self.scale.astype(np.float64).reshape(shape)
        return ((data - self.zero_point.reshape(shape)) * scale).astype(np.float32)

    @property
    def size_bytes(self) -> int:
        """How many bytes the tensor takes when it is laid out densely."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __eq__(self, other: object) -> bool:
        """Equal to the last bit, NaN included."""
        if not isinstance(other, Tensor):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.name, self.shape))

    def _key(self) -> tuple[object, ...]:
        arrays = (self.scale, self.zero_point, self.data)
        same = tuple(None if array is None else array.tobytes() for array in arrays)
        return (self.name, self.shape, self.dtype, self.axis, self.is_variable, *same)


@dataclass(frozen=True)
class Op:
    """One operator: tensor indices in and out; an input of -1 is an optional one that is absent.

    `kind` is the name in the schema, or `CUSTOM:<name>`. `options` has every option of the kind by its name
    in the schema, enums by their names ("SAME", "RELU6"); what is left out gets the schema's default. A
    custom operator has one option, `bytes`. Raises ModelError.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Value] = field(default_factory=dict)
    version: int = 1
    intermediates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        store = object.__setattr__
        for name in ("inputs", "outputs", "intermediates"):
            store(self, name, tuple(int(i) for i in getattr(self, name)))
        if self.is_custom:
            store(self, "options", {"bytes": bytes(self.options.get("bytes", b""))})  # type: ignore[arg-type]
        elif self.kind not in OPERATOR_CODES:
            raise ModelError(f"no operator is called {self.kind}")
        elif self.kind in OPTIONS_OF:
            store(self, "options", _fill(self.kind, self.options))

    @property
    def is_custom(self) -> bool:
        return self.kind.startswith(CUSTOM + ":")

    @property
    def is_known(self) -> bool:
        """Whether its options are known here: not those of converters' own operators, which nothing runs."""
        return self.is_custom or self.kind in OPTIONS_OF


def _fill(kind: str, given: dict[str, Value]) -> dict[str, Value]:
    fields = OPTIONS_OF[kind].fields
    if unknown := set(given) - {item.name for item in fields}:
        raise ModelError(f"{kind} has no option {min(unknown)!r}")
    return {item.name: _checked(kind, item, given.get(item.name, item.default)) for item in fields}


def _checked(kind: str, item: Field, value: Value) -> Value:
    try:
        value = _convert(item.type, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{kind}: option {item.name} cannot be {value!r}: it is {item.type}") from error
    if item.positive and isinstance(value, int) and value < 1:
        raise ModelError(f"{kind}: option {item.name} must be at least 1, not {value}")
    return value


def _convert(kind: str, value: Any) -> Value:
    """The value in the type of the schema; ValueError where it has no place there."""
    if kind in ENUMS:
        return ENUMS[kind][ENUMS[kind].index(value)]
    if kind == "float":
        return _finite(float(np.float32(value)))
    if kind == "floats":
        return tuple(_finite(float(np.float32(item))) for item in value)
    if kind == "ints":
        return tuple(_whole("int", item) for item in value)
    if kind in _LIMITS:
        return _whole(kind, value)
    return bool(value) if kind == "bool" else str(value)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(value)
    return value


def _whole(kind: str, value: Any) -> int:
    low, high = _LIMITS[kind]
    if int(value) != value or not low <= value <= high:
        raise ValueError(value)
    return int(value)


@dataclass(frozen=True)
class Graph:
    """A network: its operators in the order in which they run. Raises ModelError."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str = ""

    def __post_init__(self) -> None:
        for name in ("tensors", "ops", "inputs", "outputs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for place, indices in (("inputs", self.inputs), ("outputs", self.outputs)):
            self._check_range(f"the graph's {place}", indices)
        self._check_order()

    @cached_property
    def producer(self) -> dict[int, Op]:
        """The operator that computes each computed tensor."""
        return {index: op for op in self.ops for index in op.outputs}

    @cached_property
    def readers(self) -> dict[int, list[Op]]:
        """The operators that read each tensor that is read."""
        readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for index in dict.fromkeys(op.inputs):
                readers.setdefault(index, []).append(op)
        return readers

    @cached_property
    def density(self) -> float:
        """The share of the quantised weights that are not zero."""
        constants = [tensor.data for tensor in self.tensors if tensor.data is not None]
        weights = [data for data in constants if data.dtype.itemsize == 1 and data.ndim > 1]
        filled = sum(np.count_nonzero(data) for data in weights)
        return round(filled / max(1, sum(data.size for data in weights)), 4)

    def _check_range(self, where: str, indices: tuple[int, ...], lowest: int = 0) -> None:
        for index in indices:
            if not lowest <= index < len(self.tensors):
                raise ModelError(f"{where}: there is no tensor {index}, only {len(self.tensors)}")

    def _check_order(self) -> None:
        ready = {i for i, t in enumerate(self.tensors) if t.data is not None or t.is_variable}
        if not ready.isdisjoint(self.inputs) or len(set(self.inputs)) != len(self.inputs):
            raise ModelError("the graph's inputs: one is a constant or named twice")
        empty = {i for i, tensor in enumerate(self.tensors) if not tensor.size_bytes}
        ready |= {-1, *self.inputs}
        for number, op in enumerate(self.ops):
            self._check_op(f"operator {number} {op.kind}", op, ready, empty)
            ready.update(op.outputs)
        if missing := sorted(set(self.outputs) - ready - empty):
            raise ModelError(f"the graph's outputs: nothing computes tensor {missing[0]}")

    def _check_op(self, where: str, op: Op, ready: set[int], empty: set[int]) -> None:
        self._check_range(where, op.inputs, -1)
        self._check_range(where, op.outputs)
        self._check_range(where, op.intermediates, -1)
        if missing := sorted(set(op.inputs) - ready - empty):
            raise ModelError(f"{where}: nothing computes its input, tensor {missing[0]}, before it runs")
        if len(set(op.outputs)) != len(op.outputs) or not ready.isdisjoint(op.outputs):
            raise ModelError(f"{where}: it writes a tensor that is already there")
