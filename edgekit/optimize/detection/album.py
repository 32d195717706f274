"""All photographs of a training as tensors on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.optimize.detection.photos import PAD, Photo

NOTHING = -1  # the label of a row without a box


@dataclass(frozen=True, slots=True, eq=False)
class Album:
    """n photographs of at most m boxes each.

    `images` is (n, 3, s, s) uint8 on the device, each photograph in the top left corner of a grey square;
    `sides` (n, 2) float32 width and height of each; `boxes` (n, m, 4) float32 x1, y1, x2, y2 in pixels;
    `labels` (n, m) int64, `NOTHING` where there is no box; `ignored` (n, m) bool.
    """

    images: Tensor
    sides: NDArray[np.float32]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sides)


def make_album(photos: Sequence[Photo], device: torch.device) -> Album:
    count, most = len(photos), max(len(photo.labels) for photo in photos)
    side = max(max(photo.image.shape[:2]) for photo in photos)
    images = torch.full((count, 3, side, side), PAD, dtype=torch.uint8, device=device)
    album = Album(
        images,
        np.array([photo.image.shape[1::-1] for photo in photos], np.float32),
        np.zeros((count, most, 4), np.float32),
        np.full((count, most), NOTHING),
        np.zeros((count, most), np.bool_),
    )
    for number, photo in enumerate(photos):
        height, width = photo.image.shape[:2]
        images[number, :, :height, :width] = torch.from_numpy(photo.image).permute(2, 0, 1)
        album.boxes[number, : len(photo.boxes)] = photo.boxes
        album.labels[number, : len(photo.labels)] = photo.labels
        album.ignored[number, : len(photo.ignored)] = photo.ignored
    return album
