"""Removes channels that nothing needs: those for which all that read them have only zero weights.

Layers need the channels that they have weights for, some operators tie channels of several tensors together
(see `edgekit.plan.simplify.ties`), and all else needs every channel. Needs spread until nothing changes. A
layer whose zeros stand in blocks needs the channels that keep the blocks in step, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph, Op, Tensor
from edgekit.plan.layout import QUAD
from edgekit.plan.simplify.draft import Draft, drop_unused
from edgekit.plan.simplify.layers import Layer, Mask, read_layer
from edgekit.plan.simplify.ties import EACH_ALONE, Tie, channels, may_lose, ties_of

_PART = 1 << 16  # weights that are looked at at once
_STEPS = 50  # for each tensor on average; more, no real network takes


def remove_dead_channels(graph: Graph) -> Graph:
    draft = Draft(graph)
    layers = {number: layer for number, op in enumerate(graph.ops) if (layer := read_layer(draft, op))}
    masks = _Needs(graph, layers).masks()
    if masks is None or all(mask.all() for mask in masks.values()):
        return graph
    return _cut(graph, layers, masks)


class _Needs:
    """Spreads what is needed, from tensor to tensor."""

    def __init__(self, graph: Graph, layers: dict[int, Layer]) -> None:
        self._graph, self._layers = graph, layers
        self._masks = {i: np.zeros(channels(t), bool) for i, t in enumerate(graph.tensors) if may_lose(t)}
        self._ties: dict[int, list[Tie]] = defaultdict(list)
        # of what a layer computes: (its channels, those of its source), eight in a byte
        self._reads: dict[int, NDArray[np.uint8]] = {}
        self._waiting: list[int] = []
        self._steps = _STEPS * len(graph.tensors)
        for number, op in enumerate(graph.ops):
            ties = _layer_ties(layers[number]) if number in layers else ties_of(graph, op)
            if number in layers and not layers[number].depthwise:
                self._reads[op.outputs[0]] = _present(layers[number])
            for tie in ties or ():
                self._ties[tie.one].append(tie)
                self._ties[tie.many].append(tie)
            if ties is None:
                self._need_all((*op.inputs, *op.outputs))
        self._need_all((*graph.inputs, *graph.outputs))

    def masks(self) -> dict[int, Mask] | None:
        """What is needed of each tensor, one channel at least; None where that takes too long to find."""
        self._spread()
        for layer in self._layers.values():
            index = layer.op.inputs[0]
            if index in self._masks and not layer.depthwise and _shifts_blocks(layer, self._masks[index]):
                self._need(index, _whole_blocks(self._masks[index]))
        self._spread()
        for index, mask in self._masks.items():
            if not mask.any():
                self._need(index, np.eye(1, len(mask), dtype=bool)[0])
                self._spread()
        return self._masks if self._steps > 0 else None

    def _need_all(self, indices: tuple[int, ...]) -> None:
        for index in indices:
            if index in self._masks:
                self._need(index, np.ones_like(self._masks[index]))

    def _need(self, index: int, mask: Mask) -> None:
        more = self._masks[index] | mask
        if not np.array_equal(more, self._masks[index]):
            self._masks[index] = more
            self._waiting.append(index)

    def _spread(self) -> None:
        while self._waiting and self._steps > 0:
            index = self._waiting.pop()
            mask = self._masks[index]
            if index in self._reads:
                source = self._graph.producer[index].inputs[0]
                read = np.bitwise_or.reduce(self._reads[index][mask], axis=0)
                self._need(source, np.unpackbits(read, count=len(self._masks[source])).astype(bool))
            for tie in self._ties.get(index, ()):
                self._steps -= 1
                if tie.one == index:
                    self._need(tie.many, mask[tie.places])
                if tie.many == index:
                    needed = np.zeros_like(self._masks[tie.one])
                    needed[tie.places[mask]] = True
                    self._need(tie.one, needed)


def _layer_ties(layer: Layer) -> list[Tie]:
    if not layer.depthwise:
        return []
    times = layer.outputs // channels(layer.source)
    return [Tie(layer.op.inputs[0], layer.op.outputs[0], np.arange(layer.outputs) // times)]


def _shifts_blocks(layer: Layer, kept: Mask) -> bool:
    """Whether more blocks have a weight that is not zero when only these channels of the source stay."""
    more = 0
    for part in _used(layer):
        there = part.reshape(len(part), -1, len(kept))
        more += _blocks(there[..., kept]) - _blocks(there)
    return more > 0


def _blocks(there: Mask) -> int:
    wide = np.pad(there, ((0, 0), (0, 0), (0, -there.shape[2] % QUAD)))
    return int(wide.reshape(*wide.shape[:2], -1, QUAD).any(axis=3).sum())


def _whole_blocks(kept: Mask) -> Mask:
    """All channels of the blocks of which some stay."""
    wide = np.pad(kept, (0, -len(kept) % QUAD)).reshape(-1, QUAD)
    return np.asarray(wide.any(axis=1).repeat(QUAD)[: len(kept)])


def _present(layer: Layer) -> NDArray[np.uint8]:
    """Which channels of its source each output has weights for, eight in a byte."""
    masks = [
        part.any(axis=1).reshape(len(part), -1, channels(layer.source)).any(axis=1) for part in _used(layer)
    ]
    return np.concatenate([np.packbits(mask, axis=1) for mask in masks])


def _used(layer: Layer) -> Iterator[Mask]:
    """Where weights are not zero, for some outputs after another."""
    weights = layer.weights
    step = max(1, _PART // max(1, weights[0].size))
    for start in range(0, len(weights), step):
        yield weights[start : start + step] != 0


def _cut(graph: Graph, layers: dict[int, Layer], masks: dict[int, Mask]) -> Graph:
    draft = Draft(graph)
    for index, mask in masks.items():
        tensor = graph.tensors[index]
        draft.tensors[index] = replace(tensor, shape=(*tensor.shape[:-1], int(mask.sum())))
    for number, op in enumerate(graph.ops):
        lost = any(index in masks and not masks[index].all() for index in (*op.inputs, *op.outputs))
        if lost:
            draft.emit(
                _cut_layer(draft, layers[number], masks) if number in layers else _cut_op(draft, op, masks)
            )
        else:
            draft.emit(op)
    return drop_unused(replace(graph, tensors=tuple(draft.tensors), ops=tuple(draft.ops)))


def _cut_layer(draft: Draft, layer: Layer, masks: dict[int, Mask]) -> Op:
    op, tensor = layer.op, layer.tensor
    read, kept = masks[op.inputs[0]], masks[op.outputs[0]]
    columns = np.flatnonzero(kept if layer.depthwise else np.tile(read, tensor.shape[-1] // len(read)))
    data = np.asarray(tensor.data)[..., columns]
    data = data if layer.depthwise else data[kept]
    inputs = [op.inputs[0], draft.add(_part(tensor, data, kept)), *op.inputs[2:]]
    if layer.bias is not None:
        inputs[2] = draft.add(_part(layer.bias, np.asarray(layer.bias.data)[kept], kept))
    return replace(op, inputs=tuple(inputs))


def _part(tensor: Tensor, data: NDArray[Any], kept: Mask) -> Tensor:
    """The part of a layer's constant for the outputs that stay."""
    scale, zero_point = tensor.scale, tensor.zero_point
    if scale is not None and zero_point is not None and len(scale) > 1:
        scale, zero_point = scale[kept], zero_point[kept]
    return replace(tensor, shape=data.shape, data=data, scale=scale, zero_point=zero_point)


def _cut_op(draft: Draft, op: Op, masks: dict[int, Mask]) -> Op:
    result = op.outputs[0]
    if op.kind == "RESHAPE":
        return replace(op, options={"new_shape": draft.tensors[result].shape})
    if op.kind not in EACH_ALONE:
        return op
    return replace(op, inputs=tuple(_cut_constant(draft, index, masks[result]) for index in op.inputs))


def _cut_constant(draft: Draft, index: int, kept: Mask) -> int:
    tensor = draft.tensors[index]
    if tensor.data is None or tensor.shape[-1:] != (len(kept),):
        return index
    return draft.constant(tensor.name, tensor.data[..., kept], tensor)
