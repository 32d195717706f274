"""The student's start: the teacher's weights, with a plain stem and batch norms put in.

The plain stem is the least squares fit to the teacher's Focus stem on real photographs. The batch norms give
every channel the teacher's mean and deviation before the activation (the idea of REPAIR, Jordan et al. 2022),
so that the student begins as the teacher's twin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.optimize.detection.losses import BOX_DIVISOR
from edgekit.optimize.detection.nets import HEAD_WIDTH, STUDENT, Detector, units

RIDGE = 1e-6  # of the mean power of the stem's inputs


def make_student(teacher: Detector, photos: Sequence[Tensor], columns: tuple[int, ...]) -> Detector:
    """A student that starts from the teacher; `photos` are batches (n, 3, h, w) of plain photographs."""
    student = Detector(STUDENT)
    with torch.no_grad():
        for own, other in zip(units(student), units(teacher), strict=True):
            if own.conv.weight.shape == other.conv.weight.shape:
                own.conv.weight.copy_(other.conv.weight)
        _fit_stem(student, teacher, photos)
        for own_level, level in zip(student.levels, teacher.levels, strict=True):
            _join_outputs(own_level.output, level, columns)
        _repair(student, teacher, photos)
    return student


def _fit_stem(student: Detector, teacher: Detector, photos: Sequence[Tensor]) -> None:
    """Solve for the 3x3 stem whose outputs are nearest to those of the Focus stem."""
    stem = next(units(teacher))
    taps = 28  # 3 x 3 x 3 and the intercept
    power, product = torch.zeros(taps, taps).double(), torch.zeros(taps, 16).double()
    goals = _watch(teacher, [stem], photos, torch.clone)[0]
    for images, goal in zip(photos, goals, strict=True):
        padded = functional.pad(images, (0, 1, 0, 1))
        patches = functional.unfold(padded, 3, stride=2).transpose(1, 2).flatten(0, 1)
        inputs = torch.cat((patches, torch.full((len(patches), 1), 128.0)), 1).double()
        power += inputs.T @ inputs
        product += inputs.T @ goal.permute(0, 2, 3, 1).flatten(0, 2).double()
    power += torch.eye(taps).double() * power.diagonal().mean() * RIDGE
    solved = torch.linalg.solve(power, product)
    next(units(student)).conv.weight.copy_(solved[:-1].T.reshape(16, 3, 3, 3))


def _join_outputs(output: Any, level: Any, columns: tuple[int, ...]) -> None:
    """Box rows from the box branch; class rows are class logit plus objectness logit."""
    output.weight.zero_()
    output.bias.zero_()
    stop = 4 + len(columns)
    chosen = list(columns)
    output.weight[:4, HEAD_WIDTH:] = level.box_values.weight * BOX_DIVISOR
    output.bias[:4] = level.box_values.bias * BOX_DIVISOR
    output.weight[4:stop, :HEAD_WIDTH] = level.class_logits.weight[chosen]
    output.weight[4:stop, HEAD_WIDTH:] = level.objectness.weight
    output.bias[4:stop] = level.class_logits.bias[chosen] + level.objectness.bias


def _repair(student: Detector, teacher: Detector, photos: Sequence[Tensor]) -> None:
    """Give each batch norm the teacher's mean and deviation, then take the running statistics."""
    seen = _watch(teacher, list(units(teacher)), photos, _moments)
    for unit, moments in zip(units(student), seen, strict=True):
        mean, power = torch.stack(moments).mean(0)
        unit.norm.bias.copy_(mean)
        unit.norm.weight.copy_((power - mean.square()).clamp(min=1e-6).sqrt())
    refresh_statistics(student, photos)


def _moments(values: Tensor) -> Tensor:
    """Mean and mean square per channel."""
    return torch.stack((values.mean((0, 2, 3)), values.square().mean((0, 2, 3))))


def _watch(
    network: Detector, chosen: Sequence[Any], photos: Sequence[Tensor], reduce: Callable[[Tensor], Tensor]
) -> list[list[Tensor]]:
    """Per unit and batch, `reduce` of what the activation is about to receive."""
    seen: list[list[Tensor]] = [[] for _ in chosen]
    handles = [
        unit.norm.register_forward_hook(
            lambda _module, _inputs, output, kept=kept: kept.append(reduce(output))
        )
        for unit, kept in zip(chosen, seen, strict=True)
    ]
    for images in photos:
        network(images)
    for handle in handles:
        handle.remove()
    return seen


def refresh_statistics(network: Detector, photos: Sequence[Tensor]) -> None:
    """Set the running statistics of all batch norms to the average over the batches."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    network.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for images in photos:
            network(images)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
