"""Random crops, scales, flips, colours and mosaics of photographs, deterministic by the generator given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.optimize.detection.photos import PAD, Photo
from edgekit.types import Image

VISIBLE = 0.3  # a box of which less is left after a crop is ignored
LEAST_PX = 3.0  # so is a box thinner than this
Region = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the canvas


@dataclass(frozen=True, slots=True)
class Strength:
    """How much is varied: the share of mosaics, the range of scales, the gain of hue, saturation, value."""

    mosaic: float = 0.5
    scale: tuple[float, float] = (0.5, 1.5)
    colour: tuple[float, float, float] = (0.015, 0.5, 0.3)


def sample(
    rng: np.random.Generator, photos: Sequence[Photo], index: int, size_px: int, strength: Strength
) -> Photo:
    """One training picture around photo `index`: alone, or as the first of a 2x2 mosaic."""
    canvas = np.full((size_px, size_px, 3), PAD, np.uint8)
    if rng.random() < strength.mosaic:
        x, y = (int(rng.uniform(0.3, 0.7) * size_px) for _ in range(2))
        regions: list[Region] = [
            (0, 0, x, y),
            (x, 0, size_px, y),
            (0, y, x, size_px),
            (x, y, size_px, size_px),
        ]
        chosen = [index, *rng.integers(0, len(photos), 3).tolist()]
    else:
        regions, chosen = [(0, 0, size_px, size_px)], [index]
    parts = [
        _place(rng, canvas, photos[i], region, strength) for i, region in zip(chosen, regions, strict=True)
    ]
    boxes, labels, ignored = (np.concatenate([part[field] for part in parts]) for field in range(3))
    _recolour(rng, canvas, strength.colour)
    return Photo(photos[index].id, canvas, boxes, labels, ignored)


def _place(
    rng: np.random.Generator, canvas: Image, photo: Photo, region: Region, strength: Strength
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Paint a scaled, maybe mirrored photo into a region of the canvas; returns its boxes there."""
    height, width = photo.image.shape[:2]
    fit = canvas.shape[0] / max(height, width)
    scale = fit * rng.uniform(*strength.scale)
    stretch = rng.uniform(0.9, 1.1)
    image, boxes = _resized(photo, scale * stretch, scale / stretch)
    if rng.random() < 0.5:
        image = image[:, ::-1]
        boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
    dx = _offset(rng, image.shape[1], region[0], region[2])
    dy = _offset(rng, image.shape[0], region[1], region[3])
    left, top = max(region[0], dx), max(region[1], dy)
    right, bottom = min(region[2], dx + image.shape[1]), min(region[3], dy + image.shape[0])
    canvas[top:bottom, left:right] = image[top - dy : bottom - dy, left - dx : right - dx]
    shifted = boxes + np.array([dx, dy, dx, dy], np.float32)
    return _clip(shifted, photo, (left, top, right, bottom))


def _resized(photo: Photo, scale_x: float, scale_y: float) -> tuple[Image, NDArray[np.float32]]:
    import cv2

    height, width = photo.image.shape[:2]
    new = max(8, round(width * scale_x)), max(8, round(height * scale_y))
    how = cv2.INTER_AREA if scale_x < 0.6 else cv2.INTER_LINEAR
    factors = np.array([new[0] / width, new[1] / height] * 2, np.float32)
    resized: Any = cv2.resize(photo.image, new, interpolation=how)
    return resized, (photo.boxes * factors).astype(np.float32)


def _offset(rng: np.random.Generator, length: int, start: int, end: int) -> int:
    """Where an image of some length begins so that it lies in, or covers, the span."""
    slack = end - start - length
    return start + round(rng.uniform(min(slack, 0), max(slack, 0)))


def _clip(
    boxes: NDArray[np.float32], photo: Photo, window: Region
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Cut boxes at the window; those almost gone are dropped, those hardly left are ignored."""
    low, high = np.array(window[:2] * 2, np.float32), np.array(window[2:] * 2, np.float32)
    cut = np.clip(boxes, low, high)
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    share = sides.prod(1) / np.maximum(whole.prod(1), 1e-6)
    thin = sides.min(1, initial=np.inf) < LEAST_PX
    keep = sides.min(1, initial=np.inf) > 0.5
    ignored = photo.ignored | (share < VISIBLE) | thin
    return cut[keep], photo.labels[keep], ignored[keep]


def _recolour(rng: np.random.Generator, image: Image, gains: tuple[float, float, float]) -> None:
    """Shift hue, saturation and value in place."""
    import cv2

    factors = 1 + rng.uniform(-1, 1, 3) * np.array(gains)
    ramp = np.arange(256, dtype=np.float64)
    tables = [
        (ramp * factors[0] % 180),
        np.clip(ramp * factors[1], 0, 255),
        np.clip(ramp * factors[2], 0, 255),
    ]
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    planes = [
        cv2.LUT(plane, table.astype(np.uint8)) for plane, table in zip(cv2.split(hsv), tables, strict=True)
    ]
    cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2BGR, dst=image)
