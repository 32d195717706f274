"""Moves TRANSPOSEs down through what does not care about the order of axes, until pairs of them cancel.

A tensor may be *turned*: it is not computed, but another one is of which it is a transpose. Operators that
can work on that other one do so, and what they give is turned in its place; the rest get a TRANSPOSE.
What turned tensors connect is a region; one in which the TRANSPOSEs would move no fewer bytes than before
stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekit.model.graph import Graph, Op
from edgekit.plan.simplify.axes import MOVES, Case, Moved, Order, inverse
from edgekit.plan.simplify.draft import Draft, same_scales
from edgekit.plan.simplify.noop import keeps_bytes, permutation


def sink_transposes(graph: Graph) -> Graph:
    trial = _Sinking(graph, frozenset(range(len(graph.ops))))
    trial.sweep()
    worth = trial.regions.worth()
    if not worth:
        return graph
    sinking = _Sinking(graph, worth)
    sinking.sweep()
    return sinking.draft.finish()


class _Regions:
    """Which TRANSPOSEs belong together, by their numbers, and what each region saves: bytes, TRANSPOSEs."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}
        self._saved: dict[int, tuple[int, int]] = {}

    def find(self, start: int) -> int:
        root = start
        while self._parent.setdefault(root, root) != root:
            root = self._parent[root]
        while start != root:
            self._parent[start], start = root, self._parent[start]
        return root

    def join(self, starts: Sequence[int]) -> int:
        first = self.find(starts[0])
        for start in starts[1:]:
            self._parent[self.find(start)] = first
        return first

    def save(self, start: int, size: int, number: int) -> None:
        before = self._saved.get(start, (0, 0))
        self._saved[start] = (before[0] + size, before[1] + number)

    def worth(self) -> frozenset[int]:
        """The TRANSPOSEs of regions that save bytes, or TRANSPOSEs at no cost."""
        total: dict[int, tuple[int, int]] = {}
        for start, saved in self._saved.items():
            root = self.find(start)
            so_far = total.get(root, (0, 0))
            total[root] = (so_far[0] + saved[0], so_far[1] + saved[1])
        return frozenset(start for start in self._parent if total.get(self.find(start), (0, 0)) > (0, 0))


class _Sinking:
    """One sweep that puts off the TRANSPOSEs with the numbers in `chosen`."""

    def __init__(self, graph: Graph, chosen: frozenset[int]) -> None:
        self.draft, self.regions = Draft(graph), _Regions()
        self._chosen = chosen
        self._turned: dict[
            int, tuple[int, Order]
        ] = {}  # the tensor that is there, and the order that turns it
        self._region: dict[int, int] = {}  # of a turned tensor: one of the TRANSPOSEs of its region
        self._there: set[int] = set()  # turned tensors that were needed themselves
        self._orders: dict[Order, int] = {}  # constants made so far

    def sweep(self) -> None:
        for number, op in enumerate(self.draft.graph.ops):
            if not self._put_off(number, op) and not self._pass_through(op):
                for index in op.inputs:
                    self._make(index)
                self.draft.emit(op)
        for index in self.draft.graph.outputs:
            self._make(index)

    def _put_off(self, number: int, op: Op) -> bool:
        inputs = self.draft.inputs(op)
        order = permutation(inputs) if op.kind == "TRANSPOSE" and number in self._chosen else None
        if order is None or len(op.outputs) != 1:
            return False
        given, index = inputs[0], op.outputs[0]
        result = self.draft.tensor(index)
        fits = result.shape == tuple(given.shape[axis] for axis in order) and result.dtype == given.dtype
        if not fits or not same_scales(given, result) or given.is_variable or result.is_variable:
            return False
        source, below = self._turned.get(op.inputs[0], (op.inputs[0], tuple(range(len(order)))))
        starts = [number, *([self._region[op.inputs[0]]] if op.inputs[0] in self._turned else [])]
        self._turn(index, source, tuple(below[axis] for axis in order), self.regions.join(starts))
        self._count(index, order, 1)
        return True

    def _turn(self, index: int, source: int, order: Order, region: int) -> None:
        self._turned[index], self._region[index] = (source, order), region

    def _count(self, index: int, order: Order, sign: int) -> None:
        """Count a TRANSPOSE that is saved, or with sign -1 one that is made, unless it leaves bytes alone."""
        tensor = self.draft.tensor(index)
        source = tuple(tensor.shape[place] for place in inverse(order))
        moves = not keeps_bytes(source, order)
        self.regions.save(self._region[index], sign * tensor.size_bytes * moves, sign * moves)

    def _make(self, index: int) -> None:
        """See to it that the tensor itself is there."""
        if index not in self._turned or index in self._there:
            return
        self._there.add(index)
        source, order = self._turned[index]
        if order == tuple(range(len(order))) and self.draft.alias(index, source):
            return
        self._count(index, order, -1)
        if order not in self._orders:
            self._orders[order] = self.draft.constant("order", np.array(order, np.int32))
        self.draft.emit(Op("TRANSPOSE", (source, self._orders[order]), (index,)))

    def _pass_through(self, op: Op) -> bool:
        sources = {i: self._turned[i][0] for i in op.inputs if i in self._turned}
        orders = {self._turned[i][1] for i in sources}
        move = MOVES.get(op.kind)
        if not move or len(orders) != 1:
            return False
        case = Case(self.draft, op, orders.pop(), sources)
        moved = move(case)
        if moved is None or not all(self._can_turn(i, moved.order) for i in op.outputs):
            return False
        region = self.regions.join([self._region[i] for i in sources])
        self._emit(case, moved, region)
        return True

    def _can_turn(self, index: int, order: Order) -> bool:
        tensor = self.draft.tensor(index)
        one = tensor.scale is None or len(tensor.scale) == 1
        return one and not tensor.is_variable and len(tensor.shape) == len(order)

    def _emit(self, case: Case, moved: Moved, region: int) -> None:
        op, back = case.op, inverse(moved.order)
        inputs = [moved.inputs.get(place, case.sources.get(i, i)) for place, i in enumerate(op.inputs)]
        outputs = op.outputs
        if moved.order != tuple(range(len(back))):
            tensors = [self.draft.tensor(i) for i in op.outputs]
            outputs = tuple(
                self.draft.add(replace(t, shape=tuple(t.shape[place] for place in back))) for t in tensors
            )
            for index, source in zip(op.outputs, outputs, strict=True):
                self._turn(index, source, moved.order, region)
        options = {**op.options, **moved.options}
        self.draft.emit(replace(op, inputs=tuple(inputs), outputs=outputs, options=options))
