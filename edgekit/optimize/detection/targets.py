"""What the student should say at each position: the teacher's opinion, corrected by the annotations.

A position is one cell of one output map. Positives are chosen as in TOOD (Feng et al. 2021), with the
teacher's predictions as the measure: positions where the teacher already finds the thing keep the task.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.optimize.detection.album import NOTHING
from edgekit.optimize.detection.augment import Truth
from edgekit.optimize.detection.nets import STRIDES

REACH = 2.5  # positives lie within so many strides of the centre of their box
FLOOR = 0.6  # the best position of a thing is asked for at least this score
DOUBT = 0.25  # a teacher's detection that no annotation confirms is asked for at this share
MATCH = 0.4  # IoU from which an annotation confirms a detection
CANDIDATES = 10  # most positions that are positive for one thing
WORTH = 0.05  # teacher scores below this give no box to learn


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The n positions of all maps: `cells` (n, 2) x and y in strides, `strides` (n, 1) in pixels."""

    cells: Tensor
    strides: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Per picture and position: class scores (b, n, c), box (b, n, 4) x1 y1 x2 y2 in pixels and its
    weight (b, n).
    """

    scores: Tensor
    boxes: Tensor
    weights: Tensor


def make_grid(size_px: int, device: torch.device | None = None) -> Grid:
    cells, strides = [], []
    for stride in STRIDES:
        count = size_px // stride
        y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
        cells.append(torch.stack((x.flatten(), y.flatten()), 1).float())
        strides.append(torch.full((count * count, 1), float(stride)))
    return Grid(torch.cat(cells).to(device), torch.cat(strides).to(device))


def flatten(maps: tuple[Tensor, ...]) -> Tensor:
    """Maps (b, c, h, w) of all strides to (b, n, c) float32."""
    return torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2).float()


def decode(values: Tensor, grid: Grid) -> Tensor:
    """Box values (..., n, 4) dx, dy, log w, log h in strides to x1, y1, x2, y2 in pixels."""
    centres = (grid.cells + values[..., :2]) * grid.strides
    halves = values[..., 2:].clamp(max=6.0).exp() * grid.strides / 2
    return torch.cat((centres - halves, centres + halves), -1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """IoU of every box of (..., g, 4) with every one of (..., n, 4): (..., g, n)."""
    low = torch.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = torch.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    return shared / (areas[0][..., :, None] + areas[1][..., None, :] - shared).clamp(min=1e-6)


def make_target(scores: Tensor, boxes: Tensor, truth: Truth, grid: Grid) -> Target:
    """Blend the teacher's scores (b, n, c) and boxes (b, n, 4) with the truth."""
    iou = overlap(truth.boxes, boxes)
    confirmed = _confirmed(iou, boxes, truth, scores.shape[2])
    wanted = torch.where(confirmed, scores, scores * DOUBT)
    weights = (scores * confirmed).amax(2)
    weights = torch.where(weights > WORTH, weights, 0)
    owner, score = _positives(scores, iou, truth, grid)
    own = truth.labels.gather(1, owner).clamp(min=0)[..., None]
    wanted.scatter_(2, own, torch.maximum(wanted.gather(2, own), score[..., None]))
    is_positive = score > 0
    aims = torch.where(
        is_positive[..., None], truth.boxes.gather(1, owner[..., None].expand(-1, -1, 4)), boxes
    )
    return Target(wanted, aims, torch.where(is_positive, torch.maximum(weights, score), weights))


def _confirmed(iou: Tensor, boxes: Tensor, truth: Truth, classes: int) -> Tensor:
    """(b, n, c): whether an annotation of that class, or an ignored one, allows the teacher's detection."""
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    inside = _contains(truth.boxes, centres) & truth.ignored[..., None]
    agree = ((iou > MATCH) | inside).transpose(1, 2).float()
    kinds = torch.arange(classes, device=boxes.device)
    return agree @ (truth.labels[..., None] == kinds).float() > 0


def _contains(boxes: Tensor, points: Tensor) -> Tensor:
    """(b, g, n): whether a point of (b, n, 2) or (n, 2) lies in a box of (b, g, 4)."""
    points = points[..., None, :, :]
    low, high = points - boxes[..., None, :2], boxes[..., None, 2:] - points
    return torch.minimum(low, high).amin(-1) > 0


def _positives(scores: Tensor, iou: Tensor, truth: Truth, grid: Grid) -> tuple[Tensor, Tensor]:
    """(b, n) the annotation that each position is positive for, and the score asked for (0: none)."""
    real = (truth.labels != NOTHING) & ~truth.ignored
    places = (grid.cells + 0.5) * grid.strides
    centres = (truth.boxes[..., :2] + truth.boxes[..., 2:]) / 2
    sides = truth.boxes[..., 2:] - truth.boxes[..., :2]
    distance = ((places - centres[..., None, :]) / grid.strides).norm(dim=-1)
    step = torch.log2(sides.prod(-1).clamp(min=1e-6).sqrt()[..., None] / (4 * grid.strides[:, 0]))
    allowed = _contains(truth.boxes, places) & (distance < REACH)
    allowed |= distance <= distance.amin(-1, keepdim=True)
    allowed &= real[..., None]
    prior = torch.exp(-0.1 * distance.square() - 0.25 * step.square())
    told = scores.transpose(1, 2).gather(1, truth.labels.clamp(min=0)[..., None].expand_as(iou))
    measure = (told + 0.01).sqrt() * (iou + 0.05).square() * prior * allowed
    count = iou.mul(allowed).topk(CANDIDATES, -1).values.sum(-1, keepdim=True).int().clamp(min=1)
    ranked = measure.topk(CANDIDATES, -1)
    taken = torch.arange(CANDIDATES, device=iou.device) < count
    share = ranked.values / ranked.values[..., :1].clamp(min=1e-12) * taken
    asked = torch.zeros_like(measure).scatter_(-1, ranked.indices, share)
    best = (iou * (asked > 0)).amax(-1, keepdim=True).clamp(min=FLOOR)
    owner = (measure * (asked > 0)).argmax(1)
    return owner, (asked * best).gather(1, owner[:, None])[:, 0]
