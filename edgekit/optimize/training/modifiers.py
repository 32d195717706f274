"""What stages do to a training step by step: the base of all kinds, learning rates, quantisation.

A modifier is told when its stage begins and ends, and before and after each step of the optimiser between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgekit.optimize.training.masks import Masks
from edgekit.optimize.training.quantization import is_quantized, observe, quantize, ranges
from edgekit.optimize.training.stages import QuantizeStage, RateStage, Schedule


@dataclass(frozen=True, eq=False)
class Place:
    """What the modifiers of a session work on."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    masks: Masks
    teacher: nn.Module | None
    schedule: Schedule


class Modifier:
    """The base of all kinds: does nothing."""

    def __init__(self, stage: Any, place: Place) -> None:
        self.stage, self.place, self.active = stage, place, False
        self.steps = 0  # that the stage lasts; the session knows
        self.phase = 0  # counts what it changes in the network's work between its begin and end

    def enter(self) -> None:
        """The stage begins."""

    def before_step(self) -> None: ...

    def after_step(self, done: int) -> None:
        """`done` of the stage's steps are over."""

    def leave(self) -> None:
        """The stage is over."""

    def close(self) -> None:
        """Take back what was hung into the model."""

    def state(self) -> Any:
        return None

    def restore(self, state: Any) -> None: ...


class RateModifier(Modifier):
    """Sets the learning rate of every group of the optimiser."""

    stage: RateStage

    def enter(self) -> None:
        self._set(0)

    def after_step(self, done: int) -> None:
        self._set(done)

    def _set(self, done: int) -> None:
        for group in self.place.optimizer.param_groups:
            group["lr"] = rate(self.stage, done, self.steps)


def rate(stage: RateStage, done: int, steps: int) -> float:
    """The learning rate after `done` of `steps`."""
    warm = round(stage.warmup * steps)
    if done < warm:
        return stage.peak * (done + 1) / (warm + 1)
    share = min((done - warm) / max(steps - warm, 1), 1.0)
    shapes = {"cosine": 0.5 * (1 + math.cos(math.pi * share)), "linear": 1 - share, "constant": 1.0}
    return stage.last + (stage.peak - stage.last) * shapes[stage.shape]


class QuantizeModifier(Modifier):
    stage: QuantizeStage

    def __init__(self, stage: Any, place: Place) -> None:
        """ModelError, before an epoch is spent, for a network that has no int8 form."""
        from edgekit.optimize.training.convert import check

        super().__init__(stage, place)
        if not is_quantized(place.model):
            check(place.model)

    def enter(self) -> None:
        self.place.masks.freeze(list(self.place.masks.masks))
        if not is_quantized(self.place.model):
            quantize(self.place.model, self.stage.average, self.stage.input_range)
            self.place.optimizer.state.clear()  # moments of weights that were scaled
        observe(self.place.model, on=True)

    def after_step(self, done: int) -> None:
        if done >= self.stage.freeze * self.steps and not self.phase:
            observe(self.place.model, on=False)
            self.phase = 1

    def leave(self) -> None:
        observe(self.place.model, on=False)

    def state(self) -> Any:
        return [one.observing for one in ranges(self.place.model)]

    def restore(self, state: Any) -> None:
        for one, observing in zip(ranges(self.place.model), state, strict=True):
            one.observing = observing
