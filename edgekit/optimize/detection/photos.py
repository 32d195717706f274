"""Labelled photographs: a COCO annotation file and its images, decoded once and kept in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.types import Image

PAD = 114  # grey of the letterbox, as the teacher was trained


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photograph and what is in it.

    `boxes` is (n, 4) float32 x1, y1, x2, y2 in pixels, `labels` (n,) int64 indices of the recipe's classes,
    `ignored` (n,) bool: true where a box (a crowd, a thing cut off) must count neither for nor against.
    """

    id: int
    image: Image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]


def load_photos(
    annotations: Path, images: Path, category_ids: tuple[int, ...], limit: int | None = None
) -> list[Photo]:
    """Read the first `limit` photographs; SourceError if the file or an image cannot be read."""
    try:
        content = json.loads(annotations.read_text())
        rows, boxes = content["images"], content["annotations"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SourceError(f"{annotations}: not a readable COCO annotation file: check the path") from None
    by_image: dict[int, list[dict[str, Any]]] = {}
    for box in boxes:
        if box["category_id"] in category_ids:
            by_image.setdefault(box["image_id"], []).append(box)
    return [_photo(row, images, by_image.get(row["id"], []), category_ids) for row in rows[:limit]]


def _photo(
    row: dict[str, Any], images: Path, found: list[dict[str, Any]], category_ids: tuple[int, ...]
) -> Photo:
    import cv2

    image: Any = cv2.imread(str(images / row["file_name"]))
    if image is None:
        raise SourceError(f"{images / row['file_name']}: not a readable image: check the folder")
    corners = np.array([box["bbox"] for box in found], np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return Photo(
        int(row["id"]),
        image,
        corners,
        np.array([category_ids.index(box["category_id"]) for box in found], np.int64),
        np.array([bool(box.get("iscrowd")) for box in found], np.bool_),
    )


def letterbox(image: Image, size_px: int) -> tuple[Image, float]:
    """Scale an image into the top left corner of a grey square; returns the square and the scale."""
    import cv2

    scale = min(size_px / image.shape[0], size_px / image.shape[1])
    width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
    canvas = np.full((size_px, size_px, 3), PAD, np.uint8)
    canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas, scale
