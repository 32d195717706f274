"""The stage in which a teacher's gradient is added to that of the labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.config.complaint import similar
from edgekit.config.fields import PlaceError
from edgekit.optimize.training.distillation import TorchTeacher, as_tuple, feature_likeness, likeness
from edgekit.optimize.training.modifiers import Modifier, Place
from edgekit.optimize.training.stages import SELF, DistillStage


class DistillModifier(Modifier):
    """Adds the teacher's gradient to what flows back through the outputs and the named features."""

    stage: DistillStage

    def __init__(self, stage: DistillStage, place: Place) -> None:
        super().__init__(stage, place)
        self.features: dict[str, Tensor] = {}
        self.unlikeness: dict[str, Tensor] = {}  # to the teacher, of what the last step compared
        self._hooks: list[Any] = []
        if stage.teacher is None and place.teacher is None:
            raise PlaceError((), "no teacher: name a file or self, or give wrap(..., teacher=module)")
        for name in stage.features:
            _check_layer(place.model, name)
        self.teacher: Any = TorchTeacher.copy_of(place.model) if stage.teacher == SELF else self._load()
        if stage.features and isinstance(self.teacher, TorchTeacher):
            self.teacher.watch(list(stage.features.values()))

    def _load(self) -> Any:
        if self.stage.teacher is None:
            return TorchTeacher(self.place.teacher)
        from edgekit.optimize.training.teachers import load_teacher

        return load_teacher(self.stage.teacher, list(self.stage.features.values()))

    def enter(self) -> None:
        if self.stage.teacher == SELF:
            self.teacher.module.load_state_dict(self.place.model.state_dict())
        self._hang()

    def _hang(self) -> None:
        """Hang the hooks into the model, once."""
        if self._hooks:
            return
        for name in self.stage.features:
            layer = self.place.model.get_submodule(name)
            self._hooks.append(layer.register_forward_hook(self._keep(name)))
        self._hooks.append(self.place.model.register_forward_hook(self._seen))

    def _keep(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self.features[name] = output

        return hook

    def _seen(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """After the model ran: let the teacher run too, and prepare the gradients."""
        if not (module.training and torch.is_grad_enabled()):
            return
        wanted, features = self.teacher(inputs)
        share = self.stage.weight
        if self.stage.loss != "none":
            for number, (own, goal) in enumerate(zip(as_tuple(output), wanted, strict=False)):
                if own.requires_grad:
                    own.register_hook(self._blend(f"output {number}", own.detach(), goal, share))
        for name, theirs in self.stage.features.items():
            mine = self.features.pop(name)
            mine.register_hook(self._add(name, mine.detach(), features[theirs]))

    def _blend(self, name: str, own: Tensor, goal: Tensor, share: float) -> Any:
        kind, temperature = self.stage.loss, self.stage.temperature
        taught = self._gradient(name, own, lambda x: likeness(x, goal, kind, temperature))
        return lambda gradient: torch.lerp(gradient, taught.to(gradient.dtype), share)

    def _add(self, name: str, own: Tensor, goal: Tensor) -> Any:
        taught = self._gradient(name, own, lambda x: feature_likeness(x, goal)) * self.stage.feature_weight
        return lambda gradient: gradient + taught.to(gradient.dtype)

    def _gradient(self, name: str, own: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            point = own.float().requires_grad_()
            found = loss(point)
            (gradient,) = torch.autograd.grad(found, point)
        self.unlikeness[name] = found.detach()
        return gradient

    def leave(self) -> None:
        self.close()

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def state(self) -> Any:
        return self.teacher.module.state_dict() if self.stage.teacher == SELF and self.active else None

    def restore(self, state: Any) -> None:
        if state is not None:
            self.teacher.module.load_state_dict(state)
        if self.active:
            self._hang()


def _check_layer(model: nn.Module, name: str) -> None:
    known = dict(model.named_modules())
    if name not in known:
        raise PlaceError(("features",), f"the model has no layer {name!r}{similar(name, known)}")
