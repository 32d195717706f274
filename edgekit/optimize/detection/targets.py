"""What the student should say at each position: the teacher's opinion, corrected by the annotations.

A position is one cell of one output map. Positives are chosen as in TOOD (Feng et al. 2021), with the
teacher's predictions as the measure: positions where the teacher already finds the thing keep the task.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.optimize.detection.nets import STRIDES

REACH = 2.5  # positives lie within so many strides of the centre of their box
FLOOR = 0.6  # the best position of a thing is asked for at least this score
DOUBT = 0.25  # a teacher's detection that no annotation confirms is asked for at this share
MATCH = 0.4  # IoU from which an annotation confirms a detection
WORTH = 0.05  # teacher scores below this give no box to learn


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The n positions of all maps: `cells` (n, 2) x and y in strides, `strides` (n, 1) in pixels."""

    cells: Tensor
    strides: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Per position: class scores (n, c), box (n, 4) x1 y1 x2 y2 in pixels and its weight (n,)."""

    scores: Tensor
    boxes: Tensor
    weights: Tensor


def make_grid(size_px: int) -> Grid:
    cells, strides = [], []
    for stride in STRIDES:
        count = size_px // stride
        y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
        cells.append(torch.stack((x.flatten(), y.flatten()), 1).float())
        strides.append(torch.full((count * count, 1), float(stride)))
    return Grid(torch.cat(cells), torch.cat(strides))


def flatten(maps: tuple[Tensor, ...]) -> Tensor:
    """Maps (b, c, h, w) of all strides to (b, n, c) float32."""
    return torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2).float()


def decode(values: Tensor, grid: Grid) -> Tensor:
    """Box values (..., n, 4) dx, dy, log w, log h in strides to x1, y1, x2, y2 in pixels."""
    centres = (grid.cells + values[..., :2]) * grid.strides
    halves = values[..., 2:].clamp(max=6.0).exp() * grid.strides / 2
    return torch.cat((centres - halves, centres + halves), -1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """IoU of every box of (g, 4) with every one of (n, 4): (g, n)."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared).clamp(min=1e-6)


def make_target(scores: Tensor, boxes: Tensor, truth: tuple[Tensor, Tensor, Tensor], grid: Grid) -> Target:
    """Blend the teacher's scores (n, c) and boxes (n, 4) with the truth: boxes, labels, ignored."""
    truth_boxes, labels, ignored = truth
    confirmed = _confirmed(scores, boxes, truth)
    wanted = torch.where(confirmed, scores, scores * DOUBT)
    weights = (scores * confirmed).amax(1)
    weights = torch.where(weights > WORTH, weights, 0)
    aims = boxes.clone()
    real = ~ignored
    if real.any():
        owner, score = _positives(scores, boxes, truth_boxes[real], labels[real], grid)
        at = score > 0
        own = labels[real][owner[at]]
        wanted[at, own] = torch.maximum(wanted[at, own], score[at])
        aims[at] = truth_boxes[real][owner[at]]
        weights = torch.where(at, torch.maximum(weights, score), weights)
    return Target(wanted, aims, weights)


def _confirmed(scores: Tensor, boxes: Tensor, truth: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(n, c): whether an annotation of that class, or an ignored one, allows the teacher's detection."""
    truth_boxes, labels, ignored = truth
    confirmed = torch.zeros_like(scores, dtype=torch.bool)
    if not len(labels):
        return confirmed
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = _contains(truth_boxes, centres) & ignored[:, None]
    agree = (overlap(truth_boxes, boxes) > MATCH) | inside
    for label in labels.unique():
        confirmed[:, label] = agree[labels == label].any(0)
    return confirmed


def _contains(boxes: Tensor, points: Tensor) -> Tensor:
    """(g, n): whether a point lies in a box."""
    low = points[None] - boxes[:, None, :2]
    high = boxes[:, None, 2:] - points[None]
    return torch.cat((low, high), 2).amin(2) > 0


def _positives(
    scores: Tensor, boxes: Tensor, truth: Tensor, labels: Tensor, grid: Grid
) -> tuple[Tensor, Tensor]:
    """For each position the annotation that it is positive for and the score asked for (0: none)."""
    places = (grid.cells + 0.5) * grid.strides
    centres, sides = (truth[:, :2] + truth[:, 2:]) / 2, truth[:, 2:] - truth[:, :2]
    distance = ((places[None] - centres[:, None]) / grid.strides).norm(dim=2)
    step = torch.log2(sides.prod(1).sqrt()[:, None] / (4 * grid.strides[None, :, 0]))
    allowed = _contains(truth, places) & (distance < REACH)
    allowed |= distance <= distance.amin(1, keepdim=True)
    iou = overlap(truth, boxes)
    prior = torch.exp(-0.1 * distance.square() - 0.25 * step.square())
    measure = (scores[:, labels].T + 0.01).sqrt() * (iou + 0.05).square() * prior * allowed
    count = iou.mul(allowed).topk(10, 1).values.sum(1).int().clamp(min=1)
    ranked = measure.topk(10, 1)
    taken = torch.arange(10)[None] < count[:, None]
    share = ranked.values / ranked.values[:, :1] * taken
    asked = torch.zeros_like(measure).scatter_(1, ranked.indices, share)
    best = (iou * (asked > 0)).amax(1).clamp(min=FLOOR)
    asked = asked * best[:, None]
    owner = (measure * (asked > 0)).argmax(0)
    return owner, asked.gather(0, owner[None])[0]
