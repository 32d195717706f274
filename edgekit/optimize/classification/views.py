"""More pictures out of few photographs: random cut-outs, whose labels follow from the photo's boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.evaluate.labelled import (
    CROP_MARGIN,
    CROP_MIN_SIDE,
    CROP_NAMES,
    PERSON_SHARE,
    Photo,
    crop_name,
    has_person,
)

Box = tuple[float, float, float, float]  # x1 y1 x2 y2 in pixels of the photo

CUT_SHARES = (0.2, 1.0)  # of a photo's area that a cut-out shows
CUT_SHAPES = (0.6, 1.7)  # its width by its height, in those of the photo
DOUBTFUL = 0.4  # of the share that makes a person count: below it there is surely none
TRIES = 8
LOOSE = 0.35  # of a box's sides by which a cut-out may be larger on each side than the box itself
TIGHT = 0.1  # by which it may be smaller


@dataclass(frozen=True)
class View:
    """A part of a photo and its label."""

    path: Path
    box: Box
    label: int


def person_views(photo: Photo, count: int, rng: np.random.Generator) -> Iterator[View]:
    """The photo itself, and `count` cut-outs in which a person is to be seen well or not at all."""
    yield View(photo.path, (0.0, 0.0, photo.width, photo.height), int(has_person(photo)))
    for _ in range(count):
        for _ in range(TRIES):
            box = _cut(photo, rng)
            label = _person_in(photo, box)
            if label is not None:
                yield View(photo.path, box, label)
                break


def _cut(photo: Photo, rng: np.random.Generator) -> Box:
    share, shape = rng.uniform(*CUT_SHARES), np.exp(rng.uniform(*np.log(CUT_SHAPES)))
    width, height = photo.width * np.sqrt(share * shape), photo.height * np.sqrt(share / shape)
    width, height = min(float(width), photo.width), min(float(height), photo.height)
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    return left, top, left + width, top + height


def _person_in(photo: Photo, box: Box) -> int | None:
    """Whether a person's box covers more than 0.5 % of a part of a photo; None where it is close."""
    x1, y1, x2, y2 = box
    seen = [
        max(min(x + w, x2) - max(x, x1), 0) * max(min(y + h, y2) - max(y, y1), 0)
        for name, (x, y, w, h), _ in photo.boxes
        if name == "person"
    ]
    share = max(seen, default=0.0) / ((x2 - x1) * (y2 - y1))
    if share > PERSON_SHARE:
        return 1
    return 0 if share <= DOUBTFUL * PERSON_SHARE else None


def crop_views(photo: Photo, count: int, rng: np.random.Generator) -> Iterator[View]:
    """Every box as a second look sees it, and `count` times less exactly; animals ten times as often."""
    for name, (x, y, w, h), crowd in photo.boxes:
        if crowd or min(w, h) < CROP_MIN_SIDE:
            continue
        label = CROP_NAMES.index(crop_name(name))
        more_x, more_y = CROP_MARGIN * w, CROP_MARGIN * h
        yield View(photo.path, (x - more_x, y - more_y, x + w + more_x, y + h + more_y), label)
        for _ in range(10 * count if name in ("dog", "cat") else count):
            left, top, right, bottom = rng.uniform(-TIGHT, LOOSE, 4) * (w, h, w, h)
            yield View(photo.path, (x - left, y - top, x + w + right, y + h + bottom), label)


VIEWS: dict[str, Callable[[Photo, int, np.random.Generator], Iterator[View]]] = {
    "person": person_views,
    "crops": crop_views,
}
