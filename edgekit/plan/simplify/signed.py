"""uint8 networks as int8 ones: every zero point moves by 128 and so does every stored value.

Only operators whose uint8 and int8 reference kernels give the same numbers are turned. AVERAGE_POOL_2D,
RESIZE_BILINEAR, L2_NORMALIZATION, LOG_SOFTMAX and SUM do not and stay uint8, as does what edgekit does not
know.
Where the two kinds meet, and at the ends of the graph, a QUANTIZE flips the upper bit.

Weights of convolutions, transposed ones too, and of FULLY_CONNECTED become int16 with zero point 0: what is
stored less the zero point. On a convolution they are also the mark of one that was uint8, which scales its
sums by a factor that differs in the last bits: see `edgekit.plan.simplify.arithmetic.sum_factors`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.simplify.draft import Draft, same_scales

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_OF_ONE_SCALE = ("CONCATENATION", "MAXIMUM", "MINIMUM", "MAX_POOL_2D", "REDUCE_MAX", "REDUCE_MIN", "PACK")
_SAME = frozenset(
    """
    ADD SUB MUL DIV MAXIMUM MINIMUM LOGISTIC TANH SOFTMAX HARD_SWISH LEAKY_RELU PRELU
    RELU RELU6 RELU_N1_TO_1 QUANTIZE DEQUANTIZE MEAN REDUCE_MAX REDUCE_MIN MAX_POOL_2D
    RESIZE_NEAREST_NEIGHBOR PAD PADV2 MIRROR_PAD CONCATENATION TRANSPOSE RESHAPE SQUEEZE EXPAND_DIMS SLICE
    STRIDED_SLICE GATHER SPLIT SPLIT_V PACK UNPACK TILE SPACE_TO_DEPTH DEPTH_TO_SPACE ARG_MAX ARG_MIN TOPK_V2
    EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL
    """.split()  # noqa: SIM905
)


def to_int8(graph: Graph) -> Graph:
    """The same network with int8 inside. Its inputs and outputs stay as they are."""
    turning = _Turning(Draft(graph))
    for op in graph.ops:
        turning.turn(op)
    for index in graph.outputs:
        turning.as_uint8(index)
    return turning.draft.finish()


class _Turning:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._twins: dict[int, int] = {}  # of a uint8 tensor: its int8 one
        self._only_int8: set[int] = set()  # those of which nothing has computed the uint8 one

    def turn(self, op: Op) -> None:
        tensors = self.draft.tensors
        if not _is_turned(op, tensors):
            for index in op.inputs:
                self.as_uint8(index)
            self.draft.emit(op)
            return
        inputs = [self._as_int8(i) for i in op.inputs]
        if op.kind in _WEIGHTED:
            inputs[1] = self.draft.add(_weights(tensors[op.inputs[1]]))
        outputs = [self._twin(i) if _is_uint8(tensors[i]) else i for i in op.outputs]
        self._only_int8.update(i for i in op.outputs if _is_uint8(tensors[i]))
        self.draft.emit(replace(op, inputs=tuple(inputs), outputs=tuple(outputs)))

    def as_uint8(self, index: int) -> None:
        """See to it that the uint8 tensor itself is there."""
        if index in self._only_int8:
            self._only_int8.remove(index)
            self.draft.emit(Op("QUANTIZE", (self._twins[index],), (index,)))

    def _as_int8(self, index: int) -> int:
        if index < 0 or not _is_uint8(self.draft.tensors[index]):
            return index
        made = index in self._twins
        twin = self._twin(index)
        if not made and self.draft.tensors[twin].data is None:
            self.draft.emit(Op("QUANTIZE", (index,), (twin,)))
        return twin

    def _twin(self, index: int) -> int:
        if index not in self._twins:
            self._twins[index] = self.draft.add(_signed(self.draft.tensors[index]))
        return self._twins[index]


def _is_turned(op: Op, tensors: list[Tensor]) -> bool:
    inputs = [tensors[i] for i in op.inputs if i >= 0]
    ends = [*inputs, *(tensors[i] for i in op.outputs)]
    unsigned = [tensor for tensor in ends if tensor.dtype == np.uint8]
    if not unsigned or not all(map(_is_uint8, unsigned)):
        return False
    if op.kind in _WEIGHTED:
        return len(op.inputs) > 1 and op.inputs[1] >= 0 and _has_weights(tensors[op.inputs[1]])
    return op.kind in _SAME and (op.kind not in _OF_ONE_SCALE or same_scales(*unsigned))


def _is_uint8(tensor: Tensor) -> bool:
    one = tensor.scale is not None and len(tensor.scale) == 1
    return tensor.dtype == np.uint8 and one and not tensor.is_variable


def _has_weights(tensor: Tensor) -> bool:
    return _is_uint8(tensor) and tensor.data is not None


def _signed(tensor: Tensor) -> Tensor:
    data = None if tensor.data is None else (tensor.data ^ np.uint8(128)).view(np.int8)
    zero_point = np.asarray(tensor.zero_point) - 128
    return replace(tensor, dtype=np.dtype(np.int8), zero_point=zero_point, data=data)


def _weights(tensor: Tensor) -> Tensor:
    data = np.asarray(tensor.data, np.int16) - np.asarray(tensor.zero_point, np.int16)
    return replace(tensor, dtype=np.dtype(np.int16), zero_point=np.zeros(1, np.int64), data=data)
