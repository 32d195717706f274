"""Operators on plain tensors: which of them the native engine runs, and the steps that they become.

Plain tensors are dense, as TFLite keeps them. What is lowered here gives the bytes of TFLite's reference
kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from edgekit.model.graph import Graph, Op
from edgekit.plan import fully_connected, picking, postprocess, products, real_layers
from edgekit.plan.binary import BINARY, signed_scratch, sum_scratch
from edgekit.plan.blocks import BLOCKS
from edgekit.plan.conversion import CONVERSIONS
from edgekit.plan.joining import JOINING
from edgekit.plan.lowering import Lower, Lowering, Refused
from edgekit.plan.movement import MOVES
from edgekit.plan.picking import PICKING
from edgekit.plan.real import ARG, REAL
from edgekit.plan.reduction import REDUCTIONS
from edgekit.plan.sampling import SAMPLING
from edgekit.plan.slicing import SLICING
from edgekit.plan.step import Step
from edgekit.plan.unary import UNARY

_LOWER: dict[str, Lower] = {
    **REAL,
    **MOVES,
    **SLICING,
    **JOINING,
    **BLOCKS,
    **CONVERSIONS,
    **UNARY,
    **BINARY,
    **REDUCTIONS,
    **SAMPLING,
    **products.PRODUCTS,
    **ARG,
    **PICKING,
    **real_layers.CONVOLUTIONS,
    "FULLY_CONNECTED": products.fully_connected,
    postprocess.POSTPROCESS: postprocess.lower,
}
_SCRATCH: dict[str, Callable[[Lowering], int]] = {
    "ABS": signed_scratch,
    "ADD_N": sum_scratch,
    "FULLY_CONNECTED": fully_connected.scratch,
    "ONE_HOT": picking.one_hot_scratch,
    "SIGN": signed_scratch,
    postprocess.POSTPROCESS: postprocess.scratch,
}
_MAY_FAIL = ("DIV", "EMBEDDING_LOOKUP", "FLOOR_DIV", "FLOOR_MOD", "GATHER", "GATHER_ND", "SCATTER_ND")
_ALIASES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")


def refusal(graph: Graph, op: Op) -> str | None:
    """Why the native engine cannot run this operator on plain tensors; None if it can."""
    if op.kind not in _LOWER:
        return "not among the native kernels"
    used = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
    if any(tensor.is_variable for tensor in used):
        return "a variable"
    if not all(math.prod(graph.tensors[i].shape) for i in op.outputs):
        return "an output without elements"
    if op.kind == "FULLY_CONNECTED" and products.is_packed(graph, op):
        return fully_connected.check(graph, op)  # and nothing is packed in vain
    try:
        _LOWER[op.kind](Lowering(graph, op, lambda _: 0))
    except Refused as reason:
        return str(reason)
    return None


def lower(graph: Graph, op: Op, place: Callable[[int], int]) -> list[Step]:
    """The steps of an operator for which `refusal` is None.

    `place(i)` is where tensor i stands in the arena, at a multiple of ALIGNMENT. Constants are not asked
    for: they travel in the steps; scratch memory is, as `place(SCRATCH)`, and, where `can_fail`, an int32
    that is not 0 after a failure, as `place(FAULT)`. No two tensors of an operator overlap, unless it
    `aliases` them.
    """
    return _LOWER[op.kind](Lowering(graph, op, place))


def scratch(graph: Graph, op: Op) -> int:
    """Bytes of the arena that the operator needs while it runs; `place(SCRATCH)` says where they are."""
    return _SCRATCH[op.kind](Lowering(graph, op, lambda _: 0)) if op.kind in _SCRATCH else 0


def can_fail(graph: Graph, op: Op) -> bool:
    """Whether numbers that are computed may turn out to be wrong: indices outside, divisors that are 0."""
    return op.kind in _MAY_FAIL and any("fault" in step.fields for step in lower(graph, op, lambda _: 0))


def aliases(graph: Graph, op: Op) -> bool:
    """Whether the output has the bytes of the first input: where both share a place, there are no steps."""
    return op.kind in _ALIASES and graph.tensors[op.inputs[0]].data is None
