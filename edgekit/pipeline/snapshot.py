"""The best picture of each kind of thing, as a JPEG that is small enough to be sent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from edgekit.config.scene import SnapshotConfig
from edgekit.types import Image, Track

MARGIN = 0.3  # of the longer side of a box, kept around it
BETTER = 1.1  # how many times as good a picture must be to take the place of another
QUALITIES = (70, 50, 30, 15)  # of the JPEG, until it is small enough


class BestShots:
    """The pictures of one camera that are worth showing."""

    def __init__(self, config: SnapshotConfig) -> None:
        self._config = config
        self._best: dict[str, tuple[int, float]] = {}  # label -> visit, how good

    def update(self, image: Image, present: Mapping[int, Track]) -> Iterator[tuple[str, bytes]]:
        """(label, JPEG) of each thing seen now, by visit, that is the first or the best of its kind so far.

        A kind of thing keeps its picture when it has gone; the next visit begins anew.
        """
        for visit, track in present.items():
            shown, worth = self._best.get(track.label, (0, 0.0))
            now = track.score * math.dist(track.box[:2], track.box[2:])
            if track.missed or (shown in present and now <= BETTER * worth):
                continue
            if jpeg := encode(crop(image, track.box), self._config):
                self._best[track.label] = (visit, now)
                yield track.label, jpeg

    def has(self, visit: int) -> bool:
        """Whether the picture that is shown is one of this visit."""
        return any(visit == shown for shown, _ in self._best.values())


def crop(image: Image, box: tuple[float, float, float, float]) -> Image:
    """The part of the picture around a box, as far as there is one."""
    margin = MARGIN * max(box[2] - box[0], box[3] - box[1])
    x1, y1 = (max(math.floor(value - margin), 0) for value in box[:2])
    x2, y2 = (max(math.ceil(value + margin), 0) for value in box[2:])
    return image[y1:y2, x1:x2]


def encode(image: Image, config: SnapshotConfig) -> bytes | None:
    """A JPEG of at most `height` rows and `max_kb`; None when the picture is empty or gets no smaller."""
    import cv2

    if not image.size:
        return None
    scale = min(config.height / image.shape[0], 1.0)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    for quality in QUALITIES:
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if jpeg.size <= config.max_kb * 1024:
            return jpeg.tobytes()
    return None
