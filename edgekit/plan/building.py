"""Graph to plan: what the native engine runs, with every decision made and every weight packed.

The operators are routed, the layout is settled, memory is arranged, and the nodes emit their steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgekit.errors import ModelError
from edgekit.model import operators
from edgekit.model.graph import Graph, Op
from edgekit.plan import convolution, plain, real_layers, routes
from edgekit.plan.layout import PLAIN, Value, arrange
from edgekit.plan.lowering import FAULT, SCRATCH
from edgekit.plan.planner import FAULTS, Node, Places, Planner
from edgekit.plan.simplify import simplify, to_int8
from edgekit.plan.step import Step

MAX_OPS = 4096
MAX_ARENA_BYTES = 2**31 - 1  # what the kernels' offsets reach
NO_RANKS: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True)
class Plan:
    """Steps over one arena. `inputs` and `outputs` are (place, size) in bytes.

    `operators` has for each step the operator of the graph that it belongs to, -1 for a change of form.
    `fault` is where an int32 stands, 0 at the start, that is not 0 after a run with indices that reach
    outside; None if that cannot be.
    """

    isa: str
    steps: tuple[Step, ...]
    operators: tuple[int, ...]
    arena_bytes: int
    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    fault: tuple[int, int] | None = None

    @property
    def constant_bytes(self) -> int:
        """What the packed weights and tables of all steps take."""
        return sum(step.constant_bytes for step in self.steps)


def prepare(graph: Graph) -> Graph:
    """The same network, cleaned up and with int8 inside: what `refusal` and `build` take."""
    return graph if operators.complaint(graph) else simplify(to_int8(graph))


def refusal(graph: Graph) -> str | None:
    """Why the native engine cannot run the graph, naming the first operator that it lacks; None if it can."""
    if len(graph.ops) > MAX_OPS:
        return f"{len(graph.ops)} operators; {MAX_OPS} are the most"
    if reason := operators.complaint(graph):
        return reason
    for number, op in enumerate(graph.ops):
        if reason := _refusal(graph, op):
            return f"operator {number} {op.kind}: {reason}"
    if reason := real_layers.too_many(graph):
        return reason
    if any(graph.tensors[i].data is not None for i in graph.outputs):
        return "an output that is a constant"
    return None


def _refusal(graph: Graph, op: Op) -> str | None:
    if op.kind in real_layers.CONVOLUTIONS and not real_layers.is_real(graph, op):
        return convolution.refusal(graph, op)
    return plain.refusal(graph, op)


def build(
    graph: Graph, isa: str, *, exact: bool = False, threads: int = 1, ranks: Mapping[int, int] = NO_RANKS
) -> Plan:
    """Plan a graph for which `refusal` is None. ModelError where it needs more memory than kernels reach.

    `ranks` has operators that shall have the kernel that many places behind the one thought to be the best.
    """
    planner = Planner(graph, isa, exact=exact, threads=threads, ranks=ranks)
    for number, op in enumerate(graph.ops):
        planner.number = number
        if not routes.route(planner, op):
            _plain(planner, op)
    planner.number = len(graph.ops)
    ends = [planner.want_plain(i) for i in graph.outputs]
    places, arena_bytes = _arrange(planner, ends)
    steps, operators = [], []
    waiting = planner.nodes[::-1]
    planner.nodes.clear()  # and with each node goes what it knows of its weights
    while waiting:
        node = waiting.pop()
        for step in node.emit(places):
            steps.append(step)
            operators.append(node.number)
    inputs, outputs = (
        tuple((places.plain(i), graph.tensors[i].size_bytes) for i in side)
        for side in (graph.inputs, graph.outputs)
    )
    fault = (places.buffers[FAULTS], 4) if FAULTS in places.buffers else None
    return Plan(isa, tuple(steps), tuple(operators), arena_bytes, inputs, outputs, fault)


def _plain(planner: Planner, op: Op) -> None:
    graph = planner.graph
    computed = [i for i in op.inputs if i >= 0 and not planner.is_constant(i) and graph.tensors[i].size_bytes]
    reads = tuple(map(planner.want_plain, computed))
    writes = tuple(Value(i, PLAIN) for i in op.outputs)
    if plain.aliases(graph, op):
        planner.share(writes[0], reads[0])
    else:
        spare = planner.add_scratch(plain.scratch(graph, op))
        faults = (planner.add_faults(),) if plain.can_fail(graph, op) else ()

        def emit(places: Places) -> list[Step]:
            own = {SCRATCH: spare, FAULT: FAULTS}
            return plain.lower(graph, op, lambda i: places.buffers[own.get(i, Value(i, PLAIN))])

        planner.node(reads, (*writes, spare, *faults), emit)


def _arrange(planner: Planner, ends: list[Value]) -> tuple[Places, int]:
    """Settle the layout and give every value that holds memory a place in the arena."""
    planes = planner.layout.settle()
    inputs = [Value(i, PLAIN) for i in planner.graph.inputs]
    kept = [FAULTS] if FAULTS in planner.made else []
    lives = _lives(planner.nodes, inputs + kept, ends + kept, planner.storage)
    numbered = list(lives)
    sizes = {
        number: (
            planes[value].stride * planes[value].planes if value in planes else planner.size_bytes(value),
            *lives[value],
        )
        for number, value in enumerate(numbered)
    }
    found, arena_bytes = arrange(sizes)
    if arena_bytes > MAX_ARENA_BYTES:
        raise ModelError(f"its tensors take {arena_bytes} bytes at once; {MAX_ARENA_BYTES} are the most")
    roots = {value: found[number] for number, value in enumerate(numbered)}
    storage = {value: planner.storage(value) for value in planner.made}
    buffers = {value: roots[holder] for value, holder in storage.items() if holder in roots}
    return Places(buffers, planes), arena_bytes


def _lives(
    nodes: list[Node], inputs: list[Value], ends: list[Value], storage: Callable[[Value], Value]
) -> dict[Value, tuple[int, int]]:
    """First and last node that needs each value; graph inputs live from the start, outputs to the end."""
    lives = {storage(value): (0, 0) for value in inputs}
    for number, node in enumerate(nodes):
        for value in map(storage, (*node.reads, *node.writes)):
            lives[value] = (lives.get(value, (number, number))[0], number)
    for value in map(storage, ends):
        lives[value] = (lives[value][0], len(nodes))
    return lives
