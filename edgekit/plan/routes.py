"""Which operators work in planes, and how each is planned there."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.model.graph import Op
from edgekit.plan import convolve, pictures, real_layers, transposed
from edgekit.plan.planner import Planner

Route = Callable[[Planner, Op], bool]

_ROUTES: dict[str, tuple[Route, ...]] = {
    "CONV_2D": (convolve.convolution,),
    "DEPTHWISE_CONV_2D": (convolve.depthwise,),
    "TRANSPOSE_CONV": (transposed.convolution,),
    "ADD": (pictures.add,),
    "SUB": (pictures.add,),
    "MUL": (pictures.function, pictures.multiply),
    "MAX_POOL_2D": (pictures.pool,),
    "AVERAGE_POOL_2D": (pictures.pool,),
    "MEAN": (pictures.mean,),
    "CONCATENATION": (pictures.concatenation,),
    "SPLIT": (pictures.split,),
    "RESIZE_NEAREST_NEIGHBOR": (pictures.resize,),
}
_FUNCTION: tuple[Route, ...] = (pictures.function,)


def route(planner: Planner, op: Op) -> bool:
    """Plan the operator in planes if it works there; the first route that takes it."""
    if op.kind in real_layers.CONVOLUTIONS and real_layers.is_real(planner.graph, op):
        return False
    return any(take(planner, op) for take in _ROUTES.get(op.kind, _FUNCTION))
