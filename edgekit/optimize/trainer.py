"""The training loop of one stage: a batch shared by threads, one optimiser, averaged weights, checkpoints.

Each thread works with one core on its own copy of the network, which on small machines is faster than several
cores on one copy. Gradients are averaged in a fixed order, so the same seed gives the same weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.optimize.batches import Batch
from edgekit.optimize.losses import batch_targets, detection_loss, feature_loss, teacher_opinion
from edgekit.optimize.nets import Detector, blend
from edgekit.optimize.recipe import Recipe, Stage
from edgekit.optimize.targets import Grid, make_grid

GRADIENT_NORM = 20.0


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses of the steps of an epoch."""

    classes: float
    boxes: float
    features: float


class Trainer:
    """Holds what changes while a stage runs: networks, optimiser, averaged network, step count."""

    def __init__(
        self, network: Detector, teacher: Detector, recipe: Recipe, stage: Stage, steps: int
    ) -> None:
        self.recipe, self.stage, self.steps, self.step = recipe, stage, steps, 0
        self.teacher = teacher
        self.networks = [network, *(copy.deepcopy(network) for _ in range(recipe.threads - 1))]
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(_groups(network, recipe.weight_decay), lr=stage.learning_rate)
        self.grid = make_grid(recipe.size_px)
        self._blend()

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "network": self.networks[0].state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for network in self.networks:
            network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._blend()

    def run_epoch(self, batches: Iterable[Batch], progress: Callable[[str], None]) -> Losses:
        """Train on the batches; returns the mean losses."""
        sums = torch.zeros(3)
        count = 0
        for network in self.networks:
            network.train()
        with ThreadPoolExecutor(len(self.networks)) as pool:
            for batch in batches:
                sums += self._step(batch, pool)
                count += 1
                if count % 45 == 0:
                    means = (sums / count).tolist()
                    progress(
                        f"step {self.step}/{self.steps} loss " + " ".join(f"{value:.3f}" for value in means)
                    )
        return Losses(*(sums / max(count, 1)).tolist())

    def _step(self, batch: Batch, pool: ThreadPoolExecutor) -> Tensor:
        share = len(batch.photos) // len(self.networks)
        parts = [
            Batch(batch.images[start : start + share], batch.photos[start : start + share])
            for start in range(0, len(batch.photos), share)
        ]
        losses = list(pool.map(self._backward, self.networks, parts))
        self._reduce()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        nn.utils.clip_grad_norm_(self.networks[0].parameters(), GRADIENT_NORM)
        self.optimiser.step()
        self.step += 1
        self._blend()
        self._spread()
        self._average()
        return torch.stack(losses).mean(0)

    def _backward(self, network: Detector, part: Batch) -> Tensor:
        """Leave the gradient of one part in the network; returns the three losses."""
        torch.set_num_threads(1)
        images = part.images.contiguous(memory_format=torch.channels_last)
        weight = self.stage.feature_weight * (1 - self.step / self.steps)
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=True), torch.no_grad():
            teacher_maps, wanted = self.teacher(images)
        scores, boxes = teacher_opinion(teacher_maps, self.recipe.columns, self.grid)
        target = batch_targets(scores, boxes, part, self.grid)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.stage.bfloat16):
            maps, own = network(images)
        classes, apart = detection_loss(maps, target, self.grid, len(self.recipe.classes))
        likeness = feature_loss(own, wanted, self.share) if weight else torch.zeros(())
        (classes + apart + weight * likeness).backward()
        return torch.stack((classes.detach(), apart.detach(), likeness.detach()))

    def _blend(self) -> None:
        """Take the activation one step further from the teacher's to ReLU6."""
        if self.recipe.activation == "silu":
            self.share = 0.0
            return
        self.share = (
            min(1.0, self.step / max(1.0, self.stage.blend * self.steps)) if self.stage.blend else 1.0
        )
        for network in (*self.networks, self.averaged):
            blend(network, self.share)

    def _rate(self) -> float:
        """Linear warm-up, then a cosine down to `last_rate`."""
        stage = self.stage
        if self.step < stage.warmup_steps:
            return stage.learning_rate * (self.step + 1) / stage.warmup_steps
        done = (self.step - stage.warmup_steps) / max(1, self.steps - stage.warmup_steps)
        wave = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return stage.learning_rate * (stage.last_rate + (1 - stage.last_rate) * wave)

    def _reduce(self) -> None:
        """Average the gradients of all networks into the first, in order."""
        for group in zip(*(network.parameters() for network in self.networks), strict=True):
            gradients = [one.grad for one in group if one.grad is not None]
            if gradients:
                group[0].grad = torch.stack(gradients).mean(0)

    def _spread(self) -> None:
        """Copy the new weights to every network, and to all the mean of their running statistics."""
        with torch.no_grad():
            for group in zip(*(network.parameters() for network in self.networks), strict=True):
                for other in group[1:]:
                    other.copy_(group[0])
            for group in zip(*(network.buffers() for network in self.networks), strict=True):
                if group[0].is_floating_point():
                    mean = torch.stack(group).mean(0)
                    for one in group:
                        one.copy_(mean)

    def _average(self) -> None:
        """Move the averaged network towards the new weights; until the activation is ReLU6, follow them."""
        settled = max(0.0, self.step - self.stage.blend * self.steps)
        share = 1 - min(self.stage.average, settled / (10 + settled))
        with torch.no_grad():
            pairs = zip(_tensors(self.averaged), _tensors(self.networks[0]), strict=True)
            for mean, new in pairs:
                if mean.is_floating_point():
                    mean.lerp_(new, share)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions decay; biases and batch norms do not."""
    deep = [one for one in network.parameters() if one.ndim > 1]
    flat = [one for one in network.parameters() if one.ndim <= 1]
    return [{"params": deep, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]


def opinion(network: nn.Module, classes: int) -> Callable[[Tensor, Grid], tuple[Tensor, Tensor]]:
    """The scores and boxes of a student, as `average_precision` wants them."""
    from edgekit.optimize.losses import BOX_DIVISOR
    from edgekit.optimize.targets import decode, flatten

    def predict(images: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        raw = flatten(network(images.contiguous(memory_format=torch.channels_last))[0])
        return raw[..., 4 : 4 + classes].sigmoid(), decode(raw[..., :4] / BOX_DIVISOR, grid)

    return predict


def calm(stage: Stage, epoch: int) -> bool:
    """Whether an epoch is one of the last, without mosaics."""
    return epoch >= stage.epochs - stage.calm_epochs


def schedule_steps(photos: Sequence[object], recipe: Recipe, stage: Stage) -> int:
    """Steps over which the schedules of a stage are stretched."""
    return (len(photos) // recipe.batch) * stage.horizon
