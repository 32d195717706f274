"""A graph in the making: what the passes write on while they sweep over the operators of another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor

_ACTS = ("ASSIGN_VARIABLE", "CALL", "CALL_ONCE", "HASHTABLE_IMPORT", "IF", "WHILE")  # for more than outputs

Rule = Callable[["Draft", Op], bool]


class Draft:
    """Starts with the tensors of a graph and no operators; `finish` makes the graph that was written.

    Operators that are emitted keep naming tensors by their old indices: `now` says which tensor took over.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors = list(graph.tensors)
        self.ops: list[Op] = []
        self.producer: dict[int, Op] = {}
        self.ends = {*graph.inputs, *graph.outputs}
        self._now: dict[int, int] = {}

    def now(self, index: int) -> int:
        return self._now.get(index, index)

    def tensor(self, index: int) -> Tensor:
        return self.tensors[self.now(index)]

    def inputs(self, op: Op) -> list[Tensor]:
        """The tensors that the operator reads; absent ones left out."""
        return [self.tensor(i) for i in op.inputs if i >= 0]

    def source(self, index: int) -> Op | None:
        """The operator, as emitted, that computes the tensor."""
        return self.producer.get(self.now(index))

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, data: NDArray[Any], like: Tensor | None = None) -> int:
        """A new constant, quantised as `like` is."""
        data = np.asarray(data, order="C")
        if like is None:
            return self.add(Tensor(name, data.shape, data.dtype, data=data))
        return self.add(replace(like, name=name, shape=data.shape, dtype=data.dtype, data=data))

    def emit(self, op: Op) -> None:
        inputs = tuple(self.now(i) for i in op.inputs)
        op = op if inputs == op.inputs else replace(op, inputs=inputs)
        self.ops.append(op)
        self.producer |= dict.fromkeys(op.outputs, op)

    def settle(self, index: int, data: NDArray[Any]) -> None:
        """What the tensor holds is known: it becomes a constant."""
        self.tensors[index] = replace(self.tensors[index], data=np.asarray(data, order="C"))

    def alias(self, gone: int, stays: int) -> bool:
        """Let every reader of one tensor read another that is equal; False where their names must differ.

        The graph's outputs keep their names: the tensor that stays takes it over, unless it has one to keep.
        """
        stays = self.now(stays)
        old, new = self.tensors[gone], self.tensors[stays]
        if not alike(old, new) or new.is_variable:
            return False
        if gone in self.ends:
            if stays in self.ends or new.data is not None:
                return False
            self.tensors[stays] = replace(new, name=old.name)
            self.ends.add(stays)
        self._now[gone] = stays
        return True

    def finish(self) -> Graph:
        outputs = tuple(self.now(i) for i in self.graph.outputs)
        return drop_unused(
            replace(self.graph, tensors=tuple(self.tensors), ops=tuple(self.ops), outputs=outputs)
        )


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether the same bytes mean the same in both."""
    if one.shape != other.shape or one.dtype != other.dtype or one.is_variable != other.is_variable:
        return False
    return same_scales(one, other)


def same_scales(*tensors: Tensor) -> bool:
    """Whether all are quantised alike, or none is."""
    keys = {
        (
            None if t.scale is None else t.scale.tobytes(),
            None if t.zero_point is None else t.zero_point.tobytes(),
        )
        for t in tensors
    }
    return len(keys) == 1


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Sweep over the operators; those that `rule` does not deal with (it says False) stay as they are."""
    draft = Draft(graph)
    for op in graph.ops:
        if not rule(draft, op):
            draft.emit(op)
    return draft.finish()


def drop_unused(graph: Graph) -> Graph:
    """Without the operators and tensors that nothing needs."""
    needed = set(graph.outputs)
    ops = []
    for op in reversed(graph.ops):
        if needed.isdisjoint(op.outputs) and not _acts(graph, op):
            continue
        ops.append(op)
        needed.update(op.inputs, op.outputs, op.intermediates)
    return _compact(graph, ops[::-1], needed | set(graph.inputs))


def _acts(graph: Graph, op: Op) -> bool:
    variable = any(graph.tensors[i].is_variable for i in op.inputs if i >= 0)
    return variable or op.is_custom or not op.outputs or op.kind in _ACTS


def _compact(graph: Graph, ops: Iterable[Op], needed: set[int]) -> Graph:
    kept = sorted(needed - {-1})
    place = dict(zip(kept, range(len(kept)), strict=True)) | {-1: -1}

    def moved(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[i] for i in indices)

    return replace(
        graph,
        tensors=tuple(graph.tensors[i] for i in kept),
        ops=tuple(
            replace(
                op, inputs=moved(op.inputs), outputs=moved(op.outputs), intermediates=moved(op.intermediates)
            )
            for op in ops
        ),
        inputs=moved(graph.inputs),
        outputs=moved(graph.outputs),
    )
