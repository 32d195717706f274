"""What a network is shown while it is pruned, and what its layers make of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph
from edgekit.optimize.oneshot.halfway import Halfway, move, start
from edgekit.optimize.oneshot.layers import Layer, Real, bias_of, input_rows, output_limits, real_values
from edgekit.optimize.oneshot.refit import Moments

Inputs = Sequence[NDArray[Any]]  # of one inference
Solved = tuple[NDArray[np.float64], NDArray[np.float64]]  # weights (outputs, inputs) and biases
_SAMPLES = 65536  # rows of a layer's input, over all inferences, that are enough for least squares
_LEAST_ROWS = 16  # of one inference
_FEW_INPUTS = 64  # none can be spared of these
_CHUNK = 4096  # rows that are multiplied at once
_SAYS_LESS = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "ARG_MAX", "TOPK_V2", "DEQUANTIZE", "RESHAPE")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Inputs of a network, one inference each, and what `hold` has kept of passes through networks."""

    inputs: Sequence[Inputs]
    _held: list[Halfway] = field(default_factory=list, init=False, repr=False)

    def split(self, most: int) -> tuple[Calibration, Calibration]:
        """Most of the inputs, and at most so many others, evenly spaced, a quarter of all; of few inputs both
        are all of them.
        """
        step = max(4, -(-len(self.inputs) // most))
        if len(self.inputs) < _FEW_INPUTS:
            return self, Calibration(self.inputs)
        rest = [one for number, one in enumerate(self.inputs) if number % step]
        return Calibration(rest), Calibration(self.inputs[::step])

    def hold(self, *graphs: Graph, number: int) -> None:
        """Keep what is alive before operator `number` of these graphs, and nothing that was kept before.

        `values` then begins there, for these graphs and all that differ from them only behind it. Where too
        much is alive, what was kept of operators before stays.
        """
        kept = []
        for graph in {id(graph): graph for graph in graphs}.values():
            before = self._nearest(graph, graph.ops[number].outputs)
            moved = move(before, graph, number) if before.number < number else None
            kept.append(moved or before)
        self._held[:] = [half for half in kept if half.number]

    def values(self, graph: Graph, *tensors: int) -> Iterator[list[NDArray[Any]]]:
        """What tensors of the graph hold, as stored, inference by inference.

        Runs what computes them on edgekit's kernels that give the bytes of TFLite's, or on TFLite.
        """
        for found in self._nearest(graph, tensors).run(graph, tensors):
            yield [found[i] for i in tensors]

    def _nearest(self, graph: Graph, tensors: Sequence[int]) -> Halfway:
        fit = [half for half in self._held if half.serves(graph, tensors)]
        return max(fit, key=lambda half: half.number) if fit else start(graph, self.inputs)

    def moments(
        self, layer: Layer, pruned: Graph, dense: Graph, solved: Solved | None = None,
        before: Moments | None = None,
    ) -> Moments:  # fmt: skip
        """Of the layer's inputs in the network as pruned so far, and its outputs in the dense one.

        Where these are added to what other layers give, they also make up for how that has changed. Where the
        activation cuts them off, and what `solved` weights and biases give with them, any such number is as
        good: the one that is given is wanted. `before` are the moments of the same inputs, with outputs that
        were wanted before.
        """
        weights = layer.real.astype(np.float32).T
        limits = cut_by(dense, layer) if solved else None
        sums = _Sums(centred=layer.bias >= 0, known=before)
        added = self._added(layer, pruned, dense)
        for (now, then), (other_now, other_then) in zip(self.pairs(layer, pruned, dense), added, strict=True):
            wanted = then @ weights + (other_then - other_now)
            if solved and limits:
                fixed = bias_of(dense, layer).astype(np.float32) + other_now
                given = now @ solved[0].astype(np.float32).T + solved[1].astype(np.float32) + other_now
                wanted = _as_good(wanted + fixed, given, limits) - fixed
            sums.add(now, wanted)
        return sums.moments()

    def _added(self, layer: Layer, pruned: Graph, dense: Graph) -> Iterator[tuple[Real, Real]]:
        """What is added to the layer's rows in the network as pruned so far and in the dense one."""
        other = _added_before(dense, layer)
        if other is None:
            none = np.zeros((1, len(layer.matrix)), np.float32)
            yield from ((none, none) for _ in self.inputs)
            return
        graphs = [pruned] if pruned is dense else [pruned, dense]
        for number, parts in enumerate(zip(*(self.values(graph, other) for graph in graphs), strict=True)):
            rows = [
                real_values(dense.tensors[other], part[0]).reshape(-1, len(layer.matrix)) for part in parts
            ]
            now, *then = (part[self._places(layer, len(part), number)] for part in rows)
            yield now, then[0] if then else now

    def pairs(self, layer: Layer, pruned: Graph, dense: Graph) -> Iterator[tuple[Real, Real]]:
        """Rows of the layer's inputs in the network as pruned so far and in the dense one, by inference."""
        if pruned is dense:
            return ((rows, rows) for rows in self._rows(layer, dense))
        return zip(self._rows(layer, pruned), self._rows(layer, dense), strict=True)

    def _rows(self, layer: Layer, graph: Graph) -> Iterator[Real]:
        """Some of the rows that the layer's matrix is multiplied with, the same ones in every graph."""
        tensor, shape = graph.tensors[layer.source], graph.tensors[layer.result].shape
        for number, (stored,) in enumerate(self.values(graph, layer.source)):
            places = self._places(layer, int(np.prod(shape[:-1])), number)
            yield input_rows(layer, real_values(tensor, stored), shape, places)

    def _places(self, layer: Layer, rows: int, number: int) -> NDArray[np.int64]:
        """Which rows of an inference are taken: all, or some at random, the same ones each time."""
        count = max(_LEAST_ROWS, -(-_SAMPLES // len(self.inputs)))
        if count >= rows:
            return np.arange(rows)
        rng = np.random.default_rng((layer.number, number))
        return np.sort(rng.choice(rows, count, replace=False, shuffle=False))


class Outputs:
    """What the network gave when it was dense, to tell by how much it errs now.

    What a softmax or the like makes of a tensor says less than the tensor itself, which is then taken.
    """

    def __init__(self, dense: Graph, calibration: Calibration) -> None:
        self.calibration = calibration
        self.tensors = tuple(dict.fromkeys(i for output in dense.outputs for i in _judged(dense, output)))
        self.dense = self._real(dense)

    def error(self, graph: Graph) -> float:
        """Mean squared error over the variance, averaged over the outputs."""
        pairs = zip(self._real(graph), self.dense, strict=True)
        return float(np.mean([np.square(now - then).mean() / (then.var() or 1.0) for now, then in pairs]))

    def _real(self, graph: Graph) -> list[Real]:
        runs = zip(*self.calibration.values(graph, *self.tensors), strict=True)
        return [real_values(graph.tensors[i], np.stack(v)) for i, v in zip(self.tensors, runs, strict=True)]


def cut_by(graph: Graph, layer: Layer) -> tuple[float, float] | None:
    """Between which numbers what a layer gives counts, with what is added to it; None if it always does."""
    adds = _added_before(graph, layer) is not None
    return output_limits(graph, graph.readers[layer.result][0] if adds else graph.ops[layer.number])


def _added_before(graph: Graph, layer: Layer) -> int | None:
    """The tensor of the same shape that is added to the layer's outputs, if it is there before them."""
    readers = graph.readers.get(layer.result, [])
    activation = graph.ops[layer.number].options.get("fused_activation_function", "NONE")
    if [op.kind for op in readers] != ["ADD"] or activation != "NONE":
        return None
    other = next((i for i in readers[0].inputs if i != layer.result), None)
    if other is None or graph.tensors[other].shape != graph.tensors[layer.result].shape:
        return None
    maker = graph.producer.get(other)
    before = maker is None or graph.ops.index(maker) < layer.number
    return other if before and graph.tensors[other].data is None else None


def _as_good(wanted: Real, given: Real, limits: tuple[float, float]) -> Real:
    """What is given where it is cut off as what is wanted is; the limit where only this is."""
    least, largest = limits
    low = np.where(wanted <= least, np.minimum(given, least), wanted)
    return np.asarray(np.where(wanted >= largest, np.maximum(given, largest), low), np.float32)


def _judged(graph: Graph, tensor: int) -> list[int]:
    op = graph.producer.get(tensor)
    if op is None or not (op.kind in _SAYS_LESS or op.is_custom):
        return [tensor]
    inputs = [i for i in op.inputs if i in graph.producer]
    return [found for i in inputs for found in _judged(graph, i)] or [tensor]


class _Sums:
    """Adds up products of rows, many rows at a time; those of inputs with themselves may be known."""

    def __init__(self, *, centred: bool, known: Moments | None = None) -> None:
        self.centred, self.known, self.count = centred, known, 0
        self.waiting: list[tuple[Real, Real]] = []
        self.totals: list[NDArray[np.float64]] = []

    def add(self, inputs: Real, wanted: Real) -> None:
        self.waiting.append((inputs, wanted))
        if sum(len(rows) for rows, _ in self.waiting) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        x = np.concatenate([inputs for inputs, _ in self.waiting])
        y = np.concatenate([wanted for _, wanted in self.waiting])
        sums = [y.T @ x, np.square(y).sum(0), x.sum(0, dtype=np.float64), y.sum(0, dtype=np.float64)]
        if self.known is None:
            sums.append(x.T @ x)
        if not self.totals:
            self.totals = [np.zeros(part.shape) for part in sums]
        for total, part in zip(self.totals, sums, strict=True):
            np.add(total, part, out=total)
        self.count += len(x)
        self.waiting = []

    def moments(self) -> Moments:
        if self.waiting:
            self._flush()
        cross, power, mean_x, mean_y, *squares = (total / self.count for total in self.totals)
        if not self.centred:
            hessian = squares[0] if self.known is None else self.known.hessian
            return Moments(hessian, cross, power, np.zeros_like(mean_x), np.zeros_like(mean_y), self.count)
        return Moments(
            squares[0] - np.outer(mean_x, mean_x) if self.known is None else self.known.hessian,
            cross - np.outer(mean_y, mean_x), power - np.square(mean_y), mean_x, mean_y, self.count,
        )  # fmt: skip
