"""Stages that make weights zero, or keep them so: gradual pruning, sparse training, transfer."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.config.complaint import similar
from edgekit.config.fields import PlaceError
from edgekit.optimize.training.masks import Pattern, choose, contributions, densities, moved
from edgekit.optimize.training.modifiers import Modifier, Place
from edgekit.optimize.training.stages import PruneStage, SparseTrainStage, TransferStage

WEIGHTY = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def cubic(stage: PruneStage, share: float) -> float:
    """The sparsity when `share` of the stage is over (Zhu and Gupta 2017)."""
    return stage.target + (stage.initial - stage.target) * (1 - min(share, 1.0)) ** 3


class PruneModifier(Modifier):
    stage: PruneStage

    def __init__(self, stage: PruneStage, place: Place) -> None:
        super().__init__(stage, place)
        self.names = layers(place.model, stage.layers, stage.skip)
        self.pattern = Pattern.parse(stage.pattern)
        self.power = Power(place.model, self.names) if stage.score == "output" else None

    def enter(self) -> None:
        self._choose(0.0 if self.steps else 1.0)

    def after_step(self, done: int) -> None:
        if done % self.stage.every == 0 and done < self.steps:
            self._choose(done / self.steps)
        elif done == self.steps:
            self._choose(1.0)

    def leave(self) -> None:
        self.place.masks.freeze(self.names)
        self.close()

    def close(self) -> None:
        if self.power is not None:
            self.power.close()
            self.power = None

    def state(self) -> Any:
        return None if self.power is None else self.power.mean

    def restore(self, state: Any) -> None:
        if state is None:
            self.close()
        elif self.power is not None:
            self.power.mean = state

    def _choose(self, share: float) -> None:
        masks = self.place.masks
        weights = [masks.turned(name, masks.weight(name)) for name in self.names]
        if self.power is not None:
            weights = [
                contributions(one, self.power.mean[name])
                for name, one in zip(self.names, weights, strict=True)
            ]
        chosen = choose(
            weights, cubic(self.stage, share), self.pattern,
            together=self.stage.scope == "global", relative=self.power is None,
        )  # fmt: skip
        for name, mask in zip(self.names, chosen, strict=True):
            masks.set(name, mask, regrow=self.stage.regrow and share < 1)


class Power:
    """The mean square of each input channel of some layers, as a training sees it; `mean` by their names.

    Up to a factor that is one for all channels: the mean begins at 0.
    """

    KEPT = 0.98  # of the mean, at each step

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        self.mean: dict[str, Tensor] = {}
        self._hooks = []
        for name in names:
            layer: Any = model.get_submodule(name)
            width = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
            self.mean[name] = layer.weight.new_zeros(width).detach()
            self._hooks.append(layer.register_forward_pre_hook(self._watch(name)))

    def _watch(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        @torch.no_grad()
        def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if layer.training:
                x = inputs[0].detach()
                axes = tuple(range(x.ndim - 1)) if isinstance(layer, nn.Linear) else (0, 2, 3)
                size = torch.linalg.vector_norm(x, dim=axes, dtype=torch.float32)
                width = len(self.mean[name])
                self.mean[name].lerp_(size.square() * (width / x.numel()), 1 - self.KEPT)

        return see

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


class SparseTrainModifier(Modifier):
    stage: SparseTrainStage

    def __init__(self, stage: SparseTrainStage, place: Place) -> None:
        super().__init__(stage, place)
        self.names = layers(place.model, stage.layers, stage.skip)
        self.pattern = Pattern.parse(stage.pattern)

    def enter(self) -> None:
        """Draw a mask for each layer from torch's generator."""
        masks = self.place.masks
        weights = [masks.turned(name, masks.weight(name).detach()) for name in self.names]
        shares = densities([one.shape for one in weights], 1 - self.stage.target, self.stage.distribution)
        for name, weight, density in zip(self.names, weights, shares, strict=True):
            drawn = choose([torch.rand_like(weight)], 1 - density, self.pattern, together=False)[0]
            masks.set(name, drawn)

    def after_step(self, done: int) -> None:
        share = done / (self.stage.settle * self.steps)
        if done % self.stage.every or share >= 1:
            return
        fraction = self.stage.fraction * 0.5 * (1 + math.cos(math.pi * share))
        masks = self.place.masks
        for name in self.names:
            weight = masks.weight(name)
            if weight.grad is not None:
                mask, own, steep = (
                    masks.turned(name, one) for one in (masks.masks[name], weight, weight.grad)
                )
                masks.set(name, moved(mask, own, steep, fraction, self.pattern))


class TransferModifier(Modifier):
    """Takes what is zero for the mask, and holds it from then on."""

    stage: TransferStage

    def __init__(self, stage: TransferStage, place: Place) -> None:
        super().__init__(stage, place)
        self.names = layers(place.model, stage.layers, []) if stage.layers else weighty(place.model)

    def enter(self) -> None:
        for name in self.names:
            weight = self.place.masks.turned(name, self.place.masks.weight(name).detach())
            if name not in self.place.masks.masks and bool((weight == 0).any()):
                self.place.masks.set(name, (weight != 0).to(weight.dtype))


def weighty(model: nn.Module) -> list[str]:
    """Names of the convolutions and linear layers, in the order in which the model lists them."""
    return [name for name, layer in model.named_modules() if isinstance(layer, WEIGHTY)]


def layers(model: nn.Module, patterns: list[str] | None, skip: list[str]) -> list[str]:
    """The names that a stage means. PlaceError for a pattern that no layer has."""
    known = weighty(model)
    for key, given in (("layers", patterns or []), ("skip", skip)):
        for number, pattern in enumerate(given):
            if not fnmatch.filter(known, pattern):
                raise PlaceError((key, number), _no_layer(model, pattern, known))
    if patterns is None:
        found = [name for name in known[1:-1] if not _stays_dense(model.get_submodule(name))]
    else:
        found = [name for name in known if any(fnmatch.fnmatchcase(name, one) for one in patterns)]
    found = [name for name in found if not any(fnmatch.fnmatchcase(name, one) for one in skip)]
    if not found:
        raise PlaceError((), f"no layer is left among {', '.join(known[:20])}: say which by layers:")
    return found


def _no_layer(model: nn.Module, pattern: str, known: list[str]) -> str:
    if pattern in dict(model.named_modules()):
        return f"{pattern!r} is no convolution or linear layer: give {pattern}.* for those inside"
    return f"the model has no layer {pattern!r}{similar(pattern, known)}"


def _stays_dense(layer: Any) -> bool:
    """Whether zeros would save nothing: engines run depthwise and transposed convolutions densely."""
    if isinstance(layer, nn.ConvTranspose2d):
        return True
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels and layer.groups > 1
