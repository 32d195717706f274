"""Labelled pictures for classifiers, decoded once and kept in memory; batches of them, changed by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgekit.evaluate.labelled import RULE_NAMES, Photo, read_labelled, read_picture
from edgekit.optimize.classification.recipe import AugmentConfig
from edgekit.optimize.classification.views import VIEWS
from edgekit.preprocess import crop_box, shrink
from edgekit.types import Image

GREY = 128.0


@dataclass(frozen=True, eq=False)
class Pictures:
    """`images` (n, size, size, 3) uint8 RGB, `labels` (n,) int64, `names` of the classes in order."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, indices: NDArray[np.int64]) -> Pictures:
        return Pictures(self.images[indices], self.labels[indices], self.names)

    def and_of(self, other: Pictures, classes: dict[str, str]) -> Pictures:
        """These, and those of `other` whose class is named: its name there to the name here."""
        there = {other.names.index(one): self.names.index(here) for one, here in classes.items()}
        chosen = np.flatnonzero(np.isin(other.labels, list(there)))
        labels = np.array([there[label] for label in other.labels[chosen].tolist()], np.int64)
        images = np.concatenate([self.images, other.images[chosen]])
        return Pictures(images, np.concatenate([self.labels, labels]), self.names)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images and labels there."""
        return torch.from_numpy(self.images).to(device), torch.from_numpy(self.labels).to(device)

    def split(self, share: float, seed: int) -> tuple[Pictures, Pictures]:
        """All but a share of every class, and that share: at least one picture of each class."""
        order = np.random.default_rng((seed, 1)).permutation(len(self))
        chosen: list[int] = []
        for label in range(len(self.names)):
            members = order[self.labels[order] == label]
            chosen += members[: max(1, round(share * len(members)))].tolist()
        apart = np.isin(np.arange(len(self)), chosen)
        return self.part(np.flatnonzero(~apart)), self.part(np.flatnonzero(apart))


def load(path: Path, size: int, each: int | None = None) -> Pictures:
    """Read a .npz file or a folder per class, of each class the first `each`.

    SourceError, naming the file, for what cannot be read.
    """
    found = read_labelled(path)
    kinds = range(len(found.names))
    wanted = np.sort(np.concatenate([np.flatnonzero(found.labels == kind)[:each] for kind in kinds]))
    images = [_square(found.read(int(i)), size) for i in wanted]
    return Pictures(np.stack(images), found.labels[wanted], found.names)


def load_views(photos: list[Photo], rule: str, count: int, seed: int, size: int) -> Pictures:
    """What a rule of `evaluate.labelled` makes of photos, and `count` random cut-outs more of each."""
    rng = np.random.default_rng((seed, 4))
    views = [view for photo in photos for view in VIEWS[rule](photo, count, rng)]
    images = [_square(crop_box(read_picture(view.path), view.box), size) for view in views]
    labels = np.array([view.label for view in views], np.int64)
    return Pictures(np.stack(images), labels, RULE_NAMES[rule])


def _square(image: Image, size: int) -> NDArray[np.uint8]:
    """A BGR picture as RGB, stretched to a square: as a classifier sees it on a device."""
    return np.ascontiguousarray(shrink(image, size, size)[..., ::-1])


def batches(
    pictures: tuple[Tensor, Tensor], batch: int, augment: AugmentConfig, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Full batches of all pictures in a new order, from number `first` on, as (n, 3, h, w) pixel values.

    `pictures` are (n, h, w, 3) uint8 and their labels, on the device where the batches are made.
    """
    images, labels = pictures
    order = np.random.default_rng((seed, 2, epoch)).permutation(len(labels))
    order_there = torch.from_numpy(order).to(images.device)
    drawn = draw(len(labels), augment, np.random.default_rng((seed, 3, epoch))).to(images.device)
    for number in range(first, len(labels) // batch):
        here = slice(number * batch, (number + 1) * batch)
        chosen = order_there[here]
        yield changed(images[chosen], augment, drawn[here]), labels[chosen]


def draw(count: int, augment: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """What chance does to each picture: (count, 8) of mirrored (-1 or 1), down, right, part of the side that
    is seen, contrast, brightness, and the middle of the patch that is hidden; moves as shares of the side.
    """
    drawn = np.empty((count, 8), np.float32)
    drawn[:, 0] = np.where(rng.random(count) < 0.5 * augment.flip, -1, 1)
    drawn[:, 1:3] = rng.uniform(-augment.shift, augment.shift, (count, 2))
    drawn[:, 3] = 1 - rng.uniform(0, augment.zoom, count)
    drawn[:, 4:6] = 1 + rng.uniform(-augment.light, augment.light, (count, 2))
    drawn[:, 6:] = rng.random((count, 2))
    return torch.from_numpy(drawn)


def changed(images: Tensor, augment: AugmentConfig, drawn: Tensor) -> Tensor:
    """Pictures (n, h, w, 3) uint8 as `draw` says: (n, 3, h, w) pixel values, grey where nothing is seen."""
    made = images.permute(0, 3, 1, 2).float() - GREY
    made = _moved(made, drawn, whole=not augment.zoom)
    if augment.light:
        contrast, brightness = drawn[:, 4:6, None, None, None].unbind(1)
        made = (made * contrast + GREY * (brightness - 1)).clamp(-GREY, 255 - GREY)
    if augment.hide:
        made = made * _seen(made.shape[2], augment.hide, drawn)[:, None]
    return made + GREY


def _moved(images: Tensor, drawn: Tensor, *, whole: bool) -> Tensor:
    """Pictures mirrored, moved and enlarged; without enlarging, moved by whole pixels."""
    side = images.shape[2]
    mirror, moves, part = drawn[:, 0], drawn[:, 1:3], drawn[:, 3]
    moves = (moves * side).round() / side if whole else moves
    way = drawn.new_zeros(len(images), 2, 3)
    way[:, 0, 0], way[:, 0, 2] = mirror * part, 2 * moves[:, 1]
    way[:, 1, 1], way[:, 1, 2] = part, 2 * moves[:, 0]
    grid = functional.affine_grid(way, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, "nearest" if whole else "bilinear", align_corners=False)


def _seen(side: int, hide: float, drawn: Tensor) -> Tensor:
    """(n, h, w): 0 in a square of `hide` of the side, else 1 (DeVries and Taylor 2017)."""
    places = (torch.arange(side, device=drawn.device) + 0.5) / side
    near = (places - drawn[:, 6:, None]).abs() < hide / 2  # (n, 2, side)
    return 1 - (near[:, 0, :, None] & near[:, 1, None, :]).float()
