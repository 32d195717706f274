"""From an operator on plain tensors to steps of the native engine: what the modules that do it share.

A function that lowers an operator takes a `Lowering` and gives steps. It raises `Refused`, whose text says
why, for whatever the kernels do not do exactly as TFLite's reference ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.model.schema import Value
from edgekit.plan.step import Step
from edgekit.plan.strided import Source, Strided, copy

SCRATCH = -1  # the "tensor" at which `place` gives the bytes that `scratch` asked for
FAULT = -2  # that at which it gives the int32 that a kernel sets when it meets a wrong number

OUTSIDE, ZERO = 1, 2  # the numbers that kernels set it to: what was wrong

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
FLOAT = np.dtype(np.float32)
# In the order of EK_TYPES in native/ops_plain.h
TYPES = tuple(np.dtype(name) for name in ("float32", "int8", "uint8", "int16", "int32", "int64"))


class Refused(Exception):  # noqa: N818  a verdict, not an error
    """Why the native engine does not take an operator."""


def need(true: object, why: str) -> None:
    if not true:
        raise Refused(why)


@dataclass(frozen=True)
class Lowering:
    """An operator with its tensors, and where those stand in the arena."""

    graph: Graph
    op: Op
    place: Callable[[int], int]

    @property
    def inputs(self) -> list[Tensor]:
        return [self.graph.tensors[i] for i in self.op.inputs]

    @property
    def results(self) -> list[Tensor]:
        return [self.graph.tensors[i] for i in self.op.outputs]

    @property
    def result(self) -> Tensor:
        return self.graph.tensors[self.op.outputs[0]]

    def option(self, name: str) -> Value:
        return self.op.options[name]

    def whole(self, name: str) -> int:
        return int(self.op.options[name])  # type: ignore[arg-type]

    def source(self, number: int) -> Source:
        """The numbers of an input, computed or constant; where there are none, nothing need compute them."""
        tensor = self.inputs[number]
        if tensor.data is not None or not tensor.size_bytes:
            return Source(0, np.zeros(0, tensor.dtype) if tensor.data is None else tensor.data)
        return Source(self.place(self.op.inputs[number]))

    def output(self, number: int = 0) -> int:
        return self.place(self.op.outputs[number])

    def takes(self, required: int, most: int | None = None, outputs: int | None = 1) -> None:
        """Refuse another number of inputs or outputs; the required inputs must be present."""
        count = len(self.op.inputs)
        need(required <= count <= (most or required), f"{count} inputs")
        need(min(self.op.inputs[:required]) >= 0, "an input that is absent")
        need(outputs in (None, len(self.op.outputs)), f"{len(self.op.outputs)} outputs")

    def constant(self, number: int, what: str) -> NDArray[Any]:
        """The numbers of an input that must be a constant of whole numbers."""
        tensor = self.inputs[number]
        if tensor.data is None and not math.prod(tensor.shape):
            return np.zeros(tensor.shape, tensor.dtype)
        need(
            tensor.data is not None and tensor.dtype.kind == "i", f"{what} that are no constant whole numbers"
        )
        return np.asarray(tensor.data)

    def shaped(self, shape: Sequence[int], number: int = 0) -> None:
        """Refuse an output of another shape."""
        got = self.results[number].shape
        need(got == tuple(shape), f"an output {list(got)}, not {list(shape)}")

    def same_type(self, *, quantised: bool = True) -> None:
        """Refuse an output that differs from the first input in type or, if `quantised`, in scale."""
        for tensor in self.results:
            same_type(self.inputs[0], tensor, quantised=quantised)


def same_type(a: Tensor, b: Tensor, *, quantised: bool = True) -> None:
    """Refuse tensors that differ in type or, if `quantised`, in scale."""
    need(a.dtype == b.dtype, f"{a.dtype} to {b.dtype}")
    need(not quantised or equally_scaled(a, b), "another scale or zero point")


def equally_scaled(a: Tensor, b: Tensor) -> bool:
    """Whether the same number stands for the same value in both, as far as kernels look at it."""
    if a.dtype.kind == "f" or a.scale is None or b.scale is None:
        return True
    return np.array_equal(a.scale, b.scale) and np.array_equal(_zero_points(a), _zero_points(b))


def _zero_points(tensor: Tensor) -> NDArray[np.int64]:
    return np.zeros(1, np.int64) if tensor.zero_point is None else tensor.zero_point


def zero_point_of(tensor: Tensor) -> int:
    """The one zero point of the tensor, 0 if it has none."""
    return int(_zero_points(tensor)[0])


def scale_of(tensor: Tensor) -> np.float32:
    """The one scale of the tensor, 0 if it has none."""
    return np.float32(0 if tensor.scale is None else tensor.scale[0])


def type_number(tensor: Tensor) -> int:
    """The tensor's type as native/ops_plain.h counts them; a bool is a byte."""
    dtype = np.dtype(np.uint8) if tensor.dtype == np.bool_ else tensor.dtype
    need(dtype in TYPES, f"type {tensor.dtype}")
    return TYPES.index(dtype)


def dense(tensor: Tensor) -> Strided:
    return Strided.dense(tensor.shape, tensor.dtype.itemsize)


def axis_of(axis: int, rank: int) -> int:
    """The axis, counted from the front."""
    need(-rank <= axis < rank, f"axis {axis} of {rank}")
    return axis % rank


def move(job: Lowering, view: Strided, target: Strided, number: int = 0, result: int = 0) -> list[Step]:
    """From a view of an input to one of an output."""
    item = job.results[result].dtype.itemsize
    return copy(job.source(number), view, job.output(result), target, item)


Lower = Callable[[Lowering], list[Step]]
