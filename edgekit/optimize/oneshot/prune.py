"""One-shot pruning of a quantised network: nothing is trained, each layer is solved for what it should give.

First each layer is looked at by itself in the dense network: how its error grows as it gets sparser, and what
that does to the network's outputs for inputs that it was not solved for. One budget, of weights or of
milliseconds, is then spent where it buys most. Last the layers are pruned in the order in which they run,
each on what the layers before it now give and towards what it gave in the dense network, so that errors do
not pile up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.model.graph import Graph
from edgekit.optimize.oneshot import depthwise, latency
from edgekit.optimize.oneshot.budget import Candidate, spend
from edgekit.optimize.oneshot.calibration import Calibration, Outputs, cut_by
from edgekit.optimize.oneshot.goal import Goal
from edgekit.optimize.oneshot.layers import Layer, bias_of, find_layers, replaced
from edgekit.optimize.oneshot.masks import trace
from edgekit.optimize.oneshot.refit import Moments, Problem, damped, refit, round_weights
from edgekit.optimize.oneshot.report import Report, make_report

Progress = Callable[[str], None]
_DAMPING = 1e-2
_TRIAL_INPUTS = 128
_LEAST_TRIAL = 0.3  # below this sparsity, and below this error, what a layer does drowns in rounding
_LEAST_ERROR = 1e-3
_CUT_ROUNDS = 2  # in which a layer learns where its activation cuts off both what it gives and what it should
_SHY = 1e-3  # of a budget that was exceeded, held back beside what it was exceeded by


def prune(dense: Graph, calibration: Calibration, goal: Goal, progress: Progress) -> tuple[Graph, Report]:
    """The network with weights set to zero and the others adapted, and what was done.

    `progress` hears a line now and then. Raises ModelError for a network without layers of 8 bits,
    BudgetError with what comes nearest for a budget that cannot be met.
    """
    layers = _prunable(dense)
    run = _Run(dense, calibration, goal, progress)
    candidates = run.look_at([layer for layer in layers if not layer.reason])
    candidates = run.weigh(candidates, spend(candidates, goal, dense))
    held = 0.0
    while True:
        levels = spend(candidates, goal, dense, held)
        chosen = {c.layer.number: (c, level) for c, level in zip(candidates, levels, strict=True)}
        graph, errors = run.settle(layers, chosen)
        error = run.outputs.error(graph)
        report = make_report((dense, graph), goal, chosen, errors, error, len(calibration.inputs))
        if report.over(goal) <= 0:
            return graph, report
        progress(f"{report.summary}: more than allowed, so once again with less")
        held += report.over(goal) + _SHY


def survey(
    dense: Graph, calibration: Calibration, goals: Sequence[Goal], progress: Progress
) -> tuple[list[Candidate], list[list[Candidate]]]:
    """Each layer that may be pruned, with what each level of sparsity does to its own outputs; and for each
    of the goals, which are of one pattern, the same ones as `prune` weighs them before it spends.

    Raises ModelError for a network without such layers.
    """
    run = _Run(dense, calibration, goals[0], progress)
    own = run.look_at([layer for layer in _prunable(dense) if not layer.reason])
    return own, [run.weigh(own, spend(own, goal, dense)) for goal in goals]


def _prunable(graph: Graph) -> list[Layer]:
    layers = find_layers(graph)
    if not layers:
        raise ModelError("no layer has weights of 8 bits: one-shot pruning takes int8 or uint8 networks")
    if all(layer.reason for layer in layers):
        raise ModelError(f"no layer can be pruned: {', '.join(sorted({layer.reason for layer in layers}))}")
    return layers


class _Run:
    def __init__(self, dense: Graph, calibration: Calibration, goal: Goal, progress: Progress) -> None:
        self.dense, self.calibration, self.goal, self.progress = dense, calibration, goal, progress
        self.shown, trial = calibration.split(_TRIAL_INPUTS)
        self.outputs = Outputs(dense, trial)

    def look_at(self, layers: Sequence[Layer]) -> list[Candidate]:
        """Each layer by itself, in the dense network."""
        candidates = []
        for number, layer in enumerate(layers):
            self.progress(f"looking at layer {number + 1} of {len(layers)}: {layer.name}")
            candidates.append(self._candidate(layer))
        return candidates

    def _candidate(self, layer: Layer) -> Candidate:
        goal = self.goal
        self.shown.hold(self.dense, number=layer.number)
        moments, problem = self._problem(self.shown, layer, self.dense)
        how = trace(problem, layer.matrix, layer.channels, goal.pattern)
        levels = how.levels(goal.levels)
        masks = [how.mask(level) if level else layer.matrix != 0 for level in levels]
        losses = np.array([how.loss(level) for level in levels])
        times = latency.times_ms(self.dense, layer, masks, goal.device) if goal.device else np.array([])
        sizes = np.array([float(mask.sum()) for mask in masks])
        power = float(moments.power.sum()) or 1.0
        return Candidate(layer, how, moments, problem, levels, losses / power, sizes, times)

    def weigh(self, candidates: Sequence[Candidate], levels: Sequence[float]) -> list[Candidate]:
        """The candidates with losses that also say what they do to the network's outputs.

        Each is pruned alone to about its level. What its own error does to the outputs varies with the level,
        so the weight is the square root of their ratio; but where there is one level only, as of N:M, the
        ratio itself. It is tried on inputs that no layer was solved for: what was learnt by heart, as where
        a layer sees a picture as one row, does not count.
        """
        power = 1.0 if self.goal.pattern.of else 0.5
        weighed = []
        for number, (candidate, level) in enumerate(zip(candidates, levels, strict=True)):
            self.progress(f"trying layer {number + 1} of {len(candidates)}: {candidate.layer.name}")
            place = _place_of_trial(candidate, level)
            mask = candidate.trace.mask(float(candidate.levels[place]))
            layer = candidate.layer
            graph = replaced(
                self.dense, layer, *_solution(self.dense, layer, candidate.moments, candidate.problem, mask)
            )
            self.outputs.calibration.hold(self.dense, number=layer.number)
            effect, own = self.outputs.error(graph), float(candidate.losses[place])
            weight = float((effect / own) ** power) if own > 0 else 1.0
            weighed.append(replace(candidate, losses=candidate.losses * weight, effect=effect))
        return weighed

    def _problem(self, shown: Calibration, layer: Layer, graph: Graph) -> tuple[Moments, Problem]:
        moments = shown.moments(layer, graph, self.dense)
        return moments, damped(moments, layer.real, _DAMPING)

    def settle(
        self, layers: Sequence[Layer], chosen: dict[int, tuple[Candidate, float]]
    ) -> tuple[Graph, dict[int, float]]:
        """Prune layer by layer, and adapt those that stay dense; the error that is left of each."""
        graph, errors = self.dense, {}
        for count, layer in enumerate(layers):
            self.progress(f"pruning layer {count + 1} of {len(layers)}: {layer.name}")
            self.calibration.hold(self.dense, graph, number=layer.number)
            if layer.number in chosen:
                graph, errors[layer.number] = self._settle(graph, layer, *chosen[layer.number])
            elif layer.kind == "DEPTHWISE_CONV_2D" and graph is not self.dense:
                graph = self._refit_depthwise(graph, layer)
        return graph, errors

    def _settle(self, graph: Graph, layer: Layer, candidate: Candidate, level: float) -> tuple[Graph, float]:
        if graph is self.dense and level <= candidate.trace.least:
            return graph, 0.0
        moments, problem = self._problem(self.calibration, layer, graph)
        mask = layer.matrix != 0
        if level:
            mask = trace(problem, layer.matrix, layer.channels, self.goal.pattern).mask(level)
        matrix, bias = _solution(self.dense, layer, moments, problem, mask)
        for _ in range(_CUT_ROUNDS if cut_by(self.dense, layer) else 0):
            solved = matrix * layer.scale[:, None], bias
            moments = self.calibration.moments(layer, graph, self.dense, solved, moments)
            problem = damped(moments, layer.real, _DAMPING)
            matrix, bias = _solution(self.dense, layer, moments, problem, mask)
        return replaced(graph, layer, matrix, bias), moments.error(matrix * layer.scale[:, None])

    def _refit_depthwise(self, graph: Graph, layer: Layer) -> Graph:
        """Let each channel of a depthwise convolution give what it gave, as far as it can."""
        if (
            layer.bias < 0
            or layer.channels != self.dense.tensors[layer.source].shape[-1]
            or self._shared(layer)
        ):
            return graph
        seen = depthwise.windows_of(layer, self.calibration.pairs(layer, graph, self.dense))
        matrix, more = depthwise.solve(layer, seen, _DAMPING)
        return replaced(graph, layer, matrix, bias_of(self.dense, layer) + more)

    def _shared(self, layer: Layer) -> bool:
        """Whether others read its weights or its bias, too."""
        return any(len(self.dense.readers[i]) > 1 for i in (layer.weights, layer.bias))


def _place_of_trial(candidate: Candidate, level: float) -> int:
    """The level nearest to one that is asked for at which the layer errs enough for the outputs to tell."""
    place = int(np.abs(candidate.levels - max(level, _LEAST_TRIAL)).argmin())
    heard = np.flatnonzero(candidate.losses[place:] >= _LEAST_ERROR)
    return place + int(heard[0]) if heard.size else len(candidate.levels) - 1


def _solution(
    dense: Graph, layer: Layer, moments: Moments, problem: Problem, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The layer's best weights under a mask, rounded, and the bias that goes with them."""
    matrix = round_weights(problem, refit(problem, mask), layer.scale, layer.limits)
    moved = moments.output_mean - (matrix * layer.scale[:, None]) @ moments.input_mean
    return matrix, bias_of(dense, layer) + moved
