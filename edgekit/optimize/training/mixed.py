"""An int8 graph of which some tensors, or some layers' weights, stay float32, where int8 is too coarse.

An operator that meets such a tensor, or has such weights, computes on float32: what else it reads goes
through DEQUANTIZE, what it gives through QUANTIZE.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.simplify import drop_unused

FLOAT = np.dtype(np.float32)
# Operators that hand values on, in the steps of what they read
PASSING = (
    "CONCATENATION", "MAX_POOL_2D", "PAD", "PADV2", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
    "SLICE", "TRANSPOSE",
)  # fmt: skip
Parameters = Mapping[int, NDArray[np.float32]]


def with_floats(graph: Graph, tensors: AbstractSet[int], parameters: Parameters) -> Graph:
    """The graph with these computed tensors, and what only hands them on, as float32.

    `parameters` are those of layers, by the tensors that hold their int8 and int32, as float32. ModelError
    where the graph's inputs or outputs would change.
    """
    if not tensors and not parameters:
        return graph
    floats = _handed_on(graph, tensors)
    if not floats.isdisjoint((*graph.inputs, *graph.outputs)):
        raise ModelError("the network's inputs and outputs stay int8")
    return _Mixing(graph, floats, parameters).run()


def _handed_on(graph: Graph, tensors: AbstractSet[int]) -> set[int]:
    """With what operators make of them that only hand values on."""
    found = set(tensors)
    for op in graph.ops:
        if op.kind in PASSING and not found.isdisjoint(op.inputs):
            found.update(op.outputs)
    return found


class _Mixing:
    def __init__(self, graph: Graph, floats: set[int], parameters: Parameters) -> None:
        self.graph, self.floats, self.parameters = graph, floats, parameters
        self.tensors = list(graph.tensors)
        self.ops: list[Op] = []
        self.twins: dict[int, int] = {}  # of a tensor: the one that holds its values as float32

    def run(self) -> Graph:
        for op in self.graph.ops:
            own = {*op.inputs, *op.outputs}
            if own.isdisjoint(self.floats) and own.isdisjoint(self.parameters):
                self.ops.append(op)
            elif op.kind == "QUANTIZE":
                self._rescale(op)
            else:
                self._compute(op)
        return drop_unused(replace(self.graph, tensors=tuple(self.tensors), ops=tuple(self.ops)))

    def _compute(self, op: Op) -> None:
        """The operator on float32."""
        inputs = tuple(self._as_float(index) for index in op.inputs)
        kept = [index in self.floats for index in op.outputs]
        names = [self.graph.tensors[index].name for index in op.outputs]
        outputs = [
            self._add(index, name if keep else f"{name}_unrounded")
            for index, name, keep in zip(op.outputs, names, kept, strict=True)
        ]
        self.ops.append(replace(op, inputs=inputs, outputs=tuple(outputs)))
        for index, made, keep in zip(op.outputs, outputs, kept, strict=True):
            if keep:
                self.twins[index] = made
            else:
                self.ops.append(Op("QUANTIZE", (made,), (index,), version=2))

    def _rescale(self, op: Op) -> None:
        """From one int8 scale to another, or, on float32, to nothing new."""
        source, result = self._as_float(op.inputs[0]), op.outputs[0]
        if result in self.floats:
            self.twins[result] = source
        else:
            self.ops.append(replace(op, inputs=(source,)))

    def _as_float(self, index: int) -> int:
        """What holds the input as float32; whole numbers such as sizes and axes are left alone."""
        if index < 0 or self.graph.tensors[index].scale is None:
            return index
        if index not in self.twins:
            tensor = self.graph.tensors[index]
            self.twins[index] = made = self._add(
                index, f"{tensor.name}_real" if tensor.data is None else tensor.name
            )
            if tensor.data is None:
                self.ops.append(Op("DEQUANTIZE", (index,), (made,), version=2))
        return self.twins[index]

    def _add(self, index: int, name: str) -> int:
        """A float32 tensor like one of the graph, with its values if they are constant."""
        tensor = self.graph.tensors[index]
        data = self.parameters.get(index, None if tensor.data is None else tensor.real)
        self.tensors.append(Tensor(name, tensor.shape, FLOAT, data=data))
        return len(self.tensors) - 1
