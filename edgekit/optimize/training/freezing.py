"""Layers that learn nothing for a while."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgekit.optimize.training.modifiers import Modifier, Place
from edgekit.optimize.training.sparsifying import layers
from edgekit.optimize.training.stages import FreezeStage


class FreezeModifier(Modifier):
    """No gradients are computed for the layers either, which is most of a step's work."""

    stage: FreezeStage

    def __init__(self, stage: FreezeStage, place: Place) -> None:
        super().__init__(stage, place)
        self.names = layers(place.model, stage.layers, stage.skip)

    def enter(self) -> None:
        self._learn(learn=False)

    def leave(self) -> None:
        self._learn(learn=True)

    def state(self) -> bool:
        return self.active

    def restore(self, state: Any) -> None:
        self._learn(learn=not state)

    def _learn(self, *, learn: bool) -> None:
        for name in self.names:
            layer: nn.Module = self.place.model.get_submodule(name)
            layer.requires_grad_(learn)
