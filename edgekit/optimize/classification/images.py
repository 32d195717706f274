"""Labelled pictures for classifiers, decoded once and kept in memory; batches of them, changed by chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.evaluate.labelled import RULE_NAMES, Photo, read_labelled, read_picture
from edgekit.optimize.classification.recipe import AugmentConfig
from edgekit.optimize.classification.views import VIEWS
from edgekit.preprocess import crop_box, shrink
from edgekit.types import Image


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

    def split(self, share: float, seed: int) -> tuple[Pictures, Pictures]:
        """All but a share of every class, and that share: at least one picture of each class."""
        order = np.random.default_rng((seed, 1)).permutation(len(self))
        chosen: list[int] = []
        for label in range(len(self.names)):
            members = order[self.labels[order] == label]
            chosen += members[: max(1, round(share * len(members)))].tolist()
        apart = np.isin(np.arange(len(self)), chosen)
        return self.part(np.flatnonzero(~apart)), self.part(np.flatnonzero(apart))


def load(path: Path, size: int) -> Pictures:
    """Read a .npz file or a folder per class. SourceError, naming the file, for what cannot be read."""
    found = read_labelled(path)
    images = [_square(found.read(i), size) for i in range(len(found))]
    return Pictures(np.stack(images), found.labels, found.names)


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
    pictures: Pictures, batch: int, augment: AugmentConfig, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Full batches of all pictures in a new order, from number `first` on; each by a seed of its own."""
    order = np.random.default_rng((seed, 2, epoch)).permutation(len(pictures))
    for number in range(first, len(pictures) // batch):
        chosen = order[number * batch : (number + 1) * batch]
        rng = np.random.default_rng((seed, 3, epoch, number))
        yield changed(pictures.images[chosen], augment, rng), pictures.labels[chosen]


def changed(images: NDArray[np.uint8], augment: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pictures (n, h, w, 3) moved, zoomed, mirrored and lit by chance."""
    flips = rng.random(len(images)) < 0.5 * augment.flip
    moves = rng.uniform(-augment.shift, augment.shift, (len(images), 2))
    zooms = 1 - rng.uniform(0, augment.zoom, len(images))
    lights = rng.uniform(-augment.light, augment.light, (len(images), 2))
    made = [
        _change(image, bool(flip), move, float(zoom), light)
        for image, flip, move, zoom, light in zip(images, flips, moves, zooms, lights, strict=True)
    ]
    return np.stack(made)


def _change(
    image: NDArray[np.uint8], flip: bool, move: NDArray[np.float64], zoom: float, light: Sequence[float]
) -> NDArray[np.uint8]:
    import cv2

    if flip:
        image = image[:, ::-1]
    size = image.shape[0]
    if zoom < 1:
        start, end = (1 - zoom) * size / 2, zoom
        way = np.array([[end, 0, start + move[1] * size], [0, end, start + move[0] * size]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(
            np.ascontiguousarray(image), way, (size, size), flags=flags, borderValue=(128, 128, 128)
        )
    else:
        image = _moved(image, *(round(float(one) * size) for one in move))
    if light[0] or light[1]:
        bright = (image.astype(np.float32) - 128) * (1 + light[0]) + 128 * (1 + light[1])
        image = bright.clip(0, 255).astype(np.uint8)
    return image


def _moved(image: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """The picture moved by whole pixels; what comes in is grey."""
    size = image.shape[0]
    canvas = np.full_like(image, 128)
    rows = slice(max(down, 0), size + min(down, 0))
    columns = slice(max(right, 0), size + min(right, 0))
    canvas[rows, columns] = image[
        max(-down, 0) : size + min(-down, 0), max(-right, 0) : size + min(-right, 0)
    ]
    return canvas
