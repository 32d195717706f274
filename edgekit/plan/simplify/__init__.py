"""Lossless clean-up of graphs: what is computed stays the same to the last bit, by fewer operators."""

from __future__ import annotations

from edgekit.model.graph import Graph
from edgekit.plan.simplify.constant_channels import fold_constant_channels
from edgekit.plan.simplify.dead_channels import remove_dead_channels
from edgekit.plan.simplify.draft import drop_unused
from edgekit.plan.simplify.fold import fold_constants
from edgekit.plan.simplify.noop import merge_reshapes, remove_noops
from edgekit.plan.simplify.padding import explicit_padding
from edgekit.plan.simplify.signed import to_int8
from edgekit.plan.simplify.transpose import sink_transposes

__all__ = [
    "drop_unused", "explicit_padding", "fold_constant_channels", "fold_constants", "merge_reshapes",
    "remove_dead_channels", "remove_noops", "simplify", "sink_transposes", "to_int8",
]  # fmt: skip

_PASSES = (
    drop_unused, fold_constants, remove_noops, sink_transposes, remove_noops, merge_reshapes,
    fold_constant_channels, remove_dead_channels,
)  # fmt: skip


def simplify(graph: Graph) -> Graph:
    """The graph after all passes; what a pass does not understand, it leaves as it is."""
    for work in _PASSES:
        graph = work(graph)
    return graph
