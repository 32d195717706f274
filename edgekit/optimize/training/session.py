"""`wrap`: all that a training loop needs to follow a recipe.

    session = wrap(model, optimizer, "recipe.yaml", steps_per_epoch=len(loader))
    for epoch in range(session.epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
    session.export("model.tflite", images[:1])

The optimiser's own `step` drives the recipe by hooks, so that a loop need not be changed at all. It raises
`DivergedError` for gradients that are no numbers, and `state_dict` for such weights, so that what was saved
before stays as it is.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.config.fields import PlaceError
from edgekit.errors import ConfigError, UsageError
from edgekit.files import write_bytes
from edgekit.optimize.training.divergence import check_gradients, check_state
from edgekit.optimize.training.freezing import FreezeModifier
from edgekit.optimize.training.masks import Masks
from edgekit.optimize.training.modifiers import Modifier, Place, QuantizeModifier, RateModifier
from edgekit.optimize.training.quantization import device_of, is_quantized, quantize
from edgekit.optimize.training.sensitivity import rounding_errors
from edgekit.optimize.training.sparsifying import PruneModifier, SparseTrainModifier, TransferModifier
from edgekit.optimize.training.stages import QuantizeStage, Schedule, Stage, load_schedule
from edgekit.optimize.training.teaching import DistillModifier

KINDS: dict[str, type[Modifier]] = {
    "learning_rate": RateModifier,
    "prune": PruneModifier,
    "distill": DistillModifier,
    "quantize": QuantizeModifier,
    "sparse_train": SparseTrainModifier,
    "transfer": TransferModifier,
    "freeze": FreezeModifier,
    "one_shot": Modifier,  # it waits for the exported file
}

_log = logging.getLogger("edgekit.optimize")


def wrap(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Schedule | Path | str | dict[str, Any] | list[Any],
    steps_per_epoch: int,
    teacher: nn.Module | None = None,
) -> Session:
    """Make a training follow a recipe: from here on every `optimizer.step()` applies its stages.

    `recipe` is a YAML file, its text, or the same as plain data. `teacher` is the torch module that stages
    `distill` without a teacher of their own learn from. Raises ConfigError for a mistake in the recipe and
    for layers that the model lacks, ModelError where a stage `quantize` cannot follow the model.
    """
    if steps_per_epoch < 1:
        raise UsageError(f"steps_per_epoch: expected at least 1, not {steps_per_epoch}")
    return Session(model, optimizer, load_schedule(recipe), steps_per_epoch, teacher)


class Session:
    """A training under a recipe; acts as its optimiser too. Made by `wrap`."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule, steps_per_epoch: int,
        teacher: nn.Module | None,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.steps_per_epoch, self.steps = steps_per_epoch, 0
        self.masks = Masks(model)
        self._place = Place(model, optimizer, self.masks, teacher, schedule)
        self.modifiers = [self._modifier(number, stage) for number, stage in enumerate(schedule.stages)]
        self._bounds = [self._steps_of(one) for one in self.modifiers]
        for one, (start, end) in zip(self.modifiers, self._bounds, strict=True):
            one.steps = end - start
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        self._change()

    def _modifier(self, number: int, stage: Stage) -> Modifier:
        """What follows a stage; a mistake in it is told with its place in the recipe."""
        try:
            return KINDS[stage.kind](stage.span, self._place)
        except PlaceError as error:
            place = self.schedule.where("stages", number, stage.kind, *error.path)
            raise ConfigError(f"{place}: {error}") from None

    @property
    def epochs(self) -> int:
        """Whole epochs that the recipe takes."""
        return math.ceil(self.schedule.epochs)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    @property
    def phase(self) -> tuple[tuple[bool, int], ...]:
        """Changes when the network's work does: when stages begin or end, or ranges are frozen."""
        return tuple((one.active, one.phase) for one in self.modifiers)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:
        """One step of the optimiser; the same as `optimizer.step()`."""
        return self.optimizer.step(closure)

    def unlikeness(self) -> Tensor:
        """The mean loss of what stages `distill` compared with their teachers in the last step, or 0."""
        found = [
            one
            for modifier in self.modifiers
            if isinstance(modifier, DistillModifier) and modifier.active
            for one in modifier.unlikeness.values()
        ]
        return torch.stack(found).mean() if found else torch.zeros((), device=device_of(self.model))

    def rounding_errors(self, images: Tensor) -> dict[str, float]:
        """What int8 does to the outputs by each layer's weights and each tensor alone: see `sensitivity`."""
        return rounding_errors(self.model, images)

    def sparsity(self) -> dict[str, float]:
        """Share of zeros that the masks of each pruned layer hold."""
        return self.masks.sparsity()

    def finish(self) -> None:
        """Take all hooks away; the network stays as it is."""
        for hook in self._hooks:
            hook.remove()
        for one in self.modifiers:
            one.close()

    def export(self, path: Path | str, inputs: torch.Tensor, name: str = "") -> bytes:
        """Write the quantised network as `.tflite`: see `convert.export`, and prune it by stages `one_shot`.

        `inputs` (n, ...) give the shape; for stages `one_shot` give some hundred of the training data.
        """
        content = self.content(inputs, name)
        write_bytes(Path(path), content)
        return content

    def content(self, inputs: torch.Tensor, name: str = "") -> bytes:
        """The bytes that `export` writes; zeros in TFLite's sparse encoding where that is smaller."""
        from edgekit import model
        from edgekit.optimize.training.convert import export
        from edgekit.optimize.training.finish import prune_file

        check_state(self.model.state_dict(), self)
        content = export(self.model, inputs[:1], name=name)
        for stage in self.schedule.stages:
            if stage.one_shot is not None:
                content = prune_file(content, stage.one_shot, inputs, _log.info)
        return model.write(model.read_bytes(content), sparse=True)

    # ---- checkpoints ----

    def state_dict(self) -> dict[str, Any]:
        """All that a training needs to go on: network, recipe and, unless it is over, the optimiser.

        DivergedError for a network that holds what is no number: an earlier state is better than that.
        """
        check_state(self.model.state_dict(), self)
        over = self.steps >= self.epochs * self.steps_per_epoch
        return {
            "steps": self.steps,
            "recipe": self.schedule.model_dump_json(),
            "masks": self.masks.state(),
            "modifiers": [one.state() for one in self.modifiers],
            "model": self.model.state_dict(),
            "quantized": is_quantized(self.model),
            "optimizer": None if over else self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, in a session of the same recipe on a model as it was at first.

        UsageError for the state of another recipe.
        """
        if state["recipe"] != self.schedule.model_dump_json():
            raise UsageError("the checkpoint was made by another recipe: start anew, or take that recipe")
        if state["quantized"] and not is_quantized(self.model):
            stage = next(one.quantize for one in self.schedule.stages if one.quantize)
            self._quantize(stage)
        self.model.load_state_dict(state["model"])
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self.masks.restore(state["masks"])
        for one, (start, end) in zip(self.modifiers, self._bounds, strict=True):
            one.active = start <= self.steps < end
        for one, part in zip(self.modifiers, state["modifiers"], strict=True):
            one.restore(part)

    def _quantize(self, stage: QuantizeStage) -> None:
        quantize(self.model, stage.average, stage.input_range)

    # ---- the hooks ----

    def _steps_of(self, modifier: Modifier) -> tuple[int, int]:
        stage = modifier.stage
        return round(stage.start * self.steps_per_epoch), round(stage.end * self.steps_per_epoch)

    def _before_step(self, *_arguments: object) -> None:
        check_gradients(self)
        for one in self.modifiers:
            if one.active:
                one.before_step()
        self.masks.reveal()

    def _after_step(self, *_arguments: object) -> None:
        self.steps += 1
        for one, (start, _) in zip(self.modifiers, self._bounds, strict=True):
            if one.active:
                one.after_step(self.steps - start)
        self._change()

    def _change(self) -> None:
        """End the stages whose time is over, then begin those whose time has come."""
        for one, (_, end) in zip(self.modifiers, self._bounds, strict=True):
            if one.active and self.steps >= end:
                one.active = False
                one.leave()
        begins = [pair for pair in zip(self.modifiers, self._bounds, strict=True) if pair[1][0] == self.steps]
        for quantizing in (False, True):  # quantisation comes last, so that the others see the float network
            self._begin([pair for pair in begins if isinstance(pair[0].stage, QuantizeStage) == quantizing])
        self.masks.settle()

    def _begin(self, begins: list[tuple[Modifier, tuple[int, int]]]) -> None:
        for one, _ in begins:
            one.active = one.steps > 0
            one.enter()
