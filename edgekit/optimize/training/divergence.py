"""A training whose numbers are none any more: told before they reach the weights, or a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from edgekit.errors import DivergedError

LOOK = 20  # steps on a GPU between two looks at gradients, for which the CPU waits


class Progress(Protocol):
    """How far a training is."""

    steps: int
    steps_per_epoch: int

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...


def diverged(what: str, training: Progress) -> DivergedError:
    """What is no number, when, and what to do about it."""
    epoch = training.steps / training.steps_per_epoch
    rate = training.param_groups[0]["lr"]
    return DivergedError(
        f"training has diverged: {what} no number at step {training.steps} (epoch {epoch:.2f}, learning rate "
        f"{rate:g}): lower the learning rate's peak"
    )


def check_loss(loss: float, training: Progress) -> None:
    """Raise DivergedError for a loss that is infinite or no number."""
    if not math.isfinite(loss):
        raise diverged("the loss is", training)


def check_gradients(training: Progress) -> None:
    """Raise DivergedError, before a step of the optimiser, while the weights are still as they were.

    On a GPU only every now and then.
    """
    gradients = [
        one.grad for group in training.param_groups for one in group["params"] if one.grad is not None
    ]
    if not gradients or (gradients[0].device.type != "cpu" and training.steps % LOOK):
        return
    if not are_finite(gradients):
        raise diverged("gradients are", training)


def check_state(state: dict[str, Any], training: Progress) -> None:
    """Raise DivergedError for weights, statistics or ranges that no training can go on from."""
    if not are_finite(one for one in state.values() if isinstance(one, Tensor) and one.is_floating_point()):
        raise diverged("weights are", training)


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers are. A sum over them is one pass; one that overflows is looked at closely."""
    tensors = list(tensors)
    if not tensors:
        return True
    sums = torch.stack([one.detach().sum(dtype=torch.float32).to(tensors[0].device) for one in tensors])
    if bool(sums.isfinite().all()):
        return True
    return all(bool(one.isfinite().all()) for one in tensors)
