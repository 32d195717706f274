"""What each kind of stage does to a training, step by step.

A modifier is told when its stage begins and ends, and before and after each step of the optimiser between.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.complaint import similar
from edgekit.fields import PlaceError
from edgekit.optimize.training.distillation import (
    TorchTeacher,
    as_tuple,
    feature_likeness,
    likeness,
)
from edgekit.optimize.training.masks import Masks, Pattern, choose, densities, moved
from edgekit.optimize.training.quantization import is_quantized, observe, quantize
from edgekit.optimize.training.stages import (
    SELF,
    DistillStage,
    PruneStage,
    QuantizeStage,
    RateStage,
    Schedule,
    SparseTrainStage,
    TransferStage,
)


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


def cubic(stage: PruneStage, share: float) -> float:
    """The sparsity when `share` of the stage is over (Zhu and Gupta 2017)."""
    return stage.target + (stage.initial - stage.target) * (1 - min(share, 1.0)) ** 3


class PruneModifier(Modifier):
    stage: PruneStage

    def __init__(self, stage: PruneStage, place: Place) -> None:
        super().__init__(stage, place)
        self.names = layers(place.model, stage.layers, stage.skip)
        self.pattern = Pattern.parse(stage.pattern)

    def enter(self) -> None:
        self._choose(0.0 if self.steps else 1.0)

    def after_step(self, done: int) -> None:
        if done % self.stage.every == 0 and done < self.steps:
            self._choose(done / self.steps)
        elif done == self.steps:
            self._choose(1.0)

    def leave(self) -> None:
        self.place.masks.freeze(self.names)

    def _choose(self, share: float) -> None:
        masks = self.place.masks
        weights = [masks.weight(name) for name in self.names]
        together = self.stage.scope == "global"
        chosen = choose(weights, cubic(self.stage, share), self.pattern, together=together)
        for name, mask in zip(self.names, chosen, strict=True):
            masks.set(name, mask, regrow=self.stage.regrow and share < 1)


class SparseTrainModifier(Modifier):
    stage: SparseTrainStage

    def __init__(self, stage: SparseTrainStage, place: Place) -> None:
        super().__init__(stage, place)
        self.names = layers(place.model, stage.layers, stage.skip)
        self.pattern = Pattern.parse(stage.pattern)

    def enter(self) -> None:
        """Draw a mask for each layer from torch's generator."""
        weights = [self.place.masks.weight(name).detach() for name in self.names]
        shares = densities([one.shape for one in weights], 1 - self.stage.target, self.stage.distribution)
        for name, weight, density in zip(self.names, weights, shares, strict=True):
            drawn = choose([torch.rand_like(weight)], 1 - density, self.pattern, together=False)[0]
            self.place.masks.set(name, drawn)

    def after_step(self, done: int) -> None:
        share = done / (self.stage.settle * self.steps)
        if done % self.stage.every or share >= 1:
            return
        fraction = self.stage.fraction * 0.5 * (1 + math.cos(math.pi * share))
        masks = self.place.masks
        for name in self.names:
            weight = masks.weight(name)
            if weight.grad is not None:
                masks.set(name, moved(masks.masks[name], weight, fraction, self.pattern))


class TransferModifier(Modifier):
    """Takes what is zero for the mask, and holds it from then on."""

    stage: TransferStage

    def __init__(self, stage: TransferStage, place: Place) -> None:
        super().__init__(stage, place)
        self.names = layers(place.model, stage.layers, []) if stage.layers else weighty(place.model)

    def enter(self) -> None:
        for name in self.names:
            weight = self.place.masks.weight(name).detach()
            if name not in self.place.masks.masks and bool((weight == 0).any()):
                self.place.masks.set(name, (weight != 0).to(weight.dtype))


class QuantizeModifier(Modifier):
    stage: QuantizeStage

    def enter(self) -> None:
        self.place.masks.freeze(list(self.place.masks.masks))
        if not is_quantized(self.place.model):
            quantize(self.place.model, self.stage.average, self.stage.input_range)
            self.place.optimizer.state.clear()  # moments of weights that were scaled
        observe(self.place.model, on=True)

    def after_step(self, done: int) -> None:
        if done >= self.stage.freeze * self.steps:
            observe(self.place.model, on=False)

    def leave(self) -> None:
        observe(self.place.model, on=False)

    def state(self) -> Any:
        from edgekit.optimize.training.quantization import ranges

        return [one.observing for one in ranges(self.place.model)]

    def restore(self, state: Any) -> None:
        from edgekit.optimize.training.quantization import ranges

        for one, observing in zip(ranges(self.place.model), state, strict=True):
            one.observing = observing


