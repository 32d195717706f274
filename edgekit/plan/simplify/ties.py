"""Which channels of an operator's inputs and outputs are the same ones, so that they can only go together.

Channels are the last axis. A tie says of every channel of one tensor which one of another tensor it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.simplify.values import whole

EACH_ALONE = """ADD SUB MUL MAXIMUM MINIMUM PRELU RELU RELU6 RELU_N1_TO_1 LEAKY_RELU HARD_SWISH LOGISTIC TANH
    QUANTIZE""".split()  # noqa: SIM905
_OVER_SPACE = "MAX_POOL_2D AVERAGE_POOL_2D RESIZE_NEAREST_NEIGHBOR RESIZE_BILINEAR"
_REDUCTIONS = "MEAN SUM REDUCE_MAX REDUCE_MIN"


@dataclass(frozen=True, eq=False)
class Tie:
    """Channel `i` of tensor `many` is channel `places[i]` of tensor `one`."""

    one: int
    many: int
    places: NDArray[Any]


def channels(tensor: Tensor) -> int:
    return tensor.shape[-1]


def may_lose(tensor: Tensor) -> bool:
    """Whether it is a computed tensor of whole numbers with a last axis."""
    plain = tensor.data is None and not tensor.is_variable and tensor.dtype in (np.int8, np.uint8)
    return plain and 0 not in (tensor.shape or (0,)) and (tensor.scale is None or len(tensor.scale) == 1)


def ties_of(graph: Graph, op: Op) -> list[Tie] | None:
    """The ties of an operator that is no layer; None where it needs all channels of all its tensors."""
    find = _TIES.get(op.kind)
    if not find or len(op.outputs) != 1 or min(op.inputs, default=-1) < 0:
        return None
    inputs, result = [graph.tensors[i] for i in op.inputs], graph.tensors[op.outputs[0]]
    computed = [tensor for tensor in inputs if tensor.data is None]
    if not computed or not all(map(may_lose, [*computed, result])):
        return None
    return find(op, inputs, result)


def _same(op: Op, place: int, size: int) -> Tie:
    return Tie(op.inputs[place], op.outputs[0], np.arange(size))


def _each_alone(op: Op, inputs: Sequence[Tensor], result: Tensor) -> list[Tie] | None:
    """An input of one channel is spread over all: it has none to lose."""
    size = channels(result)
    lasts = [tensor.shape[-1] if tensor.shape else 1 for tensor in inputs]
    if any(last not in (1, size) for last in lasts) or any(
        t.scale is None or len(t.scale) != 1 for t in inputs
    ):
        return None
    computed = [place for place, tensor in enumerate(inputs) if tensor.data is None]
    return [_same(op, place, size) for place in computed if lasts[place] == size]


def _over_space(op: Op, inputs: Sequence[Tensor], result: Tensor) -> list[Tie] | None:
    """All inputs but the first are constants that know nothing of channels."""
    plain = all(tensor.data is not None for tensor in inputs[1:])
    fits = len(inputs[0].shape) == len(result.shape) == 4 and channels(inputs[0]) == channels(result)
    return [_same(op, 0, channels(result))] if plain and fits else None


def _pad(op: Op, inputs: Sequence[Tensor], result: Tensor) -> list[Tie] | None:
    margins = inputs[1].data if len(inputs) == 2 else None
    stays = margins is not None and margins.ndim == 2 and not margins[-1].any()
    fits = stays and channels(inputs[0]) == channels(result)
    return [_same(op, 0, channels(result))] if fits else None


def _reduction(op: Op, inputs: Sequence[Tensor], result: Tensor) -> list[Tie] | None:
    axes, rank = inputs[1].data if len(inputs) == 2 else None, len(inputs[0].shape)
    stays = axes is not None and all(-rank <= axis < rank - 1 and axis != -1 for axis in axes.ravel())
    fits = stays and channels(inputs[0]) == channels(result)
    return [_same(op, 0, channels(result))] if fits else None


def _reshape(op: Op, inputs: Sequence[Tensor], result: Tensor) -> list[Tie] | None:
    """The channels stay, or follow one another again and again."""
    size, total = channels(inputs[0]), channels(result)
    if len(inputs) != 1 or total % size or math.prod(inputs[0].shape) != math.prod(result.shape):
        return None
    return [Tie(op.inputs[0], op.outputs[0], np.arange(total) % size)]


def _concatenation(op: Op, inputs: Sequence[Tensor], result: Tensor) -> list[Tie] | None:
    axis, rank, sizes = (
        whole(op, "axis"),
        len(result.shape),
        [tensor.shape[-1] for tensor in inputs if tensor.shape],
    )
    if len(sizes) != len(inputs) or any(tensor.data is not None for tensor in inputs):
        return None
    if axis not in (-1, rank - 1):
        same = set(sizes) == {channels(result)}
        return [_same(op, place, channels(result)) for place in range(len(inputs))] if same else None
    if sum(sizes) != channels(result):
        return None
    starts = np.cumsum([0, *sizes[:-1]])
    parts = zip(op.inputs, starts, sizes, strict=True)
    return [Tie(op.outputs[0], index, start + np.arange(size)) for index, start, size in parts]


_TIES: dict[str, Callable[[Op, Sequence[Tensor], Tensor], list[Tie] | None]] = {
    "PAD": _pad, "RESHAPE": _reshape, "CONCATENATION": _concatenation,
}  # fmt: skip
_TIES |= dict.fromkeys(EACH_ALONE, _each_alone)
_TIES |= dict.fromkeys(_OVER_SPACE.split(), _over_space)
_TIES |= dict.fromkeys(_REDUCTIONS.split(), _reduction)
