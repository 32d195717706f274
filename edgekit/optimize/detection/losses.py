"""The student's loss: class scores, boxes, and likeness of its features to the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.optimize.detection.nets import OUTPUT_WIDTH
from edgekit.optimize.detection.targets import WORTH, Grid, Target, decode, flatten

Features = tuple[Tensor, ...]
BOX_DIVISOR = 2.0  # the raw box values are twice the teacher's, so that int8 covers them well
BOX_WEIGHT = 5.0


def teacher_opinion(maps: tuple[Tensor, ...], columns: tuple[int, ...], grid: Grid) -> tuple[Tensor, Tensor]:
    """The teacher's maps to joint scores (b, n, c) of the chosen columns and boxes (b, n, 4) in pixels."""
    raw = flatten(maps)
    chosen = torch.stack([raw[..., 5 + column] for column in columns], -1)
    return raw[..., 4:5].sigmoid() * chosen.sigmoid(), decode(raw[..., :4], grid)


def detections(maps: tuple[Tensor, ...], classes: int, grid: Grid) -> tuple[Tensor, Tensor]:
    """A student's maps to scores (b, n, c) and boxes (b, n, 4) in pixels."""
    raw = flatten(maps)
    return raw[..., 4 : 4 + classes].sigmoid(), decode(raw[..., :4] / BOX_DIVISOR, grid)


def twin_opinion(maps: tuple[Tensor, ...], classes: int, grid: Grid) -> Target:
    """What another student detects, as it is."""
    scores, boxes = detections(maps, classes, grid)
    best = scores.amax(2)
    return Target(scores, boxes, torch.where(best > WORTH, best, 0))


def detection_loss(
    maps: tuple[Tensor, ...], target: Target, grid: Grid, classes: int
) -> tuple[Tensor, Tensor]:
    """Loss of the classes and of the boxes, each per unit of positive weight."""
    raw = flatten(maps)
    logits = raw[..., 4 : 4 + classes]
    spare = (
        raw[..., 4 + classes : OUTPUT_WIDTH].square().mean()
        if classes + 4 < OUTPUT_WIDTH
        else raw.new_zeros(())
    )
    asked = functional.binary_cross_entropy_with_logits(logits, target.scores, reduction="sum")
    boxes = decode(raw[..., :4] / BOX_DIVISOR, grid)
    apart = (1 - generalised_iou(boxes, target.boxes)) * target.weights
    class_loss = asked / target.scores.sum().clamp(min=1.0) + spare
    return class_loss, BOX_WEIGHT * apart.sum() / target.weights.sum().clamp(min=1.0)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """GIoU (Rezatofighi et al. 2019) of boxes (..., 4) pairwise: (...,)."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = _areas(low, high)
    both = _areas(first[..., :2], first[..., 2:]) + _areas(second[..., :2], second[..., 2:])
    union = (both - shared).clamp(min=1e-6)
    start, end = (
        torch.minimum(first[..., :2], second[..., :2]),
        torch.maximum(first[..., 2:], second[..., 2:]),
    )
    hull = _areas(start, end).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


def _areas(low: Tensor, high: Tensor) -> Tensor:
    """Of boxes between two corners (..., 2); not by `prod`, whose gradient lets a GPU's step wait."""
    width, height = (high - low).clamp(min=0).unbind(-1)
    return width * height


def feature_loss(own: Features, wanted: Features) -> Tensor:
    """Mean over the maps of the squared difference, in units of the wanted map's variance."""
    parts = [
        (mine.float() - theirs.float()).square().mean() / theirs.float().var().clamp(min=1e-6)
        for mine, theirs in zip(own, wanted, strict=True)
    ]
    return torch.stack(parts).mean()