class DistillModifier(Modifier):
    """Adds the teacher's gradient to what flows back through the outputs and the named features."""

    stage: DistillStage

    def __init__(self, stage: DistillStage, place: Place) -> None:
        super().__init__(stage, place)
        self.features: dict[str, Tensor] = {}
        self._hooks: list[Any] = []
        if stage.teacher is None and place.teacher is None:
            raise PlaceError((), "no teacher: name a file or self, or give wrap(..., teacher=module)")
        for name in stage.features:
            _check_layer(place.model, name)
        self._take(TorchTeacher.copy_of(place.model) if stage.teacher == SELF else self._load())

    def _load(self) -> Any:
        if self.stage.teacher is None:
            return TorchTeacher(self.place.teacher)
        from edgekit.optimize.training.teachers import load_teacher

        return load_teacher(self.stage.teacher, list(self.stage.features.values()))

    def _take(self, teacher: Any) -> None:
        self.teacher = teacher
        if self.stage.features and isinstance(teacher, TorchTeacher):
            teacher.watch(list(self.stage.features.values()))

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
            for own, goal in zip(as_tuple(output), wanted, strict=False):
                if own.requires_grad:
                    own.register_hook(self._blend(own.detach(), goal, share))
        for name, theirs in self.stage.features.items():
            mine = self.features.pop(name)
            mine.register_hook(self._add(mine.detach(), features[theirs]))

    def _blend(self, own: Tensor, goal: Tensor, share: float) -> Any:
        kind, temperature = self.stage.loss, self.stage.temperature

        def hook(gradient: Tensor) -> Tensor:
            taught = _gradient(own, lambda x: likeness(x, goal, kind, temperature))
            return torch.lerp(gradient, taught.to(gradient.dtype), share)

        return hook

    def _add(self, own: Tensor, goal: Tensor) -> Any:
        weight = self.stage.feature_weight

        def hook(gradient: Tensor) -> Tensor:
            taught = _gradient(own, lambda x: feature_likeness(x, goal))
            return gradient + weight * taught.to(gradient.dtype)

        return hook

    def leave(self) -> None:
        self.close()

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def state(self) -> Any:
        return self.teacher.module.state_dict() if self.stage.teacher == SELF else None

    def restore(self, state: Any) -> None:
        if state is not None:
            self.teacher.module.load_state_dict(state)
        if self.active:
            self._hang()


def _gradient(own: Tensor, loss: Any) -> Tensor:
    with torch.enable_grad():
        point = own.float().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(point), point)
    return gradient


KINDS: dict[str, type[Modifier]] = {
    "learning_rate": RateModifier,
    "prune": PruneModifier,
    "distill": DistillModifier,
    "quantize": QuantizeModifier,
    "sparse_train": SparseTrainModifier,
    "transfer": TransferModifier,
    "one_shot": Modifier,  # it waits for the exported file
}


def weighty(model: nn.Module) -> list[str]:
    """Names of the convolutions and linear layers, in the order in which the model lists them."""
    return [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def layers(model: nn.Module, patterns: list[str] | None, skip: list[str]) -> list[str]:
    """The names that a stage means. PlaceError for a pattern that no layer has."""
    known = weighty(model)
    for key, given in (("layers", patterns or []), ("skip", skip)):
        for number, pattern in enumerate(given):
            if not fnmatch.filter(known, pattern):
                raise PlaceError((key, number), _no_layer(model, pattern, known))
    if patterns is None:
        found = [name for name in known[1:-1] if not _is_depthwise(model.get_submodule(name))]
    else:
        found = [name for name in known if any(fnmatch.fnmatchcase(name, one) for one in patterns)]
    found = [name for name in found if not any(fnmatch.fnmatchcase(name, one) for one in skip)]
    if not found:
        raise PlaceError((), f"no layer is left to prune among {', '.join(known[:20])}: say which by layers:")
    return found


def _check_layer(model: nn.Module, name: str) -> None:
    known = dict(model.named_modules())
    if name not in known:
        raise PlaceError(("features",), f"the model has no layer {name!r}{similar(name, known)}")


def _no_layer(model: nn.Module, pattern: str, known: list[str]) -> str:
    if pattern in dict(model.named_modules()):
        return f"{pattern!r} is no convolution or linear layer: give {pattern}.* for those inside"
    return f"the model has no layer {pattern!r}{similar(pattern, known)}"


def _is_depthwise(layer: Any) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels and layer.groups > 1
