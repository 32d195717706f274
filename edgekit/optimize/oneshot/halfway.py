"""What is alive halfway through a network, kept so that passes need not begin at the first layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from edgekit.engine import load_graph
from edgekit.model.graph import Graph, Op
from edgekit.plan.simplify import drop_unused

Values = dict[int, NDArray[Any]]  # what tensors hold in one inference, by their index
_ACTS = ("ASSIGN_VARIABLE", "CALL", "CALL_ONCE", "HASHTABLE_IMPORT", "IF", "WHILE")
_MOST_BYTES = 3 * 2**27  # of what is kept of one graph


@dataclass(frozen=True, eq=False)
class Halfway:
    """What the operators before `number` leave to those behind it, an entry for each inference."""

    graph: Graph
    number: int
    values: Sequence[Values]

    @property
    def tensors(self) -> tuple[int, ...]:
        return tuple(self.values[0])

    def serves(self, graph: Graph, tensors: Sequence[int]) -> bool:
        """Whether it is halfway in this graph, too, on the way to these tensors."""
        early = {i for op in graph.ops[: self.number] for i in op.outputs} | set(graph.inputs)
        return early.isdisjoint(set(tensors) - set(self.tensors)) and self._same(graph)

    def _same(self, graph: Graph) -> bool:
        mine, other = (g.ops[: self.number] for g in (self.graph, graph))
        return graph is self.graph or all(
            a is b and all(i < 0 or self.graph.tensors[i] is graph.tensors[i] for i in a.inputs)
            for a, b in zip(mine, other, strict=True)
        )

    def run(self, graph: Graph, tensors: Sequence[int]) -> Iterator[Values]:
        """What tensors of a graph that it serves hold, inference by inference.

        What computes them runs on edgekit's kernels that give the bytes of TFLite's, or on TFLite.
        """
        computed = tuple(dict.fromkeys(i for i in tensors if i not in self.tensors))
        given: Sequence[int] = ()
        if computed:
            part = self._part(graph, computed)
            given = part.inputs
            engine = load_graph(drop_unused(part), "calibration", exact=True)
        for values in self.values:
            outputs = engine.run([values[i] for i in given]) if computed else ()
            found = dict(zip(computed, outputs, strict=True))
            yield {i: values[i] if i in values else found[i] for i in tensors}

    def _part(self, graph: Graph, outputs: tuple[int, ...]) -> Graph:
        """The operators between, or all of them if they are not all functions of their inputs."""
        ops, wanted = graph.ops[self.number :], set(outputs)
        if not _has_state(graph):
            chosen: list[Op] = []
            for op in reversed(ops):
                if not wanted.isdisjoint(op.outputs):
                    chosen.insert(0, op)
                    wanted.update(op.inputs)
            ops = tuple(chosen)
        inputs = [i for i in self.tensors if i in wanted or self.number == 0]
        return replace(graph, inputs=tuple(inputs), outputs=outputs, ops=ops)


def start(graph: Graph, inputs: Sequence[Sequence[NDArray[Any]]]) -> Halfway:
    """At the first operator."""
    return Halfway(graph, 0, [dict(zip(graph.inputs, each, strict=True)) for each in inputs])


def move(before: Halfway, graph: Graph, number: int) -> Halfway | None:
    """At a later operator of a graph that `before` serves; None if too much is alive there to be kept."""
    alive = _alive(graph, number)
    size = sum(graph.tensors[i].size_bytes for i in alive if i not in graph.inputs)
    if size * len(before.values) > _MOST_BYTES or not alive or _has_state(graph):
        return None
    return Halfway(graph, number, list(before.run(graph, alive)))


def _alive(graph: Graph, number: int) -> list[int]:
    """The tensors that are there before operator `number` and wanted by it or later."""
    there = dict.fromkeys([*graph.inputs, *(i for op in graph.ops[:number] for i in op.outputs)])
    wanted = {i for op in graph.ops[number:] for i in op.inputs} | set(graph.outputs)
    return [i for i in there if i in wanted]


def _has_state(graph: Graph) -> bool:
    """Whether an inference may leave something behind for the next one."""
    return any(t.is_variable for t in graph.tensors) or any(
        op.kind in _ACTS or not op.outputs for op in graph.ops
    )
