"""What stages do to a training step by step: the base of all kinds, learning rates, quantisation.

A modifier is told when its stage begins and ends, and before and after each step of the optimiser between.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from edgekit.optimize.training.masks import Masks
from edgekit.optimize.training.quantization import (
    is_quantized,
    observe,
    quantize,
    ranges,
    rounding_parts,
)
from edgekit.optimize.training.stages import QuantizeStage, RateStage, Schedule

SHOWN = 32  # inputs, at most, by which what int8 does to a network is told

_log = logging.getLogger("edgekit.optimize")


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


def _remember(
    given: list[torch.Tensor], _model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> None:
    first = (*inputs, *named.values())[:1]
    given[:] = [one.detach() for one in first if isinstance(one, torch.Tensor)]


class QuantizeModifier(Modifier):
    stage: QuantizeStage

    def __init__(self, stage: Any, place: Place) -> None:
        """ModelError, before an epoch is spent, for a network that has no int8 form."""
        from edgekit.optimize.training.convert import check

        super().__init__(stage, place)
        self.hook: RemovableHandle | None = None
        self.given: list[torch.Tensor] = []  # to the model, the last time
        self.looked = self.frozen = False  # whether it is known what int8 breaks, and whether ranges stay
        if not is_quantized(place.model):
            check(place.model)

    def enter(self) -> None:
        self.place.masks.freeze(list(self.place.masks.masks))
        if not is_quantized(self.place.model):
            quantize(self.place.model, self.stage.average, self.stage.input_range)
            self.place.optimizer.state.clear()  # moments of weights that were scaled
        observe(self.place.model, on=True)
        self._watch()

    def _watch(self) -> None:
        """Look at what the model is given, until it is known what int8 breaks."""
        self.close()
        if self.stage.keep_float and not self.looked and self.steps:
            self.hook = self.place.model.register_forward_pre_hook(
                partial(_remember, self.given), with_kwargs=True
            )

    def after_step(self, done: int) -> None:
        end = self.stage.freeze * self.steps
        if not self.looked and end / 2 <= done < end:
            self._keep_floats()
        elif not self.frozen and done >= end:
            observe(self.place.model, on=False)
            self.frozen = True
            self.phase += 1

    def _keep_floats(self) -> None:
        """Halfway to where ranges are frozen, so that those behind what stays float32 can settle anew."""
        from edgekit.optimize.training.sensitivity import keep_floats

        self.close()
        self.looked = True
        for images in self.given:
            lines = keep_floats(self.place.model, images[:SHOWN], self.stage.keep_float)
            self.phase += bool(lines)
            for line in lines:
                _log.info("%s", line)
        self.given.clear()

    def leave(self) -> None:
        self.close()
        observe(self.place.model, on=False)

    def close(self) -> None:
        if self.hook is not None:
            self.hook.remove()
            self.hook = None

    def state(self) -> Any:
        return {
            "observing": [one.observing for one in ranges(self.place.model)],
            "floats": [name for name, one in rounding_parts(self.place.model) if not one.rounds],
            "progress": (self.looked, self.frozen, self.phase),
        }

    def restore(self, state: Any) -> None:
        for one, observing in zip(ranges(self.place.model), state["observing"], strict=True):
            one.observing = observing
        for name, one in rounding_parts(self.place.model):
            one.rounds = name not in state["floats"]
        self.looked, self.frozen, self.phase = state["progress"]
        if self.active:
            self._watch()
