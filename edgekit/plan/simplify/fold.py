"""Constant folding: operators that depend on constants alone are computed once, here."""

from __future__ import annotations

import numpy as np

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.simplify.draft import Draft, rewrite
from edgekit.plan.simplify.values import VALUES

_SMALL_BYTES = 2**20
_SHAPED_BY_DATA = ("WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")


def fold_constants(graph: Graph) -> Graph:
    """Fold what is cheap to fold: results stay within a small multiple of what the file holds."""
    return rewrite(graph, _Folding(graph).rule)


class _Folding:
    """Knows which tensors are sure to have the shape that is stated, and how much may still be computed."""

    def __init__(self, graph: Graph) -> None:
        self._sure = {i for i, tensor in enumerate(graph.tensors) if _is_constant(tensor)} | set(graph.inputs)
        self._budget = _SMALL_BYTES + 4 * sum(t.size_bytes for t in graph.tensors if t.data is not None)

    def rule(self, draft: Draft, op: Op) -> bool:
        if draft.ends.isdisjoint(op.outputs) and len(op.outputs) == 1 and self._fold(draft, op):
            self._sure.update(op.outputs)
            return True
        if self._is_sure(draft, op):
            self._sure.update(op.outputs)
        return False

    def _is_sure(self, draft: Draft, op: Op) -> bool:
        if op.is_custom or op.kind in _SHAPED_BY_DATA or not op.is_known:
            return False
        whole = (np.int32, np.int64)
        shapes = [i for i in op.inputs if i >= 0 and draft.tensor(i).dtype in whole]
        known = all(_is_constant(draft.tensor(i)) for i in shapes)
        return known and all(draft.now(i) in self._sure for i in op.inputs if i >= 0)

    def _fold(self, draft: Draft, op: Op) -> bool:
        result, inputs = draft.tensor(op.outputs[0]), draft.inputs(op)
        if op.kind == "SHAPE" and inputs and draft.now(op.inputs[0]) in self._sure:
            data = np.array(inputs[0].shape)
            fits = data.shape == result.shape and result.dtype in (np.int32, np.int64)
            return fits and _settle(draft, op, data.astype(result.dtype))
        compute = VALUES.get(op.kind)
        if (
            not compute
            or not inputs
            or not all(map(_is_constant, inputs))
            or not self._afford(inputs, result)
        ):
            return False
        try:
            value = compute(op, inputs, result)
        except (
            ValueError,
            IndexError,
            TypeError,
            OverflowError,
        ):  # numpy's word that the operator is malformed
            return False
        if value is None or value.shape != result.shape or value.dtype != result.dtype:
            return False
        return _settle(draft, op, value)

    def _afford(self, inputs: list[Tensor], result: Tensor) -> bool:
        self._budget -= max(result.size_bytes, sum(tensor.size_bytes for tensor in inputs))
        return self._budget >= 0


def _settle(draft: Draft, op: Op, data: np.ndarray) -> bool:
    if not data.size:
        return False
    draft.settle(op.outputs[0], data)
    return True


def _is_constant(tensor: Tensor) -> bool:
    return tensor.data is not None
